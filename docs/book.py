"""Builds the book from the repository's pages, executed notebooks and generated pages.

Usage: python docs/book.py SOURCES SITE. The tree is the repository's, so that every
relative link holds. Notebooks that no run has executed yet are executed first.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import badges
import house

from lcelib.paper.stages.notebook import run as execute
from lcelib.run import digests, snakemake
from lcelib.run.paths import ROOT, Run
from lcelib.run.profiles import PROFILES

COMPANION = ("run", "paper", "notebook", "cli")
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
FILES = (
    "CITATION.cff",
    "LICENSE",
    "Snakefile",
    "notebooks/exercises/common_mistakes.toml",
    *PROJECT,
)
FOLDERS = ("docs", "figures", "benchmarks", "lcelib", "clusters")
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
CHAPTERS = {
    "The paper, step by step": sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")),
    "How to": [ROOT / f"docs/{n}.md" for n in (
        "notebooks", "checkpoints", "patches", "real_models", "how_to/your_model",
        "how_to/your_bias_specification", "how_to/your_cluster", "how_to/scores",
        "how_to/numbers_differ",
    )],
    "In a classroom": [ROOT / "docs/teaching.md"],
    "Reference": [
        *(ROOT / f"docs/{n}.md" for n in (
            "claims", "performance", "reliability", "figures", "patch_format", "api",
        )),
        ROOT / "lcelib/data/patches/smollm2-gender.md",
    ],
    "The project": [ROOT / "docs/architecture.md", *(ROOT / n for n in PROJECT)],
}  # fmt: skip


def executed(path: Path) -> Path:
    """A notebook with its outputs: a run's, where it is newer than the source, else made now."""
    grid = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("lcelib", {}).get("grid")
    settings = PROFILES["smollm2" if grid == "pretrained" else "toy"]
    made = Run(settings).notebook(path.stem, settings.seeds[0])
    if not made.exists() or made.stat().st_mtime < path.stat().st_mtime:
        print(f"executing {path.stem} …", flush=True)
        execute(settings, settings.seeds[0], path.stem)
    return made


def static(notebook: dict) -> dict:
    """The notebook with every control replaced by what its pane shows: no script, no network."""
    state = notebook["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    injected = "injected-parameters"  # papermill's repetition of the parameters
    notebook["cells"] = [
        c for c in notebook["cells"] if injected not in c["metadata"].get("tags", [])
    ]
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if VIEW in (data := output.get("data", {})):
                html = pane(state, data[VIEW]["model_id"])
                output["data"] = {"text/html": f'<div class="chosen">{html}</div>'}
    return notebook


def pane(state: dict, model: str) -> str:
    """The settings and the HTML of a box of controls, as text."""
    children = [x.removeprefix("IPY_MODEL_") for x in state[model]["state"].get("children", [])]
    parts = []
    for child in (state[c]["state"] for c in children):
        if child.get("_options_labels"):
            parts.append(f"{child['description']}: {child['_options_labels'][child['index']]}")
        elif child.get("description"):
            parts.append(f"{child['description']}: {child['value']}")
        else:
            parts.append(str(child.get("value", "")))
    return "<br>".join(parts)


def cell_with(call: str) -> tuple[str, str] | None:
    """The notebook and the heading under which a figure's function is called."""
    for path in CHAPTERS["The paper, step by step"]:
        heading, notebook = "", json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                found = re.findall(r"^#+ (.+)$", text, re.M)
                heading = found[-1] if found else heading
            elif re.search(rf"\.{call}\(", text):
                return path.name, heading
    return None


def slug(heading: str) -> str:
    """The anchor that the book gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def figures_page() -> str:
    """Every published figure with the function, the cell and the data that made it."""
    lines = [
        "# Figures",
        "",
        "Each is drawn by one function from one table; hashes are in the manifests.",
    ]
    for manifest in sorted((ROOT / "figures").rglob("manifest.json")):
        folder = manifest.parent.relative_to(ROOT)
        for name, entry in json.loads(manifest.read_text(encoding="utf-8")).items():
            if not name.endswith(".png"):
                continue
            module, _, function = entry["function"].rpartition(".")
            source = f"../{module.replace('.', '/')}.py"
            lines += [
                "",
                f"## {folder}/{name.removesuffix('.png')}",
                "",
                f"![]({Path('..') / folder / name})",
                "",
            ]
            lines.append(f"- drawn by [`{entry['function']}`]({source})")
            if cell := cell_with(function):
                lines.append(
                    f"- shown in [{cell[0]}, “{cell[1]}”](../notebooks/{cell[0]}#{slug(cell[1])})"
                )
            for data in entry["data"]:
                lines.append(f"- data: [{folder / data}](../{folder / data})")
            if not entry["data"]:
                lines.append("- data: sixteen weights, in the code")
    return "\n".join(lines) + "\n"


def api_page() -> str:
    """Return the page of all docstrings: the rooms of the library, then those of the companion."""
    lines = ["# API", "", "Importing `lcelib as lce` gives the names of the method at once:"]
    lines += [
        "",
        "```python",
        "import lcelib as lce",
        "",
        "lce.locate, lce.edit, lce.transfer, lce.Patch",
        "```",
    ]
    rooms: dict[str, list[str]] = {}
    for module in digests.modules():
        if (
            "." in module
            and not module.endswith("__main__")
            and ast.parse(digests.source(module).read_bytes()).body[1:]
        ):
            rooms.setdefault(module.split(".")[1], []).append(module)
    for room in sorted(rooms, key=lambda name: (name in COMPANION, name)):
        lines += ["", f"## {room}"]
        for module in rooms[room]:
            package = digests.source(module).name == "__init__.py"  # repeats names of its modules
            options = ["   :members:", *(["   :no-index:"] if package else [])]
            directive = ["```{eval-rst}", f".. automodule:: {module}", *options, "```"]
            lines += ["", f"### {module}", "", *directive]
    return "\n".join(lines) + "\n"


def contents() -> str:
    """The book's table of contents, for the end of its first page."""
    lines = []
    for title, pages in CHAPTERS.items():
        lines += ["", "```{toctree}", ":hidden:", f":caption: {title}", ""]
        lines += [str(p.relative_to(ROOT).with_suffix("")) for p in pages]
        lines.append("```")
    return "\n".join(lines) + "\n"


def gather(goal: Path) -> None:
    """Fill the folder."""
    house.write()
    shutil.rmtree(goal, ignore_errors=True)
    ignore = shutil.ignore_patterns(
        "__pycache__", "*.pdf", "model", "book.py", "badges.py", "house.py", "links.py"
    )
    for name in FOLDERS:
        shutil.copytree(ROOT / name, goal / name, ignore=ignore)
    for name in FILES:
        (goal / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, goal / name)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (goal / "index.md").write_text(readme + contents(), encoding="utf-8")
    pages = {"figures": figures_page, "api": api_page}
    for name, make in pages.items():
        (goal / f"docs/{name}.md").write_text(make(), encoding="utf-8")
    snakemake.ensure(PROFILES["toy"], PROFILES["toy"].seeds[0])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path in pool.map(executed, CHAPTERS["The paper, step by step"]):
            notebook = static(json.loads(path.read_text(encoding="utf-8")))
            if known := badges.repository():
                badges.put(notebook, known, path.name)
            text = json.dumps(notebook, ensure_ascii=False)
            (goal / "notebooks" / path.name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    source, site = Path(sys.argv[1]), Path(sys.argv[2])
    gather(source)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    sys.exit(subprocess.call([*command, "-c", str(source / "docs"), str(source), str(site)]))
