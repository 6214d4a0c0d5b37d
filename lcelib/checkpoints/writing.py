"""Write new checkpoint folders, complete or absent, and read them back before they get their name."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from lcelib.checkpoints.reading import Checkpoint
from lcelib.errors import LceError, ResourceError, as_resource_error
from lcelib.tensors import WIDTHS, Array

Edits = Mapping[str, Callable[[], Iterator[Array]]]  # a tensor's new values in consecutive arrays
# Files that belong to a model and hold no weights; all others are left out.
COMPANIONS = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".md")
BLOCK = 1 << 19  # bytes; it and its copy stay in a core's cache
SYNC = 1 << 28  # bytes


@contextmanager
def write_errors(goal: Path) -> Iterator[None]:
    """Map an error of the disk to an LceError that names what was not written."""
    try:
        yield
    except OSError as error:
        kind = ResourceError if as_resource_error(error, "") else LceError
        raise kind(f"{goal}", f"cannot be written ({error})", "Nothing was kept.") from error


@contextmanager
def folder(goal: Path) -> Iterator[Path]:
    """Yield a folder beside `goal` that is renamed to `goal` when the block ends without error.

    No file in it may be open or memory-mapped then (Windows renames no such folder). Raises
    LceError if `goal` exists and is not an empty folder.
    """
    if goal.exists() and (not goal.is_dir() or any(goal.iterdir())):
        raise LceError(f"{goal}", "exists already", "Give a new name, or remove it.")
    goal.parent.mkdir(parents=True, exist_ok=True)
    for stale in goal.parent.glob(f".tmp-*-{goal.name}"):  # of a process that was killed
        if not is_running(stale.name.split("-")[1]):
            shutil.rmtree(stale, ignore_errors=True)
    temporary = goal.parent / f".tmp-{os.getpid()}-{goal.name}"
    try:
        temporary.mkdir()
        yield temporary
        if goal.exists():
            goal.rmdir()
        temporary.rename(goal)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_running(process: str) -> bool:
    """Return whether a process of this machine is running; True if that is not known."""
    if os.name != "posix":
        return True  # there, os.kill would end it
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


def companions(checkpoint: Checkpoint) -> list[Path]:
    """Return the files that go with the weights: configuration, tokenizer, texts."""
    files = sorted(p for p in checkpoint.folder.iterdir() if p.is_file())
    return [p for p in files if p.suffix in COMPANIONS or p.stem.upper() in ("LICENSE", "NOTICE")]


def check_space(goal: Path, needed: int) -> None:
    """Raise ResourceError unless the disk has room for that many bytes."""
    folder = next(p for p in (goal, *goal.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        reason = f"needs {needed / 1e6:,.1f} MB, the disk has {free / 1e6:,.1f} MB free"
        raise ResourceError(f"{goal}", reason, "Free some space, or write to another disk.")


@contextmanager
def new_checkpoint(
    source: Checkpoint,
    goal: Path,
    edits: Edits,
    progress: Callable[[int], object],
) -> Iterator[dict[str, int]]:
    """Write `source` to a new folder, complete or not at all; `edits` replace tensors.

    All other bytes are copied. A second thread reads back what was written and compares it
    with the source, bit by bit. Yields the number of differing values by tensor, to be
    checked before the folder gets its name. `progress` is told how many bytes were
    written. Raises LceError for a goal that exists, ResourceError for a full disk.
    """
    goal, files = Path(goal), dict.fromkeys(e.path for e in source.entries.values())
    extra = companions(source)
    check_space(goal, sum(p.stat().st_size for p in [*files, *extra]))
    with write_errors(goal), folder(goal) as temporary:
        for path in extra:
            shutil.copyfile(path, temporary / path.name)
        counts: Counter[str] = Counter()
        for path in files:
            with open(temporary / path.name, "wb") as out, Follower(source, path, out) as follower:
                for name, part in _parts(source, path, edits):
                    out.write(part.data)
                    follower.follow(name, part.nbytes)
                    progress(part.nbytes)
                out.flush()
                os.fsync(out.fileno())  # or a power cut could leave a name without its bytes
            counts += follower.counts
        yield dict(counts)


def _parts(source: Checkpoint, path: Path, edits: Edits) -> Iterator[tuple[str, Array]]:
    """Yield one safetensors file in consecutive arrays: the header ("") as it was, then every tensor."""
    inside = {n: e for n, e in source.entries.items() if e.path == path}
    data = source.files[path]
    yield "", data[: min(e.start for e in inside.values())]
    for name, entry in inside.items():
        if name in edits:
            yield from ((name, part) for part in edits[name]())
        else:
            for start in range(entry.start, entry.stop, BLOCK):
                yield name, data[start : min(start + BLOCK, entry.stop)]


class Follower:
    """A thread that reads a file back while it is written, and counts by tensor what is not the source's."""

    def __init__(self, source: Checkpoint, path: Path, out: BinaryIO) -> None:
        self.source, self.data, self.out = source, source.files[path], out
        self.counts: Counter[str] = Counter()
        self._begin = self._end = 0  # of the bytes written and not yet submitted
        self._name = ""
        self._tasks: list[Future[None]] = []
        self._buffer = np.empty(BLOCK, np.uint8)

    def __enter__(self) -> "Follower":
        self._thread = ThreadPoolExecutor(1)
        self._written = open(self.out.name, "rb", buffering=0)
        return self

    def follow(self, name: str, size: int) -> None:
        """Take note that `size` more bytes, of that tensor, are in the file."""
        if name != self._name or self._end - self._begin + size > BLOCK:
            self._submit()
        self._name, self._end = name, self._end + size

    def _submit(self) -> None:
        self.out.flush()
        self._tasks.append(self._thread.submit(self._count, self._name, self._begin, self._end))
        self._begin = self._end

    def _count(self, name: str, start: int, stop: int) -> None:
        entry = self.source.entries.get(name)
        width = WIDTHS[entry.dtype] if entry else 1
        for at in range(start, stop, BLOCK):
            here = self._buffer[: min(BLOCK, stop - at)]
            read_at(self._written, here, at)
            kinds = [x.view(f"u{width}") for x in (here, self.data[at : at + len(here)])]
            self.counts[name] += int(np.count_nonzero(kinds[0] != kinds[1]))
        if stop // SYNC > start // SYNC:  # the disk works while the next part is written
            getattr(os, "fdatasync", os.fsync)(self.out.fileno())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._submit()
        self._thread.shutdown(cancel_futures=kind is not None)
        self._written.close()
        if kind is None:
            for task in self._tasks:
                task.result()


def read_at(file: RawIOBase, buffer: Array, position: int) -> None:
    """Fill a buffer with the bytes at a position of an unbuffered file."""
    file.seek(position)
    if file.readinto(buffer.data) != len(buffer):
        raise OSError(f"fewer than {position + len(buffer)} bytes can be read back")
