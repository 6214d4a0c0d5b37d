"""Patch files: small, self-checking, exact; what is wrong is refused and changes nothing."""

import hashlib
import io
import json
import pickle
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig

from lcelib.errors import LceError
from lcelib.files import sha256
from lcelib.models import load, prunable
from lcelib.patches import format as patchfile
from lcelib.patches import reading
from lcelib.patches.algebra import Change
from lcelib.patches.patch import Patch
from lcelib.patches.positions import decode, encode
from lcelib.streaming import patching
from lcelib.tensors import bits

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Layers(torch.nn.Module):
    """Matrices in numbered layers, of one dtype."""

    def __init__(self, shapes, dtype, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layer = torch.nn.ModuleList(torch.nn.Module() for _ in shapes)
        for module, (a, b) in zip(self.layer, shapes, strict=True):
            module.dense = torch.nn.Linear(b, a, bias=False)
            value = torch.randn((a, b), generator=generator)
            module.dense.weight = torch.nn.Parameter(value.to(dtype), requires_grad=False)


def random_patch(model, seed, share, alpha=1.0, among=lambda name: True):
    """A patch that lists about that share of the weights; large steps, exact in every dtype."""
    rng, changes = np.random.default_rng(seed), {}
    for name, parameter in model.named_parameters():
        flat = parameter.detach().view(-1)
        index = np.flatnonzero(rng.random(flat.numel()) < share) if among(name) else []
        index = np.asarray(index, np.int64)
        new = flat[index] + torch.from_numpy(rng.normal(size=len(index))).to(flat.dtype)
        values = [
            t.view(torch.uint16) if t.dtype == torch.bfloat16 else t for t in (flat[index], new)
        ]
        changes[name] = Change(index, *(t.numpy().copy() for t in values))
    return Patch(changes, alpha)


def state(model):
    return {n: bits(p.detach()).reshape(-1).copy() for n, p in model.named_parameters()}


def same(one, two):
    return all(np.array_equal(v, two[n]) for n, v in one.items())


@given(st.sets(st.integers(0, 200_000), max_size=300), st.integers(0, 4))
def test_positions_are_coded_and_read_back(positions, power):
    index = np.array(sorted(p * 11**power for p in positions), np.int64)
    code = encode(index)
    back = code["index"] if "index" in code else decode(code["low"], code["high"])
    assert np.array_equal(back, index)
    assert sum(part.nbytes for part in code.values()) <= 4 * len(index)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3),
    st.sampled_from(sorted(DTYPES)),
    st.floats(0, 1),
    st.floats(-3, 3).map(lambda x: round(x, 2)),
    st.integers(0, 2**16),
)
def test_round_trips_are_exact(shapes, dtype, share, alpha, seed):
    model = Layers(shapes, DTYPES[dtype], seed)
    before = state(model)
    patch = random_patch(model, seed, share, alpha)
    with tempfile.TemporaryDirectory() as folder:
        patch.save(Path(folder) / "p", model)
        again = Patch.load(Path(folder) / "p")
    assert again.alpha == alpha
    for name, change in patch.changes.items():
        found = again.changes.get(name)
        assert (found is None) == (len(change.index) == 0)
        if found is not None:
            for one, two in zip(vars(change).values(), vars(found).values(), strict=True):
                assert one.tobytes() == two.tobytes()
    assert again.verify(model) == "base"
    again.apply(model)
    listed = {n: c.index for n, c in patch.changes.items()}
    for name, now in state(model).items():
        assert set(np.flatnonzero(now != before[name])) <= set(listed[name])
        expected = patch.changes[name].at(alpha)
        assert now[listed[name]].tobytes() == expected.tobytes()
    inverse = again.invert()
    changed = state(model)
    inverse.apply(model)
    assert same(before, state(model))
    inverse.revert(model)
    assert same(changed, state(model))
    again.revert(model)
    assert same(before, state(model))
    with again.scale(0).applied(model):
        assert same(before, state(model))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(DTYPES)), st.integers(0, 2**16), st.booleans())
