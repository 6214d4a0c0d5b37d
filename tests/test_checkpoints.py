"""Locating and editing in checkpoint files: the same as in memory, complete or absent."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_project import lce
from transformers import (
    AlbertConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    ModernBertConfig,
    OPTConfig,
    RobertaConfig,
)

from lcelib import kernels, models
from lcelib.checkpoints import reading as checkpoint
from lcelib.checkpoints import writing
from lcelib.editing import edit
from lcelib.errors import LceError
from lcelib.localization import locate
from lcelib.patches import reading
from lcelib.streaming import editing, localization, patching
from lcelib.streaming.localization import Localization
from lcelib.subnetworks import Subnetwork, parameters

SMALL = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 90}
BERTS = SMALL | {"num_hidden_layers": 3}
CONFIGS = {
    "bert": BertConfig(**BERTS),
    "roberta": RobertaConfig(**BERTS),
    "electra": ElectraConfig(**BERTS, embedding_size=16),
    "albert": AlbertConfig(**BERTS, embedding_size=16),
    "modernbert": ModernBertConfig(**BERTS, pad_token_id=0, bos_token_id=1, eos_token_id=2),
    "distilbert": DistilBertConfig(dim=32, n_heads=4, hidden_dim=48, n_layers=3, vocab_size=90),
    "gpt2": GPT2Config(n_embd=32, n_head=4, n_layer=3, vocab_size=90, n_positions=64),
    "gptneox": GPTNeoXConfig(**BERTS),
    "opt": OPTConfig(**SMALL, ffn_dim=48, num_hidden_layers=3, word_embed_proj_dim=32),
    "llama": LlamaConfig(**BERTS, num_key_value_heads=2),
}
CAUSAL = ("gpt2", "gptneox", "opt", "llama")


def random_model(kind, seed=0):
    torch.manual_seed(seed)
    made = AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    return made.from_config(CONFIGS[kind])


def pair_of_models(tmp_path, kind="bert", dtype=torch.float32, shards=None):
    """Two models of one architecture in folders a and b."""
    found = [random_model(kind, seed).to(dtype) for seed in (0, 1)]
    for name, model in zip("ab", found, strict=True):
        size = {"max_shard_size": shards} if shards else {}
        model.save_pretrained(tmp_path / name, **size)
    return found


def tensors(folder):
    """All tensors of a checkpoint, by an independent reader."""
    return {
        n: t for f in sorted(Path(folder).glob("*.safetensors")) for n, t in load_file(f).items()
    }


def as_bytes(tensor):
    return (
        (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy().tobytes()
    )


def same(first, second):
    return first.keys() == second.keys() and all(
        as_bytes(first[n]) == as_bytes(second[n]) for n in first
    )


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_rule_for_files_is_the_rule_for_models(kind, tmp_path):
    model = random_model(kind)
    model.save_pretrained(tmp_path)
    assert set(checkpoint.read(tmp_path).prunable()) == set(models.prunable(model))


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize(
    "how", [{"k": 0.01}, {"k": 17}, {"k": 1.0}, {"k": 0.05, "per_tensor": True}]
)
def test_value_based_localization_is_that_of_memory(kind, how, tmp_path, monkeypatch):
    target, reference = pair_of_models(tmp_path, kind)
    a, b = parameters(target), parameters(reference)
    # a file has its own order of tensors, which decides between equals alone
    names = checkpoint.read(tmp_path / "a").prunable()
    sizes = {n: a[n].size for n in names}
    k = how["k"] if isinstance(how["k"], int) else round(how["k"] * sum(sizes.values()))
    if how.get("per_tensor"):
        k = {n: int(0.05 * s) for n, s in sizes.items()}
    wanted = kernels.top_k_difference({n: a[n] for n in names}, b, k)
    for limit in (localization.IN_MEMORY, 0):  # held, and found again in a second pass
        monkeypatch.setattr(localization, "IN_MEMORY", limit)
        output = tmp_path / f"located-{limit}"
        found = localization.locate(tmp_path / "a", tmp_path / "b", Localization(**how), output)
        arrays, _ = reading.read(output)
        assert found.located == {n: len(p) for n, p in wanted.items()}
        assert all((arrays[n][0] == p).all() for n, p in wanted.items() if len(p))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shards", [None, "30KB"], ids=["whole", "shards"])
@pytest.mark.parametrize(("strategy", "alpha"), [("IP", 1), ("IP", 0.3), ("EP", -2), ("PR", 1)])
def test_a_written_checkpoint_differs_in_the_located_weights_alone(
    dtype, shards, strategy, alpha, tmp_path
):
    pair_of_models(tmp_path, "llama", dtype, shards)
    a, b, out = (tmp_path / n for n in ("a", "b", "out"))
    positions, patch = tmp_path / "located", tmp_path / "patch"
    localization.locate(a, b, Localization(k=200), positions)
    how = Localization(by="file", file=positions)
    found = editing.edit(a, b, how, strategy, alpha, out, patch)
    assert found.count == 200
    before, reference, after = tensors(a), tensors(b), tensors(out)
    expected = {n: t.clone() for n, t in before.items()}
    for name, (index, *_) in reading.read(positions)[0].items():
        flat, where = expected[name].view(-1), torch.from_numpy(index.astype(np.int64))
        old, new = flat[where].float(), reference[name].view(-1)[where].float()
        step = torch.tensor(float(alpha)) * (new - old)
        value = old + step if strategy in ("IP", "EP") else torch.zeros_like(old)
        flat[where] = (new if (strategy, alpha) == ("IP", 1) else value).to(dtype)
    assert same(after, expected)
    assert found.changed == sum(
        int(
            (before[n].view(torch.uint8) != after[n].view(torch.uint8))
            .view(-1, dtype.itemsize)
            .any(1)
            .sum()
        )
        for n in before
    )
    assert {p.name for p in out.iterdir()} == {p.name for p in a.iterdir()}
    AutoModelForCausalLM.from_pretrained(out)  # transformers reads it
    patching.apply(a, patch, tmp_path / "applied")
    assert same(tensors(tmp_path / "applied"), after)
    patching.apply(out, patch, tmp_path / "reverted", revert=True)
    assert same(tensors(tmp_path / "reverted"), before)


@pytest.mark.parametrize(("strategy", "alpha"), [("IP", 0.5), ("EP", 2), ("PR", 1), ("SW", 1)])
def test_mask_based_edits_of_pruned_checkpoints_are_those_of_subnetworks(strategy, alpha, tmp_path):
    """Two routes: Subnetwork → locate → edit → Patch, and pruned checkpoint files."""
    target, reference = pair_of_models(tmp_path, "distilbert")
    base = random_model("distilbert", 5)
    base.save_pretrained(tmp_path / "base")
    networks = []
    for model, name in ((target, "pruned a"), (reference, "pruned b")):
        theta, names = parameters(model), models.prunable(model)
        mask = kernels.prune_masks({n: theta[n] for n in names}, 3000)
        networks.append(Subnetwork(theta, mask, "θ0"))
        networks[-1].load_into(model)
        model.save_pretrained(tmp_path / name)
    patch = edit(*networks, locate(*networks, by="mask"), strategy, alpha, parameters(base))
    patch.apply(target)
    found = editing.edit(
        tmp_path / "pruned a", tmp_path / "pruned b", Localization(by="mask"), strategy, alpha,
        tmp_path / "out", base=tmp_path / "base",
    )  # fmt: skip
    assert found.count == patch.size
    after = tensors(tmp_path / "out")
    for name, parameter in target.named_parameters():
        if name in after:
            # −0 and 0 are one value: m ⊙ θ in a model's memory has no −0
            assert torch.equal(after[name], parameter.detach())


def test_one_shot_masks_of_dense_checkpoints(tmp_path):
    target, reference = pair_of_models(tmp_path, "gpt2")
    names = checkpoint.read(tmp_path / "a").prunable()
    masks = []
    for model in (target, reference):
        theta = parameters(model)
        k = round(0.1 * sum(theta[n].size for n in names))
        masks.append(kernels.prune_masks({n: theta[n] for n in names}, k))
    found = localization.locate(
        tmp_path / "a", tmp_path / "b", Localization(by="mask", sparsity=0.1)
    )
    assert found.located == kernels.xor_count(*masks)
    with pytest.raises(LceError, match="no pruned weights"):
        localization.locate(tmp_path / "a", tmp_path / "b", Localization(by="mask"))


def test_uninformed_positions_have_the_size_and_repeat(tmp_path):
    pair_of_models(tmp_path)
    a, b = tmp_path / "a", tmp_path / "b"
    files = [tmp_path / f"u{i}" for i in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        found = localization.locate(a, b, Localization(by="uninformed", k=500, seed=seed), file)
        assert found.count == 500
    assert files[0].read_bytes() == files[1].read_bytes()
    one, other = (reading.read(f)[0] for f in (files[0], files[2]))
    assert any(not np.array_equal(one[n][0], other.get(n, (None,))[0]) for n in one)


def test_tensors_are_chosen_by_pattern(tmp_path):
    pair_of_models(tmp_path, "llama")
    a, b = tmp_path / "a", tmp_path / "b"
    some = localization.locate(a, b, Localization(tensors=("*.mlp.*", "model.embed_tokens.weight")))
    assert {n.split(".")[-2] for n in some.sizes} == {
        "down_proj", "gate_proj", "up_proj", "embed_tokens"
    }  # fmt: skip
    everything = localization.locate(a, b, Localization(tensors=("*",)))
    assert set(everything.sizes) == set(tensors(a))
    with pytest.raises(LceError, match=r"matches nothing_like_this \("):
        localization.locate(a, b, Localization(tensors=("nothing_like_this",)))


@pytest.mark.faults(16)
def test_a_patch_is_refused_by_another_model_and_twice(tmp_path):
    pair_of_models(tmp_path)
    a, b, out, patch = (tmp_path / n for n in ("a", "b", "out", "patch"))
    editing.edit(a, b, Localization(k=50), "EP", 2, out, patch)
    for source, revert, says in (
        (b, False, r"are not what the patch expects"),
        (out, False, "already"),
        (a, True, "is the base of"),
    ):
        with pytest.raises(LceError, match=says):
            patching.apply(source, patch, tmp_path / "never", revert=revert)
    assert not (tmp_path / "never").exists()
    located = tmp_path / "located"
    localization.locate(a, b, Localization(k=50), located)
    with pytest.raises(LceError, match="positions without values"):
        patching.apply(a, located, tmp_path / "never")


def break_shard(folder, kind):
    """Damage a sharded checkpoint; returns what the refusal must say."""
    shards = sorted(folder.glob("*.safetensors"))
    name = "model.layers.1.self_attn.q_proj.weight"
    shard = next(s for s in shards if name in load_file(s))
    one = load_file(shard)
    if kind == "truncated":
        shard.write_bytes(shard.read_bytes()[:-100])
        return f"{shard.name}: cannot be read .*incomplete metadata"
    if kind == "truncated header":
        shard.write_bytes(shard.read_bytes()[:50])
        return f"{shard.name}: cannot be read"
    if kind == "missing":
        shard.unlink()
        return f"{shard.name}: is missing"
    if kind == "shape":
        one[name] = one[name][:-1].contiguous()
    elif kind == "dtype":
        one[name] = one[name].half()
    elif kind == "name":
        one[name.replace("q_proj", "x_proj")] = one.pop(name)
    elif kind == "nan":
        one[name][3, 4] = float("nan")
    save_file(one, shard)
    return {
        "shape": rf"b: {name} has shape \(31, 32\)",
        "dtype": f"b: {name} has dtype F16, in .*a F32",
        "name": f"{shard.name}: does not hold what the index says: {name}",
        "nan": f"tensor {name}: 1 of 1024 weights are NaN or Inf in the reference",
    }[kind]


FAULTS = ["truncated", "truncated header", "missing", "shape", "dtype", "name", "nan"]


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize(
    "how", [Localization(), Localization(by="uninformed")], ids=["value", "any"]
)
def test_what_does_not_fit_is_refused_by_name_and_nothing_is_written(kind, how, tmp_path):
    pair_of_models(tmp_path, "llama", shards="20KB")
    says = break_shard(tmp_path / "b", kind)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(LceError, match=says) as caught:
        editing.edit(tmp_path / "a", tmp_path / "b", how, "IP", 1, tmp_path / "out")
    assert len(str(caught.value).splitlines()) <= 3
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.faults(11)
def test_models_with_other_tokenizers_are_refused(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        shutil.copytree(models.TOYBERT, folder)
    file = folders[1] / "tokenizer.json"
    content = json.loads(file.read_text())
    vocab = content["model"]["vocab"]
    vocab["she"], vocab["he"] = vocab["he"], vocab["she"]
    file.write_text(json.dumps(content))
    localization.locate(folders[0], folders[0], Localization("value", k=5))
    with pytest.raises(LceError, match=r"2 tokens have another id .* 'he' has"):
        localization.locate(*folders, Localization("value", k=5))


@pytest.mark.faults(12)
def test_models_of_other_architecture_are_refused(tmp_path):
    pair_of_models(tmp_path, "llama")
    random_model("bert").save_pretrained(tmp_path / "c")
    with pytest.raises(LceError, match=r"tensor names differ from .*a: bert\.encoder"):
        localization.locate(tmp_path / "a", tmp_path / "c", Localization())


@pytest.mark.faults(6)
@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"weight_map": {"w": "../x"}}', "outside the folder"),
    ],
)
def test_an_index_that_is_broken_or_points_elsewhere_is_refused(index, says, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(LceError, match=says):
        checkpoint.read(tmp_path)


def test_an_existing_folder_is_not_touched(tmp_path):
    pair_of_models(tmp_path)
    with pytest.raises(LceError, match="exists already"):
        editing.edit(tmp_path / "a", tmp_path / "b", Localization(), "IP", 1, tmp_path / "a")


def big_pair(tmp_path, megabytes, shards=2):
    """Two checkpoints of random float32 matrices in shards; written tensor by tensor."""
    rng = np.random.default_rng(0)
    rows = megabytes * 250 // (8 * shards)
    for name in "ab":
        folder, weight_map = tmp_path / name, {}
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        for shard in range(shards):
            made = {
                f"model.layers.{8 * shard + i}.mlp.up_proj.weight": torch.from_numpy(
                    rng.standard_normal((rows, 1000), dtype=np.float32)
                )
                for i in range(8)
            }
            file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
            save_file(made, folder / file)
            weight_map |= dict.fromkeys(made, file)
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return tmp_path / "a", tmp_path / "b"


EDIT = "import sys; from lcelib.cli import main; sys.argv = ['lce', *sys.argv[1:]]; main()"


def start_edit(a, b, out, *more, **settings):
    command = [sys.executable, "-c", EDIT, "edit", str(a), str(b), "--output", str(out), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("k", ["0.005", "0.2"])
def test_memory_does_not_grow_with_the_checkpoint(k, tmp_path):
    """A pair of 2 × 400 MB is edited in less than 256 MiB of private memory."""
    a, b = big_pair(tmp_path, 400)
    process, peak = start_edit(a, b, tmp_path / "out", "--k", k), 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        peak = max([peak, *(int(x.split()[1]) for x in status.splitlines() if "RssAnon" in x)])
        time.sleep(0.005)
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert f"{round(float(k) * 1e8):,} located" in out
    assert 10 << 10 < peak < 256 << 10, f"{peak / 1024:.0f} MiB"


@pytest.mark.posix
@pytest.mark.faults(5)
def test_a_full_disk_is_refused_before_and_named_in_the_middle(tmp_path, monkeypatch):
    a, b = big_pair(tmp_path, 8)
    with monkeypatch.context() as patch:
        usage = writing.shutil.disk_usage(tmp_path)._replace(free=1000)
        patch.setattr(writing.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(LceError, match=r"needs 8\.0 MB, the disk has 0\.0 MB free"):
            editing.edit(a, b, Localization(), "IP", 1, tmp_path / "out")
    import resource

    limit = (resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    process = start_edit(a, b, tmp_path / "out", preexec_fn=lambda: resource.setrlimit(*limit))
    _, error = process.communicate()
    assert process.returncode == 3
    assert "out: cannot be written ([Errno 27] File too large" in error
    assert "Nothing was kept." in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("place", [1000, 4_000_100, 7_999_999])
def test_a_bit_that_the_disk_turned_is_noticed_before_the_folder_gets_its_name(
    place, tmp_path, monkeypatch
):
    """What is read again differs in one bit, in edited and in untouched parts, of either shard."""
    a, b = big_pair(tmp_path, 8)
    before, read, at = tensors(a), writing.read_at, place % 4_000_000

    def turned(file, buffer, start):
        read(file, buffer, start)
        shard, stop = Path(file.name).name, start + len(buffer)
        if shard.startswith(f"model-0000{1 + place // 4_000_000}") and start <= at < stop:
            buffer[at - start] ^= 4

    monkeypatch.setattr(writing, "read_at", turned)
    with pytest.raises(LceError, match="were changed, not"):
        editing.edit(a, b, Localization(k=0.001), "IP", 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert same(tensors(a), before)
    monkeypatch.undo()
    editing.edit(a, b, Localization(k=0.001), "IP", 1, tmp_path / "out")


@pytest.mark.posix
@pytest.mark.faults(5)
def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        a, b = big_pair(tmp_path, 8)
        usage = writing.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: usage)  # filled meanwhile
        with pytest.raises(LceError, match="No space left on device"):
            editing.edit(a, b, Localization(), "IP", 1, place / "out")
        with pytest.raises(LceError, match="No space left on device"):
            editing.edit(a, b, Localization(k=1.0), "IP", 1, None, place / "patch")
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.faults(2)
def test_a_killed_edit_leaves_no_output_and_the_next_one_cleans_up(tmp_path):
    a, b = big_pair(tmp_path, 100)
    out, killed = tmp_path / "out", 0
    for _ in range(6):
        process = start_edit(a, b, out)
        while process.poll() is None and not list(tmp_path.glob(".tmp-*/*.safetensors")):
            time.sleep(0.002)
        time.sleep(0.01 * killed)
        process.kill()
        process.communicate()
        if out.exists():
            break
        killed += 1
    assert killed
    if not out.exists():
        assert start_edit(a, b, out).wait() == 0
    assert not list(tmp_path.glob(".tmp-*"))
    editing.edit(a, b, Localization(), "IP", 1, tmp_path / "undisturbed")
    assert not checkpoint.differing(checkpoint.read(out), checkpoint.read(tmp_path / "undisturbed"))


def test_the_commands_print_what_was_found_and_refuse_in_three_lines(tmp_path):
    pair_of_models(tmp_path)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    done = lce("locate", a, b, "--k", "0.01")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("18 matrices with 21,504 weights, 215 located (1.000%)")
    assert "attention.output.dense" in done.stdout
    out = str(tmp_path / "out")
    done = lce("edit", a, b, "--k", "30", "--output", out, "--json")
    report = json.loads(done.stdout)
    assert (report["located"], report["changed"], report["weights"]) == (30, 30, 21504)
    for arguments, says in (
        (["locate", a, b, "--k", "0"], ""),
        (["locate", a, b, "--k", "x"], "k=x: is not a number"),
        (["locate", a, b, "--k", "99999999"], "more than the 21504 weights"),
        (["edit", a, b, "--output", out], "exists already"),
        (["edit", a, b, "--alpha", "2", "--output", out], "Use EP to extrapolate"),
        (["edit", a, b, "--strategy", "SW", "--output", out], "--by mask"),
        (["locate", a, str(tmp_path)], "holds neither model.safetensors nor"),
    ):
        done = lce(*arguments)
        assert done.returncode == (2 if says else 0), done.stderr
        assert says in done.stderr
        assert len(done.stderr.splitlines()) <= 3
