"""New checkpoint folders: complete or absent, and read again before they get their name."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lcelib.checkpoints.reading import Checkpoint
from lcelib.errors import LceError, ResourceError, as_resource_error
from lcelib.tensors import WIDTHS

# Files that belong to a model and hold no weights; everything else stays behind.
COMPANIONS = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".md")
BLOCK = 1 << 19  # bytes; it and its copy stay in a core's cache
SYNC = 1 << 28  # bytes


@contextmanager
def complete(goal: Path) -> Iterator[None]:
    """Turn a failure of the disk into a refusal that names what was not written."""
    try:
        yield
    except OSError as error:
        kind = ResourceError if as_resource_error(error, "") else LceError
        raise kind(f"{goal}", f"cannot be written ({error})", "Nothing was kept.") from error


@contextmanager
def folder(goal: Path) -> Iterator[Path]:
    """Yield a folder beside `goal` that becomes `goal` when the block ends without error."""
    if goal.exists() and (not goal.is_dir() or any(goal.iterdir())):
        raise LceError(f"{goal}", "exists already", "Give a new name, or remove it.")
    goal.parent.mkdir(parents=True, exist_ok=True)
    for stale in goal.parent.glob(f".tmp-*-{goal.name}"):  # of a process that was killed
        if not alive(stale.name.split("-")[1]):
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


def alive(process: str) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


def companions(checkpoint: Checkpoint) -> list[Path]:
    """The files that go with the weights: configuration, tokenizer, texts."""
    files = sorted(p for p in checkpoint.folder.iterdir() if p.is_file())
    return [p for p in files if p.suffix in COMPANIONS or p.stem.upper() in ("LICENSE", "NOTICE")]


def check_space(goal: Path, needed: int) -> None:
    """Refuse to start what the disk has no room for."""
    place = next(p for p in (goal, *goal.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        reason = f"needs {needed / 1e6:,.1f} MB, the disk has {free / 1e6:,.1f} MB free"
        raise ResourceError(f"{goal}", reason, "Free some space, or write to another disk.")


@contextmanager
def new_checkpoint(
    source: Checkpoint,
    goal: Path,
    edits: dict[str, Callable[[], Iterator[np.ndarray]]],
    progress: Callable[[int], object],
) -> Iterator[dict[str, int]]:
    """Write `source` to a new folder, complete or not at all; `edits` replace tensors.

    An edit yields its tensor's new values in consecutive arrays. All other bytes
    are copied. What was written is read again and compared with the source, bit by bit, by a
    thread that follows the writing one; yields the number of values that differ, by tensor,
    for a last look before the folder gets its name.
    Raises LceError for a goal that exists and for a full disk.
    """
    goal, files = Path(goal), dict.fromkeys(e.path for e in source.entries.values())
    extra = companions(source)
    check_space(goal, sum(p.stat().st_size for p in [*files, *extra]))
    with complete(goal), folder(goal) as temporary:
        for path in extra:
            shutil.copyfile(path, temporary / path.name)
        counts = Counter()
        for path in files:
            with open(temporary / path.name, "w+b") as out, Follower(source, path, out) as follower:
                for name, part in _parts(source, path, edits):
                    out.write(part)
                    follower.written(name, part.nbytes)
                    progress(part.nbytes)
                out.flush()
                os.fsync(out.fileno())  # or a power cut could leave a name without its bytes
            counts += follower.counts
        yield dict(counts)


def _parts(source: Checkpoint, path: Path, edits) -> Iterator[tuple[str, np.ndarray]]:
    """One safetensors file in consecutive arrays: the header ("") as it was, then every tensor."""
    inside = {n: e for n, e in source.entries.items() if e.path == path}
    data = source._maps[path]
    yield "", data[: min(e.start for e in inside.values())]
    for name, entry in inside.items():
        if name in edits:
            yield from ((name, part) for part in edits[name]())
        else:
            for start in range(entry.start, entry.stop, BLOCK):
                yield name, data[start : min(start + BLOCK, entry.stop)]


class Follower:
    """Reads what was written to a file and counts, by tensor, the values that are not the source's."""

    def __init__(self, source: Checkpoint, path: Path, out):
        self.source, self.data, self.out = source, source._maps[path], out
        self.counts, self.done, self.stop, self.name = Counter(), 0, 0, ""
        self._buffer = np.empty(BLOCK, np.uint8)

    def __enter__(self) -> "Follower":
        self._thread, self._tasks = ThreadPoolExecutor(1), []
        return self

    def written(self, name: str, size: int) -> None:
        """Say that `size` more bytes, of that tensor, are in the file."""
        if name != self.name or self.stop - self.done + size > BLOCK:
            self._follow()
        self.name, self.stop = name, self.stop + size

    def _follow(self) -> None:
        self.out.flush()
        self._tasks.append(self._thread.submit(self._count, self.name, self.done, self.stop))
        self.done = self.stop

    def _count(self, name: str, start: int, stop: int) -> None:
        entry = self.source.entries.get(name)
        width = WIDTHS[entry.dtype] if entry else 1
        for at in range(start, stop, BLOCK):
            here = self._buffer[: min(BLOCK, stop - at)]
            os.preadv(self.out.fileno(), [here], at)
            kinds = [x.view(f"u{width}") for x in (here, self.data[at : at + len(here)])]
            self.counts[name] += int(np.count_nonzero(kinds[0] != kinds[1]))
        if stop // SYNC > start // SYNC and hasattr(os, "fdatasync"):
            os.fdatasync(self.out.fileno())  # the disk works while the next part is written

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self._follow()
        self._thread.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for task in self._tasks:
                task.result()
