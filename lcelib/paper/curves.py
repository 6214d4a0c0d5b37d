"""The data of the page of `make app`: its choices, their edits, and their scores along α."""

import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from itertools import product

import pandas as pd

from lcelib import subnetworks as sn
from lcelib.editing import edit
from lcelib.files import cached_json
from lcelib.localization import Located
from lcelib.models import load
from lcelib.paper.edits import MASK, UNINFORMED, VALUE_AS_MASK, Where, main_value
from lcelib.paper.experiments import Bench, find
from lcelib.paper.stages.measure import suite
from lcelib.patches.patch import Patch
from lcelib.run.paths import Run
from lcelib.run.profiles import Profile
from lcelib.subnetworks import Subnetwork

DIRECTIONS = {
    "stereotypical → anti-stereotypical": ("stereotypical", "anti"),
    "anti-stereotypical → stereotypical": ("anti", "stereotypical"),
    "neutral → stereotypical (α < 0: away from it)": ("neutral", "stereotypical"),
}

PARTS: dict[str, Callable[[int, str], bool]] = {
    "all": lambda layer, part: True,
    "attention": lambda layer, part: "attention" in part,
    "feed-forward": lambda layer, part: "attention" not in part,
}
ALPHAS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)

SHOWN = ("weat_d", "stereoset_ss", "crows", "perplexity")


def localizations(settings: Profile) -> dict[str, Where]:
    """Return the localizations that a reader chooses from, by their label on the page."""
    k = f"{settings.k:.0%}".replace("%", " %")
    return {
        "by mask": MASK,
        f"by value, {k}": main_value(settings),
        "by value, as many as by mask": VALUE_AS_MASK,
        "uninformed: random, as many as by mask": UNINFORMED,
    }


class Edits:
    """The edits of one seed: located weights and patches, each computed once."""

    def __init__(
        self, networks: Mapping[tuple[str, float], Subnetwork], settings: Profile, seed: int
    ) -> None:
        self.networks, self.settings, self.seed = networks, settings, seed
        self.located = lru_cache(self._located)
        self.patch = lru_cache(self._patch)

    def pair(self, direction: str) -> tuple[Subnetwork, Subnetwork]:
        """Return target and reference of a direction."""
        target, reference = DIRECTIONS[direction]
        at = self.settings.measured_sparsity
        return self.networks[target, at], self.networks[reference, at]

    def _located(self, direction: str, where: Where, part: str) -> Located:
        found = find(where, *self.pair(direction), self.settings.k, self.seed, "EP")
        return found.restrict(PARTS[part])

    def _patch(self, direction: str, where: Where, part: str) -> Patch:
        return edit(*self.pair(direction), self.located(direction, where, part), "EP", 2.0)


def curves(run: Run, seed: int) -> pd.DataFrame:
    """Measure every choice of the page along α, on the models of one seed.

    Columns: direction, localization, components, alpha, measure, value, n, variant.
    Resumes from what an interrupted call has finished.
    """
    settings, lm = run.settings, load(run.settings.model)
    rows: list[tuple] = []
    sparsities = enumerate((0.0, *settings.sparsities))
    paths = {(c, s): run.subnetwork(seed, c, i) for i, s in sparsities for c in settings.conditions}
    networks = sn.SubnetworkFiles(paths)
    scratch = run.scratch(f"app-seed{seed}", [run.corpus, *run.probes, *paths.values()])
    edits, where_names = Edits(networks, settings, seed), localizations(settings).values()
    for direction, (target, _) in DIRECTIONS.items():
        key = (target, settings.measured_sparsity)
        bench = Bench(networks, lm.model, suite(run, lm.tokenizer, target))
        for where, part, alpha in product(where_names, PARTS, ALPHAS):
            patch = edits.patch(direction, where, part).scale(alpha)
            measure = partial(_shown, bench, key, patch)
            for values in cached_json(scratch / f"{target}-{where}-{part}-{alpha:g}.json", measure):
                rows.append((direction, str(where), part, alpha, *values))
    shutil.rmtree(scratch)
    columns = "direction localization components alpha measure value n variant"
    return pd.DataFrame(rows, columns=columns.split())


def _shown(bench: Bench, key: tuple[str, float], patch: Patch) -> list[tuple]:
    scores = bench.edited(key, patch, brief=False) if patch.alpha else bench.scores(key)
    return [(m, scores[m].value, scores[m].n, scores[m].variant) for m in SHOWN]
