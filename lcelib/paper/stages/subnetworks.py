"""Train the subnetworks of one condition."""

import os
import shutil

from torch import nn

from lcelib import subnetworks as sn
from lcelib.batches import encode
from lcelib.corpus.specification import read_spec
from lcelib.models import load
from lcelib.paper.inputs import mask_rates, read_corpus
from lcelib.run.paths import Run, use_threads
from lcelib.run.profiles import Profile
from lcelib.training import Recipe, fine_tune


def run(settings: Profile, seed: int, condition: str) -> None:
    """Prune one condition's model by iterative magnitude pruning; resume an interrupted job."""
    use_threads(settings)
    run, lm, spec = Run(settings), load(settings.model), read_spec(settings.bias_spec)
    rates = mask_rates(settings, spec, condition)
    text = encode(lm.tokenizer, read_corpus(run).training(condition), *rates)
    scratch = run.scratch(f"subnetworks-seed{seed}-{condition}", [run.corpus])
    paths = run.subnetworks(seed, condition)
    rounds = [scratch / p.name for p in paths]

    def train(model: nn.Module, mask: sn.Arrays, number: int) -> None:
        state = scratch / f"round{number}.checkpoint"
        fine_tune(model, lm.tokenizer, text, Recipe.of(settings), seed, mask, state)

    def done(number: int) -> sn.Subnetwork | None:
        return sn.load(rounds[number]) if rounds[number].exists() else None

    found = sn.iterative_magnitude_pruning(
        lm.model, sn.theta_hash(lm.model), list(settings.sparsities), train, done
    )
    for path, network in zip(rounds, found, strict=True):
        if not path.exists():
            network.save(path)
    for path, final in zip(rounds, paths, strict=True):
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, final)
    shutil.rmtree(scratch)
