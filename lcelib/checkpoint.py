"""Checkpoint folders in safetensors, whole or in shards, read and written without holding them.

Tensors are memory-mapped: what is read stays in the system's file cache, and
the process itself allocates no more than a chunk. Nothing of a file is executed.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from lcelib.components import in_a_layer
from lcelib.errors import Exhausted, LceError, Unfit, Unsound, explained

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}  # bfloat16 as its bits
WIDTHS = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8}
WIDTHS |= {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
# Files that belong to a model and hold no weights; everything else stays behind.
COMPANIONS = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".md")
BLOCK = 1 << 19  # bytes; it and its copy stay in a core's cache


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: where its bytes are, its dtype by safetensors' name, its shape."""

    path: Path
    start: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def stop(self) -> int:
        """Where its bytes end."""
        return self.start + self.size * WIDTHS[self.dtype]


def entries(path: Path) -> dict[str, Entry]:
    """The tensors of one safetensors file in the order of their bytes.

    Raises LceError for files that are not complete and sound.
    """
    try:
        with safe_open(path, "np") as file, open(path, "rb") as raw:
            place = 8 + int.from_bytes(raw.read(8), "little")
            found = {}
            for name in file.offset_keys():
                part = file.get_slice(name)
                found[name] = Entry(path, place, part.get_dtype(), tuple(part.get_shape()))
                place = found[name].stop
    except FileNotFoundError as error:
        raise LceError(f"{path}", "is not there", "Get all files of the checkpoint.") from error
    except (OSError, SafetensorError, KeyError) as error:
        remedy = "It is damaged, cut short, or not a safetensors file: get it again."
        raise Unsound(f"{path}", f"cannot be read ({error})", remedy) from error
    return found


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a model in safetensors; its tensors by name, in the order of the files."""

    folder: Path
    entries: dict[str, Entry]

    @cached_property
    def _maps(self) -> dict[Path, np.ndarray]:
        paths = dict.fromkeys(e.path for e in self.entries.values())
        return {path: np.asarray(np.memmap(path, np.uint8, "r")) for path in paths}

    def array(self, name: str) -> np.ndarray:
        """One floating-point tensor, flat, as a view of the file."""
        entry = self.entries[name]
        return self._maps[entry.path][entry.start : entry.stop].view(DTYPES[entry.dtype])

    def arrays(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Several tensors by name."""
        return {name: self.array(name) for name in names}

    def prunable(self, patterns: Sequence[str] = ()) -> list[str]:
        """The matrices inside the layers, or the floating-point tensors that match a pattern.

        Patterns are those of a shell ("*.mlp.*"). Raises LceError if nothing is found.
        """
        floating = [n for n, e in self.entries.items() if e.dtype in DTYPES]
        if patterns:
            names = [n for n in floating if any(fnmatchcase(n, p) for p in patterns)]
        else:
            names = [n for n in floating if in_a_layer(n, self.entries[n].shape)]
        if not names:
            rule = f"matches {' or '.join(patterns)}" if patterns else "is a matrix inside a layer"
            shown = ", ".join(list(self.entries)[:3])
            reason = f"none of its {len(self.entries)} tensors {rule} ({shown} …)"
            raise LceError(f"{self.folder}", reason, 'Choose with --tensors "PATTERN".')
        return names


def read(folder: str | Path) -> Checkpoint:
    """Open a checkpoint folder; refuses missing, extra and damaged shards by name."""
    folder = Path(folder)
    index = folder / INDEX
    if (folder / WHOLE).exists():
        return Checkpoint(folder, entries(folder / WHOLE))
    if not index.exists():
        reason = f"holds neither {WHOLE} nor {INDEX}" if folder.is_dir() else "is not a folder"
        raise LceError(f"{folder}", reason, "Give a folder with a model in safetensors.")
    try:
        shards = json.loads(index.read_text())["weight_map"]
        if not all(isinstance(s, str) and Path(s).name == s for s in shards.values()):
            raise ValueError("weight_map names more than files of this folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unsound(f"{index}", f"cannot be read ({error})", "Get the file again.") from error
    found: dict[str, Entry] = {}
    for shard in sorted(set(shards.values())):
        inside = entries(folder / shard)
        differ = sorted(set(inside) ^ {n for n, s in shards.items() if s == shard})
        if differ:
            reason = f"does not hold what the index says: {', '.join(differ[:3])}"
            raise LceError(f"{folder / shard}", reason, "Get all files from one version.")
        found |= inside
    return Checkpoint(folder, found)


def check_alike(target: Checkpoint, other: Checkpoint, patterns: Sequence[str] = ()) -> list[str]:
    """The prunable tensors of both; refuses names, shapes, dtypes and vocabularies that differ."""
    check_vocabularies(target, other)
    names, theirs = target.prunable(patterns), other.prunable(patterns)
    differ = sorted(set(names) ^ set(theirs))
    if differ:
        reason = f"{len(differ)} tensor names differ from {target.folder}: {', '.join(differ[:3])}"
        raise Unfit(f"{other.folder}", reason, "Use models of one architecture.")
    for what in ("shape", "dtype"):
        for name in names:
            mine, its = (getattr(c.entries[name], what) for c in (target, other))
            if mine != its:
                reason = f"{name} has {what} {its}, in {target.folder} {mine}"
                raise Unfit(f"{other.folder}", reason, "Use models of one architecture.")
    return names


def vocabulary(checkpoint: Checkpoint) -> dict[str, int]:
    """Token → id as tokenizer.json has it; empty where there is no such file."""
    file = checkpoint.folder / "tokenizer.json"
    if not file.is_file():
        return {}
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
        if isinstance(known, list):  # Unigram: pairs of token and score, in the order of the ids
            known = {token: i for i, (token, _) in enumerate(known)}
        return dict(known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unsound(f"{file}", f"cannot be read ({error!r})", "Get the file again.") from error


def check_vocabularies(target: Checkpoint, other: Checkpoint) -> None:
    """Refuse two models whose tokenizers give a token different ids."""
    mine, its = vocabulary(target), vocabulary(other)
    if not (mine and its) or mine == its:
        return
    differ = sorted(t for t in mine.keys() | its.keys() if mine.get(t) != its.get(t))
    token = differ[0]
    reason = (
        f"{len(differ)} tokens have another id than in {target.folder}: {token!r} has "
        f"{its.get(token, 'none')}, there {mine.get(token, 'none')}"
    )
    raise Unfit(f"{other.folder}", reason, "Use models with one tokenizer.")


@contextmanager
def complete(goal: Path) -> Iterator[None]:
    """Turn a failure of the disk into a refusal that names what was not written."""
    try:
        yield
    except OSError as error:
        kind = Exhausted if explained(error, "") else LceError
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
        raise Exhausted(f"{goal}", reason, "Free some space, or write to another disk.")


@contextmanager
def writing(
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

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self._follow()
        self._thread.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for task in self._tasks:
                task.result()


def differing(first: Checkpoint, second: Checkpoint) -> dict[str, int]:
    """The number of values per tensor in which two checkpoints differ, bit by bit; 0 left out."""
    counts = {}
    for name, entry in first.entries.items():
        one, two = (c._maps[c.entries[name].path] for c in (first, second))
        width, other = f"u{WIDTHS[entry.dtype]}", second.entries[name]
        a, b = one[entry.start : entry.stop].view(width), two[other.start : other.stop].view(width)
        if count := int(np.count_nonzero(a != b)):
            counts[name] = count
    return counts
