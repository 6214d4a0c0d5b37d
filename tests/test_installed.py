"""The package by pip: its core alone in an empty environment, and notebooks without a checkout."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
BINDER = 2 * 2**30  # bytes that a free Binder session has


PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns(".*", "build", "results", "release", "submitted", "*.egg-info")
    shutil.copytree(ROOT, folder / "source", ignore=leave)  # setuptools builds in place
    command = [sys.executable, *PIP, "wheel", folder / "source", "--no-deps", "-w", folder / "made"]
    subprocess.run(command, check=True)
    (path,) = (folder / "made").glob("*.whl")
    return path


def virtual_environment(folder):
    """A new virtual environment without packages: its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new virtual environment with the built wheel; it sees our dependencies, not our lcelib."""
    python = virtual_environment(tmp_path_factory.mktemp("all") / "venv")
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    own = [p for p in site.getsitepackages() if Path(p).is_dir()]
    Path(done.stdout.strip(), "dependencies.pth").write_text("\n".join(own) + "\n")
    subprocess.run([python, *PIP, "install", "--no-deps", wheel], check=True)
    return python


@pytest.fixture(scope="module")
def core(wheel, tmp_path_factory):
    """A new virtual environment after `pip install lcelib`, with our versions of what it brings."""
    python = virtual_environment(tmp_path_factory.mktemp("core") / "venv")
    subprocess.run([python, *PIP, "install", "-c", ROOT / "requirements.txt", wheel], check=True)
    return python


MODELS = """import torch, lcelib as lce
lm = lce.load("toybert")
for folder in ("reference", "target"):
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    parameters = dict(lm.model.named_parameters())
    for name in lce.prunable(lm.model):
        parameters[name].data += 1e-3 * torch.randn(parameters[name].shape)
"""


def test_the_core_locates_edits_measures_and_patches(core, tmp_path):
    """Without any extra; the edit, the patch applied to a folder and taken back agree in all bits."""

    def lce(*arguments):
        command = [core, "-m", "lcelib.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    subprocess.run([core, "-c", MODELS], cwd=tmp_path, check=True)
    k = ("--by", "value", "--k", "0.01", "--json")
    located = json.loads(lce("locate", "target", "reference", *k))
    assert located["located"] == round(0.01 * located["weights"])
    written = ("--patch", "p.lce.safetensors", "--output", "edited")
    edited = json.loads(
        lce("edit", "target", "reference", *k, "--strategy", "EP", "--alpha", "2", *written)
    )
    assert edited["changed"] == located["located"]
    assert json.loads(lce("patch", "info", "p.lce.safetensors", "--json"))["weights"]
    assert "is its base" in lce("patch", "verify", "p.lce.safetensors", "target")
    lce("patch", "apply", "target", "p.lce.safetensors", "--output", "applied")
    lce("patch", "revert", "applied", "p.lce.safetensors", "--output", "reverted")
    weights = {
        n: (tmp_path / n / "model.safetensors").read_bytes()
        for n in os.listdir(tmp_path)
        if (tmp_path / n).is_dir()
    }
    assert weights["applied"] == weights["edited"] != weights["target"] == weights["reverted"]
    weat = ROOT / "lcelib" / "data" / "weat8.json"
    found = json.loads(
        lce("measure", "target", "--on", f"weat={weat}", "--patch", "p.lce.safetensors", "--json")
    )
    assert found["measures"][0]["before"] != found["measures"][0]["after"]


def test_the_core_brings_no_extra_and_names_the_one_that_is_missing(core, tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(project["dependencies"]) < 12
    code = "import importlib.metadata as m; print([d.name for d in m.distributions()])"
    listed = subprocess.run([core, "-c", code], capture_output=True, text=True, check=True)
    installed = {n.lower().replace("_", "-") for n in re.findall(r"'([\w.-]+)'", listed.stdout)}
    names = {
        re.split(r"[^\w-]", r)[0] for rs in project["optional-dependencies"].values() for r in rs
    }
    assert installed & {name.lower() for name in names} == {"lcelib"}
    for arguments, package, extra in (
        (["run", "--until", "corpus"], "snakemake", "paper"),
        (["train", "--of", "anti", "--output", "x"], "accelerate", "paper"),
        (["stage", "figures"], "pandas", "paper"),
        (["patch", "export", "smollm2-gender", "--output", "x"], "peft", "peft"),
    ):
        command = [core, "-m", "lcelib.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert (
            f"needs {package}, which is not installed\npip install 'lcelib[{extra}]'" in done.stderr
        )
        assert len(done.stderr.splitlines()) <= 3
    doctor = [core, "-m", "lcelib.cli", "doctor", "--json"]
    done = subprocess.run(doctor, cwd=tmp_path, capture_output=True, text=True, check=False)
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert "snakemake" in rows["extra paper"]["found"]


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
