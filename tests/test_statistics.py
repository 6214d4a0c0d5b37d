"""Statistics against scipy and by their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lcelib.paper.statistics import gap_closed, paired_test, summary


@given(
    st.lists(
        st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3), min_size=3, max_size=9, unique_by=abs
    )
)
def test_the_exact_test_is_scipys(values):
    expected = stats.wilcoxon(values, alternative="greater", method="exact").pvalue
    assert paired_test(values).p == pytest.approx(expected)


def test_the_smallest_reachable_p_is_told():
    four = paired_test([1, 2, 3, 4])
    assert four.p == 1 / 16
    assert not four.significant
    assert "cannot reach" in str(four)
    eight = paired_test(range(1, 9), tests=8)
    assert eight.smallest == 8 / 256
    assert eight.significant


def test_summary_interval_is_students():
    values = [1.0, 2.0, 4.0, 5.0]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    found = summary(values)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert np.isnan(summary([1.0]).sd)


def test_gap_closed():
    assert gap_closed(value=5, target=10, reference=0) == 0.5
    assert gap_closed(value=-5, target=0, reference=-5) == 1
