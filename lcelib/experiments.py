"""The grid of edits behind the paper's figures, and the results table it fills."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lcelib.editing import edit
from lcelib.files import atomic
from lcelib.gaps import main_value, strategy_of
from lcelib.localization import Located, locate
from lcelib.measures import Score
from lcelib.profiles import OPPOSITE, Profile
from lcelib.subnetworks import Subnetwork

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
]
OTHER_SEED = " (other seed)"
SWEEP = (-5.0, -2.0, -1.0, 0.5, 1.0, 2.0, 3.0, 5.0)
MAIN = (0.5, 1.0, 2.0, -2.0)
K_SWEEP = (0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Edit:
    """One cell of the grid.

    `localization` is "mask", "value K" (top share K of the shared weights),
    "value =mask" (as many weights as the mask difference), "uninformed =mask" or
    "uninformed =value" (drawn at random, as many as the named selection; with
    "by component" or "by magnitude" matched).
    """

    target: str
    reference: str
    localization: str
    strategy: str
    alpha: float
    sparsity: float


def _edits(target, reference, localization, sparsity, alphas, others=()) -> list[Edit]:
    """IP or EP by α, then the strategies without α."""
    swept = [Edit(target, reference, localization, strategy_of(a), a, sparsity) for a in alphas]
    return swept + [Edit(target, reference, localization, s, 1.0, sparsity) for s in others]


def grid(target: str, settings: Profile) -> list[Edit]:
    """All edits of one target. "short" leaves out all but the main comparison."""
    main, top = main_value(settings), max(settings.sparsities)
    s, edits = settings.measured_sparsity, []
    if settings.grid == "short":
        for reference in ("stereotypical",) if target == "neutral" else (OPPOSITE[target],):
            for where in ("mask", main, "uninformed =mask"):
                edits += _edits(target, reference, where, s, (1.0, 2.0))
        return edits
    if target == "neutral":
        for reference in ("stereotypical", "anti"):
            edits += _edits(target, reference, "mask", top, MAIN, ("PR", "SW"))
            edits += _edits(target, reference, main, top, MAIN, ("PR",))
            edits += _edits(target, reference, "uninformed =mask", top, (2.0, -2.0))
        for sparsity in settings.sparsities[:-1]:
            edits += _edits(target, "stereotypical", "mask", sparsity, MAIN, ("PR", "SW"))
            edits += _edits(target, "stereotypical", main, sparsity, MAIN, ("PR",))
        return edits
    reference = OPPOSITE[target]
    edits += _edits(target, reference, "mask", s, SWEEP, ("PR", "SW", "SW θ0"))
    edits += _edits(target, reference, main, s, SWEEP, ("PR",))
    edits += _edits(target, reference, "value =mask", s, SWEEP)
    edits += _edits(target, reference, "uninformed =mask", s, SWEEP, ("PR",))
    edits += _edits(target, reference, "uninformed =value", s, MAIN, ("PR",))
    for match in ("component", "magnitude"):
        edits += _edits(target, reference, f"uninformed =mask by {match}", s, (1.0, 2.0))
    for share in (k for k in K_SWEEP if k != settings.k):
        edits += _edits(target, reference, f"value {share:g}", s, (0.5,))
    for sparsity in settings.sparsities:
        if sparsity != s:
            edits += _edits(target, reference, "mask", sparsity, MAIN, ("PR", "SW"))
            edits += _edits(target, reference, main, sparsity, MAIN, ("PR",))
    if len(settings.seeds) > 1:
        edits += _edits(target, target + OTHER_SEED, "mask", s, (1.0,))
    return edits


def find(
    edit_: Edit, target: Subnetwork, reference: Subnetwork, main_k: float, seed: int
) -> Located:
    """The located weights of one cell of the grid."""
    kind, _, rest = edit_.localization.partition(" ")
    if kind == "mask":
        return locate(target, reference, by="mask")
    if kind == "value" and rest != "=mask":
        return locate(target, reference, by="value", k=float(rest))
    size, _, match = rest.partition(" by ")
    by_mask = locate(target, reference, by="mask")
    if kind == "value":
        return locate(target, reference, by="value", k=by_mask.size)
    like = by_mask if size == "=mask" else locate(target, reference, by="value", k=main_k)
    return locate(
        target,
        reference,
        by="uninformed",
        like=like,
        seed=seed,
        strategy=edit_.strategy,
        match=match or None,
    )


def measure_all(
    target: str,
    networks: dict[tuple[str, float], Subnetwork],
    model,
    suite,
    settings: Profile,
    seed: int,
) -> Iterator[dict]:
    """Rows of the results table: the base model, one condition's subnetworks, and all its edits.

    `model` is the base model, `networks` maps (condition, sparsity) to subnetworks;
    the other seed's are under the condition with " (other seed)". Every network
    is measured once; every edit is applied, measured and taken back.
    """
    theta_0 = {n: p.detach().cpu().numpy().copy() for n, p in model.named_parameters()}
    base = _unedited(f"base ({target})", 0.0)
    yield from (_row(settings, seed, base, None, score) for score in suite(model))
    known: dict[tuple[str, float], list[Score]] = {}
    located_for: dict[tuple, Located] = {}
    loaded = None

    def load(key: tuple[str, float]) -> None:
        nonlocal loaded
        if loaded != key:
            networks[key].load_into(model)
            loaded = key

    def scores(key: tuple[str, float]) -> list[Score]:
        if key not in known:
            load(key)
            known[key] = suite(model)
        return known[key]

    for sparsity in sorted(s for c, s in networks if c == target):
        cell = _unedited(target, sparsity)
        own = scores((target, sparsity))
        yield from (_row(settings, seed, cell, None, score) for score in own)
    for cell in grid(target, settings):
        ours, theirs = (cell.target, cell.sparsity), (cell.reference, cell.sparsity)
        before, other = ({s.measure: s.value for s in scores(key)} for key in (ours, theirs))
        load(ours)
        place = (theirs, cell.localization, cell.strategy == "PR")
        if place not in located_for:
            located_for[place] = find(cell, networks[ours], networks[theirs], settings.k, seed)
        located = located_for[place]
        strategy, _, restore = cell.strategy.partition(" ")
        patch = edit(
            networks[ours],
            networks[theirs],
            located,
            strategy,
            cell.alpha,
            theta_0 if restore else None,
        )
        with patch.applied(model):
            after = suite(model)
        perplexity = next(s.value for s in after if s.measure == "perplexity")
        for score in after:
            yield _row(settings, seed, cell, located, score) | {
                "target_value": before[score.measure],
                "reference_value": other[score.measure],
                "perplexity_delta": perplexity - before["perplexity"],
            }


def _unedited(name: str, sparsity: float) -> Edit:
    """The cell of a model as it is."""
    return Edit(name, "", "", "", 0.0, sparsity)


def _row(settings, seed, cell: Edit, located: Located | None, score: Score) -> dict:
    fixed_alpha = cell.strategy not in ("IP", "EP")
    return {
        "profile": settings.name,
        "seed": seed,
        "target": cell.target,
        "reference": cell.reference,
        "localization": cell.localization,
        "strategy": cell.strategy,
        "alpha": "" if fixed_alpha else cell.alpha,
        "k": located.size if located else "",
        "k_share": located.share if located else "",
        "sparsity": cell.sparsity,
        "measure": score.measure,
        "variant": score.variant,
        "n": score.n,
        "value": score.value,
    }


def write_rows(path: Path, rows: Iterator[dict]) -> None:
    """Write rows as CSV; numbers in full precision, so that equal values give equal bytes."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})
