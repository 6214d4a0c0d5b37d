"""A run that is killed and started again ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from random import Random

from conftest import ROOT

from lcelib.files import sha256

TINY = ["--set", "steps=12", "--set", "seeds=0", "--set", "sparsities=0.3"]
TINY += ["--set", "checkpoint_every=3", "--set", "max_pairs=200", "--set", "grid=short"]
SPEED = 2.0  # seconds: about when torch is loaded


def stage(results, *arguments):
    command = [sys.executable, "-m", "lcelib.cli", "stage", *arguments, *TINY]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"LCE_RESULTS": str(results)})


def train(results, delay=None):
    process = stage(results, "subnetworks", "--seed", "0", "--of", "anti")
    if delay is None:
        assert process.wait(300) == 0
        return
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def hashes(results):
    return {p.name: sha256(p) for p in sorted(results.rglob("*.safetensors"))}


def test_killed_training_ends_with_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed with space"
    for folder in (whole, killed):
        assert stage(folder, "corpus").wait(120) == 0
    start = time.time()
    train(whole)
    duration, random = time.time() - start, Random(0)
    for _ in range(4):
        train(killed, SPEED + random.random() * max(duration - SPEED, 1))
    train(killed)
    assert hashes(killed) == hashes(whole)
    assert len(hashes(whole)) == 2
    assert not list(killed.rglob(".tmp-*")) + list(killed.rglob("scratch/*"))