def test_composition_and_difference(dtype, seed, disjoint):
    model = Layers([(13, 17), (8, 30), (5, 5)], DTYPES[dtype], seed)
    before = state(model)
    one = random_patch(model, seed, 0.3, 2.0, lambda n: not disjoint or n.startswith("layer.0"))
    two = random_patch(model, seed + 1, 0.3, 0.5, lambda n: not disjoint or n.startswith("layer.1"))
    if disjoint:
        both = one.compose(two)
        reverse = two.compose(one)
        with both.applied(model):
            together = state(model)
        with reverse.applied(model):
            assert same(together, state(model))
        with one.applied(model), two.applied(model):
            assert same(together, state(model))
    else:
        with pytest.raises(LceError, match="both list"):
            one.compose(two)
        for overlap, over, under in (("last", two, one), ("first", one, two)):
            with one.compose(two, overlap).applied(model):
                found = state(model)
            for name in found:
                expected = before[name].copy()
                for patch in (under, over):
                    change = patch.changes[name]
                    expected[change.index] = change.at(patch.alpha).view(expected.dtype)
                assert np.array_equal(found[name], expected)
    with two.applied(model):
        goal = state(model)
    one.apply(model)
    one.diff(two).apply(model)
    assert same(goal, state(model))
    one.diff(two).revert(model)
    one.revert(model)
    assert same(before, state(model))
    parts = [two.restrict(lambda layer, part, i=i: layer == i) for i in range(3)]
    assert sum(part.size for part in parts) == two.size
    with parts[0].applied(model), parts[1].applied(model), parts[2].applied(model):
        assert same(goal, state(model))


def test_patches_of_other_models_are_not_composed():
    models = [Layers([(6, 7)], torch.float32, seed) for seed in (0, 1)]
    one, two = (random_patch(m, 0, 0.5) for m in models)
    with pytest.raises(LceError, match="other old values"):
        one.compose(two, "last")
    with pytest.raises(LceError, match="overlap"):
        one.compose(one, "maybe")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The toy, a patch of it in a file, and the file's bytes."""
    lm = load("toybert")
    path = tmp_path_factory.mktemp("patch") / "toy.lce.safetensors"
    patch = random_patch(lm.model, 1, 0.003, 2.0, set(prunable(lm.model)).__contains__)
    patch.save(path, lm.model, lm.tokenizer, id="toybert", direction="away from stereotype")
    return lm, patch, path, path.read_bytes()


@pytest.mark.faults(7)
def test_every_flipped_bit_is_found(saved, tmp_path):
    content, path, rng = bytearray(saved[3]), tmp_path / "flipped", random.Random(0)
    header = 8 + int.from_bytes(content[:8], "little")
    for number in range(200):
        at = rng.randrange(header if number % 2 else len(content))
        content[at] ^= 1 << number % 8
        path.write_bytes(content)
        content[at] ^= 1 << number % 8
        with pytest.raises(LceError, match="valid patch file"):
            Patch.load(path)


@pytest.mark.faults(6)
def test_every_cut_is_found(saved, tmp_path):
    content, path, rng = saved[3], tmp_path / "cut", random.Random(1)
    header = 8 + int.from_bytes(content[:8], "little")
    for cut in [*range(0, header + 64, 64), *(rng.randrange(len(content)) for _ in range(100))]:
        path.write_bytes(content[:cut])
        with pytest.raises(LceError, match="valid patch file"):
            Patch.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(LceError, match="valid patch file"):
        Patch.load(path)


def forge(tensors, data=b"", length=None, **info):
    """A file with the right digest whatever its content."""
    about = {"format": 1, "digest": patchfile.ZEROS} | info
    content = {"__metadata__": {"lce": json.dumps(about)}} | tensors
    text = json.dumps(content).encode()
    start = (len(text) if length is None else length).to_bytes(8, "little")
    digest = hashlib.sha256(start + text + data).hexdigest()
    return start + text.replace(patchfile.ZEROS.encode(), digest.encode()) + data


def tensor(dtype, count, start, stop):
    return {"dtype": dtype, "shape": [count], "data_offsets": [start, stop]}


def patch_of(index, old=None, new=None, dtype="<u4", shape=(4, 4)):
    index = np.array(index, dtype)
    old = np.ones(len(index), np.float32) if old is None else np.array(old, np.float32)
    new = np.ones(len(index), np.float32) if new is None else np.array(new, np.float32)
    data, tensors = b"", {}
    for name, part in (("old/w", old), ("new/w", new), ("index/w", index)):
        kind = {"f": "F32", "u": "U32"}[part.dtype.kind]
        tensors[name] = tensor(kind, len(part), len(data), len(data) + part.nbytes)
        data += part.tobytes()
    return forge(tensors, data, base={"tensors": {"w": {"shape": shape, "sha256": ""}}})


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02")
    return buffer.getvalue()


