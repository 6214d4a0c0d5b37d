"""The structure: what may import what, and which results depend on which code."""

import ast
import os
import re
import shutil
import statistics
import subprocess
import sys

import pytest
from conftest import ROOT

from lcelib.paper import stages
from lcelib.run import digests

COMPANION = ("run", "paper", "notebook", "cli")  # in this order; everything else is the library
MODULES = digests.modules()


def room(module):
    """The folder or file of lcelib/ that a module is in; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def floor(module):
    return COMPANION.index(room(module)) + 1 if room(module) in COMPANION else 0


def test_the_library_imports_nothing_of_the_companion():
    """Imports inside functions count; within the companion they go one way too."""
    up = [(m, i) for m in MODULES for i in digests.imports(m) if floor(i) > floor(m)]
    assert not up


def cycle(graph):
    """A list of nodes that lead to each other, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node) :]
        if node not in done:
            path.append(node)
            for other in sorted(graph[node]):
                if found := visit(other):
                    return found
            path.pop()
            done.add(node)
        return None

    return next((found for node in graph if (found := visit(node))), None)


def test_no_modules_and_no_rooms_import_each_other_in_a_circle():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]  # the test can fail
    assert cycle({m: digests.imports(m) - {m} for m in MODULES}) is None
    rooms = {room(m): set() for m in MODULES}
    for module in MODULES:
        rooms[room(module)] |= {room(i) for i in digests.imports(module)} - {room(module), ""}
    assert cycle(rooms) is None


def test_imports_are_those_that_python_makes():
    """A second route to the same graph: what a fresh interpreter has loaded."""
    code = "import sys, lcelib.{0}; print([m for m in sys.modules if m.startswith('lcelib')])"
    for module in ("streaming.patching", "paper.stages.subnetworks"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True
        )
        loaded = set(re.findall(r"lcelib[\w.]*", done.stdout))
        assert loaded <= digests.closure([f"lcelib.{module}"])


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package that the digests look at."""
    package = tmp_path / "checkout" / "lcelib"
    shutil.copytree(ROOT / "lcelib", package, ignore=shutil.ignore_patterns("__pycache__"))
    caches = (digests.imports, digests.content)
    monkeypatch.setattr(digests, "PACKAGE", package)
    for cached in caches:
        cached.cache_clear()
    yield package
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()


def test_a_stage_depends_on_each_module_that_it_reaches_and_on_no_other(copy, monkeypatch):
    cached, changed = digests.content, None

    def content(file):
        return cached.__wrapped__(file) if file == changed else cached(file)

    monkeypatch.setattr(digests, "content", content)
    before = {stage: digests.code(stage) for stage in stages.names()}
    reached = {s: digests.closure([f"lcelib.paper.stages.{s}"]) for s in before}
    for module in MODULES:
        changed = digests.source(module)
        text = changed.read_text(encoding="utf-8")
        changed.write_text(f"{text}\nCHANGED = 1\n", encoding="utf-8")
        for stage, digest in before.items():
            assert (digests.code(stage) != digest) == (module in reached[stage]), (stage, module)
        changed.write_text(text, encoding="utf-8")
    changed = None
    assert {stage: digests.code(stage) for stage in before} == before


def test_comments_and_docstrings_do_not_count(copy):
    path = digests.source("lcelib.training")
    before, text = digests.code("subnetworks"), path.read_text(encoding="utf-8")
    changed = text.replace('"""', '"""Besides: ', 1) + "\n# a remark\n"
    path.write_text(changed, encoding="utf-8")
    digests.content.cache_clear()
    assert digests.code("subnetworks") == before


def test_a_changed_constant_runs_the_rule_again(tmp_path):
    """Snakemake itself: with fewer sentences the corpus is another one."""
    checkout = tmp_path / "checkout"
    leave = shutil.ignore_patterns("__pycache__", ".*", "results", "build")
    for name in ("lcelib", "notebooks"):
        shutil.copytree(ROOT / name, checkout / name, ignore=leave)
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    variables = (
        os.environ | {"PYTHONPATH": str(checkout)} | {"LCE_RESULTS": str(tmp_path / "results")}
    )
    command = [sys.executable, "-m", "lcelib.cli", "run", "--until", "corpus", "--cores", "1"]
    corpus = tmp_path / "results/toy/corpus.json"

    def run():
        done = subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return corpus.read_bytes(), "Nothing to be done" in done.stdout

    first, _ = run()
    assert run() == (first, True)
    inputs = checkout / "lcelib/paper/inputs.py"
    text = inputs.read_text(encoding="utf-8")
    assert "TOY_SENTENCES = 60_000" in text
    inputs.write_text(text.replace("60_000", "55_000"), encoding="utf-8")
    second, idle = run()
    assert not idle
    assert second != first


ELSEWHERE = """
import builtins, importlib
found = builtins.__import__
def find(name, context=None, *more, **named):
    ours = (context or {{}}).get("__name__", "").startswith("lcelib")
    if ours and name in ("fcntl", "grp", "pwd", "resource", "termios"):
        raise ModuleNotFoundError(f"no {{name}} here", name=name)
    return found(name, context, *more, **named)
builtins.__import__ = find
for module in {}:
    importlib.import_module(module)
"""


def test_nothing_that_only_posix_has_is_imported_with_the_package():
    """What Windows lacks may be imported inside a function that has a way around it."""
    modules = [m for m in MODULES if not m.endswith("__main__")]  # which runs
    code = ELSEWHERE.format(modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_modules_and_functions_stay_small():
    lengths = {}
    for module in MODULES:
        text = digests.source(module).read_text(encoding="utf-8")
        lengths[module] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, (module, node.name)
    assert max(lengths.values()) <= 300
    assert statistics.median(lengths.values()) <= 130
