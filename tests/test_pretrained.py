"""The grid of a pretrained causal model, end to end on a tiny one, and what is said about it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_subnetwork, run_stages
from test_kinds import SIZES, byte_level_bpe
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import lcelib as lce
from lcelib.measures import CrowsPairs, Plan
from lcelib.models import load
from lcelib.paper import pretrained, pretrained_tables, release, stages
from lcelib.paper import results as paper_results
from lcelib.paper.claims import NOT, PART, SHOWS
from lcelib.paper.grid import CONTRAST, grid
from lcelib.patches.patch import Patch
from lcelib.run.paths import Run
from lcelib.run.profiles import OPPOSITE, profile
from lcelib.subnetworks import dense
from lcelib.subnetworks import load as load_network
from lcelib.toybert import probes

SIDES = {"pro": ("she", "he"), "anti": ("he", "she")}


def write_winobias(folder):
    """Twelve pairs a type and split, in the original's form."""
    folder.mkdir()
    for split in ("dev", "test"):
        for kind in (1, 2):
            for side, (first, second) in SIDES.items():
                lines = []
                for i in range(12):
                    job, pronoun = (("nurse", first), ("lawyer", second))[i % 2]
                    verb = ("saw", "met", "called")[i % 3]
                    lines.append(
                        f"{i + 1} [The {job}] {verb} the guest because [{pronoun}] had time {i}."
                    )
                name = f"{side}_stereotyped_type{kind}.txt.{split}"
                (folder / name).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Everything but the notebooks, on a model of two layers with random weights."""
    place = tmp_path_factory.mktemp("pretrained")
    base = byte_level_bpe(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, eos_token="<|endoftext|>")
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, intermediate_size=48, vocab_size=len(tokenizer))
    AutoModelForCausalLM.from_config(config).save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    write_winobias(place / "winobias")
    probes.write(place / "probes")
    neutral = [f"The bridge over river {i} is made of stone." for i in range(1500)]
    (place / "neutral.txt").write_text("\n".join(neutral))
    patch = pytest.MonkeyPatch()
    patch.setenv("LCE_RESULTS", str(place / "results"))
    given = {
        "model": place / "model", "texts": f"english,{place / 'neutral.txt'}", "max_pairs": 100,
        "pairs": place / "winobias", "winobias": place / "winobias",
        "stereoset": place / "probes/stereoset.json", "crows": place / "probes/crows.csv",
        "agreement": place / "probes/agreement.csv", "steps": 12, "checkpoint_every": 0,
        "learning_rate": "0.003",
    }  # fmt: skip
    settings = profile("smollm2", {k: str(v) for k, v in given.items()})
    run_stages(settings)
    stages.find("claims")(settings)
    stages.find("figures")(settings)
    yield Run(settings)
    patch.undo()


def test_every_cell_is_measured_once_for_every_seed(run):
    table, settings = paper_results.table(run), run.settings
    keys = [
        "seed",
        "target",
        "reference",
        "localization",
        "strategy",
        "alpha",
        "sparsity",
        "measure",
    ]
    assert not table.duplicated(keys).any()
    for target in settings.targets:
        own = table[(table.target == target) & (table.measure == "winobias_margin")]
        edits = own[own.k.notna()]
        assert len(edits) == len(grid(target, settings)) * len(settings.seeds)
        full = table[(table.target == target) & table.k.notna() & (table.measure == "crows")]
        wanted = sum(not e.brief for e in grid(target, settings))
        assert len(full) == wanted * len(settings.seeds)


def test_a_row_of_the_original_model_is_what_a_plain_calculation_gives(run):
    """α (w_A − w_S) at the mask difference, added by hand; value and standard error over pairs."""
    settings, at = run.settings, run.settings.measured_sparsity
    lm, nets = load(settings.model), {}
    for condition in OPPOSITE:
        nets[condition] = load_network(run.subnetwork(0, condition, 1))
    pairs = json.loads(run.probe["winobias"].read_text())
    test = CrowsPairs(pairs, lm.tokenizer, name="winobias")
    plan = Plan(test.queries, lm.tokenizer)
    before = -np.diff(test.pair_scores(plan(lm.model)))[:, 0]
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if name in nets["anti"].mask:
                differ = nets["anti"].keep(name) != nets["stereotypical"].keep(name)
                step = nets["anti"].weights[name] - nets["stereotypical"].weights[name]
                parameter += 2 * torch.from_numpy(differ * step)
    after = -np.diff(test.pair_scores(plan(lm.model)))[:, 0]
    table = paper_results.table(run)
    row = table[
        (table.seed == 0) & (table.target == "original") & (table.reference == CONTRAST)
        & (table.localization == "mask") & (table.alpha == 2) & (table.sparsity == at)
        & (table.measure == "winobias_margin")
    ].iloc[0]  # fmt: skip
    assert row.value == pytest.approx(after.mean(), abs=1e-5)
    assert row.target_value == pytest.approx(before.mean(), abs=1e-5)
    change = after - before
    assert row.item_se == pytest.approx(change.std(ddof=1) / len(change) ** 0.5, abs=1e-6)
    assert row.item_se > 0


def test_the_released_patch_is_the_rules_choice_and_its_table_what_it_does(run, monkeypatch):
    """With a random model the rule's conditions are noise, so plain ones take their place."""
    settings, lm = run.settings, load(run.settings.model)
    for contrast in settings.contrasts:
        stages.find("candidates")(settings, contrast)
    monkeypatch.setattr(release, "admissible", lambda table: table["alpha"] > 100)
    stages.find("release")(settings)
    assert len(pd.read_csv(run.patch_table)) == 0
    assert not run.patch.exists()
    monkeypatch.setattr(release, "admissible", lambda table: table["alpha"] == 2)
    stages.find("release")(settings)
    patch, table = Patch.load(run.patch), pd.read_csv(run.patch_table)
    mean = pd.read_csv(run.candidates("mean")).dropna()
    fewest = mean[mean["alpha"] == 2].sort_values("weights").iloc[0]
    assert (patch.size, patch.info["method"]["by"]) == (fewest.weights, fewest.localization)
    models = {
        c: [load_network(run.subnetwork(s, c, 0)).theta for s in settings.seeds] for c in OPPOSITE
    }
    base = dense(lm.model).theta
    for name, change in patch.changes.items():
        anti, stereo = (sum(t[name] for t in models[c]) / 2 for c in ("anti", "stereotypical"))
        moved = base[name] + 2 * (anti - stereo)
        assert np.allclose(change.new, moved.reshape(-1)[change.index], atol=1e-6)
        rest = np.delete(np.abs(anti - stereo).reshape(-1), change.index)
        assert rest.max() <= np.abs(anti - stereo).reshape(-1)[change.index].min() + 1e-7
    pairs = json.loads(run.probe["winobias"].read_text())
    test = CrowsPairs(pairs, lm.tokenizer, name="winobias")
    plan = Plan(test.queries, lm.tokenizer)
    assert patch.verify(lm.model, lm.tokenizer) == "base"
    with patch.applied(lm.model):
        after = test.score(plan(lm.model))[1].value
    row = table[(table.edit == "A - S, mean") & (table.measure == "winobias_margin")].iloc[0]
    assert row.after == pytest.approx(after, abs=1e-6)
    said = {m["measure"]: m for m in patch.info["measures"]}["winobias_margin"]
    assert (said["after"], said["n"]) == (pytest.approx(after, abs=1e-6), len(pairs))
    text = run.card.read_text()
    assert f"{patch.size:,} weights" in text
    assert patch.info["digest"] in text


