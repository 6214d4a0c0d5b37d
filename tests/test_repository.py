"""The repository's own pages: the map of the rooms, the metadata, and the paths they name."""

import ast
import importlib
import json
import re
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import yaml
from conftest import ROOT, Bag, random_subnetwork

import lcelib

sys.path.insert(0, str(ROOT / "docs"))
import house

PAGES = [*sorted(ROOT.glob("[A-Z]*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
LARGEST_README = 120  # lines


def test_the_map_shows_the_imports_of_the_source():
    text = house.PICTURE.read_text(encoding="utf-8")
    assert text == house.picture(), "run `python docs/house.py`"
    stored = re.search(r"<desc>(.+?)</desc>", text)[1]
    assert json.loads(stored) == house.graph()


def test_only_imports_that_others_imply_are_left_out():
    graph = {"a": ["b", "c", "d"], "b": ["c"], "c": [], "d": []}
    assert house.levels(graph) == {"a": 2, "b": 1, "c": 0, "d": 0}
    assert house.drawn(graph) == [("a", "b"), ("a", "d"), ("b", "c")]


def test_every_file_of_metadata_says_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    meta = json.loads((ROOT / "codemeta.json").read_text(encoding="utf-8"))
    assert meta["name"] == project["name"] == citation["title"].partition(":")[0]
    assert meta["version"] == project["version"] == citation["version"] == lcelib.__version__
    assert meta["license"] == f"https://spdx.org/licenses/{project['license']}"
    assert citation["license"] == project["license"]
    assert meta["description"] == project["description"]
    assert f">={meta['runtimePlatform'].split()[1]}" == project["requires-python"]

    def people(entries, given, family):
        return [" ".join(filter(None, (e.get(given), e.get(family) or e["name"]))) for e in entries]

    assert people(meta["author"], "givenName", "familyName") == people(
        citation["authors"], "given-names", "family-names"
    )
    paper, cited = meta["referencePublication"], citation["preferred-citation"]
    assert paper["name"] == cited["title"]
    assert paper["@id"] == f"https://doi.org/{cited['doi']}"
    assert people(paper["author"], "givenName", "familyName") == people(
        cited["authors"], "given-names", "family-names"
    )


def test_the_changelog_has_an_entry_for_unreleased_changes():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[?([^\]\s]+)", text, re.M)
    assert versions[0] == "Unreleased"
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
    }  # fmt: skip


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LARGEST_README


def test_the_readmes_code_runs(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    target, reference = random_subnetwork(rng), random_subnetwork(rng)
    model = Bag(target)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"target": target, "reference": reference, "model": model}
    exec(code, names)
    located = names["located"]
    assert located.size
    for name, parameter in model.named_parameters():
        differ = np.flatnonzero((parameter.detach() != before[name]).numpy().reshape(-1))
        assert set(differ) <= set(located.positions.get(name, ()))
    assert (tmp_path / "change.lce.safetensors").exists()


def test_the_table_of_notebooks_is_complete():
    text = (ROOT / "docs/notebooks.md").read_text(encoding="utf-8")
    listed = re.findall(r"\(\.\./notebooks/(\d\d_\w+)\.ipynb\)", text)
    assert listed == sorted(p.stem for p in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def test_every_import_of_the_notebooks_resolves():
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            code = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
            for node in ast.walk(ast.parse(re.sub(r"^[!%].*$", "", code, flags=re.M))):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("lcelib"):
                    found = importlib.import_module(node.module)
                    for name in (alias.name for alias in node.names):
                        package = hasattr(found, "__path__")
                        known = hasattr(found, name) or (
                            package and find_spec(f"{node.module}.{name}")
                        )
                        assert known, (path.name, node.module, name)


def named(page: Path) -> set[str]:
    """The files and folders of the repository that a page names as code."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    code = re.findall(r"`([^`\n]+)`", text)
    start = r"(lcelib|tests|docs|notebooks|benchmarks|clusters|figures|\.github|\.ci)/"
    return {c for c in code if re.match(start, c) and not re.search(r"[*…<>A-Z{} ]", c)}


def test_every_path_that_a_page_names_exists():
    assert {p for page in PAGES for p in named(page) if not (ROOT / p).exists()} == set()
