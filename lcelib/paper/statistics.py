"""Statistics over seeds: mean and spread, exact paired tests, and the share of a gap closed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Summary:
    """Mean over seeds with standard deviation and a 95 % t-interval."""

    mean: float
    sd: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}], n = {self.n}"


def summary(values: Iterable[float]) -> Summary:
    """Summarize one value per seed; with one seed the spread is NaN.

    Raises ValueError if there are no values.
    """
    x = np.asarray(list(values), float)
    if not len(x):
        raise ValueError("no values")
    n, mean = len(x), float(x.mean())
    if n < 2:
        return Summary(mean, np.nan, np.nan, np.nan, n)
    sd = float(x.std(ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / np.sqrt(n)
    return Summary(mean, sd, mean - half, mean + half, n)


@dataclass(frozen=True)
class Paired:
    """A one-sided exact Wilcoxon signed-rank test, Bonferroni-corrected over `tests`."""

    p: float
    smallest: float
    n: int
    tests: int

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below 0.05."""
        return self.p < 0.05

    def __str__(self) -> str:
        if self.smallest >= 0.05:
            return f"n = {self.n} cannot reach p < 0.05 (smallest possible {self.smallest:.3g})"
        return f"p = {self.p:.3g} (corrected for {self.tests} tests)"


def paired_test(differences: Iterable[float], tests: int = 1) -> Paired:
    """Test that paired differences tend to be positive (paper §4.3: Wilcoxon, Bonferroni).

    The null distribution is enumerated; with n pairs p cannot be below
    tests / 2^n, which is reported beside it: n = 4 never reaches 0.05.
    """
    d = np.asarray([x for x in differences if x != 0], float)
    n = len(d)
    if n == 0:
        return Paired(1.0, 1.0, 0, tests)
    ranks = stats.rankdata(np.abs(d))
    observed = ranks[d > 0].sum()
    signs = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    p = float((signs @ ranks >= observed - 1e-9).mean())
    return Paired(min(p * tests, 1.0), min(tests / 2**n, 1.0), n, tests)


def gap_closed(value: Any, target: Any, reference: Any) -> Any:
    """Return the share of the gap from target to reference that is closed: (t − v) / (t − r).

    Numbers, arrays or series, elementwise.
    """
    return (target - value) / (target - reference)


def yes_no(value: bool) -> str:
    """Return a truth value in words."""
    return "yes" if value else "no"