def candidates(contrast, *rows):
    """A table of candidates, the base's row first; rows: name, α, weights, margin, language, agreement."""
    columns = [
        "localization", "alpha", "weights", "held_out_margin", "perplexity", "agreement",
    ]  # fmt: skip
    table = pd.DataFrame([("", 0.0, 0, 0.4, 100.0, 98.0), *rows], columns=columns)
    return table.assign(contrast=contrast)


def test_the_rule_takes_the_fewest_weights_near_the_best_that_every_contrast_admits():
    few, more = ("value 0.001", 4.0, 10, 0.21, 100.5, 97.5), ("value 0.002", 1.0, 20, -0.2, 100, 98)
    better, tiny = ("mask", 1.0, 9, 0.0, 102.0, 98), ("value 0.0005", 1.0, 5, 0.23, 100, 98)
    both = [candidates(c, few, more, better, tiny) for c in ("0", "mean")]
    assert release.choose(pd.concat(both)) == ("value 0.001", 4.0, True)
    broken = candidates("0", (*few[:5], 96.5), more, better, tiny)  # agreement falls by more
    assert release.choose(pd.concat([broken, both[1]])) == ("value 0.002", 1.0, True)
    none = candidates("0", better)
    assert release.choose(pd.concat([none, both[1]])) == ("value 0.001", 4.0, False)
    assert release.choose(pd.concat([none, candidates("mean", better)])) is None
    worse = candidates("mean", ("mask", 1.0, 9, -0.5, 100, 98))
    assert release.choose(worse) is None


