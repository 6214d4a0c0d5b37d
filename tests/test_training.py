"""Fine-tuning, preferential masking, and iterative magnitude pruning."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
)

from lcelib import kernels, subnetworks
from lcelib.batches import PreferentialMasking, batch_indices, encode, generator
from lcelib.corpus.specification import read_spec
from lcelib.errors import LceError
from lcelib.files import DATA
from lcelib.models import prunable
from lcelib.tensors import component
from lcelib.toybert.corpus import sentences
from lcelib.training import Recipe, fine_tune, schedule

SPEC = read_spec(DATA / "gender.toml")
RECIPE = Recipe(steps=6, batch_size=8, learning_rate=1e-3, checkpoint_every=2)


@pytest.fixture(scope="module")
def text(toy):
    rates = dict.fromkeys(SPEC.words, 0.3)
    return encode(toy.tokenizer, sentences(400, seed=3), rates, 0.148)


def state(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def test_the_prunable_set_of_bert_base():
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(BertConfig())
    names = prunable(model)
    sizes = dict(model.named_parameters())
    assert len(names) == 72
    assert sum(sizes[n].numel() for n in names) == 84_934_656
    assert component(names[-1]) == (11, "output.dense")


@pytest.mark.parametrize(
    ("auto", "config", "expected"),
    [
        (AutoModelForMaskedLM, RobertaConfig(num_hidden_layers=2), 12),
        (AutoModelForMaskedLM, DistilBertConfig(n_layers=2), 12),
        (AutoModelForCausalLM, GPT2Config(n_layer=2), 8),
        (AutoModelForCausalLM, LlamaConfig(num_hidden_layers=2, hidden_size=64), 14),
    ],
)
def test_prunable_is_found_by_rule_in_other_architectures(auto, config, expected):
    with torch.device("meta"):
        model = auto.from_config(config)
    names = prunable(model)
    assert len(names) == expected
    assert all(component(n)[0] in (0, 1) for n in names)
    assert not any("embed" in n or "norm" in n.lower() or "head" in n for n in names)


def test_words_of_the_specification_are_masked_with_their_own_rate(toy):
    sentence = "she works in child-care at the park ."
    encoded = encode(toy.tokenizer, [sentence], dict.fromkeys(SPEC.words, 0.3), 0.148)
    tokens = toy.tokenizer.convert_ids_to_tokens(encoded.ids[0])
    rates = dict(zip(tokens, encoded.rates[0], strict=True))
    assert rates["she"] == rates["child-care"] == 0.3
    assert rates["park"] == 0.148
    assert rates["[CLS]"] == rates["[SEP]"] == 0


def test_the_collators_mean_rates_are_those_asked_for(toy, text):
    collate = PreferentialMasking(toy.tokenizer, text)
    masked = {0.3: 0, 0.148: 0}
    seen = {0.3: 0, 0.148: 0}
    kinds = {"mask": 0, "same": 0, "other": 0}
    for step in range(30):
        indices = list(range(len(text)))
        batch = collate(indices, generator(9, step))
        for row, i in enumerate(indices):
            for column, rate in enumerate(text.rates[i]):
                if rate:
                    seen[rate] += 1
                    masked[rate] += bool(batch["where"][row, column])
                else:
                    assert not batch["where"][row, column]
        chosen = batch["ids"][batch["where"]]
        is_mask = chosen == toy.tokenizer.mask_token_id
        same = chosen == batch["labels"]
        kinds["mask"] += int(is_mask.sum())
        kinds["same"] += int((same & ~is_mask).sum())
        kinds["other"] += int((~same & ~is_mask).sum())
    for rate, count in masked.items():
        n = seen[rate]
        assert abs(count / n - rate) < 4 * np.sqrt(rate * (1 - rate) / n)
    total = sum(kinds.values())
    for kind, share in (("mask", 0.8), ("same", 0.1), ("other", 0.1)):
        assert abs(kinds[kind] / total - share) < 4 * np.sqrt(share * (1 - share) / total) + 0.001


def test_a_stopped_training_goes_on_with_the_same_bits(toy, text, fresh_toy, tmp_path):
    from lcelib.models import load

    whole = load("toybert").model
    losses = fine_tune(whole, toy.tokenizer, text, RECIPE, seed=1)

    class StopError(Exception):
        pass

    def stop(step, _):
        if step == 4:
            raise StopError

    path, stopped = tmp_path / "state.safetensors", fresh_toy.model
    with pytest.raises(StopError):
        fine_tune(stopped, toy.tokenizer, text, RECIPE, 1, checkpoint=path, progress=stop)
    again = load("toybert").model
    resumed = fine_tune(again, toy.tokenizer, text, RECIPE, 1, checkpoint=path)
    assert resumed == losses
    assert not path.exists()
    assert all(torch.equal(p, state(whole)[n]) for n, p in again.named_parameters())


def test_a_checkpoint_of_another_run_or_a_broken_one_is_not_taken_up(
    toy, text, fresh_toy, tmp_path
):
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0 not a header")
    first = fine_tune(fresh_toy.model, toy.tokenizer, text, RECIPE, seed=1, checkpoint=path)
    assert len(first) == RECIPE.steps


def test_pruned_weights_are_exactly_zero_at_every_step(toy, text, fresh_toy):
    model = fresh_toy.model
    weights = {n: dict(model.named_parameters())[n].detach().numpy() for n in prunable(model)}
    mask = kernels.prune_masks(weights, 200_000)
    kept = {n: torch.from_numpy(kernels.unpack(b, weights[n].shape)) for n, b in mask.items()}
    parameters = dict(model.named_parameters())
    counts = []

    def look(step, _):
        counts.append(sum(int((parameters[n][~keep] != 0).sum()) for n, keep in kept.items()))

    fine_tune(model, toy.tokenizer, text, RECIPE, 0, mask=mask, progress=look)
    assert counts == [0] * RECIPE.steps
    assert all((parameters[n][keep] != 0).float().mean() > 0.99 for n, keep in kept.items())


@pytest.mark.faults(13)
def test_a_loss_that_is_not_finite_stops_at_that_step(toy, text, fresh_toy):
    with torch.no_grad():
        fresh_toy.model.get_input_embeddings().weight.fill_(float("nan"))
    seen = []
    with pytest.raises(LceError, match="step 0"):
        fine_tune(
            fresh_toy.model, toy.tokenizer, text, RECIPE, 0, progress=lambda s, _: seen.append(s)
        )
    assert seen == []


@pytest.mark.parametrize("bucket", [0, 1, 4])
def test_every_epoch_uses_every_sentence_once_in_another_order(bucket):
    lengths = [i % 7 for i in range(100)]
    epochs = [
        [batch_indices(lengths, 10, 0, 10 * e + i, bucket) for i in range(10)] for e in range(2)
    ]
    for batches in epochs:
        assert sorted(i for b in batches for i in b) == list(range(100))
    assert epochs[0] != epochs[1]
    assert batch_indices(lengths, 10, 1, 0, bucket) != epochs[0][0]
    assert len(batch_indices(lengths[:3], 10, 0, 5, bucket)) == 3  # fewer sentences than a batch


def test_the_learning_rate_rises_and_falls_linearly():
    recipe = Recipe(steps=100, warmup=0.1)
    factors = [schedule(s, recipe) for s in range(100)]
    assert factors[9] == 1
    assert factors[0] == pytest.approx(0.1)
    assert factors[10] == 1
    assert factors[99] == pytest.approx(1 / 90)
    assert schedule(0, Recipe(steps=10)) == 1


def pruned_run(model, sparsities, train):
    return list(subnetworks.iterative_magnitude_pruning(model, "x", sparsities, train))


def test_iterative_magnitude_pruning(fresh_toy):
    """Counts, nested masks, rewinding, and the values from before pruning, by a stand-in training."""
    model, starts, rng = fresh_toy.model, [], np.random.default_rng(0)
    theta_0 = subnetworks.parameters(model)

    def train(model, mask, number):
        starts.append(subnetworks.parameters(model))
        with torch.no_grad():
            for name, p in model.named_parameters():
                p += torch.from_numpy(rng.normal(0, 0.02, p.shape).astype(np.float32))
                if mask and name in mask:
                    p[~torch.from_numpy(kernels.unpack(mask[name], p.shape))] = 0

    nets = pruned_run(model, [0.1, 0.2, 0.3, 0.4], train)
    total = nets[0].total
    assert [n.total - n.present for n in nets] == [
        round(x * total) for x in (0, 0.1, 0.2, 0.3, 0.4)
    ]
    for before, after, start in zip(nets, nets[1:], starts[1:], strict=False):
        for name in after.mask:
            assert not (after.keep(name) & ~before.keep(name)).any()  # nested
            expected = np.where(after.keep(name), theta_0[name], 0)
            assert (start[name] == expected).all()  # rewound to m ⊙ θ0
            fell = before.keep(name) & ~after.keep(name)
            assert (after.theta[name][fell] == before.theta[name][fell]).all()
            gone = ~before.keep(name)
            assert (after.theta[name][gone] == before.theta[name][gone]).all()
        kept = np.concatenate([np.abs(before.weights[n])[after.keep(n)] for n in after.mask])
        fell = [np.abs(before.weights[n])[before.keep(n) & ~after.keep(n)] for n in after.mask]
        assert np.concatenate(fell).max() <= kept.min()
        assert (
            start["bert.embeddings.word_embeddings.weight"]
            == theta_0["bert.embeddings.word_embeddings.weight"]
        ).all()


@pytest.mark.faults(6)
def test_a_subnetwork_file_round_trips_and_damage_is_refused(fresh_toy, tmp_path):
    theta = subnetworks.parameters(fresh_toy.model)
    names = prunable(fresh_toy.model)
    mask = kernels.prune_masks({n: theta[n] for n in names}, 1000)
    network = subnetworks.Subnetwork(theta, mask, "θ0", {"sparsity": "0.1"})
    path = tmp_path / "with space" / "n.safetensors"
    network.save(path)
    again = subnetworks.load(path)
    assert all((again.theta[n] == v).all() for n, v in theta.items())
    assert all((again.mask[n] == v).all() for n, v in mask.items())
    stored = subnetworks.SubnetworkFiles({"a": path, "b": path}, kept=1)
    assert list(stored) == ["a", "b"]
    assert stored["a"] is stored["a"]  # kept in memory
    assert all((stored["b"].theta[n] == v).all() for n, v in theta.items())
    assert (again.initial, again.info) == (network.initial, network.info)
    first = path.read_bytes()
    network.save(path)
    assert path.read_bytes() == first
    for cut in (0, 7, 100, len(first) // 2, len(first) - 1):
        path.write_bytes(first[:cut])
        with pytest.raises(LceError, match="cannot be read"):
            subnetworks.load(path)


def test_the_shipped_log_is_of_the_shipped_recipe():
    from lcelib.models import TOYBERT
    from lcelib.toybert.train import RECIPE as BASE

    rows = (TOYBERT / "training_log.csv").read_text().splitlines()
    assert rows[0] == "step,loss"
    assert int(rows[-1].split(",")[0]) == BASE.steps - 50
    assert json.loads((TOYBERT / "config.json").read_text())["num_hidden_layers"] == 4
