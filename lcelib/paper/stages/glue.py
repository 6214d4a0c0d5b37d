"""Measure language understanding after an edit (the paper's Table 2)."""

import shutil
from itertools import product
from pathlib import Path

import pandas as pd

from lcelib.editing import edit
from lcelib.files import cached_json, write_csv
from lcelib.measures import glue as tasks
from lcelib.models import load
from lcelib.paper.edits import MASK, Edit, main_value
from lcelib.paper.experiments import find
from lcelib.paper.grid import grid
from lcelib.run.paths import Run, use_threads
from lcelib.run.profiles import OPPOSITE, Profile
from lcelib.subnetworks import load as load_network
from lcelib.training import Recipe


def run(settings: Profile) -> None:
    """Fine-tune the base model and every edit of the stereotypical one on MNLI and STS-B.

    One seed, the measured sparsity. Resumes from what an interrupted run has finished.
    """
    use_threads(settings)
    run, seed, at = Run(settings), settings.seeds[0], settings.measured_sparsity
    number = 1 + settings.sparsities.index(at)
    paths = [run.subnetwork(seed, c, number) for c in OPPOSITE]
    scratch, rows = run.scratch("glue", paths), []
    cells = [cell for cell in grid("stereotypical", settings) if in_table_2(cell, settings)]
    for (number, cell), task in product(enumerate([None, *cells]), tasks.TASKS):
        scores = cached_json(
            scratch / f"{number}-{task}.json", lambda c=cell, t=task: _scores(settings, paths, c, t)
        )
        own = cell.columns() if cell else {}
        key = {f: own.get(f) for f in ("localization", "strategy", "alpha")}
        key |= {"sparsity": at, "seed": seed}
        rows += [key | {k: s[k] for k in ("measure", "value", "n", "variant")} for s in scores]
    write_csv(run.glue, pd.DataFrame(rows))
    shutil.rmtree(scratch)


def _scores(settings: Profile, paths: list[Path], cell: Edit | None, task: str) -> list[dict]:
    """Return the scores in one task of one edited model, or of the base model."""
    lm, seed = load(settings.model), settings.seeds[0]
    if cell is not None:
        first, second = map(load_network, paths)
        first.load_into(lm.model)
        alpha = 1.0 if cell.alpha is None else cell.alpha
        where = find(cell.where, first, second, settings.k, seed, cell.strategy)
        edit(first, second, where, cell.strategy, alpha).apply(lm.model)
    recipe = Recipe(settings.glue_steps, batch_size=32, learning_rate=2e-5, warmup=0.1)
    folder = None if settings.glue == "hub" else Path(settings.glue) / task
    found = tasks.evaluate(lm, task, recipe, seed, folder)
    return [{k: v for k, v in vars(score).items() if k != "items"} for score in found]


def in_table_2(cell: Edit, settings: Profile) -> bool:
    """Return whether the paper's Table 2 has an edit of the stereotypical model."""
    alphas = (0.5, 1.0, 2.0, -2.0, None)
    return (
        cell.sparsity == settings.measured_sparsity
        and cell.reference == "anti"
        and cell.where in (MASK, main_value(settings))
        and cell.strategy in ("IP", "EP", "PR", "SW")
        and cell.alpha in alphas
    )
