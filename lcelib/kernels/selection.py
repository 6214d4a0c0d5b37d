"""Exact order statistics of magnitudes in one pass over the data, shared by the backends.

A sample gives an interval that holds the wanted value almost surely; one pass
counts what lies below it and collects the few values inside. The counts prove
the result, or the interval is moved and the pass repeated: exact in every case.

Magnitudes are compared as *keys*: the bits of |x| in float32, an integer that
grows with |x|; −0 and 0 have one key, float16 and bfloat16 are widened first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

INFINITE = 0x7F800000  # key of Inf; NaN lies above
TOP = 0x7FFFFFFF
SIGMAS = 5  # half width of the first interval, in standard errors of the sample
RUN = 16  # neighbours that are sampled together: one cache line of float32
MOST = 1 << 24  # values that a pass collects at most (64 MiB)


class Keys(Protocol):
    """What a backend offers to the search: keys that are computed while they are read."""

    size: int

    def sample(self) -> np.ndarray:
        """Some of the keys, sorted, uint32; depends on the data alone."""

    def scan(self, intervals: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int, Any]]:
        """For each (lo, hi), in one pass: how many keys are < lo, how many in [lo, hi], and these.

        The third is None where lo = hi, or where they are more than `most`.
        """

    def place(self, values: Any, rank: int) -> tuple[int, int, int]:
        """Of collected values: the one of that rank (from 1), how many are below, how many equal."""


@dataclass(frozen=True)
class Cut:
    """An exact threshold: the magnitude of the k-th weight, and how it splits its equals.

    `key` is the magnitude's key, `below` and `equal` are numbers of weights, and
    `ties` of the equal ones, the first, are on the chosen side.
    """

    key: int
    below: int
    equal: int
    ties: int

    @property
    def magnitude(self) -> float:
        """The threshold as a number (float32)."""
        return float(np.uint32(self.key).view(np.float32))


def sample_starts(size: int) -> np.ndarray:
    """Where sampled runs start: evenly spread, moved by the golden ratio against patterns."""
    wanted = max(min(size // 64, 1 << 17), size // 1024, min(size, 4096))
    runs = max(wanted // RUN, 1)
    place = np.arange(runs)
    spread = (place + place * ((math.sqrt(5) - 1) / 2) % 1) * (max(size - RUN, 0) / runs)
    return spread.astype(np.int64)


def interval(sample: np.ndarray, share: float, sigmas: float = SIGMAS) -> tuple[int, int]:
    """Keys between which the value lies that has `share` of all values below it."""
    n = len(sample)
    spread = sigmas * math.sqrt(n * share * (1 - share)) + 1
    low, high = math.floor(share * n - spread), math.ceil(share * n + spread)
    return (int(sample[low]) if low > 0 else 0), (int(sample[high]) if high < n else TOP)


def order_statistics(keys: Keys, ranks: Sequence[int], most: int = MOST) -> list[tuple]:
    """(key, number below, number equal) of the values of the given ranks, counted from 1.

    Each pass over the data serves all ranks. Terminates: an interval that misses
    is replaced by the rest, one that holds too many is tried at its likeliest
    value (many weights may be equal) and then halved.
    """
    sample = keys.sample()
    todo = [(i, rank, 0, TOP) for i, rank in enumerate(ranks)]
    likely = [int(sample[min(rank * len(sample) // keys.size, len(sample) - 1)]) for rank in ranks]
    tried = {i: interval(sample, rank / keys.size) for i, rank in enumerate(ranks)}
    found: dict[int, tuple] = {}
    while todo:
        left = []
        results = keys.scan([tried[i] for i, *_ in todo], most)
        for (i, rank, first, last), (below, inside, values) in zip(todo, results, strict=True):
            low, high = tried[i]
            if rank <= below:
                first, last, next_ = first, low - 1, (first, low - 1)
            elif rank > below + inside:
                first, last, next_ = high + 1, last, (high + 1, last)
            elif low == high:
                found[i] = (low, below, inside)
                continue
            elif values is not None:
                key, lower, equal = keys.place(values, rank - below)
                found[i] = (key, below + lower, equal)
                continue
            else:
                first, last, next_ = low, high, (low, (low + high) // 2)
                if low <= likely[i] <= high:
                    next_, likely[i] = (likely[i], likely[i]), -1
            tried[i] = next_
            left.append((i, rank, first, last))
        todo = left
    return [found[i] for i in range(len(ranks))]


def lowest(keys: Keys, counts: Sequence[int], most: int = MOST) -> list[Cut]:
    """The cuts below which the `counts` lowest keys lie."""
    statistics = order_statistics(keys, [max(k, 1) for k in counts], most)
    return [
        Cut(key, below, equal, k - below) if k else Cut(0, 0, 0, 0)
        for k, (key, below, equal) in zip(counts, statistics, strict=True)
    ]


def highest(keys: Keys, k: int, most: int = MOST) -> Cut:
    """The cut above which the k highest keys lie, k ≥ 1."""
    [(key, below, equal)] = order_statistics(keys, [keys.size - k + 1], most)
    return Cut(key, below, equal, k - (keys.size - below - equal))