def test_every_claim_has_a_verdict_and_every_figure_is_drawn(run):
    ledger = json.loads(run.claims.read_text())
    assert [c["id"] for c in ledger] == list(range(1, 12))
    assert {c["verdict"] for c in ledger} <= {SHOWS, PART, NOT}
    names = {p.stem for p in run.figures.iterdir()}
    assert names == {"alpha", "original", "separation", "manifest"}


def test_the_summary_has_the_tables_numbers(run):
    table = paper_results.table(run)
    located = pd.read_csv(run.folder / "located.csv")
    text = " ".join(pretrained.sentences(table, located, run.settings))
    edits = pretrained_tables.edits(table, run.settings)
    main = edits[
        (edits.target == "stereotypical") & (edits.localization == "mask") & (edits.alpha == 2)
    ]
    closed = main[main.reference == "anti"].closed.iloc[0]
    assert f"{closed:.0f} % (α = 2)" in text
    assert len(pretrained_tables.originals(table, run.settings)) == 1 + len(
        grid("original", run.settings)
    )


def test_transfer_is_ep_where_the_base_is_the_start_and_touches_nothing_else():
    rng = np.random.default_rng(0)
    base, start, end = (random_subnetwork(rng) for _ in range(3))
    located = lce.locate(start, end, by="mask")
    for alpha in (2.0, -1.0):
        ours = lce.transfer(start, start, end, located, alpha)
        known = lce.edit(start, end, located, "EP", alpha)
        for name, change in ours.changes.items():
            np.testing.assert_allclose(
                change.at(alpha), known.changes[name].at(alpha), rtol=1e-6, atol=1e-7
            )
    patch = lce.transfer(base, start, end, located, 0.5)
    for name, change in patch.changes.items():
        step = (end.weights[name] - start.weights[name]).ravel()[change.index]
        expected = base.weights[name].ravel()[change.index] + np.float32(0.5) * step
        np.testing.assert_allclose(change.at(0.5), expected, rtol=1e-6, atol=1e-7)
        assert np.array_equal(change.index, located.positions[name])


def test_a_dense_model_is_its_own_start(toy):
    network = dense(toy.model)
    assert network.sparsity == 0
    assert network.initial == dense(toy.model).initial


def test_the_ends_of_a_difference():
    cells = grid("original", profile("smollm2"))
    assert cells[0].ends == ("stereotypical", "anti")
    away = next(c for c in cells if c.alpha < 0)
    assert away.ends == ("original", "stereotypical")
