"""Exact order statistics of magnitudes in one pass over the data, shared by the backends.

A sample gives an interval that holds the wanted value almost surely; one pass
counts what lies below it and collects the few values inside. The counts prove
the result, or the interval is moved and the pass repeated: exact in every case.

Magnitudes are compared as *keys*: the bits of |x| in float32, an integer that
grows with |x|; −0 and 0 have one key, float16 and bfloat16 are widened first.

How many weights to select, `k`, is a share or a count: `parse_k`, `check_k`, `count_k`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from lcelib.errors import LceError
from lcelib.tensors import Array

INFINITE = 0x7F800000  # key of Inf; NaN lies above
TOP = 0x7FFFFFFF
SIGMAS = 5  # half width of the first interval, in standard errors of the sample
RUN = 16  # neighbours that are sampled together: one cache line of float32
MOST = 1 << 24  # values that a pass collects at most (64 MiB)

Values = TypeVar("Values")
Counts = tuple[int, int, Values | None]  # keys below an interval, keys inside it, these keys


class Keys(Protocol):
    """The keys of a backend, computed while they are read."""

    size: int

    def sample(self) -> Array:
        """Return some of the keys, sorted, uint32; they depend on the data alone."""

    def scan(self, intervals: Sequence[tuple[int, int]], most: int) -> list[Counts[Any]]:
        """For each (lo, hi), count the keys < lo and in [lo, hi], and collect the latter.

        One pass serves all intervals. The third result is None where lo = hi, and where there
        are more than `most` keys.
        """

    def order_statistic(self, values: Any, rank: int) -> tuple[int, int, int]:
        """Return the value of a rank (from 1) among `values`, how many are below, how many equal."""


@dataclass(frozen=True)
class Cut:
    """An exact threshold: the magnitude of the k-th weight, and how ties are split.

    `key` is the magnitude's key, `below` and `equal` count the weights below and at it, and
    the first `ties` of the equal ones are on the chosen side.
    """

    key: int
    below: int
    equal: int
    ties: int

    @property
    def magnitude(self) -> float:
        """Return the threshold as a number (float32)."""
        return float(np.uint32(self.key).view(np.float32))


def parse_k(text: str) -> float | int:
    """Parse a share such as "0.005" as float, a count such as "1000" as int."""
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise LceError(f"k={text}", "is not a number", "Give 0.005 or 1000, say.") from None


def check_k(k: float | int | None) -> float | int:
    """Return `k`; raise LceError unless it is a share in (0, 1] (float) or a count ≥ 0 (int)."""
    share = isinstance(k, float) and 0 < k <= 1
    count = isinstance(k, int) and not isinstance(k, bool) and k >= 0
    if k is None or not (share or count):
        reason = "is neither a share in (0, 1] nor a count"
        raise LceError(f"k={k!r}", reason, "Give 0.005 for half a percent, 1000 for a count.")
    return k


def count_k(k: float | int | None, total: int, available: int, which: str = "") -> int:
    """Return how many weights `k` means: round(k · total) for a share, `k` for a count.

    Raises LceError for an impossible `k`, and for one beyond the `available` weights, which
    the message calls `which`.
    """
    k = check_k(k)
    count = round(k * total) if isinstance(k, float) else k
    if count > available:
        reason = f"is more than the {available} {which}weights"
        raise LceError(f"k={k!r}", reason, "Give a smaller k.")
    return count


def sample_starts(size: int) -> Array:
    """Return where sampled runs start: evenly spread, shifted by the golden ratio to avoid patterns."""
    wanted = max(min(size // 64, 1 << 17), size // 1024, min(size, 4096))
    runs = max(wanted // RUN, 1)
    order = np.arange(runs)
    spread = (order + order * ((math.sqrt(5) - 1) / 2) % 1) * (max(size - RUN, 0) / runs)
    starts: Array = spread.astype(np.int64)
    return starts


def interval(sample: Array, share: float, sigmas: float = SIGMAS) -> tuple[int, int]:
    """Return an interval of keys that almost surely holds the quantile `share` of all keys."""
    n = len(sample)
    spread = sigmas * math.sqrt(n * share * (1 - share)) + 1
    low, high = math.floor(share * n - spread), math.ceil(share * n + spread)
    return (int(sample[low]) if low > 0 else 0), (int(sample[high]) if high < n else TOP)


def order_statistics(
    keys: Keys, ranks: Sequence[int], most: int = MOST
) -> list[tuple[int, int, int]]:
    """Return (key, number below, number equal) for each of the given ranks, counted from 1.

    Each pass over the data serves all ranks. Terminates: an interval that misses
    is replaced by the rest, one that holds too many is tried at its likeliest
    value (many weights may be equal) and then halved.
    """
    sample = keys.sample()
    todo = [(i, rank, 0, TOP) for i, rank in enumerate(ranks)]
    likely = [int(sample[min(rank * len(sample) // keys.size, len(sample) - 1)]) for rank in ranks]
    tried = {i: interval(sample, rank / keys.size) for i, rank in enumerate(ranks)}
    found: dict[int, tuple[int, int, int]] = {}
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
                key, lower, equal = keys.order_statistic(values, rank - below)
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
    """Return the cuts below which the `counts` lowest keys lie."""
    statistics = order_statistics(keys, [max(k, 1) for k in counts], most)
    return [
        Cut(key, below, equal, k - below) if k else Cut(0, 0, 0, 0)
        for k, (key, below, equal) in zip(counts, statistics, strict=True)
    ]


def highest(keys: Keys, k: int, most: int = MOST) -> Cut:
    """Return the cut above which the k highest keys lie, k ≥ 1."""
    [(key, below, equal)] = order_statistics(keys, [keys.size - k + 1], most)
    return Cut(key, below, equal, k - (keys.size - below - equal))
