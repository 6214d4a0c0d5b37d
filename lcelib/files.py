"""Files that are complete or absent: atomic writes of JSON and tables, locks, hashes."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import pandas as pd

DATA = Path(__file__).parent / "data"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it there when the block ends without error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def lock(path: Path, waiting: str) -> Iterator[int | None]:
    """Hold a lock file; print `waiting`, once, if another process holds it, and wait.

    The system frees the lock however its holder ends. On POSIX systems this yields the file
    descriptor, with which a child process that outlives this one keeps the lock
    (`subprocess.Popen(pass_fds=…)`); elsewhere None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = FileLock(path)
    try:
        file.acquire(blocking=False)
    except Timeout:
        print(waiting, flush=True)
        file.acquire()
    try:
        yield file._context.lock_file_fd if os.name == "posix" else None
    finally:
        file.release()


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON with sorted keys, so that equal values give equal bytes."""
    with atomic(path) as temporary:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", newline="\n")


def cached_json(path: Path, make: Callable[[], object]) -> Any:
    """Return the JSON cached at `path`, computing it with `make()` on first use."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV, without its index, floats with nine significant digits."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
