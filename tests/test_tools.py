"""`lce measure`, `lce train`, `lce doctor`: what they print is what the library gives."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from lcelib.errors import LceError
from lcelib.files import DATA
from lcelib.measures import Weat
from lcelib.measures.weat import read
from lcelib.models import load

WEAT = DATA / "weat8.json"


def lce(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lcelib.cli", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


def test_train_and_measure_two_models(tmp_path):
    folder = tmp_path / "anti"
    small = ["--set", "steps=3", "--set", "max_pairs=120"]
    results = {"LCE_RESULTS": str(tmp_path / "results")}
    done = lce("train", "--of", "anti", "--output", folder, *small, **results)
    assert done.returncode == 0, done.stderr
    assert "3 steps" in done.stdout
    found = lce("measure", "toybert", "--on", f"weat={WEAT}", "--against", folder, "--json")
    rows = {r["measure"]: r for r in json.loads(found.stdout)["measures"]}
    for where, source in (("before", "toybert"), ("after", folder)):
        lm = load(source)
        own = {
            s.measure: s.value for s in Weat(read(WEAT), lm.tokenizer, name="weat").score(lm.model)
        }
        assert rows["weat_d"][where] == own["weat_d"]
    assert rows["weat_d"]["neutral"] == 0
    assert rows["weat_d"]["before"] != rows["weat_d"]["after"]
    again = lce("train", "--of", "anti", "--output", folder, *small, **results)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["measure", "toybert", "--on", "iq=x"], "'iq'"),
        (["measure", "toybert", "--on", "crows=absent.csv"], "is missing"),
        (["measure", "absent/", "--on", f"weat={WEAT}"], "not a folder here"),
        (["train", "--of", "neuter", "--output", "x"], "'neuter'"),
    ],
)
def test_bad_requests_are_refused(arguments, says):
    done = lce(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_the_doctor_finds_nothing_here():
    done = lce("doctor", "--json")
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert rows["torch"]["found"].startswith("2.")
    assert rows["results folder"]["fine"]


def test_a_new_measure_is_one_entry_of_the_registry(tmp_path, monkeypatch, toy):
    """It is copied to a run's items, prepared from there, and scored beside the others."""
    from lcelib.measures import Score, registry
    from lcelib.paper import preflight, stages
    from lcelib.paper.stages.measure import suite
    from lcelib.run.paths import Run
    from lcelib.run.profiles import profile

    class Lines:
        def __init__(self, path):
            self.lines = path.read_text(encoding="utf-8").splitlines()

        def score(self, model):
            return [Score("lines", float(len(self.lines)), len(self.lines), "counted")]

    items = tmp_path / "mine.txt"
    items.write_text("one\ntwo\n", encoding="utf-8")
    monkeypatch.setenv("LCE_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    settings = profile("toy", {"measures": "lines=mine.txt"})
    assert profile("toy", settings.overrides) == settings
    with pytest.raises(LceError, match="measure 'lines'"):
        preflight.check_inputs(settings)
    entry = registry.Entry("lines", lambda path, tokenizer, kind: Lines(path), {"lines": 0.0})
    monkeypatch.setattr(registry, "MEASURES", (*registry.MEASURES, entry))
    for stage in ("corpus", "probes"):
        stages.find(stage)(settings)
    found = {s.measure: s for s in suite(Run(settings), toy.tokenizer, "anti")(toy.model)}
    assert (found["lines"].value, found["lines"].n) == (2.0, 2)
    assert {"stereoset_ss", "crows", "weat_d", "perplexity"} <= set(found)
