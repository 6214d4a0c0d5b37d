"""Measuring the grid of edits: the rows of the results table."""

import csv
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from lcelib.editing import edit, transfer
from lcelib.files import atomic, cached_json
from lcelib.localization import Located, locate
from lcelib.measures import Score
from lcelib.paper.edits import Edit, Where
from lcelib.paper.grid import grid
from lcelib.patches.patch import Patch
from lcelib.run.profiles import OPPOSITE, ORIGINAL, Profile
from lcelib.subnetworks import Subnetwork, dense

COLUMNS = [
    "profile",
    "seed",
    "target",
    "reference",
    "localization",
    "strategy",
    "alpha",
    "k",
    "k_share",
    "sparsity",
    "measure",
    "variant",
    "n",
    "value",
    "target_value",
    "reference_value",
    "perplexity_delta",
    "item_se",
]


def find(
    where: Where,
    target: Subnetwork,
    reference: Subnetwork,
    main_k: float,
    seed: int,
    strategy: str = "IP",
) -> Located:
    """Locate the weights of an edit; `main_k` is the share that "=value" stands for."""
    if where.by == "mask" or where.k is not None:
        return locate(target, reference, by=where.by, k=where.k)
    by_mask = where.as_many_as == "mask"
    like = locate(
        target, reference, by="mask" if by_mask else "value", k=None if by_mask else main_k
    )
    if where.by == "value":
        return locate(target, reference, by="value", k=like.size)
    drawn = {"like": like, "seed": seed, "strategy": strategy, "match": where.matched}
    return locate(target, reference, by="uninformed", **drawn)


class Bench:
    """One model that networks and patches are put into to be measured, each network once."""

    def __init__(self, networks: Mapping[tuple[str, float], Subnetwork], model, suite):
        self.networks, self.model, self.suite = networks, model, suite
        self._known: dict[tuple, dict[str, Score]] = {}
        self._loaded = None

    def load(self, key: tuple[str, float]) -> Subnetwork:
        """Put a network into the model."""
        if self._loaded != key:
            self.networks[key].load_into(self.model)
            self._loaded = key
        return self.networks[key]

    def scores(self, key: tuple[str, float], brief: bool = False) -> dict[str, Score]:
        """All scores of a network by measure, or all but the costly ones."""
        if (known := self._known.get((key, False))) is not None:
            return known
        if (key, brief) not in self._known:
            self.load(key)
            self._known[key, brief] = {s.measure: s for s in self.suite(self.model, brief)}
        return self._known[key, brief]

    def edited(self, key: tuple[str, float], patch: Patch, brief: bool) -> dict[str, Score]:
        """The scores of a network with a patch."""
        self.load(key)
        with patch.applied(self.model):
            return {s.measure: s for s in self.suite(self.model, brief)}


def measure_all(
    target: str,
    networks: Mapping[tuple[str, float], Subnetwork],
    model,
    suite,
    settings: Profile,
    seed: int,
    folder: Path,
) -> Iterator[dict]:
    """Rows of the results table: the base model, one condition's subnetworks, and all its edits.

    `model` is the base model, `networks` maps (condition, sparsity) to subnetworks;
    the other seed's are under the condition with " (other seed)". Every network
    is measured once; every edit is applied, measured and taken back, and its rows
    are kept in `folder`, so that a job that was stopped goes on there.
    """
    base = dense(model)
    theta_0 = base.theta
    networks = ChainMap({(ORIGINAL, settings.measured_sparsity): base}, networks)
    bench = Bench(networks, model, suite)
    if settings.grid != "pretrained":  # there the base model is a target of its own
        key = {"target": f"base ({target})", "sparsity": 0.0}
        yield from (_row(settings, seed, key, None, score) for score in suite(model))
    for sparsity in sorted(s for c, s in networks if c == target):
        key = {"target": target, "sparsity": sparsity}
        brief = settings.grid == "pretrained" and sparsity != settings.measured_sparsity
        own = bench.scores((target, sparsity), brief)
        yield from (_row(settings, seed, key, None, score) for score in own.values())
    if settings.grid == "pretrained" and target == "stereotypical":
        yield from _separation(bench, settings, seed)
    located_for: dict[tuple, Located] = {}

    def rows(cell: Edit) -> list[dict]:
        place = (cell.reference, cell.sparsity, cell.where, cell.strategy == "PR")
        if place not in located_for:
            pair = (networks[name, cell.sparsity] for name in cell.ends)
            located_for[place] = find(cell.where, *pair, settings.k, seed, cell.strategy)
        patch = _patch(cell, networks, located_for[place], theta_0)
        return _edited(bench, cell, located_for[place], patch, settings, seed)

    for number, cell in enumerate(grid(target, settings)):
        yield from cached_json(folder / f"{number}.json", lambda cell=cell: rows(cell))


def _edited(bench: Bench, cell: Edit, located, patch, settings, seed) -> list[dict]:
    """All measures of one edit, beside those of its target and its reference."""
    own, (start, end) = (cell.target, cell.sparsity), cell.ends
    before, after = bench.scores(own), bench.edited(own, patch, cell.brief)
    other = {}
    if start == cell.target:  # else there is no gap to close
        other = bench.scores((end, cell.sparsity), settings.grid == "pretrained")
    delta = after["perplexity"].value - before["perplexity"].value
    return [
        _row(settings, seed, cell.columns(), located, score, before[name])
        | {
            "target_value": before[name].value,
            "reference_value": other[name].value if name in other else "",
            "perplexity_delta": delta,
        }
        for name, score in after.items()
    ]


def _patch(cell: Edit, networks, located: Located, theta_0: dict[str, np.ndarray]) -> Patch:
    start, end = (networks[name, cell.sparsity] for name in cell.ends)
    target = networks[cell.target, cell.sparsity]
    alpha = 1.0 if cell.alpha is None else cell.alpha
    if start is not target:
        return transfer(target, start, end, located, alpha)
    strategy, _, restore = cell.strategy.partition(" ")
    return edit(target, end, located, strategy, alpha, theta_0 if restore else None)


def _separation(bench: Bench, settings: Profile, seed: int) -> Iterator[dict]:
    """How far the two models differ, item by item, in every measure that has items."""
    at = settings.measured_sparsity
    first, second = (bench.scores((c, at)) for c in OPPOSITE)
    key = {"target": "stereotypical", "reference": "anti", "strategy": "difference", "sparsity": at}
    for name, score in first.items():
        if score.items is not None:
            row = _row(settings, seed, key, None, score, second[name])
            yield row | {"value": score.value - second[name].value}


def _row(
    settings: Profile,
    seed: int,
    key: dict[str, object],
    located: Located | None,
    score: Score,
    before: Score | None = None,
) -> dict:
    """One line; `item_se` is the standard error over items, of the change where there is one."""
    items = score.items
    if items is not None and before is not None:
        items = items - before.items
    return {
        "profile": settings.name,
        "seed": seed,
        **key,
        "k": located.size if located else "",
        "k_share": located.share if located else "",
        "measure": score.measure,
        "variant": score.variant,
        "n": score.n,
        "value": score.value,
        "item_se": "" if items is None else float(items.std(ddof=1) / len(items) ** 0.5),
    }


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write rows as CSV; numbers in full precision, so that equal values give equal bytes."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})
