"""The notebooks' form, and that nbval compares what they promise."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
OTHER_CPU = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code(notebook):
    return [c for c in notebook["cells"] if c["cell_type"] == "code"]


def checked(notebook):
    return [
        c
        for c in code(notebook)
        if "nbval-check-output" in c["metadata"].get("tags", []) and c["execution_count"]
    ]


def nbval(path, **environment):
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q"]
    command += ["--nbval-cell-timeout=600", "--nbval-kernel-startup-timeout=180", str(path)]
    command += ["--nbval-sanitize-with", str(ROOT / "tests/sanitize.cfg"), "-p", "no:cacheprovider"]
    environment = os.environ | {"TQDM_DISABLE": "1"} | environment
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )


def test_there_are_eleven():
    assert [p.stem[:2] for p in NOTEBOOKS] == [f"{i:02}" for i in range(11)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_form(path):
    notebook = read(path)
    cells = code(notebook)
    assert len(checked(notebook)) >= 3
    assert all(c["outputs"] for c in checked(notebook))
    parameters = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(parameters) == 1
    names = re.findall(r"^(\w+) =", "".join(parameters[0]["source"]), re.M)
    assert names == ["profile", "seed", "overrides"]
    assert "explore(" in json.dumps(cells)
    text = json.dumps([c for c in notebook["cells"] if c["cell_type"] == "markdown"])
    for part in ("**Question.**", "**Predict before you run:**", "**Try next.**", "| reads |"):
        assert part in text
    for cell in cells:
        assert len(cell["source"]) <= 15
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            assert not isinstance(node, ast.ClassDef)
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 10
        kept = "keep_output" in cell["metadata"].get("tags", [])
        assert kept or not cell["outputs"], "strip outputs: nbstripout --keep-count --keep-id"


@pytest.mark.parametrize("number", ["00", "04", "07"])
def test_checked_outputs_hold_on_another_cpu(number):
    path = next(p for p in NOTEBOOKS if p.stem.startswith(number))
    done = nbval(path, **OTHER_CPU)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.faults(22)
def test_one_changed_digit_is_found_and_its_cell_named(tmp_path):
    notebook = read(ROOT / "notebooks/03_subnetworks.ipynb")
    cell = checked(notebook)[0]
    line = cell["outputs"][0]["text"][1]
    assert "19.0" in line
    cell["outputs"][0]["text"][1] = line.replace("19.0", "19.1")
    path = tmp_path / "changed.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    done = nbval(path)
    assert done.returncode == 1
    assert re.search(r"FAILED .*Cell 2", done.stdout)
    assert "19.1" in done.stdout


def test_an_executed_notebook_does_not_keep_random_names():
    """Two executions that differ only in widget ids, their order, and times, become equal bytes."""
    from lcelib.paper.stages.notebook import stable

    def executed(view, layout, orphan, time):
        state = {
            orphan: {"x": 1},
            layout: {"width": "98%"},
            view: {"layout": f"IPY_MODEL_{layout}"},
        }
        names = sorted(state)
        output = {"data": {"application/vnd.jupyter.widget-view+json": {"model_id": view}}}
        cell = {"id": view[:8], "metadata": {"papermill": {"duration": time}}, "outputs": [output]}
        widgets = {"state": {n: state[n] for n in names}}
        metadata = {"widgets": {"application/vnd.jupyter.widget-state+json": widgets}}
        return json.dumps({"cells": [cell], "metadata": metadata | {"papermill": {"start": time}}})

    first = stable(executed("a" * 32, "b" * 32, "c" * 32, 1))
    second = stable(executed("f" * 32, "e" * 32, "d" * 32, 2))
    assert first == second
    assert "98%" in first


@pytest.mark.faults(18)
def test_an_unknown_parameter_is_refused(tmp_path):
    """papermill itself only warns of a misspelt name."""
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks/06_results.ipynb")]
    command += [str(tmp_path / "out.ipynb"), "--kernel", "python3", "-p", "sead", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode != 0
    assert "parameter 'sead': is unknown" in done.stderr
