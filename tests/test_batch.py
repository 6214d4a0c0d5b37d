"""Grid files: what they mean, what they refuse, and that a whole one runs once and only once."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from conftest import ROOT

from lcelib.errors import LceError
from lcelib.files import DATA
from lcelib.paper import stages
from lcelib.run import batch, digests, profiles
from lcelib.run.profiles import profile

SHORT = 'steps = 4\nmax_pairs = 120\nsparsities = [0.3]\ngrid = "short"\n'


def write(folder, text):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_combination_is_a_run(tmp_path):
    (tmp_path / "half.toml").write_text((DATA / "gender.toml").read_text())
    text = 'profiles = ["toy", "small"]\nseeds = [3, 1]\n[bias.all]\n[bias.half]\n'
    text += (
        'bias_spec = "half.toml"\n[change.few]\nsteps = 5\n[change.many]\nsteps = 50\nseeds = [7]\n'
    )
    grid = batch.read(write(tmp_path, text))
    assert [c.name for c in grid.cells] == [
        f"{p}-{b}-{c}" for p in ("toy", "small") for b in ("all", "half") for c in ("few", "many")
    ]
    first, second, third = (cell.settings for cell in grid.cells[:3])
    assert first == profile("toy", {"seeds": "3,1", "steps": "5"})
    assert second.seeds == (7,)  # a change has the last word
    assert third.bias_spec == str(tmp_path / "half.toml")  # found beside the grid file
    assert grid.folder.name == "grid-mine"
    assert len({run.folder for run in grid.runs}) == 8


def test_an_empty_grid_file_is_the_toy(tmp_path):
    (cell,) = batch.read(write(tmp_path, "")).cells
    assert (cell.name, cell.settings) == ("toy", profile("toy"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("profiles = [", "not valid TOML"),
        ('profile = ["toy"]', "'profile'.*unknown"),
        ('profiles = "toy"', "not a list"),
        ("seeds = []", "not a list"),
        ('profiles = ["tiny"]', "'tiny'.*unknown"),
        ("seeds = [0.5]", "seeds"),
        ("[change.a]\nstepps = 3", "stepps"),
        ('[change.a]\nsteps = "many"', "whole number"),
        ('[change."a b"]\nsteps = 3', "table with a valid name"),
        ("change = 3", "table with a valid name"),
        ("[change.a]\n[change.b]", "same run"),
        ('profiles = ["toy", "toy"]', "same run"),
    ],
)
def test_a_wrong_grid_file_is_refused(tmp_path, text, says):
    with pytest.raises(LceError, match=says) as error:
        batch.read(write(tmp_path, text))
    assert len(str(error.value).splitlines()) <= 3


def test_no_grid_file(tmp_path):
    with pytest.raises(LceError, match="not a file"):
        batch.read(tmp_path / "absent.toml")


def lce(results, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "lcelib.cli", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env=os.environ | {"LCE_RESULTS": str(results)},
    )  # fmt: skip


def test_tables_of_two_runs_in_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LCE_RESULTS", str(tmp_path / "results"))
    grid = batch.read(write(tmp_path, f"[change.a]\n{SHORT}[change.b]\n{SHORT}k = 0.05\n"))
    for run, value in zip(grid.runs, (1, 2), strict=True):
        run.results.parent.mkdir(parents=True)
        run.results.write_text(f"seed,value\n0,{value}\n")
    stages.find("combine")(grid)
    names = [run.folder.name for run in grid.runs]
    lines = ["run,folder,bias,change,seed,value"]
    lines += [f"toy-a,{names[0]},default,a,0,1", f"toy-b,{names[1]},default,b,0,2"]
    assert grid.results.read_text().splitlines() == lines


def test_a_grid_runs_once_and_is_listed(tmp_path):
    results = tmp_path / "results"
    grid = write(tmp_path, f"seeds = [0]\n[change.short]\n{SHORT}")
    done = lce(results, "run", "--grid", str(grid), "--until", "combine")
    assert done.returncode == 0, done.stderr
    (own,) = (p.read_text().splitlines() for p in results.glob("toy-*/results.csv"))
    combined = (results / "grid-mine" / "results.csv").read_text().splitlines()
    (place,) = results.glob("toy-*/results.csv")
    name = f"toy-short,{place.parent.name},default,short"
    assert combined == [f"run,folder,bias,change,{own[0]}", *(f"{name},{x}" for x in own[1:])]

    again = lce(results, "run", "--grid", str(grid), "--until", "combine")
    assert "Nothing to be done" in again.stdout

    listed = json.loads(lce(results, "runs", "--json").stdout)
    (run,) = listed
    assert run["jobs"] == 9  # corpus, probes, 3 trainings, 3 measurements, the table
    assert run["wall_seconds"] > 0
    assert run["cpu_seconds"] > 0
    assert run["peak_megabytes"] > 100
    assert not run["complete"]  # the claims are missing
    assert run["settings"]["steps"] == 4
    assert datetime.fromisoformat(run["started"]).tzinfo
    (commit,), (machine,), (packages,) = run["commits"], run["machines"], run["packages"]
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", commit)
    assert machine["cores"] == os.cpu_count()
    assert packages["torch"]
    text = lce(results, "runs").stdout
    assert run["run"] in text


def test_a_changed_specification_is_seen_and_the_place_of_the_package_is_not(tmp_path, monkeypatch):
    spec = tmp_path / "mine.toml"
    spec.write_text((DATA / "gender.toml").read_text())
    settings = profile("toy", {"bias_spec": str(spec), "texts": str(spec)})
    first = digests.inputs(settings)
    spec.write_text(spec.read_text().replace('"maid", ', ""))
    assert digests.inputs(settings) != first
    assert digests.inputs(profile("toy")) == digests.inputs(profile("toy", {"steps": 3}))
    (tmp_path / "smollm2").mkdir()  # a run of that name is not the model of that name
    monkeypatch.chdir(tmp_path)
    named = digests.inputs(profile("smollm2"))
    (tmp_path / "smollm2" / "results.csv").write_text("x")
    assert digests.inputs(profile("smollm2")) == named
    here = profile("toy", {"steps": 3})
    name = here.run_name
    monkeypatch.setattr(profiles, "DATA", Path("/elsewhere"))
    lists = {f: f"/elsewhere/{Path(getattr(here, f)).name}" for f in ("bias_spec", "weat")}
    assert dataclasses.replace(here, **lists).run_name == name


def test_a_grid_has_its_own_profiles(tmp_path):
    done = lce(tmp_path, "run", "--grid", str(write(tmp_path, "")), "--set", "steps=3")
    assert done.returncode == 2
    assert "Write them in the file" in done.stderr


def test_an_unknown_executor_is_refused(tmp_path):
    done = lce(tmp_path / "results", "run", "--executor", "slrum")
    assert done.returncode == 2
    assert "slurm-no-accounting" in done.stderr
    assert not (tmp_path / "results").exists()
