"""Digests of what a result depends on: the code that its stage imports, and the user's files."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lcelib.files import DATA, sha256
from lcelib.run.profiles import PATHS, Profile

PACKAGE = DATA.parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SMALL = 1 << 26  # bytes: larger files are compared by size and time


def source(module: str) -> Path | None:
    """Return the file of a module ("lcelib.run.paths"), or None where it is not of the package."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((f for f in files if f.exists() and module.split(".")[0] == "lcelib"), None)


def modules() -> list[str]:
    """Return the names of all modules of the package."""
    parts = (p.relative_to(PACKAGE).with_suffix("").parts for p in PACKAGE.rglob("*.py"))
    return sorted(".".join(("lcelib", *p)).removesuffix(".__init__") for p in parts)


@cache
def imports(module: str) -> frozenset[str]:
    """Return the package's modules that a module imports, also inside functions."""
    found = set()
    file = source(module)
    for node in ast.walk(ast.parse(file.read_bytes() if file else b"")):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                found.add(name if source(name) else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return frozenset(name for name in found if source(name))


def closure(entries: Iterable[str]) -> set[str]:
    """Return all modules that are loaded when `entries` run, with the packages they are in."""
    found, todo = set(), set(entries)
    while todo:
        module = todo.pop()
        found.add(module)
        packages = module.split(".")[:-1]
        inside = {".".join(packages[:i]) for i in range(1, len(packages) + 1)}
        todo |= (imports(module) | inside) - found
    return found


@cache
def content(file: Path) -> bytes:
    """Return what a file says to Python, without comments and docstrings; other files as they are."""
    if file.suffix != ".py":
        return file.read_bytes()
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.Pass()
    return ast.dump(tree).encode()


def code(*stages: str) -> str:
    """Return a digest of what these stages import and of the shipped lists; of the package for none.

    A rule whose digest changed runs again.
    """
    names = closure(f"lcelib.paper.stages.{s}" for s in stages) if stages else modules()
    shipped = [p for p in (PACKAGE / "data").iterdir() if p.suffix in (".toml", ".json", ".csv")]
    files = (
        [file for name in names if (file := source(name))]
        + shipped
        + [*(PACKAGE / "toybert/model").iterdir()]
    )
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + content(file))
    return digest.hexdigest()[:16]


def inputs(settings: Profile) -> str:
    """Return a digest of the user's own files that a run reads, so that a change runs them again."""
    digest = hashlib.sha256()
    values = {field: getattr(settings, field) for field in sorted(PATHS)}
    values["measures"] = tuple(entry.partition("=")[2] for entry in settings.measures)
    for field, value in values.items():
        for place in map(Path, value if isinstance(value, tuple) else (value,)):
            if not place.is_absolute():  # a name: files of the user have their whole path
                continue
            files = sorted(place.rglob("*")) if place.is_dir() else [place]
            for file in (f for f in files if f.is_file() and DATA not in f.parents):
                about = file.stat()
                large = about.st_size >= SMALL
                own = f"{about.st_size} {about.st_mtime_ns}" if large else sha256(file)
                digest.update(f"{field} {file.name} {own}".encode())
    return digest.hexdigest()[:16]
