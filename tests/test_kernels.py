"""The kernels against brute force, ties and extremes included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lcelib import kernels

VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-40, np.inf])
TENSOR = st.integers(1, 17).flatmap(lambda n: arrays(np.float32, n, elements=VALUES))


def flat(dictionary):
    return np.concatenate([dictionary[n].reshape(-1) for n in dictionary])


@given(st.integers(0, 40).flatmap(lambda n: arrays(bool, n)))
def test_packing_round_trip(keep):
    bits = kernels.pack(keep)
    assert len(bits) == -(-keep.size // 8)
    assert (kernels.unpack(bits, keep.shape) == keep).all()


@given(TENSOR, TENSOR, st.data())
def test_pruning_drops_the_lowest_and_the_first_of_equals(first, second, data):
    weights = {"a": first, "b": second}
    k = data.draw(st.integers(0, first.size + second.size))
    masks = kernels.prune_masks(weights, k)
    kept = np.concatenate([kernels.unpack(masks[n], weights[n].shape) for n in weights])
    order = sorted(range(kept.size), key=lambda i: (abs(flat(weights)[i]), i))
    assert set(np.flatnonzero(~kept)) == set(order[:k])


@given(TENSOR, st.data())
def test_top_k_difference_is_the_sorted_head_of_the_candidates(target, data):
    n = target.size
    finite = st.sampled_from([0.0, 1.0, -1.0, 0.25, 7.0])
    target = data.draw(arrays(np.float32, n, elements=finite))
    reference = data.draw(arrays(np.float32, n, elements=finite))
    among = data.draw(arrays(bool, n))
    k = data.draw(st.integers(0, int(among.sum())))
    chosen = kernels.top_k_difference(
        {"t": target}, {"t": reference}, {"t": kernels.pack(among)}, k
    )["t"]
    order = sorted(np.flatnonzero(among), key=lambda i: (-abs(reference[i] - target[i]), i))
    assert list(chosen) == sorted(order[:k])


@pytest.mark.parametrize("values", [[0, 0, 0, 0, 5, 6, 7, 8], [1] * 8, [0, 1, 2, 0, 1, 2, 0, 1]])
@pytest.mark.parametrize("k", [0, 1, 2, 4, 7, 8])
def test_ties(values, k):
    masks = kernels.prune_masks({"w": np.array(values, np.float32)}, k)
    kept = kernels.unpack(masks["w"], (8,))
    assert set(np.flatnonzero(~kept)) == set(np.argsort(values, kind="stable")[:k])


@given(arrays(bool, 21), arrays(bool, 21))
def test_xor_count(first, second):
    count = kernels.xor_count({"w": kernels.pack(first)}, {"w": kernels.pack(second)})
    assert count["w"] == int((first != second).sum())


@given(arrays(bool, 30), st.integers(0, 2**16), st.data())
def test_sampling_is_exact_in_number_and_repeats(keep, seed, data):
    k = data.draw(st.integers(0, int(keep.sum())))
    among, sizes = {"w": kernels.pack(keep)}, {"w": 30}
    drawn = [
        kernels.sample_positions(among, sizes, k, np.random.default_rng(seed))["w"]
        for _ in range(2)
    ]
    assert (drawn[0] == drawn[1]).all()
    assert len(set(drawn[0])) == k
    assert keep[drawn[0]].all()
    assert (np.diff(drawn[0]) > 0).all()