TWO = [tensor("U32", 1, 0, 4), tensor("F32", 1, 4, 8), tensor("F32", 1, 8, 12)]
HOSTILE = {
    "empty": (b"", "header"),
    "overlapping": (
        forge({"index/w": TWO[0], "old/w": TWO[1], "new/w": tensor("F32", 1, 4, 8)}, b"\0" * 12),
        "claims",
    ),
    "huge offsets": (forge({"index/w": tensor("U32", 1, 0, 2**62)}, b"\0" * 4), "claims"),
    "10^12 entries": (
        forge({"index/w": tensor("U32", 10**12, 0, 4 * 10**12)}, b"\0" * 4),
        "claims",
    ),
    "negative size": (forge({"index/w": tensor("U32", -1, 0, -4)}), "numbers"),
    "numbers as text": (forge({"index/w": tensor("U32", "1", 0, 4)}, b"\0" * 4), "numbers"),
    "beyond 64 bits": (forge({"index/w": tensor("U32", 1, 0, 10**30)}, b"\0" * 4), "numbers"),
    "a gap": (forge({"index/w": tensor("U32", 1, 4, 8)}, b"\0" * 8), "claims"),
    "bytes of no tensor": (forge({"index/w": TWO[0]}, b"\0" * 8), "belong to no tensor"),
    "foreign tensor": (forge({"weights": TWO[0]}, b"\0" * 4), "no part of a patch"),
    "foreign dtype": (forge({"index/w": tensor("I64", 1, 0, 8)}, b"\0" * 8), "dtype"),
    "out of range": (patch_of([3, 16]), "outside of its shape"),
    "unsorted": (patch_of([5, 3]), "not sorted"),
    "duplicate": (patch_of([3, 3]), "not sorted, or repeat"),
    "NaN": (patch_of([3], new=[np.nan]), "NaN"),
    "infinite": (patch_of([3], old=[np.inf]), "infinite"),
    "fewer values": (patch_of([1, 2], new=[1.0]), "values"),
    "no values of one": (
        forge({"old/w": tensor("F32", 1, 0, 4), "index/w": tensor("U32", 1, 4, 8)}, b"\0" * 8),
        "has index, old",
    ),
    "origin of the base that is no text": (
        forge({}, base={"derived_from": 3}),
        "base derived_from",
    ),
    "high parts too many": (
        forge({"low/w": tensor("U8", 1, 0, 1), "high/w": tensor("U8", 1, 1, 2)}, b"\1\xff"),
        "high parts",
    ),
    "header longer than the file": (forge({}, length=10**9), "header"),
    "header of 2^63 bytes": ((2**63 - 1).to_bytes(8, "little") + b"{}", "header"),
    "no metadata": ((2).to_bytes(8, "little") + b"{}", "metadata"),
    "not JSON": ((8).to_bytes(8, "little") + b"[[[[[[[[", "valid"),
    "deep JSON": ((100_000).to_bytes(8, "little") + b"[" * 100_000, "valid"),
    "another format": (forge({}, format=2), "format"),
    "wrong digest": (forge({}).replace(b'"digest', b'"Digest'), "metadata"),
    "zip": (zipped(), "header"),
    "pickle": (pickle.dumps({"weights": [1.0] * 50}), "header"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, tmp_path):
    content, says = HOSTILE[name]
    path = tmp_path / "hostile.lce.safetensors"
    path.write_bytes(content)
    with pytest.raises(LceError, match=says) as caught:
        Patch.load(path)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/fuzz_corpus").iterdir()), ids=lambda p: p.name
)
def test_what_the_fuzzer_found_is_read_or_refused(path):
    try:
        arrays, _ = reading.read(path)
    except LceError:
        return
    assert all((index[1:] > index[:-1]).all() for index, *_ in arrays.values())


def test_the_forger_forges(tmp_path):
    """The files above are refused for what they are made for: a sound one of the kind is read."""
    path = tmp_path / "sound.lce.safetensors"
    path.write_bytes(patch_of([3, 15]))
    assert Patch.load(path).size == 2


@pytest.mark.faults(16)
def test_what_does_not_fit_changes_no_bit(saved):
    _, _, path, _ = saved
    patch, model = Patch.load(path), load("toybert").model
    before = state(model)
    other = load("toybert").model
    name = prunable(other)[0]
    first = patch.changes[name].index[0]
    dict(other.named_parameters())[name].data.view(-1)[first] += 1
    wrong = state(other)
    with pytest.raises(LceError, match="not what it expects"):
        patch.apply(other)
    assert same(wrong, state(other))
    with pytest.raises(LceError, match="cannot be reverted"):
        patch.revert(model)
    assert same(before, state(model))
    patch.apply(model)
    applied = state(model)
    with pytest.raises(LceError, match="cannot be applied"):
        patch.apply(model)
    assert same(applied, state(model))
    patch.revert(model)
    with pytest.raises(LceError, match="cannot be reverted"):
        patch.revert(model)
    assert same(before, state(model))
    half = load("toybert").model.half()
    with pytest.raises(LceError, match="dtype"):
        patch.apply(half)
    with pytest.raises(LceError, match="no tensor"):
        patch.apply(torch.nn.Linear(3, 3))


