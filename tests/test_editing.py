"""Localization, the identities of the editing strategies, and patches."""

import numpy as np
import pytest
import torch
from conftest import Bag, random_subnetwork
from hypothesis import given, settings
from hypothesis import strategies as st

from lcelib import kernels
from lcelib.editing import edit
from lcelib.errors import LceError
from lcelib.localization import locate
from lcelib.subnetworks import Subnetwork

SEEDS = st.integers(0, 2**32 - 1)


def pair(seed):
    rng = np.random.default_rng(seed)
    return random_subnetwork(rng), random_subnetwork(rng)


def edited(target, patch):
    """The weights after the patch, computed on a real module."""
    module = Bag(target)
    patch.apply(module)
    return {n: p.detach().numpy() for n, p in module.named_parameters() if n in target.mask}


def regions(target, reference, name):
    t, r = target.keep(name), reference.keep(name)
    return t & r, t & ~r, r & ~t


@given(SEEDS)
def test_masks_of_equal_sparsity_differ_equally_on_both_sides(seed):
    target, reference = pair(seed)
    located = locate(target, reference, by="mask")
    sides = [regions(target, reference, n) for n in target.mask]
    only_t, only_r = (sum(int(s[i].sum()) for s in sides) for i in (1, 2))
    assert only_t == only_r
    assert (
        located.size
        == only_t + only_r
        == sum(kernels.xor_count(target.mask, reference.mask).values())
    )


@given(SEEDS)
def test_identities_of_the_mask_based_strategies(seed):
    """With I = both, TO = target only, RO = reference only (paper §3.2, Eq. 3–6)."""
    target, reference = pair(seed)
    located = locate(target, reference, by="mask")
    expected = {
        ("PR", 1.0): lambda i, to, ro, t, r, th: i * t,
        ("SW", 1.0): lambda i, to, ro, t, r, th: i * t + ro * th,
        ("IP", 1.0): lambda i, to, ro, t, r, th: i * t + ro * r,
        ("EP", 2.0): lambda i, to, ro, t, r, th: i * t - to * t + 2 * ro * r,
        ("EP", -2.0): lambda i, to, ro, t, r, th: i * t + 3 * to * t - 2 * ro * r,
        ("IP", 0.0): lambda i, to, ro, t, r, th: t,
    }
    for (strategy, alpha), formula in expected.items():
        found = edited(target, edit(target, reference, located, strategy, alpha))
        for name in target.mask:
            parts = regions(target, reference, name)
            w = target.weights[name], reference.weights[name], target.theta[name]
            np.testing.assert_allclose(found[name], formula(*parts, *w), rtol=1e-6, atol=0)


@given(SEEDS, st.integers(0, 15))
def test_value_based_takes_the_largest_differences_of_the_shared_weights(seed, k):
    target, reference = pair(seed)
    shared = {n: target.keep(n) & reference.keep(n) for n in target.mask}
    k = min(k, sum(int(s.sum()) for s in shared.values()))
    located = locate(target, reference, by="value", k=k)
    assert located.size == k
    gap = np.concatenate(
        [np.abs(reference.theta[n] - target.theta[n])[shared[n]] for n in target.mask]
    )
    chosen = [
        abs(reference.theta[n].flat[i] - target.theta[n].flat[i])
        for n, p in located.positions.items()
        for i in p
    ]
    assert sorted(chosen) == sorted(np.sort(gap)[len(gap) - k :])
    by_mask = locate(target, reference, by="mask")
    for name, positions in located.positions.items():
        assert not set(positions) & set(by_mask.positions.get(name, ()))


@pytest.mark.faults(17)
@given(SEEDS)
def test_full_interpolation_of_everything_gives_the_reference(seed):
    target, reference = pair(seed)
    both = locate(target, reference, by="value", k=1.0), locate(target, reference, by="mask")
    module = Bag(target)
    for located in both:
        edit(target, reference, located, "IP", 1.0).apply(module)
    for name, parameter in module.named_parameters():
        if name in target.mask:
            assert (parameter.detach().numpy() == reference.weights[name]).all()


@given(SEEDS)
@settings(deadline=None)
def test_uninformed_draws_as_many_from_the_right_weights(seed):
    target, reference = pair(seed)
    like = locate(target, reference, by="mask")
    for strategy in ("IP", "PR"):
        found = locate(
            target, reference, by="uninformed", like=like, seed=seed % 97, strategy=strategy
        )
        assert found.size == like.size
        for name, positions in found.positions.items():
            allowed = target.keep(name) | (reference.keep(name) if strategy == "IP" else False)
            assert allowed.reshape(-1)[positions].all()
            assert (np.diff(positions) > 0).all()
    matched = locate(target, reference, by="uninformed", like=like, match="component")
    for name, positions in like.positions.items():
        assert len(matched.positions[name]) == len(positions)


def test_matching_by_magnitude_keeps_the_deciles():
    rng = np.random.default_rng(0)
    shapes = ((200, 100),)
    target, reference = (random_subnetwork(rng, shapes) for _ in range(2))
    name = next(iter(target.mask))
    like = locate(target, reference, by="value", k=0.02)
    found = locate(target, reference, by="uninformed", like=like, match="magnitude")
    pool = np.flatnonzero(target.keep(name) | reference.keep(name))
    size = np.abs(target.theta[name].reshape(-1))
    edges = np.quantile(size[pool], np.linspace(0, 1, 11))[1:-1]
    counts = [
        np.bincount(np.digitize(size[x.positions[name]], edges), minlength=10)
        for x in (like, found)
    ]
    assert (counts[0] == counts[1]).all()


