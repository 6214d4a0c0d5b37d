"""Measuring the grid of edits: the rows of the results table."""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd
from torch import nn

from lcelib.editing import edit, transfer
from lcelib.files import cached_json, write_csv
from lcelib.localization import Located, locate
from lcelib.measures import Score
from lcelib.measures.suite import Suite
from lcelib.paper.edits import Edit, Where
from lcelib.paper.grid import grid
from lcelib.patches.patch import Patch
from lcelib.run.profiles import OPPOSITE, ORIGINAL, Profile
from lcelib.subnetworks import Subnetwork, dense
from lcelib.tensors import Arrays

Networks = Mapping[tuple[str, float], Subnetwork]  # by condition and sparsity

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
    return locate(
        target, reference, by="uninformed", like=like, seed=seed, strategy=strategy,
        match=where.matched,
    )  # fmt: skip


class Bench:
    """One model into which networks and patches are loaded for measuring, each network once."""

    def __init__(self, networks: Networks, model: nn.Module, suite: Suite) -> None:
        self.networks, self.model, self.suite = networks, model, suite
        self._known: dict[tuple, dict[str, Score]] = {}
        self._loaded: tuple[str, float] | None = None

    def load(self, key: tuple[str, float]) -> Subnetwork:
        """Put a network into the model."""
        if self._loaded != key:
            self.networks[key].load_into(self.model)
            self._loaded = key
        return self.networks[key]

    def scores(self, key: tuple[str, float], brief: bool = False) -> dict[str, Score]:
        """Return the scores of a network by measure, without the costly ones if `brief`."""
        if (known := self._known.get((key, False))) is not None:
            return known
        if (key, brief) not in self._known:
            self.load(key)
            self._known[key, brief] = {s.measure: s for s in self.suite(self.model, brief)}
        return self._known[key, brief]

    def edited(self, key: tuple[str, float], patch: Patch, brief: bool) -> dict[str, Score]:
        """Return the scores of a network with a patch applied."""
        self.load(key)
        with patch.applied(self.model):
            return {s.measure: s for s in self.suite(self.model, brief)}


def measure_all(
    target: str,
    networks: Networks,
    model: nn.Module,
    suite: Suite,
    settings: Profile,
    seed: int,
    folder: Path,
) -> Iterator[dict]:
    """Yield the results table: the base model, one condition's subnetworks, and all its edits.

    `model` is the base model, `networks` maps (condition, sparsity) to subnetworks;
    the other seed's are under the condition with " (other seed)". Every network
    is measured once; every edit is applied, measured and reverted, and its rows
    are cached in `folder`, so that an interrupted job resumes there.
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


def _edited(
    bench: Bench, cell: Edit, located: Located, patch: Patch, settings: Profile, seed: int
) -> list[dict]:
    """Return all measures of one edit, beside those of its target and its reference."""
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
            "reference_value": other[name].value if name in other else None,
            "perplexity_delta": delta,
        }
        for name, score in after.items()
    ]


def _patch(cell: Edit, networks: Networks, located: Located, theta_0: Arrays) -> Patch:
    start, end = (networks[name, cell.sparsity] for name in cell.ends)
    target = networks[cell.target, cell.sparsity]
    alpha = 1.0 if cell.alpha is None else cell.alpha
    if start is not target:
        return transfer(target, start, end, located, alpha)
    strategy, _, restore = cell.strategy.partition(" ")
    return edit(target, end, located, strategy, alpha, theta_0 if restore else None)


def _separation(bench: Bench, settings: Profile, seed: int) -> Iterator[dict]:
    """Yield S − A, item by item, for every measure that has items."""
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
    """Return one row; `item_se` is the standard error over items, of the change from `before`."""
    items = score.items
    if items is not None and before is not None:
        items = items - before.items
    row = {"profile": settings.name, "seed": seed, **key}
    if located is not None:
        row |= {"k": located.size, "k_share": located.share}
    if items is not None:
        row["item_se"] = float(items.std(ddof=1) / len(items) ** 0.5)
    return row | {k: v for k, v in vars(score).items() if k != "items"}


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write rows of the results table as CSV; `k`, a count, stays a whole number."""
    write_csv(path, pd.DataFrame(rows, columns=COLUMNS).astype({"k": "Int64"}))
