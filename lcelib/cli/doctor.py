"""`lce doctor`: what this machine has, and what is wrong with it."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

import typer

from lcelib.cli.options import Json
from lcelib.extras import declared

GPU = "import torch; print(torch.cuda.is_available() and torch.cuda.get_device_name())"


class Row(NamedTuple):
    """One thing that was looked at."""

    what: str
    found: str
    fine: bool


def doctor(json_: Json = False) -> None:
    """Look at this machine: packages, memory, disk, GPU, folders; exit code 1 for a problem.

    A missing extra is listed and is no problem. Example: lce doctor
    """
    python = Row("python", platform.python_version(), sys.version_info >= (3, 11))
    rows = [python, *_packages(), *_programs(), *_folders(), _memory(), _gpu()]
    if json_:
        print(json.dumps([row._asdict() for row in rows]))
    else:
        print("\n".join(f"{'ok' if r.fine else '!!'}  {r.what:16}{r.found}" for r in rows))
    raise typer.Exit(int(not all(row.fine for row in rows)))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Row]:
    """Yield a row for each package of the core and for each extra."""
    packages = declared()
    for name in packages.pop(""):
        version = _version(name)
        yield Row(name, version or f"is missing: pip install {name}", version is not None)
    for extra, names in packages.items():
        lacking = ", ".join(name for name in names if _version(name) is None)
        text = f"lacks {lacking}: pip install 'lcelib[{extra}]'" if lacking else "is installed"
        yield Row(f"extra {extra}", text, True)


def _programs() -> Iterator[Row]:
    """Yield a row for each program that a checkout needs."""
    from lcelib.run.paths import CHECKOUT

    for name in ("git", "make"):
        place = shutil.which(name)
        yield Row(name, place or "not found", bool(place) or not CHECKOUT)


def _folders() -> Iterator[Row]:
    """Yield a row for each folder that is written to, with its free space."""
    from lcelib.data import sources
    from lcelib.run import paths

    for what, folder in (("results", paths.results_folder()), ("cache", sources.cache())):
        inside = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(inside).free / 1e9
        fine = free > 1 and os.access(inside, os.W_OK)
        yield Row(f"{what} folder", f"{folder}, {free:.0f} GB free", fine)


def _memory() -> Row:
    from lcelib.run.provenance import total_memory

    gigabytes, cores = total_memory() / 1e9, f"{os.cpu_count()} cores"
    if not gigabytes:
        return Row("memory", f"unknown, {cores}", True)
    return Row("memory", f"{gigabytes:.0f} GB, {cores}", gigabytes > 2)


def _gpu() -> Row:
    """Ask another process, so that a broken driver cannot end this one."""
    done = subprocess.run([sys.executable, "-c", GPU], capture_output=True, text=True, check=False)
    name = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
    name = "none, and none is needed" if name == "False" else name
    return Row("GPU", name, not done.returncode)