ALPHA = st.floats(-10, 10, allow_nan=False, width=32)


@given(SEEDS, ALPHA, st.sampled_from(["mask", "value"]))
def test_a_patch_changes_only_what_it_lists_and_is_taken_back_bit_for_bit(seed, alpha, by):
    target, reference = pair(seed)
    located = locate(target, reference, by=by, k=0.2 if by == "value" else None)
    patch = edit(target, reference, located, "IP" if 0 <= alpha <= 1 else "EP", alpha)
    module = Bag(target)
    before = {n: p.detach().numpy().tobytes() for n, p in module.named_parameters()}
    report = patch.report(module)
    assert report.others_changed == 0
    assert report.changed <= report.listed == located.size
    with patch.applied(module):
        pass
    assert {n: p.detach().numpy().tobytes() for n, p in module.named_parameters()} == before


@pytest.mark.faults(16)
@given(SEEDS)
def test_a_patch_is_refused_where_it_does_not_fit_and_nothing_changes(seed):
    target, reference = pair(seed)
    patch = edit(target, reference, locate(target, reference, by="value", k=5), "IP", 1.0)
    module = Bag(target)
    with pytest.raises(LceError, match="reverted"):
        patch.revert(module)
    patch.apply(module)
    state = {n: p.detach().clone() for n, p in module.named_parameters()}
    with pytest.raises(LceError, match="applied"):
        patch.apply(module)
    assert all(torch.equal(p, state[n]) for n, p in module.named_parameters())
    other = Bag(random_subnetwork(np.random.default_rng(seed + 1)))
    with pytest.raises(LceError, match="not what it expects"):
        patch.apply(other)
    with pytest.raises(LceError, match="no tensor"):
        patch.apply(torch.nn.Linear(2, 2))


def test_strength_of_a_patch_is_exact_at_its_ends():
    target, reference = pair(3)
    located = locate(target, reference, by="value", k=1.0)
    patch = edit(target, reference, located, "IP", 0.5)
    for alpha, weights in ((0, target.weights), (1, reference.weights)):
        found = edited(target, patch.scale(alpha))
        for name, positions in located.positions.items():
            assert (
                found[name].reshape(-1)[positions] == weights[name].reshape(-1)[positions]
            ).all()


def test_switching_restores_the_value_before_pruning_or_of_the_base():
    target, reference = pair(1)
    located = locate(target, reference, by="mask")
    base = {n: np.full_like(v, 7) for n, v in target.theta.items()}
    for theta_0, expected in ((None, target.theta), (base, base)):
        found = edited(target, edit(target, reference, located, "SW", theta_0=theta_0))
        for name in target.mask:
            on = reference.keep(name) & ~target.keep(name)
            assert (found[name][on] == expected[name][on]).all()


@pytest.mark.faults(17)
@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t, r: locate(t, r, by="masks"), "mask, value or uninformed"),
        (lambda t, r: locate(t, r, by="value"), "k=None"),
        (lambda t, r: locate(t, r, by="value", k=1.5), "k=1.5"),
        (lambda t, r: locate(t, r, by="value", k=10**6), "shared weights"),
        (lambda t, r: locate(t, r, by="value", k=-1), "k=-1"),
        (lambda t, r: locate(t, r, by="value", k=0.1, of="all"), "of='all'"),
        (lambda t, r: locate(t, r, by="uninformed"), "needs `like`"),
        (lambda t, r: edit(t, r, locate(t, r), "IP", 2.0), "Use EP"),
        (lambda t, r: edit(t, r, locate(t, r), "EP", 0.5), "Use IP"),
        (lambda t, r: edit(t, r, locate(t, r), "XX"), "is unknown"),
        (lambda t, r: edit(t, r, locate(t, r), "EP", float("nan")), "not finite"),
        (lambda t, r: edit(t, r, locate(t, r, by="value", k=2), "SW"), 'by="mask"'),
    ],
)
def test_impossible_requests_are_refused(call, says):
    with pytest.raises(LceError, match=says):
        call(*pair(0))


def test_models_that_cannot_be_compared_are_refused():
    target, reference = pair(0)
    other_start = Subnetwork(reference.theta, reference.mask, "another")
    with pytest.raises(LceError, match="θ0"):
        locate(target, other_start)
    renamed = {n.replace("layer.1", "layer.9"): v for n, v in reference.theta.items()}
    masks = {n.replace("layer.1", "layer.9"): v for n, v in reference.mask.items()}
    with pytest.raises(LceError, match=r"layer\.1"):
        locate(target, Subnetwork(renamed, masks, "same"))


@pytest.mark.faults(14)
def test_a_tied_tensor_is_edited_once_and_stays_tied(fresh_toy):
    model = fresh_toy.model
    names = dict(model.named_parameters())
    embedding = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is embedding
    tied = [n for n, p in names.items() if p is embedding]
    assert len(tied) == 1
    network = {tied[0]: embedding.detach().numpy().copy()}
    mask = {tied[0]: kernels.pack(np.ones(embedding.numel(), bool))}
    target = Subnetwork(network, mask, "x")
    reference = Subnetwork({tied[0]: network[tied[0]] + 1}, mask, "x")
    located = locate(target, reference, by="value", k=3)
    with edit(target, reference, located, "IP", 1.0).applied(model):
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        changed = (model.get_output_embeddings().weight.detach().numpy() != network[tied[0]]).sum()
        assert changed == 3
