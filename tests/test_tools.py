"""`lce measure`, `lce train`, `lce doctor`: what they print is what the library gives."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

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
        (["measure", "toybert", "--on", "crows=absent.csv"], "is no file"),
        (["measure", "absent/", "--on", f"weat={WEAT}"], "no folder here"),
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
