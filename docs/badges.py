"""Links that open a notebook in Colab or on Binder.

The book has them where its repository is known (GitHub's workflow, or a remote on github.com).
`python docs/badges.py OWNER/NAME` writes them into the notebooks themselves, for a repository of yours.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = "<!-- badges -->"


def repository() -> str | None:
    """OWNER/NAME on GitHub, where that is known."""
    if named := os.environ.get("GITHUB_REPOSITORY"):
        return named
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    address = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(\.git)?$", address)
    return found[1] if found else None


def line(repository: str, name: str) -> str:
    """The links of one notebook, and what Colab needs first."""
    colab = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name}"
    binder = f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/notebooks/{name}"
    install = f"`%pip install git+https://github.com/{repository}`"
    return f"{MARK} [Open in Colab]({colab}) (first run {install}) · [Open on Binder]({binder})"


def put(notebook: dict, repository: str, name: str) -> dict:
    """The notebook with its links at the end of the first text; those of before are replaced."""
    first = next(c for c in notebook["cells"] if c["cell_type"] == "markdown")
    text = "".join(first["source"]).split(f"\n\n{MARK}")[0]
    first["source"] = f"{text}\n\n{line(repository, name)}".splitlines(keepends=True)
    return notebook


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"[\w.-]+/[\w.-]+", sys.argv[1]):
        sys.exit("Usage: python docs/badges.py OWNER/NAME")
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = put(json.loads(path.read_text(encoding="utf-8")), sys.argv[1], path.name)
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")
