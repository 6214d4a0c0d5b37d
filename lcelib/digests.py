"""Digests of what a result hangs on: the package's own code, and files of the user."""

import hashlib
from pathlib import Path

from lcelib.files import DATA, sha256
from lcelib.profiles import PATHS, Profile

SMALL = 1 << 26  # bytes: larger files are compared by size and time


def code(*parts: str) -> str:
    """A digest of modules and folders of the package: a rule whose code or lists changed runs again."""
    package, digest = Path(__file__).parent, hashlib.sha256()
    for part in parts:
        place = package / part
        inside = (p for p in place.rglob("*") if p.suffix in (".py", ".toml"))
        files = sorted(inside) if place.is_dir() else [place.with_suffix(".py")]
        for file in files:
            digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def inputs(settings: Profile) -> str:
    """A digest of the user's own files that a run reads: what hangs on them runs again when they change."""
    digest = hashlib.sha256()
    for field in sorted(PATHS):
        value = getattr(settings, field)
        for place in map(Path, value if isinstance(value, tuple) else (value,)):
            if not place.is_absolute():  # a name: files of the user have their whole path
                continue
            files = sorted(place.rglob("*")) if place.is_dir() else [place]
            for file in (f for f in files if f.is_file() and DATA not in f.parents):
                about = file.stat()
                own = (
                    sha256(file)
                    if about.st_size < SMALL
                    else f"{about.st_size} {about.st_mtime_ns}"
                )
                digest.update(f"{field} {file.name} {own}".encode())
    return digest.hexdigest()[:16]
