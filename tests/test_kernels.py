"""The kernels against brute force, in both backends: ties, zeros, tails, dtypes, extremes."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lcelib import kernels
from lcelib.errors import LceError
from lcelib.kernels import keys, selection
from lcelib.kernels import numpy as cpu

VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-40, -1e-45, 3e38])
TENSOR = st.integers(1, 17).flatmap(lambda n: arrays(np.float32, n, elements=VALUES))
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = {"a": (3, 5), "one": (1,), "b": (130, 257), "c": (7, 1, 3), "d": (20001,), "two": (1, 1)}


class Numpy:
    """The specification, called with torch tensors."""

    def __getattr__(self, name):
        return getattr(kernels, name)


@pytest.fixture(params=["numpy", "triton"])
def backend(request):
    """Both backends; Triton runs under its interpreter (conftest)."""
    if request.param == "numpy":
        return Numpy()
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    from lcelib.kernels import triton

    return triton


def tensors(seed, dtype=torch.float32, zeros=0.0, levels=None):
    """Tensors of odd shapes; `zeros` of the values are ±0, or all are among few `levels`."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in SHAPES.items():
        values = rng.standard_normal(shape).astype(np.float32)
        if levels:
            values = rng.choice(np.array(levels, np.float32), shape)
        values[rng.random(shape) < zeros] = 0
        made[name] = torch.from_numpy(values * rng.choice([-1, 1], shape).astype(np.float32))
    return {n: t.to(dtype) for n, t in made.items()}


