"""Notebooks alone, in an environment that has the package by pip and nothing of the checkout."""

import json
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
BINDER = 2 * 2**30  # bytes that a free Binder session has


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A new virtual environment with the built wheel; it sees our dependencies, not our lcelib."""
    folder = tmp_path_factory.mktemp("empty")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    leave = shutil.ignore_patterns(".*", "build", "results", "release", "submitted", "*.egg-info")
    shutil.copytree(ROOT, folder / "source", ignore=leave)  # setuptools builds in place
    command = [*pip, "wheel", folder / "source", "--no-deps", "-w", folder / "wheel"]
    subprocess.run(command, check=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    own = [p for p in site.getsitepackages() if Path(p).is_dir()]
    (packages / "dependencies.pth").write_text("\n".join(own) + "\n")
    (wheel,) = (folder / "wheel").glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True)
    return python


@pytest.mark.parametrize("name", ["00_start_here", "01_corpus", "06_results"])
def test_a_notebook_runs_alone(environment, tmp_path, name):
    shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", tmp_path)
    command = [environment, "-m", "papermill", f"{name}.ipynb", "out.ipynb", "--no-progress-bar"]
    variables = {k: v for k, v in os.environ.items() if not k.startswith("LCE_")}
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    text = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    assert "profile toy, seed 0" in text
    assert str(ROOT) not in text
    for record in tmp_path.rglob("jobs/*.json"):  # what it had to build
        content = json.loads(record.read_text())
        assert content["commit"] == "unknown"
        assert content["peak_megabytes"] * 2**20 < BINDER / 2  # two jobs at once


def test_the_pages_lines_apply_a_patch_and_take_it_back(environment, tmp_path):
    """Somebody who has the patch, the model and the package needs two lines."""
    lines = (ROOT / "docs/patches.md").read_text(encoding="utf-8").split("<!-- two lines -->")[1]
    code = lines.split("```python")[1].split("```")[0]
    make = "import numpy as np, lcelib as lce\nfrom lcelib.patches.algebra import Change\nfrom lcelib.patches.patch import Patch\n"
    make += "lm = lce.load('toybert')\nname = lce.prunable(lm.model)[0]\n"
    make += "flat = dict(lm.model.named_parameters())[name].detach().numpy().reshape(-1)\n"
    make += "change = Change(np.arange(5), flat[:5].copy(), flat[:5] + np.float32(1))\n"
    make += "Patch({name: change}).save('change.lce.safetensors', lm.model, lm.tokenizer)\n"
    before = "first = {n: p.detach().clone() for n, p in model.named_parameters()}\n"
    apply, revert = code.strip().split("\n\n")
    check = "assert sum(int((p != first[n]).sum()) for n, p in model.named_parameters()) == 5\n"
    after = "assert all((p == first[n]).all() for n, p in model.named_parameters())\n"
    program = f"{make}model = lm.model\n{before}{apply}\n{check}{revert}\n{after}"
    done = subprocess.run(
        [environment, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_package_brings_its_patch(environment, tmp_path):
    command = [environment, "-m", "lcelib.cli", "patch", "verify", "smollm2-gender"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "smollm2-gender is sound\n")
