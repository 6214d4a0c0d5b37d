"""Locate in checkpoints larger than memory: the method on files, chunk by chunk.

A localization is a stream of (tensor, place, positions in that place) in the
order of the target's files. Masks serve to locate and are never held whole.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from lcelib import kernels
from lcelib.checkpoints import reading as checkpoint
from lcelib.checkpoints.reading import check_alike
from lcelib.errors import LceError
from lcelib.kernels import selection
from lcelib.kernels.numpy import top_k
from lcelib.kernels.numpy_keys import Arrays, Cut, Keys, pieces
from lcelib.patches import format as patchfile
from lcelib.patches import reading
from lcelib.streaming.found import Found

IN_MEMORY = 1 << 22  # positions that are held; more are found again while writing
NONZERO = Cut(key=1, below=0, equal=0, ties=0)  # pruned means 0
Stream = Iterator[tuple[str, slice, np.ndarray]]
Progress = Callable[[int], object]


def silent(_: int) -> None:
    """No progress bar."""


@dataclass(frozen=True)
class Localization:
    """How to find the weights b in a pair of checkpoints.

    by="value": the k with the largest |θ_r − θ_t| (Eq. 2); `k` is a share of the
    chosen tensors' weights (float in (0, 1]) or a count (int), `per_tensor` takes
    the share int(k · size) of each tensor. by="mask": the weights that exactly one
    of the two keeps (Eq. 1), where the mask prunes the share `sparsity` of lowest
    magnitude, or, without it, the weights that are 0. by="uninformed": k at random.
    by="file": the positions of a file that `locate` wrote.
    """

    by: str = "value"
    k: float | int = 0.005
    per_tensor: bool = False
    sparsity: float | None = None
    seed: int = 0
    tensors: tuple[str, ...] = ()
    file: Path | None = None

    def __post_init__(self):
        if self.by not in ("value", "mask", "uninformed", "file"):
            raise LceError(f"by={self.by!r}", "is unknown", "Use value, mask, uninformed or file.")
        share = isinstance(self.k, float) and 0 < self.k <= 1
        if isinstance(self.k, bool) or not (share or (isinstance(self.k, int) and self.k >= 0)):
            reason = "is neither a share in (0, 1] nor a count"
            raise LceError(
                f"k={self.k!r}", reason, "Give 0.005 for half a percent, 1000 for a count."
            )
        if self.per_tensor and not (share and self.by == "value"):
            raise LceError("per-tensor", "needs by=value and a share k", "Give k=0.005, say.")
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise LceError(f"sparsity={self.sparsity}", "is not in (0, 1)", "Give 0.1, say.")
        if (self.by == "file") != (self.file is not None):
            raise LceError("by=file", "goes with a file of positions", "Give both or none.")

    def count(self, total: int) -> int:
        """The number of weights to choose of `total`."""
        k = round(self.k * total) if isinstance(self.k, float) else self.k
        if k > total:
            raise LceError(f"k={k}", f"is more than the {total} weights", "Give a smaller k.")
        return k


def stream(
    target: Arrays, reference: Arrays, how: Localization, progress: Progress = silent
) -> Stream:
    """The located weights of a pair, chunk by chunk in the order of the target's tensors.

    `progress` is told how many bytes were read.
    """
    if how.by == "value" and how.per_tensor:
        parts = (
            by_value({n: t}, {n: reference[n]}, int(how.k * t.size), progress)
            for n, t in target.items()
        )
        return chain.from_iterable(parts)
    total = sum(t.size for t in target.values())
    if how.by == "value":
        return by_value(target, reference, how.count(total), progress)
    if how.by == "mask":
        return by_mask(target, reference, how.sparsity, progress)
    Keys(target, reference, progress=progress).scan([], 0)  # refuses NaN and Inf
    if how.by == "uninformed":
        rng = np.random.default_rng([how.seed, 5])
        sizes = {n: t.size for n, t in target.items()}
        return in_chunks(target, kernels.sample_positions(sizes, how.count(total), rng))
    return in_chunks(target, read_positions(how.file, target))


def in_chunks(target: Arrays, positions: Arrays) -> Stream:
    """Known positions as a stream."""
    for name, where in pieces(target):
        first, last = np.searchsorted(positions[name], [where.start, where.stop])
        yield name, where, positions[name][first:last].astype(np.int64) - where.start


def by_value(target: Arrays, reference: Arrays, k: int, progress: Progress) -> Stream:
    """The k largest differences: found in one pass, or, where they are too many to hold, in two."""
    keys = Keys(target, reference, progress=progress)
    if k <= IN_MEMORY:
        yield from in_chunks(target, top_k(keys, k))
        return
    for name, where, chosen in keys.split(np.greater, selection.highest(keys, k)):
        yield name, where, np.flatnonzero(chosen)


def by_mask(
    target: Arrays, reference: Arrays, sparsity: float | None, progress: Progress
) -> Stream:
    """The weights that exactly one of the two keeps (Eq. 1); the masks are never held."""
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
    """The positions of a file, checked against the target."""
    found, _ = reading.read(path)
    for name, (index, *_) in found.items():
        if name not in target or (len(index) and index[-1] >= target[name].size):
            reason = f"names weights of {name} that the target does not have"
            raise LceError(f"{path}", reason, "Locate in this model, or choose its --tensors.")
    none = np.empty(0, np.int64)
    return {n: found[n][0] if n in found else none for n in target}


def locate(
    target: Path,
    reference: Path,
    how: Localization,
    output: Path | None = None,
    progress: Progress = silent,
) -> Found:
    """Locate in two checkpoint folders; write the positions to `output` if given."""
    one, two = checkpoint.read(target), checkpoint.read(reference)
    names = check_alike(one, two, how.tensors)
    old, new = one.arrays(names), two.arrays(names)
    found = Found({n: one.entries[n].size for n in names})
    with ExitStack() as stack:
        writer = None
        if output is not None:
            writer = stack.enter_context(
                patchfile.writing(output, {"method": info(how)}, values=False)
            )
        for name, where, here in stream(old, new, how, progress):
            found.located[name] = found.located.get(name, 0) + len(here)
            if writer is not None:
                writer.add(name, one.entries[name].dtype, here + where.start)
    return found


def info(how: Localization, **more) -> dict:
    """What a written file says about itself."""
    own = {"by": how.by, "k": how.k, "per_tensor": how.per_tensor, "sparsity": how.sparsity}
    return own | {"seed": how.seed, "tensors": list(how.tensors)} | more
