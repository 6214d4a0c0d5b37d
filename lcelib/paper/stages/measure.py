"""Measure the base model, the subnetworks of one condition, and every edit of them."""

import shutil

import torch
from transformers import PreTrainedTokenizerBase

from lcelib import subnetworks as sn
from lcelib.measures.registry import suite as all_of
from lcelib.measures.suite import Suite
from lcelib.models import load
from lcelib.paper.edits import OTHER_SEED
from lcelib.paper.experiments import measure_all, write_rows
from lcelib.paper.inputs import read_corpus
from lcelib.run.paths import Run, use_threads
from lcelib.run.profiles import ORIGINAL, Profile

PERPLEXITY_SENTENCES = 100  # approximately


def suite(run: Run, tokenizer: PreTrainedTokenizerBase, condition: str) -> Suite:
    """Return all measures of a run for one condition, with perplexity on its held-out text.

    StereoSet and CrowS-Pairs are the costly ones.
    """
    settings, held_out = run.settings, read_corpus(run).held_out(condition)
    if settings.grid == "pretrained":  # changes are paired: they need few
        held_out = held_out[:: max(len(held_out) // PERPLEXITY_SENTENCES, 1)]
    return all_of(run.probe, tokenizer, settings.bias_type, held_out)


def run(settings: Profile, seed: int, target: str) -> None:
    """Measure the base model, all subnetworks of one condition, and all edits of it."""
    use_threads(settings)
    run, lm = Run(settings), load(settings.model)
    lm.model.to("cuda" if torch.cuda.is_available() else "cpu")
    ready = suite(run, lm.tokenizer, "neutral" if target == ORIGINAL else target)
    sparsities = [0.0, *settings.sparsities]
    paths = {
        (condition, sparsity): run.subnetwork(seed, condition, i)
        for condition in settings.conditions
        for i, sparsity in enumerate(sparsities)
    }
    for condition in settings.conditions:
        at = sparsities.index(settings.measured_sparsity)
        path = run.subnetwork(settings.other_seed(seed), condition, at)
        paths[condition + OTHER_SEED, settings.measured_sparsity] = path
    networks = sn.SubnetworkFiles(paths)
    inputs = [run.corpus, *run.probes, *paths.values()]
    scratch = run.scratch(f"measure-seed{seed}-{target}", inputs)
    rows = list(measure_all(target, networks, lm.model, ready, settings, seed, scratch))
    write_rows(run.measured(seed, target), rows)
    shutil.rmtree(scratch)
