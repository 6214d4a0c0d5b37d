"""Keys of weights (see `selection`), read in chunks from arrays in memory or memory-mapped files.

Data are read once, in chunks that stay in the cache, into buffers that are
allocated once: temporaries of the model's size would cost more in page faults than
the work. Threads take consecutive shares, and results are joined in order.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise

import numpy as np

from lcelib.errors import LceError
from lcelib.kernels import selection
from lcelib.kernels.selection import INFINITE, RUN, Cut

Arrays = dict[str, np.ndarray]
Piece = tuple[str, slice]
CHUNK = 1 << 18  # smaller ones lose to the interpreter lock; a multiple of 8 (whole mask bytes)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = min(CORES, int(os.environ.get("OMP_NUM_THREADS") or 4), 4)  # memory feeds no more
BFLOAT16 = np.dtype(np.uint16)
MAGNITUDE = np.uint32(0x7FFFFFFF)


def flat(name: str, array: np.ndarray) -> np.ndarray:
    """One tensor as a flat view; refuses other dtypes and strided views."""
    if array.dtype not in (np.float32, np.float16, BFLOAT16) or not array.flags.c_contiguous:
        reason = f"is {array.dtype}" if array.flags.c_contiguous else "is a strided view"
        raise LceError(f"tensor {name}", reason, "Give contiguous float32, float16 or bfloat16.")
    return array.reshape(-1)


def pieces(arrays: Arrays) -> list[Piece]:
    """All tensors in chunks, in order."""
    return [
        (name, slice(start, min(start + CHUNK, array.size)))
        for name, array in arrays.items()
        for start in range(0, array.size, CHUNK)
    ]


def in_threads(work: Callable[[list], object], todo: list, threads: int = 0) -> list:
    """work(share) for consecutive shares of a list; the results in order."""
    threads = min(threads or THREADS, len(todo) // 4)

    def quiet(share: list) -> object:
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and Inf are refused by name
            return work(share)

    if threads < 2:
        return [quiet(todo)]
    ends = [len(todo) * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(quiet, [todo[a:b] for a, b in pairwise(ends)]))


def widen(values: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Values as float32: the same array, or 16-bit ones exactly converted into `out`."""
    if values.dtype == np.float32:
        return values
    out = out[: len(values)]
    if values.dtype == BFLOAT16:
        bits = out.view(np.uint32)
        np.copyto(bits, values)
        np.left_shift(bits, 16, out=bits)
    else:
        np.copyto(out, values)
    return out