KINDS = {
    "random": {},
    "half zeros": {"zeros": 0.5},
    "constant": {"levels": [2]},
    "all zero": {"levels": [0]},
    "three values": {"levels": [0, 1e-40, 3]},
}
CASES = [("random", dtype) for dtype in DTYPES]
CASES += [(kind, torch.float32) for kind in list(KINDS)[1:]] + [("half zeros", torch.bfloat16)]
TOTAL = sum(int(np.prod(s)) for s in SHAPES.values())
COUNTS = [0, 1, 2, TOTAL // 2, TOTAL - 1, TOTAL]


def joined(dictionary):
    return np.concatenate([t.float().numpy().reshape(-1) for t in dictionary.values()])


def positions_in_all(found):
    """Positions by tensor → one sorted list over all tensors."""
    starts = np.cumsum([0] + [int(np.prod(s)) for s in SHAPES.values()])
    return np.concatenate([np.asarray(found[n]) + s for n, s in zip(SHAPES, starts, strict=False)])


def lowest(values, k):
    """Positions of the k lowest, first of equals first, by a full stable sort."""
    return np.sort(np.argsort(values, kind="stable")[:k])


def same(first, second):
    """Equal bit for bit."""
    return all(as_bytes(first[n]) == as_bytes(second[n]) for n in first)


def as_bytes(tensor):
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    return tensor.numpy().tobytes()


@pytest.mark.faults(17)
@pytest.mark.parametrize(("values", "dtype"), CASES, ids=str)
def test_pruning_drops_exactly_the_k_lowest_and_the_first_of_equals(backend, values, dtype):
    weights = tensors(1, dtype, **KINDS[values])
    magnitude = np.abs(joined(weights))
    for k, cut in zip(COUNTS, backend.kth_magnitude(weights, COUNTS), strict=True):
        assert cut.magnitude == (np.sort(magnitude)[k - 1] if k else 0)
        masks = backend.prune_masks(weights, k)
        again = backend.prune_masks(weights, cut)
        kept = {n: kernels.unpack(m.numpy(), SHAPES[n]) for n, m in masks.items()}
        dropped = np.flatnonzero(~np.concatenate([m.reshape(-1) for m in kept.values()]))
        assert (dropped == lowest(magnitude, k)).all()
        assert same(masks, again)


@pytest.mark.faults(17)
@pytest.mark.parametrize(("values", "dtype"), CASES, ids=str)
@pytest.mark.parametrize("some", [False, True], ids=["all", "among"])
def test_top_k_difference_is_the_head_of_a_stable_sort(backend, values, dtype, some):
    target, reference = tensors(2, dtype, **KINDS[values]), tensors(3, dtype, **KINDS[values])
    among = kernels.prune_masks(tensors(4), TOTAL // 3) if some else None
    difference = np.abs(joined(reference) - joined(target))
    if some:
        present = [kernels.unpack(among[n].numpy(), SHAPES[n]).reshape(-1) for n in SHAPES]
        difference[~np.concatenate(present)] = -1
    for k in COUNTS if not some else [c for c in COUNTS if c <= TOTAL - TOTAL // 3]:
        found = backend.top_k_difference(target, reference, k, among)
        assert (positions_in_all(found) == lowest(-difference, k)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_both_backends_give_the_same_bits_and_repeat_them(dtype):
    triton = pytest.importorskip("lcelib.kernels.triton")
    target, reference = tensors(5, dtype, zeros=0.2), tensors(6, dtype, zeros=0.2)
    masks = kernels.prune_masks(reference, 9999)
    results = []
    for where in (kernels, triton, triton):
        outcome = {}
        for alpha in (0, 1, 0.3, -2.7, 2):
            out = {n: torch.empty_like(t) for n, t in target.items()}
            where.dense_edit(target, reference, alpha, out)
            outcome |= {f"{alpha} {n}": t for n, t in out.items()}
        found = where.top_k_difference(target, reference, 777, masks)
        outcome |= {f"position {n}": p for n, p in found.items()}
        values = where.read_at(target, found)
        outcome |= {f"value {n}": v for n, v in values.items()}
        where.write_at(out, found, values)
        where.hold_at_zero(out, masks)
        outcome |= {f"out {n}": t for n, t in out.items()}
        results.append(outcome)
    assert same(results[0], results[1])
    assert same(results[1], results[2])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_per_tensor_mode_is_magnitude_sparsification_of_the_difference(backend, dtype):
    """The rule of TIES merging (mergekit, density d): int(d · size) of each tensor, largest first.

    In 16 bits mergekit rounds the difference before it sorts; here differences are float32.
    """
    target, reference = tensors(7, dtype), tensors(8, dtype)
    share = 0.05
    found = backend.top_k_difference(
        target, reference, {n: int(share * t.numel()) for n, t in target.items()}
    )
    for name, tensor in target.items():
        size = (reference[name].float() - tensor.float()).abs().view(-1)
        order = torch.argsort(size, descending=True, stable=True)
        wanted = order[: int(share * size.numel())].sort().values
        assert torch.equal(torch.as_tensor(found[name]), wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_edit_is_float32_arithmetic_rounded_once(backend, dtype):
    target, reference = tensors(9, dtype), tensors(10, dtype)
    out = {n: torch.empty_like(t) for n, t in target.items()}
    for alpha in (0.3, -2.7, 11.0):
        backend.dense_edit(target, reference, alpha, out)
        for name, t in target.items():
            r = reference[name].float()
            wanted = (t.float() + (r - t.float()) * torch.tensor(alpha)).to(dtype)
            assert as_bytes(out[name]) == as_bytes(wanted)
    for alpha, exact in ((0, target), (1, reference)):
        backend.dense_edit(target, reference, alpha, out)
        assert same(out, exact)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pruned_weights_become_plus_zero_and_others_stay(backend, dtype):
    weights = tensors(11, dtype)
    masks = kernels.prune_masks(weights, TOTAL // 3)
    before = {n: t.clone() for n, t in weights.items()}
    backend.hold_at_zero(weights, masks)
    for name, t in weights.items():
        keep = torch.from_numpy(kernels.unpack(masks[name].numpy(), SHAPES[name]))
        assert as_bytes(t) == as_bytes(torch.where(keep, before[name], 0))


def test_xor_count(backend):
    first, second = (kernels.prune_masks(tensors(s), 5000) for s in (12, 13))
    counts = backend.xor_count(first, second)
    for name, shape in SHAPES.items():
        a, b = (kernels.unpack(mask[name].numpy(), shape) for mask in (first, second))
        assert counts[name] == (a != b).sum()


def test_reading_and_writing_at_positions(backend):
    weights, other = tensors(14), tensors(15)
    found = kernels.sample_positions(
        {n: t.numel() for n, t in weights.items()}, 3000, np.random.default_rng(0)
    )
    found = {n: torch.from_numpy(p) for n, p in found.items()}
    before = {n: t.clone().view(-1) for n, t in weights.items()}
    old = backend.read_at(weights, found)
    assert all(torch.equal(old[n], before[n][p]) for n, p in found.items())
    backend.write_at(weights, found, backend.read_at(other, found))
    for name, p in found.items():
        wanted = before[name].clone()
        wanted[p] = other[name].view(-1)[p]
        assert torch.equal(weights[name].view(-1), wanted)
    backend.write_at(weights, found, old)
    assert all(torch.equal(weights[n].view(-1), before[n]) for n in weights)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [3, 30_000])  # in one thread, in several
def test_a_swap_writes_everything_or_nothing(backend, dtype, count):
    """One bit of one weight (the sign of a zero, too) is enough for nothing to be written."""
    weights, other = tensors(14, dtype, zeros=0.2), tensors(15, dtype)
    sizes = {n: t.numel() for n, t in weights.items()}
    found = kernels.sample_positions(sizes, count, np.random.default_rng(0))
    found = {n: torch.from_numpy(p) for n, p in found.items()}
    before = {n: t.clone() for n, t in weights.items()}
    old, new = backend.read_at(weights, found), backend.read_at(other, found)
    for name in (n for n, p in found.items() if len(p)):
        for place in {0, len(found[name]) // 2, len(found[name]) - 1}:
            false = {n: v.clone() for n, v in old.items()}
            false[name][place] = -false[name][place]
            assert backend.swap_at(weights, found, false, new) == {name: 1}
            assert same(weights, before)
    assert backend.swap_at(weights, found, old, new) == {}
    wanted = {n: t.clone() for n, t in before.items()}
    backend.write_at(wanted, found, new)
    assert same(weights, wanted)


def test_a_swap_that_breaks_off_leaves_everything_as_it_was():
    weights, other = tensors(14), tensors(15)
    found = kernels.sample_positions(
        {n: t.numel() for n, t in weights.items()}, 30_000, np.random.default_rng(0)
    )
    found = {n: torch.from_numpy(p) for n, p in found.items()}
    before = {n: t.clone() for n, t in weights.items()}
    old, new = kernels.read_at(weights, found), kernels.read_at(other, found)
    last = max(found, key=lambda n: len(found[n]))
    new[last] = new[last][:-1]
    with pytest.raises(ValueError, match="shape"):
        kernels.swap_at(weights, found, old, new)
    assert same(weights, before)


@pytest.mark.faults(13)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_refused_by_name(backend, bad):
    target, reference = tensors(16), tensors(17)
    reference["b"][100, 7] = bad
    with pytest.raises(LceError, match="tensor b: 1 of 33410 weights are NaN or Inf"):
        backend.top_k_difference(target, reference, 5)
    with pytest.raises(LceError, match="tensor b: 1 of 33410"):
        backend.prune_masks(reference, 5)


@pytest.mark.faults(23)
@pytest.mark.parametrize("wrong", [torch.ones(4, dtype=torch.float64), torch.ones(4, 4).t()])
def test_other_dtypes_and_strided_views_are_refused_by_name(backend, wrong):
    with pytest.raises(LceError, match="tensor w: is "):
        backend.kth_magnitude({"w": wrong}, [1])


@given(st.integers(0, 40).flatmap(lambda n: arrays(bool, n)))
def test_packing_round_trip(keep):
    bits = kernels.pack(keep)
    assert len(bits) == -(-keep.size // 8)
    assert (kernels.unpack(bits, keep.shape) == keep).all()
    assert (kernels.positions(bits) == np.flatnonzero(keep)).all()
    assert kernels.popcount(bits) == keep.sum()


@given(TENSOR, TENSOR, st.data())
def test_pruning_small_tensors(first, second, data):
    weights = {"a": first, "b": second}
    k = data.draw(st.integers(0, first.size + second.size))
    masks = kernels.prune_masks(weights, k)
    kept = np.concatenate([kernels.unpack(masks[n], weights[n].shape) for n in weights])
    assert (np.flatnonzero(~kept) == lowest(np.abs(np.concatenate([first, second])), k)).all()


@settings(max_examples=60)
@given(
    data=st.data(),
    ties=st.sampled_from([1, 2, 3, 50, 10**6]),
    most=st.sampled_from([3, 100, 10**6]),
    honest=st.booleans(),
)
def test_selection_is_exact_for_any_sample_and_any_memory(data, ties, most, honest):
    """Misleading samples, many equals and tiny buffers cost passes, never exactness."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = rng.integers(0, ties, 5000).astype(np.float32) / 7
    if data.draw(st.booleans()):
        values = np.sort(values)
    keys = cpu.Keys({"w": values})
    if not honest:
        keys.sample = lambda: np.sort(np.abs(values[:3])).view(np.uint32)
    ranks = data.draw(st.lists(st.integers(1, 5000), min_size=1, max_size=4))
    found = selection.order_statistics(keys, ranks, most)
    ordered = np.sort(values)
    for rank, (key, below, equal) in zip(ranks, found, strict=True):
        value = ordered[rank - 1]
        assert np.uint32(key).view(np.float32) == value
        assert (below, equal) == ((values < value).sum(), (values == value).sum())


def test_a_pass_that_finds_too_much_ends_in_the_exact_general_way(monkeypatch):
    """The one-pass top-k falls back on a cut and a second pass when its sample misleads."""
    rng = np.random.default_rng(0)
    target = {"w": np.zeros(200_000, np.float32)}
    for reference in (rng.standard_normal(200_000), np.sort(rng.random(200_000)), np.ones(200_000)):
        reference = {"w": reference.astype(np.float32)}
        wanted = kernels.top_k_difference(target, reference, 1000)["w"]
        assert (wanted == lowest(-np.abs(reference["w"]), 1000)).all()
        with monkeypatch.context() as patch:
            patch.setattr(selection, "interval", lambda *_: (selection.TOP, selection.TOP))
            assert (kernels.top_k_difference(target, reference, 1000)["w"] == wanted).all()


def test_results_do_not_depend_on_chunks_and_threads(monkeypatch):
    target, reference = ({n: t.numpy() for n, t in tensors(s, zeros=0.3).items()} for s in (18, 19))
    masks = kernels.prune_masks(target, 20_000)

    def everything():
        out = {n: np.empty_like(t) for n, t in target.items()}
        kernels.dense_edit(target, reference, 0.7, out)
        kernels.hold_at_zero(out, masks)
        found = kernels.top_k_difference(target, reference, 5000, masks)
        cuts = kernels.kth_magnitude(target, [1, 100, 40_000])
        return [*out.values(), *found.values(), *kernels.prune_masks(target, 777).values(), cuts]

    wanted = everything()
    monkeypatch.setattr(keys, "CHUNK", 64)
    monkeypatch.setattr(keys, "THREADS", 3)
    for one, two in zip(everything(), wanted, strict=True):
        assert np.array_equal(one, two)


@given(arrays(bool, 300), st.integers(0, 2**16), st.data())
def test_sampling_is_exact_in_number_and_repeats(keep, seed, data):
    k = data.draw(st.integers(0, int(keep.sum())))
    among, sizes = {"w": kernels.pack(keep)}, {"w": 300}
    drawn = [
        kernels.sample_positions(sizes, k, np.random.default_rng(seed), among)["w"]
        for _ in range(2)
    ]
    assert (drawn[0] == drawn[1]).all()
    assert len(set(drawn[0])) == k
    assert keep[drawn[0]].all()
    assert (np.diff(drawn[0]) > 0).all()


@pytest.mark.parametrize("k", [2, 5])
def test_every_sample_is_equally_likely(k):
    """Chi-square over all sets of k of 7, in both halves of the rule (k, and all but k)."""
    rng, draws = np.random.default_rng(1), 10_500
    seen: dict[tuple, int] = {}
    for _ in range(draws):
        drawn = tuple(kernels.distinct(7, k, rng))
        seen[drawn] = seen.get(drawn, 0) + 1
    expected = draws / 21
    assert len(seen) == 21
    assert sum((n - expected) ** 2 / expected for n in seen.values()) < 45.3  # p = 0.001, 20 df


@pytest.mark.faults(23)
def test_a_gpu_kernel_that_fails_is_done_on_the_cpu_with_one_warning(monkeypatch):
    """The device is imitated: tensors that say they are on a GPU, and a backend that raises."""
    triton = pytest.importorskip("lcelib.kernels.triton")
    monkeypatch.setattr(
        triton, "prune_masks", lambda *_: (_ for _ in ()).throw(OSError("no driver"))
    )

    class OnGpu(torch.Tensor):
        device = torch.device("cuda")

    monkeypatch.setattr(kernels, "to_tensor", lambda array, _: torch.from_numpy(array))
    weights = tensors(20)
    claimed = {n: t.as_subclass(OnGpu) for n, t in weights.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        masks = kernels.prune_masks(claimed, 1000)
    assert [str(w.message) for w in caught] == [
        "prune_masks on the GPU failed (OSError: no driver); it runs on the CPU, slowly."
    ]
    assert same(masks, kernels.prune_masks(weights, 1000))


COMPILE = """
import itertools, triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lcelib.kernels import triton_device as device
wide = {n: "*i64" for n in "first second among sizes block_start places below inside bases counter "
        "tickets positions before masks weights target reference".split()}
narrow = {n: "*i32" for n in "bad tensors block_tensor lows highs values counts out".split()}
plain = {n: "i32" for n in "total number low bound".split()} | {"most": "i64", "ties": "i64", "alpha": "fp32"}
special = {"xor": {"counts": "*i64"}, "equal": {"counts": "*i64"}, "move": {"values": "*i64"}, "dense": {"out": "*i64"}}
fixed = {"PAIR": True, "AMONG": True, "EVEN": True, "BLOCK": 4096, "WORD": tl.uint32, "WRITE": True}
for name in "sample scan collect equal pack xor move dense hold".split():
    kernel = getattr(device, name)
    names = [p.name for p in kernel.params]
    for kind in range(3 if "KIND" in names else 1):
        constant = {n: v for n, v in (fixed | {"KIND": kind}).items() if n in names}
        types = wide | narrow | plain | special.get(name, {}) | dict.fromkeys(constant, "constexpr")
        source = ASTSource(kernel, {n: types[n] for n in names}, constexprs=constant)
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
        ptx = made.asm["ptx"]
        print(name, kind, len(made.asm["cubin"]) > 0, ".ftz" in ptx, "fma." in ptx, made.metadata.shared <= 48 << 10)
"""


def test_kernels_compile_for_a_gpu_without_one(tmp_path):
    """For sm_90: machine code is made, float32 keeps denormals and is not fused."""
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    assert len(lines) == 6 * 3 + 3
    assert all(line.endswith("True False False True") for line in lines), done.stdout
