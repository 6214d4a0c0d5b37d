"""Locate weights in checkpoints larger than memory, chunk by chunk (paper §3.1, Eq. 1–2).

A localization is a stream of (tensor, chunk, positions in that chunk) in the order of the
target's files. Masks are computed chunk by chunk and never held whole.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lcelib import kernels
from lcelib.checkpoints import reading as checkpoint
from lcelib.checkpoints.reading import check_alike
from lcelib.errors import LceError
from lcelib.kernels import selection
from lcelib.kernels.keys import Keys, pieces
from lcelib.kernels.numpy import top_k
from lcelib.kernels.selection import Cut, check_k, count_k
from lcelib.patches import format as patchfile
from lcelib.patches import reading
from lcelib.streaming.tally import Tally
from lcelib.tensors import Array, Arrays

IN_MEMORY = 1 << 22  # positions that are held; more are computed again while writing
NONZERO = Cut(key=1, below=0, equal=0, ties=0)  # pruned means 0
Stream = Iterator[tuple[str, slice, Array]]
Progress = Callable[[int], object]  # is told how many bytes were read or written


def no_progress(_: int) -> None:
    """Show no progress bar."""


@dataclass(frozen=True)
class Localization:
    """The rule by which the weights b are located in a pair of checkpoints.

    by="value": the k weights with the largest |θ_r − θ_t| (Eq. 2); `k` is a share of the
    chosen tensors' weights (float in (0, 1]) or a count (int); with `per_tensor`, int(k · size)
    weights of each tensor. by="mask": the weights present in exactly one of the two (Eq. 1),
    where the mask prunes the share `sparsity` of lowest magnitude, or, without it, the
    weights that are 0. by="uninformed": k weights at random. by="file": the positions in a
    file that `locate` wrote. Raises LceError for settings that exclude each other.
    """

    by: str = "value"
    k: float | int = 0.005
    per_tensor: bool = False
    sparsity: float | None = None
    seed: int = 0
    tensors: tuple[str, ...] = ()
    file: Path | None = None

    def __post_init__(self) -> None:
        if self.by not in ("value", "mask", "uninformed", "file"):
            raise LceError(f"by={self.by!r}", "is unknown", "Use value, mask, uninformed or file.")
        share = isinstance(check_k(self.k), float)
        if self.per_tensor and not (share and self.by == "value"):
            raise LceError("per-tensor", "needs by=value and a share k", "Give k=0.005, say.")
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise LceError(f"sparsity={self.sparsity}", "is not in (0, 1)", "Give 0.1, say.")
        if (self.by == "file") != (self.file is not None):
            raise LceError("by=file", "goes with a file of positions", "Give both or none.")


def stream(
    target: Arrays, reference: Arrays, how: Localization, progress: Progress = no_progress
) -> Stream:
    """Yield the located weights of a pair, chunk by chunk in the order of the target's tensors.

    Raises LceError for NaN and Inf, for a `k` beyond the weights, for a file of positions
    that does not fit, and by mask for models without pruned weights.
    """
    if how.by == "value" and how.per_tensor:
        parts = (
            by_value({n: t}, {n: reference[n]}, int(how.k * t.size), progress)
            for n, t in target.items()
        )
        return chain.from_iterable(parts)
    total = sum(t.size for t in target.values())
    if how.by == "value":
        return by_value(target, reference, count_k(how.k, total, total), progress)
    if how.by == "mask":
        return by_mask(target, reference, how.sparsity, progress)
    Keys(target, reference, progress=progress).scan([], 0)  # rejects NaN and Inf
    if how.by == "uninformed":
        rng = np.random.default_rng([how.seed, 5])
        sizes = {n: t.size for n, t in target.items()}
        count = count_k(how.k, total, total)
        return in_chunks(target, kernels.sample_positions(sizes, count, rng))
    if how.file is None:
        raise LceError("by=file", "needs a file of positions", "Give the file.")
    return in_chunks(target, read_positions(how.file, target))


def in_chunks(target: Arrays, positions: Arrays) -> Stream:
    """Yield positions that are in memory as a stream."""
    for name, where in pieces(target):
        first, last = np.searchsorted(positions[name], [where.start, where.stop])
        yield name, where, positions[name][first:last].astype(np.int64) - where.start


def by_value(target: Arrays, reference: Arrays, k: int, progress: Progress) -> Stream:
    """Yield the k largest |θ_r − θ_t| (Eq. 2): one pass, or two if they are too many to hold."""
    keys = Keys(target, reference, progress=progress)
    if k <= IN_MEMORY:
        yield from in_chunks(target, top_k(keys, k))
        return
    for name, where, chosen in keys.split(np.greater, selection.highest(keys, k)):
        yield name, where, np.flatnonzero(chosen)


def by_mask(
    target: Arrays, reference: Arrays, sparsity: float | None, progress: Progress
) -> Stream:
    """Yield the weights in m_t XOR m_r (Eq. 1); the masks are never held."""
    both = []
    for arrays in (target, reference):
        keys, cut = Keys(arrays, progress=progress), NONZERO
        if sparsity is not None:
            [cut] = selection.lowest(keys, [round(sparsity * keys.size)])
        elif keys.scan([(0, 0)], 0)[0][1] == 0:
            reason = "has no pruned weights (none is 0)"
            raise LceError(
                "localization by mask", reason, "Give --sparsity 0.1, say, or --by value."
            )
        both.append(keys.split(np.less, cut))
    for (name, where, one), (_, _, two) in zip(*both, strict=True):
        yield name, where, np.flatnonzero(one ^ two)


def read_positions(path: Path, target: Arrays) -> Arrays:
    """Return the positions in a file; raise LceError unless the target has all these weights."""
    sections, _ = reading.read(path)
    for name, (index, *_) in sections.items():
        if name not in target or (len(index) and index[-1] >= target[name].size):
            reason = f"names weights of {name} that the target does not have"
            raise LceError(f"{path}", reason, "Locate in this model, or choose its --tensors.")
    none = np.empty(0, np.int64)
    return {n: sections[n][0] if n in sections else none for n in target}


def locate(
    target: Path,
    reference: Path,
    how: Localization,
    output: Path | None = None,
    progress: Progress = no_progress,
) -> Tally:
    """Locate in two checkpoint folders; write the positions to `output` if given.

    Raises MismatchError for checkpoints of different architectures, else as `stream`.
    """
    one, two = checkpoint.read(target), checkpoint.read(reference)
    names = check_alike(one, two, how.tensors)
    old, new = one.arrays(names), two.arrays(names)
    tally = Tally({n: one.entries[n].size for n in names})
    with ExitStack() as stack:
        writer = None
        if output is not None:
            writer = stack.enter_context(
                patchfile.open_writer(output, {"method": describe(how)}, values=False)
            )
        for name, where, here in stream(old, new, how, progress):
            tally.located[name] = tally.located.get(name, 0) + len(here)
            if writer is not None:
                writer.add(name, one.entries[name].dtype, here + where.start)
    return tally


def describe(how: Localization, **more: Any) -> dict[str, Any]:
    """Return the "method" entry of a file's description."""
    method = {"by": how.by, "k": how.k, "per_tensor": how.per_tensor, "sparsity": how.sparsity}
    return method | {"seed": how.seed, "tensors": list(how.tensors)} | more
