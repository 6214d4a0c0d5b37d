"""A grid on a real SLURM with kills ends with the table of an undisturbed run (`make slurm`)."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

from lcelib.files import DATA

CLUSTER = ROOT / "tests" / "slurm.sh"
GRID = """
profiles = ["toy"]
seeds = [0, 1, 2]
[bias.all]
[bias.family]
bias_spec = "family.toml"
[change.short]
steps = 6
max_pairs = 120
sparsities = [0.3]
grid = "short"
[change.longer]
steps = 9
max_pairs = 120
sparsities = [0.3]
grid = "short"
"""
pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def cluster():
    if not shutil.which("slurmctld"):
        pytest.skip("SLURM is not installed (Debian: slurm-wlm, munge)")
    subprocess.run([CLUSTER, "start"], check=True)
    yield
    subprocess.run([CLUSTER, "stop"], check=True)


def start(grid: Path, results: Path, *options: str) -> subprocess.Popen:
    """`lce run --grid` until the combined table, in a session of its own."""
    command = [sys.executable, "-m", "lcelib.cli", "run", "--grid", str(grid), *options]
    environment = os.environ | {"LCE_RESULTS": str(results)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)


def running() -> list[str]:
    """The numbers of the jobs that run now."""
    command = ["squeue", "--noheader", "--states=R", "--format=%i"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def until(true, what: str, seconds: float = 300):
    """Wait until `true()` gives something."""
    end = time.time() + seconds
    while not (found := true()):
        assert time.time() < end, f"no {what} within {seconds} s"
        time.sleep(0.5)
    return found


def test_a_grid_on_slurm_with_three_kills(cluster, tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(GRID)
    gender = (DATA / "gender.toml").read_text()
    (tmp_path / "family.toml").write_text(gender.replace('    ["woman", "man"],\n', ""))
    whole, disturbed = tmp_path / "local", tmp_path / "cluster"
    assert start(grid, whole, "--until", "combine").wait(900) == 0
    options = ["--executor", "slurm-no-accounting", "--until", "combine", "--"]
    options += ["--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10"]
    first = start(grid, disturbed, *options)

    job = until(running, "running job")[0]
    subprocess.run(["scancel", job], check=True)

    done = len(list(disturbed.rglob("*.safetensors")))
    until(lambda: len(list(disturbed.rglob("*.safetensors"))) > done + 4, "further subnetwork")
    until(running, "running job")
    subprocess.run([CLUSTER, "kill-node"], check=True)
    time.sleep(15)
    subprocess.run([CLUSTER, "start-node"], check=True)

    until(lambda: list(disturbed.rglob("measured/*.csv")), "measured table", 600)
    until(running, "running job")
    for process in (*psutil.Process(first.pid).children(recursive=True), first):
        process.kill()
    first.wait()
    assert start(grid, disturbed, *options).wait(1800) == 0

    tables = [folder / "grid-grid" / "results.csv" for folder in (whole, disturbed)]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    text = tables[0].read_text()
    assert {line.split(",")[0] for line in text.splitlines()[1:]} == {
        f"toy-{bias}-{change}" for bias in ("all", "family") for change in ("short", "longer")
    }
    assert not list(disturbed.rglob(".tmp-*"))