def test_a_base_that_differs_elsewhere_is_found(saved):
    lm, _, path, _ = saved
    patch, other = Patch.load(path), load("toybert").model
    name = prunable(other)[0]
    unlisted = next(i for i in range(10**6) if i not in patch.changes[name].index)
    dict(other.named_parameters())[name].data.view(-1)[unlisted] += 1
    with pytest.raises(LceError, match="not that of the patch's base"):
        patch.verify(other)
    assert patch.verify(lm.model, lm.tokenizer) == "base"
    ids = json.loads(lm.tokenizer.backend_tokenizer.to_str())
    vocabulary = ids["model"]["vocab"]
    vocabulary["she"], vocabulary["he"] = vocabulary["he"], vocabulary["she"]
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    swapped = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(ids)))
    with pytest.raises(LceError, match="another tokenizer"):
        patch.verify(lm.model, swapped)


def test_half_a_percent_of_bert_base_is_less_than_four_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    shapes = 12 * [*4 * [768 * 768], *2 * [768 * 3072]]
    path = tmp_path / "bert.lce.safetensors"
    with patchfile.open_writer(path, {}, values=True) as writer:
        for i, size in enumerate(shapes):
            index = np.flatnonzero(rng.random(size) < 0.005)
            values = rng.normal(size=(2, len(index))).astype(np.float32)
            writer.add(
                f"bert.encoder.layer.{i}.attention.output.dense.weight", "F32", index, *values
            )
    assert 420_000 < sum(count for count, _ in writer.lengths.values()) < 430_000
    assert path.stat().st_size <= 4_000_000
    arrays, _ = reading.read(path)
    assert len(arrays) == 72


def test_a_patch_that_raises_stereotype_scores_must_be_asked_for(saved, tmp_path):
    lm, patch, _, _ = saved
    worse = {
        "measure": "winobias",
        "variant": "v",
        "n": 9,
        "before": 55,
        "after": 60,
        "neutral": 50,
    }
    path = tmp_path / "worse.lce.safetensors"
    with pytest.raises(LceError, match="raises stereotype scores"):
        patch.save(path, lm.model, measures=[worse], direction="away from stereotype")
    with pytest.raises(LceError, match="is unknown"):
        patch.save(path, lm.model, direction="good")
    assert not path.exists()
    patch.save(path, lm.model, measures=[worse], direction="towards stereotype")
    harmful, model = Patch.load(path), load("toybert").model
    before = state(model)
    with pytest.raises(LceError, match="towards_stereotype"):
        harmful.apply(model)
    assert same(before, state(model))
    harmful.apply(model, towards_stereotype=True)
    harmful.revert(model)
    harmful.scale(-1).apply(model)  # the other way
    harmful.scale(-1).revert(model)
    lying = Patch(patch.changes, 2.0, {"measures": [worse], "direction": "unknown"})
    for harm in (
        lying,
        Patch(patch.changes, 1.0, {"direction": "towards stereotype", "alpha": 0.0}),
    ):
        with pytest.raises(LceError, match="raises stereotype scores"):
            harm.apply(model)
    better = worse | {"before": 60, "after": 55}
    unlabelled = Patch(patch.changes, 1.0, {"measures": [better], "direction": "unknown"})
    with pytest.raises(LceError, match="raises stereotype scores"):
        unlabelled.scale(-1).apply(model)  # by its measures, whatever its label
    unlabelled.apply(model)
    unlabelled.revert(model)
    good = Patch.load(saved[2])
    with pytest.raises(LceError, match="raises stereotype scores"):
        good.scale(-2).apply(model)
    assert same(before, state(model))


