"""Read checkpoint folders in safetensors, whole or in shards, without loading them.

Tensors are memory-mapped: their pages stay in the system's file cache, and the process
itself allocates no more than a chunk. Nothing in a file is executed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from lcelib.errors import CorruptFileError, LceError, MismatchError
from lcelib.tensors import DTYPES, WIDTHS, Array, Arrays, in_a_layer

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: where its bytes are, its dtype by safetensors' name, its shape."""

    path: Path
    start: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Return the number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def stop(self) -> int:
        """Return the offset at which its bytes end."""
        return self.start + self.size * WIDTHS[self.dtype]


def entries(path: Path) -> dict[str, Entry]:
    """Return the tensors of one safetensors file in the order of their bytes.

    Raises LceError for a missing file, CorruptFileError for an incomplete or invalid one.
    """
    try:
        with safe_open(path, "np") as file, open(path, "rb") as raw:
            start = 8 + int.from_bytes(raw.read(8), "little")
            tensors = {}
            for name in file.offset_keys():
                part = file.get_slice(name)
                tensors[name] = Entry(path, start, part.get_dtype(), tuple(part.get_shape()))
                start = tensors[name].stop
    except FileNotFoundError as error:
        raise LceError(f"{path}", "is missing", "Get all files of the checkpoint.") from error
    except (OSError, SafetensorError, KeyError) as error:
        remedy = "It is corrupt, cut short, or not a safetensors file: get it again."
        raise CorruptFileError(f"{path}", f"cannot be read ({error})", remedy) from error
    return tensors


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a model in safetensors: its tensors by name, in the order of the files."""

    folder: Path
    entries: dict[str, Entry]

    @cached_property
    def files(self) -> dict[Path, Array]:
        """The bytes of each file, memory-mapped."""
        paths = dict.fromkeys(e.path for e in self.entries.values())
        return {path: np.asarray(np.memmap(path, np.uint8, "r")) for path in paths}

    def raw(self, name: str) -> Array:
        """Return the bytes of a tensor, as a view of the file."""
        entry = self.entries[name]
        return self.files[entry.path][entry.start : entry.stop]

    def array(self, name: str) -> Array:
        """Return a floating-point tensor, flat, as a view of the file."""
        return self.raw(name).view(DTYPES[self.entries[name].dtype])

    def arrays(self, names: Sequence[str]) -> Arrays:
        """Return several tensors by name."""
        return {name: self.array(name) for name in names}

    def prunable(self, patterns: Sequence[str] = ()) -> list[str]:
        """Return the matrices inside the layers, or the floating-point tensors that match a pattern.

        Patterns are those of a shell ("*.mlp.*"). Raises LceError if there are none.
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
    """Open a checkpoint folder; raise LceError with the name of a missing, extra or corrupt shard."""
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
            raise ValueError("weight_map names files outside the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(
            f"{index}", f"cannot be read ({error})", "Get the file again."
        ) from error
    tensors: dict[str, Entry] = {}
    for shard in sorted(set(shards.values())):
        inside = entries(folder / shard)
        differ = sorted(set(inside) ^ {n for n, s in shards.items() if s == shard})
        if differ:
            reason = f"does not hold what the index says: {', '.join(differ[:3])}"
            raise LceError(f"{folder / shard}", reason, "Get all files from one version.")
        tensors |= inside
    return Checkpoint(folder, tensors)


def check_alike(target: Checkpoint, other: Checkpoint, patterns: Sequence[str] = ()) -> list[str]:
    """Return the prunable tensors of two checkpoints.

    Raises MismatchError if their names, shapes, dtypes or the vocabularies differ.
    """
    check_vocabularies(target, other)
    names, theirs = target.prunable(patterns), other.prunable(patterns)
    differ = sorted(set(names) ^ set(theirs))
    if differ:
        reason = f"{len(differ)} tensor names differ from {target.folder}: {', '.join(differ[:3])}"
        raise MismatchError(f"{other.folder}", reason, "Use models of one architecture.")
    for what in ("shape", "dtype"):
        for name in names:
            mine, its = (getattr(c.entries[name], what) for c in (target, other))
            if mine != its:
                reason = f"{name} has {what} {its}, in {target.folder} {mine}"
                raise MismatchError(f"{other.folder}", reason, "Use models of one architecture.")
    return names


def vocabulary(checkpoint: Checkpoint) -> dict[str, int]:
    """Return token → id as in tokenizer.json; empty if there is no such file."""
    file = checkpoint.folder / "tokenizer.json"
    if not file.is_file():
        return {}
    try:
        return parse_vocabulary(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"{file}", f"cannot be read ({error!r})", "Get the file again."
        ) from error


def parse_vocabulary(text: str) -> dict[str, int]:
    """Return token → id from the text of a tokenizer.json."""
    vocab = json.loads(text)["model"]["vocab"]
    if isinstance(vocab, list):  # Unigram: pairs of token and score, in the order of the ids
        return {token: i for i, (token, _) in enumerate(vocab)}
    return dict(vocab)


def check_vocabularies(target: Checkpoint, other: Checkpoint) -> None:
    """Raise MismatchError for two models whose tokenizers give a token different ids."""
    mine, its = vocabulary(target), vocabulary(other)
    if not (mine and its) or mine == its:
        return
    differ = sorted(t for t in mine.keys() | its.keys() if mine.get(t) != its.get(t))
    token = differ[0]
    reason = (
        f"{len(differ)} tokens have another id than in {target.folder}: {token!r} has "
        f"{its.get(token, 'none')}, there {mine.get(token, 'none')}"
    )
    raise MismatchError(f"{other.folder}", reason, "Use models with one tokenizer.")


def differing(first: Checkpoint, second: Checkpoint) -> dict[str, int]:
    """Count the values per tensor in which two checkpoints differ, bit by bit; 0 left out."""
    counts = {}
    for name, entry in first.entries.items():
        a, b = (c.raw(name).view(f"u{WIDTHS[entry.dtype]}") for c in (first, second))
        if count := int(np.count_nonzero(a != b)):
            counts[name] = count
    return counts