def narrow(values: np.ndarray, out: np.ndarray) -> None:
    """Write float32 values into `out`, rounded to its dtype (to the nearest, ties to even)."""
    if out.dtype == BFLOAT16:
        bits = values.view(np.uint32)
        np.copyto(out, (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16, casting="unsafe")
    else:
        with np.errstate(over="ignore"):
            np.copyto(out, values, casting="same_kind")


class Keys:
    """The keys of |w|, or of |second − first|, over all tensors (see `selection`).

    `among` are packed masks; keys are larger by 1 then, and weights outside have key 0.
    Reading raises LceError for NaN and Inf, with tensor and count, and tells
    `progress` how many bytes were read.
    """

    def __init__(
        self,
        first: Arrays,
        second: Arrays | None = None,
        among: Arrays | None = None,
        progress: Callable[[int], object] = lambda _: None,
    ):
        self.first = {n: flat(n, a) for n, a in first.items()}
        self.second = second and {n: flat(n, second[n]) for n in first}
        self.among, self.offset, self.progress = among, int(among is not None), progress
        self.size = sum(a.size for a in self.first.values())
        self.pieces, self.longest = pieces(self.first), min(CHUNK, self.size)

    def stream(
        self, todo: Sequence[tuple], check: bool = True
    ) -> Iterator[tuple[str, slice, np.ndarray]]:
        """Tensor, place and keys for each (tensor, place); keys are valid until the next ones.

        Without `check` the caller looks at the highest keys for NaN and Inf itself.
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
                self.refuse(name)
            if self.among is not None:
                key += np.uint32(1)
                key *= present(self.among[name], where)
            self.progress(len(key) * self.first[name].itemsize * (1 + (self.second is not None)))
            yield name, where, key

    def refuse(self, name: str) -> None:
        """Raise for NaN and Inf in a tensor; differences of finite values may be infinite."""
        pair = {"": self.first} if self.second is None else models(self.first, self.second)
        for which, arrays in pair.items():
            array = arrays[name]
            buffer = np.empty(min(CHUNK, array.size), np.float32)
            finite = (np.isfinite(widen(array[s], buffer)) for _, s in pieces({name: array}))
            bad = array.size - sum(int(np.count_nonzero(f)) for f in finite)
            if bad:
                reason = f"{bad} of {array.size} weights are NaN or Inf{which}"
                raise LceError(f"tensor {name}", reason, "Use a sound checkpoint.")

    def sample(self) -> np.ndarray:
        """Sorted keys of short runs, spread over all tensors."""
        starts, todo, begin = selection.sample_starts(self.size), [], 0
        for name, array in self.first.items():
            stop = begin + array.size
            own = starts[np.searchsorted(starts, begin) : np.searchsorted(starts, stop)] - begin
            index = (own[:, None] + np.arange(RUN)).reshape(-1)
            index = index[index < array.size]
            todo += [(name, index[s : s + CHUNK]) for s in range(0, len(index), CHUNK)]
            begin = stop
        [keys] = in_threads(lambda all_: [key.copy() for *_, key in self.stream(all_)], todo, 1)
        return np.sort(np.concatenate(keys))

    def scan(self, intervals: Sequence[tuple[int, int]], most: int) -> list[tuple]:
        """One pass: (number below, number inside, values inside or None) for each interval."""
        bounds = [(np.uint32(low), np.uint32(high - low)) for low, high in intervals]
        most //= THREADS

        def work(todo: list[Piece]) -> list[tuple[int, int, list | None]]:
            below, inside = [0] * len(bounds), [0] * len(bounds)
            values: list[list | None] = [[] if width else None for _, width in bounds]
            flags, shifted = np.empty(CHUNK, bool), np.empty(CHUNK, np.uint32)
            for _, _, key in self.stream(todo):
                flag, above = flags[: len(key)], shifted[: len(key)]
                for i, (low, width) in enumerate(bounds):
                    below[i] += np.count_nonzero(np.less(key, low, out=flag))
                    np.subtract(key, low, out=above)  # wraps below `low`: one test for both ends
                    np.less_equal(above, width, out=flag)
                    if values[i] is None:
                        inside[i] += np.count_nonzero(flag)
                        continue
                    values[i].append(key[flag])
                    inside[i] += len(values[i][-1])
                    if inside[i] > most:
                        values[i] = None
            return list(zip(below, inside, values, strict=True))

        joined = []
        for shares in zip(*in_threads(work, self.pieces), strict=True):
            lists = [v for *_, v in shares]
            values = None if None in lists else np.concatenate(list(chain(*lists)))
            joined.append((sum(b for b, *_ in shares), sum(n for _, n, _ in shares), values))
        return joined

    def place(self, values: np.ndarray, rank: int) -> tuple[int, int, int]:
        """The value of a rank among `values`, how many are below it and how many equal."""
        key = np.partition(values, rank - 1)[rank - 1]
        return int(key), int((values < key).sum()), int((values == key).sum())

    def collect(self, low: int, most: int) -> tuple[Arrays, np.ndarray] | None:
        """Positions ≥ low by tensor, and the keys of all in order; None if more than `most`."""

        def work(todo: list[Piece]) -> list[tuple[str, np.ndarray, np.ndarray]]:
            found, total, flags = [], 0, np.empty(CHUNK, bool)
            for name, where, key in self.stream(todo, check=False):
                here = np.flatnonzero(np.greater_equal(key, low, out=flags[: len(key)]))
                found.append((name, here + where.start, key[here]))
                total += len(here)
                if len(here) and found[-1][2].max() >= INFINITE:
                    self.refuse(name)
                if total > most:
                    break
            return found

        found = list(chain(*in_threads(work, self.pieces)))
        if sum(len(p) for _, p, _ in found) > most:
            return None
        return by_tensor(self.first, found), np.concatenate([key for *_, key in found])

    def split(self, compare, cut: Cut) -> Iterator[tuple[str, slice, np.ndarray]]:
        """Flags of the keys on one side of a cut (compare: np.less, np.greater), chunk by chunk."""
        flags, ties = np.empty(self.longest, bool), cut.ties
        for name, where, key in self.stream(self.pieces):
            ties = choose(compare, key, cut, ties, flags[: len(key)])
            yield name, where, flags[: len(key)]

    def above(self, cut: Cut) -> Arrays:
        """Positions above a cut, with the first `cut.ties` equal ones."""
        sides = self.split(np.greater, cut)
        return by_tensor(self.first, ((n, np.flatnonzero(f) + w.start) for n, w, f in sides))


def models(first, second) -> dict:
    """A pair of models under the words by which an error names them."""
    return {" in the target": first, " in the reference": second}


def present(bits: np.ndarray, where: slice | np.ndarray) -> np.ndarray:
    """1 where a packed mask has the weight, 0 elsewhere; uint8."""
    if isinstance(where, slice):
        part = bits[where.start // 8 : -(-where.stop // 8)]
        return np.unpackbits(part, count=where.stop - where.start)
    return bits[where >> 3] >> (7 - (where & 7)).astype(np.uint8) & np.uint8(1)


def by_tensor(names, found: Iterable[tuple]) -> Arrays:
    """Join parts (tensor, positions, …) into one array for each tensor."""
    parts: dict[str, list] = {n: [np.empty(0, np.int64)] for n in names}
    for name, positions, *_ in found:
        parts[name].append(positions)
    return {n: np.concatenate(p) for n, p in parts.items()}


def choose(compare, key: np.ndarray, cut: Cut, ties: int, flag: np.ndarray) -> int:
    """Flag the keys on the chosen side of a cut and the first `ties` equal ones; the ties left."""
    compare(key, np.uint32(cut.key), out=flag)
    if ties:
        equal = np.flatnonzero(key == cut.key)[:ties]
        flag[equal] = True
        ties -= len(equal)
    return ties