def lce(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "lcelib.cli", "patch", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_commands_on_a_folder(saved, tmp_path):
    lm, patch, path, _ = saved
    base, edited, back = (tmp_path / n for n in ("base", "edited", "back"))
    lm.model.save_pretrained(base)
    lm.tokenizer.save_pretrained(base)
    done = json.loads(lce("verify", path, base, "--json").stdout)
    assert done == {"state": "base"}
    assert lce("apply", base, path, "--output", edited).returncode == 0
    found, wanted = load(edited).model, load("toybert").model
    patch.apply(wanted)
    assert same(state(found), state(wanted))
    assert json.loads(lce("verify", path, edited, "--json").stdout) == {"state": "applied"}
    assert lce("revert", edited, path, "--output", back).returncode == 0
    assert sha256(back / "model.safetensors") == sha256(base / "model.safetensors")
    made = tmp_path / "made.lce.safetensors"
    assert lce("make", base, edited, "--output", made, "--id", "toy").returncode == 0
    again = lce("diff", path, made, "--json")
    assert json.loads(again.stdout)["differ"] == 0
    about = json.loads(lce("info", made, "--json").stdout)
    assert about["base"]["id"] == "toy"
    assert sum(about["weights"].values()) == patch.size
    for code, arguments, says in (
        (5, ("apply", edited, path, "--output", tmp_path / "x"), "already"),
        (5, ("revert", base, path, "--output", tmp_path / "x"), "is the base of"),
        (7, ("apply", base, path, "--output", tmp_path / "x", "--alpha", "-1"), "stereotype"),
        (2, ("compose", path, made, "--output", tmp_path / "x"), "both list"),
        (2, ("make", base, edited, "--output", made), "exists already"),
    ):
        done = lce(*arguments)
        assert done.returncode == code
        assert says in done.stderr
        assert not (tmp_path / "x").exists()


@pytest.mark.faults(14)
def test_tied_tensors_have_one_name_and_are_changed_once(tmp_path):
    """Under its own name both views change; under the other's the patch is refused, in memory and on files."""
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "model")
    before, files = state(model), {p: sha256(p) for p in (tmp_path / "model").iterdir()}
    own = random_patch(model, 0, 0.1, among=lambda name: "embed" in name)
    [name] = [n for n, c in own.changes.items() if len(c.index)]
    other = Patch({"lm_head.weight": own.changes[name]})
    for patch, file in ((own, "own.lce.safetensors"), (other, "other.lce.safetensors")):
        patch.save(tmp_path / file)
    with pytest.raises(LceError, match="has no tensor lm_head"):
        other.apply(model)
    with pytest.raises(LceError, match="has no tensor lm_head"):
        patching.apply(tmp_path / "model", tmp_path / "other.lce.safetensors", tmp_path / "x")
    assert same(state(model), before)
    assert not (tmp_path / "x").exists()
    own.apply(model)
    assert torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)
    assert own.report(AutoModelForCausalLM.from_pretrained(tmp_path / "model")).changed == own.size
    patching.apply(tmp_path / "model", tmp_path / "own.lce.safetensors", tmp_path / "edited")
    edited = AutoModelForCausalLM.from_pretrained(tmp_path / "edited")
    assert same(state(edited), state(model))
    assert torch.equal(edited.lm_head.weight, edited.get_input_embeddings().weight)
    assert {p: sha256(p) for p in files} == files


def test_a_killed_apply_leaves_the_old_checkpoint_whole(saved, tmp_path):
    lm, _, path, _ = saved
    base, output = tmp_path / "base", tmp_path / "edited"
    lm.model.save_pretrained(base)
    lm.tokenizer.save_pretrained(base)
    before = {p.name: sha256(p) for p in base.iterdir()}
    command = [sys.executable, "-m", "lcelib.cli", "patch", "apply", str(base), str(path)]
    for number in range(4):
        process = subprocess.Popen([*command, "--output", str(output)], cwd=ROOT)
        end = time.time() + 30
        while process.poll() is None and not list(tmp_path.glob(".tmp-*")) and time.time() < end:
            time.sleep(0.001 * number)
        process.kill()
        process.wait()
        assert {p.name: sha256(p) for p in base.iterdir()} == before
        if output.exists():  # it was quicker
            break
    else:
        assert subprocess.run([*command, "--output", str(output)], cwd=ROOT).returncode == 0
    assert Patch.load(path).verify(load(output).model) == "applied"
    assert {p.name: sha256(p) for p in base.iterdir()} == before


def test_swapped_arguments_are_named(tmp_path):
    folder, file = tmp_path / "model", tmp_path / "p.lce.safetensors"
    folder.mkdir()
    file.write_bytes(b"")
    for command in (("verify", folder, file), ("apply", file, folder, "--output", tmp_path / "x")):
        done = lce(*map(str, command))
        assert done.returncode == 2
        assert "look swapped" in done.stderr
