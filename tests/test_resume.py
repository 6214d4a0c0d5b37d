"""A run that is killed and started again ends with the same bytes."""

import os
import shutil
import subprocess
import sys
import time
from random import Random

import pytest
from conftest import ROOT

from lcelib.files import sha256
from lcelib.run.paths import Run
from lcelib.run.profiles import profile

TINY = ["--set", "steps=12", "--set", "seeds=0", "--set", "sparsities=0.3"]
TINY += ["--set", "checkpoint_every=3", "--set", "max_pairs=200", "--set", "grid=short"]
SPEED = 2.0  # seconds: about when torch is loaded


def stage(results, *arguments):
    command = [sys.executable, "-m", "lcelib.cli", "stage", *arguments, *TINY]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"LCE_RESULTS": str(results)})


def job(results, name, of, delay=None):
    """One stage for seed 0, to its end or killed after `delay` seconds."""
    process = stage(results, name, "--seed", "0", "--of", of)
    if delay is None:
        assert process.wait(300) == 0
        return
    time.sleep(delay)
    process.kill()
    process.wait()


def kill_often(times, whole, killed, name, of):
    """Run a stage in one folder undisturbed, in the other killed `times` times and then to its end."""
    start = time.time()
    job(whole, name, of)
    duration, random = time.time() - start, Random(0)
    for _ in range(times):
        job(killed, name, of, SPEED + random.random() * max(duration - SPEED, 1))
    job(killed, name, of)


def hashes(results):
    return {p.name: sha256(p) for p in sorted(results.rglob("*.safetensors"))}


@pytest.mark.faults(2)
def test_killed_jobs_end_with_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed with space"
    for folder in (whole, killed):
        assert stage(folder, "corpus").wait(120) == 0
        assert stage(folder, "probes").wait(120) == 0
    kill_often(3, whole, killed, "subnetworks", "anti")
    assert hashes(killed) == hashes(whole)
    assert len(hashes(whole)) == 2
    job(whole, "subnetworks", "stereotypical")
    job(whole, "subnetworks", "neutral")
    for path in whole.rglob("*.safetensors"):
        shutil.copy2(path, next(killed.rglob("subnetworks/seed0")))
    kill_often(2, whole, killed, "measure", "anti")
    measured = [next(f.rglob("measured/seed*.csv")).read_bytes() for f in (killed, whole)]
    assert measured[0] == measured[1]
    assert not list(killed.rglob(".tmp-*")) + list(killed.rglob("scratch/*"))


def test_what_another_code_or_corpus_left_is_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.setenv("LCE_RESULTS", str(tmp_path))
    (tmp_path / "corpus.json").write_text("one")
    settings = profile("toy")
    first = Run(settings).scratch("job", [tmp_path / "corpus.json"])
    (first / "finished").touch()
    assert Run(settings).scratch("job", [tmp_path / "corpus.json"]) == first
    assert (first / "finished").exists()
    (tmp_path / "corpus.json").write_text("another")
    second = Run(settings).scratch("job", [tmp_path / "corpus.json"])
    assert not first.exists()
    other = Run(profile("toy", {"steps": 3})).scratch("job", [])
    assert len({first.name, second.name, other.name}) == 3
