"""Keys of weights (see `selection`), read in chunks from arrays in memory or memory-mapped files.

Data are read once, in chunks that stay in the cache, into buffers that are
allocated once: temporaries of the model's size would cost more in page faults than
the work. Threads take consecutive shares, and results are joined in order.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any, TypeVar

import numpy as np

from lcelib.errors import LceError
from lcelib.kernels import selection
from lcelib.kernels.selection import INFINITE, RUN, Cut
from lcelib.tensors import DTYPES, Array, Arrays, widen

Share = TypeVar("Share")
Result = TypeVar("Result")
Where = TypeVar("Where", slice, Array)
Piece = tuple[str, slice]
CHUNK = 1 << 18  # smaller ones lose to the interpreter lock; a multiple of 8 (whole mask bytes)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = min(CORES, int(os.environ.get("OMP_NUM_THREADS") or 4), 4)  # memory feeds no more
MAGNITUDE = np.uint32(0x7FFFFFFF)


def flatten(name: str, array: Array) -> Array:
    """Return a flat view of a tensor; raise LceError for other dtypes and strided views."""
    if array.dtype not in DTYPES.values() or not array.flags.c_contiguous:
        reason = f"is {array.dtype}" if array.flags.c_contiguous else "is a strided view"
        raise LceError(f"tensor {name}", reason, "Give contiguous float32, float16 or bfloat16.")
    return array.reshape(-1)


def pieces(arrays: Arrays) -> list[Piece]:
    """Return all tensors in order, cut into chunks of at most CHUNK weights."""
    return [
        (name, slice(start, min(start + CHUNK, array.size)))
        for name, array in arrays.items()
        for start in range(0, array.size, CHUNK)
    ]


def run_threads(
    work: Callable[[list[Share]], Result], todo: list[Share], threads: int = 0
) -> list[Result]:
    """Call `work` with consecutive shares of a list; return the results in order."""
    threads = min(threads or THREADS, len(todo) // 4)

    def quiet(share: list[Share]) -> Result:
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and Inf are refused by name
            return work(share)

    if threads < 2:
        return [quiet(todo)]
    ends = [len(todo) * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(quiet, [todo[a:b] for a, b in pairwise(ends)]))


class Keys:
    """The keys of |w|, or of |second − first|, over all tensors (see `selection`).

    With `among`, packed masks, every key is larger by 1, and weights outside have key 0.
    Reading raises LceError for NaN and Inf, with tensor and count, and tells
    `progress` how many bytes were read.
    """

    def __init__(
        self,
        first: Arrays,
        second: Arrays | None = None,
        among: Arrays | None = None,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.first = {n: flatten(n, a) for n, a in first.items()}
        self.second = second and {n: flatten(n, second[n]) for n in first}
        self.among, self.offset, self.progress = among, int(among is not None), progress
        self.size = sum(a.size for a in self.first.values())
        self.pieces, self.longest = pieces(self.first), min(CHUNK, self.size)

    def stream(
        self, todo: Sequence[tuple[str, Where]], check: bool = True
    ) -> Iterator[tuple[str, Where, Array]]:
        """Yield tensor, place and keys for each (tensor, place).

        The next keys overwrite them. Without `check` the caller looks at the highest keys
        for NaN and Inf itself.
        """
        a, b, c = np.empty((3, self.longest), np.float32)
        for name, where in todo:
            value = widen(self.first[name][where], a)
            if self.second is not None:
                other = widen(self.second[name][where], b)
                value = np.subtract(other, value, out=c[: len(value)])
            key = c.view(np.uint32)[: len(value)]
            np.bitwise_and(value.view(np.uint32), MAGNITUDE, out=key)
            if check and len(key) and key.max() >= INFINITE:
                self.reject(name)
            if self.among is not None:
                key += np.uint32(1)
                key *= present(self.among[name], where)
            self.progress(len(key) * self.first[name].itemsize * (1 + (self.second is not None)))
            yield name, where, key

    def reject(self, name: str) -> None:
        """Raise LceError if a tensor has NaN or Inf; a difference of finite values may overflow."""
        pair = {"": self.first} if self.second is None else by_role(self.first, self.second)
        for which, arrays in pair.items():
            array = arrays[name]
            buffer = np.empty(min(CHUNK, array.size), np.float32)
            finite = (np.isfinite(widen(array[s], buffer)) for _, s in pieces({name: array}))
            bad = array.size - sum(int(np.count_nonzero(f)) for f in finite)
            if bad:
                reason = f"{bad} of {array.size} weights are NaN or Inf{which}"
                raise LceError(f"tensor {name}", reason, "Use a sound checkpoint.")

    def sample(self) -> Array:
        """Return the sorted keys of short runs of weights, spread over all tensors."""
        starts, begin = selection.sample_starts(self.size), 0
        todo: list[tuple[str, Array]] = []
        for name, array in self.first.items():
            stop = begin + array.size
            here = starts[np.searchsorted(starts, begin) : np.searchsorted(starts, stop)] - begin
            index = (here[:, None] + np.arange(RUN)).reshape(-1)
            index = index[index < array.size]
            todo += [(name, index[s : s + CHUNK]) for s in range(0, len(index), CHUNK)]
            begin = stop
        [keys] = run_threads(lambda all_: [key.copy() for *_, key in self.stream(all_)], todo, 1)
        return np.sort(np.concatenate(keys))

    def scan(
        self, intervals: Sequence[tuple[int, int]], most: int
    ) -> list[selection.Counts[Array]]:
        """Count and collect keys by interval, in one pass (see `selection.Keys`)."""
        bounds = [(np.uint32(low), np.uint32(high - low)) for low, high in intervals]
        most //= THREADS

        def work(todo: list[Piece]) -> list[selection.Counts[list[Array]]]:
            below, inside = [0] * len(bounds), [0] * len(bounds)
            values: list[list[Array] | None] = [[] if width else None for _, width in bounds]
            flags, shifted = np.empty(CHUNK, bool), np.empty(CHUNK, np.uint32)
            for _, _, key in self.stream(todo):
                flag, above = flags[: len(key)], shifted[: len(key)]
                for i, (low, width) in enumerate(bounds):
                    below[i] += int(np.count_nonzero(np.less(key, low, out=flag)))
                    np.subtract(key, low, out=above)  # wraps below `low`: one test for both ends
                    np.less_equal(above, width, out=flag)
                    collected = values[i]
                    if collected is None:
                        inside[i] += int(np.count_nonzero(flag))
                        continue
                    collected.append(key[flag])
                    inside[i] += len(collected[-1])
                    if inside[i] > most:
                        values[i] = None
            return list(zip(below, inside, values, strict=True))

        joined: list[selection.Counts[Array]] = []
        for shares in zip(*run_threads(work, self.pieces), strict=True):
            lists = [v for *_, v in shares if v is not None]
            values = np.concatenate(list(chain(*lists))) if len(lists) == len(shares) else None
            joined.append((sum(b for b, *_ in shares), sum(n for _, n, _ in shares), values))
        return joined

    def order_statistic(self, values: Array, rank: int) -> tuple[int, int, int]:
        """Return the value of a rank (from 1) among `values`, how many are below, how many equal."""
        key = np.partition(values, rank - 1)[rank - 1]
        return int(key), int((values < key).sum()), int((values == key).sum())

    def collect(self, low: int, most: int) -> tuple[Arrays, Array] | None:
        """Return positions of keys ≥ low by tensor, and these keys; None if more than `most`."""

        def work(todo: list[Piece]) -> list[tuple[str, Array, Array]]:
            found: list[tuple[str, Array, Array]] = []
            total, flags = 0, np.empty(CHUNK, bool)
            for name, where, key in self.stream(todo, check=False):
                here = np.flatnonzero(np.greater_equal(key, low, out=flags[: len(key)]))
                found.append((name, here + where.start, key[here]))
                total += len(here)
                if len(here) and found[-1][2].max() >= INFINITE:
                    self.reject(name)
                if total > most:
                    break
            return found

        found = list(chain(*run_threads(work, self.pieces)))
        if sum(len(p) for _, p, _ in found) > most:
            return None
        return by_tensor(self.first, found), np.concatenate([key for *_, key in found])

    def split(self, compare: np.ufunc, cut: Cut) -> Iterator[tuple[str, slice, Array]]:
        """Yield flags of the keys on one side of a cut (np.less, np.greater), chunk by chunk."""
        flags, ties = np.empty(self.longest, bool), cut.ties
        for name, where, key in self.stream(self.pieces):
            ties = choose(compare, key, cut, ties, flags[: len(key)])
            yield name, where, flags[: len(key)]

    def above(self, cut: Cut) -> Arrays:
        """Return the positions above a cut by tensor, with the first `cut.ties` equal ones."""
        sides = self.split(np.greater, cut)
        return by_tensor(self.first, ((n, np.flatnonzero(f) + w.start) for n, w, f in sides))


def by_role(target: Any, reference: Any) -> dict[str, Any]:
    """Return a pair of models under the words by which an error names them."""
    return {" in the target": target, " in the reference": reference}


def present(mask: Array, where: slice | Array) -> Array:
    """Return 1 where a packed mask has the weight, 0 elsewhere; uint8."""
    if isinstance(where, slice):
        part = mask[where.start // 8 : -(-where.stop // 8)]
        return np.unpackbits(part, count=where.stop - where.start)
    flags: Array = mask[where >> 3] >> (7 - (where & 7)).astype(np.uint8) & np.uint8(1)
    return flags


def by_tensor(names: Iterable[str], found: Iterable[tuple[Any, ...]]) -> Arrays:
    """Join parts (tensor, positions, …) into one array for each tensor."""
    parts: dict[str, list[Array]] = {n: [np.empty(0, np.int64)] for n in names}
    for name, positions, *_ in found:
        parts[name].append(positions)
    return {n: np.concatenate(p) for n, p in parts.items()}


def choose(compare: np.ufunc, key: Array, cut: Cut, ties: int, flag: Array) -> int:
    """Flag the keys on one side of a cut and the first `ties` equal ones; return the ties left."""
    compare(key, np.uint32(cut.key), out=flag)
    if ties:
        equal = np.flatnonzero(key == cut.key)[:ties]
        flag[equal] = True
        ties -= len(equal)
    return ties
