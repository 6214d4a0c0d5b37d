"""The grid of edits behind the figures: which target, reference, localization, strategy and α."""

from dataclasses import dataclass

from lcelib.paper.results import main_value, strategy_of
from lcelib.run.profiles import OPPOSITE, ORIGINAL, Profile

OTHER_SEED = " (other seed)"
CONTRAST = "anti - stereotypical"
SWEEP = (-5.0, -2.0, -1.0, 0.5, 1.0, 2.0, 3.0, 5.0)
MAIN = (0.5, 1.0, 2.0, -2.0)
K_SWEEP = (0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Edit:
    """One cell of the grid.

    `reference` is a condition, or "X - Y": then what X has more than Y is added to the
    target. `localization` is "mask", "value K" (top share K of the shared weights),
    "value =mask" (as many weights as the mask difference), "uninformed =mask" or
    "uninformed =value" (drawn at random, as many as the named selection; with
    "by component" or "by magnitude" matched). `brief` leaves out the costly measures.
    """

    target: str
    reference: str
    localization: str
    strategy: str
    alpha: float
    sparsity: float
    brief: bool = False


def _edits(target, reference, localization, sparsity, alphas, others=(), brief=False) -> list[Edit]:
    """IP or EP by α, then the strategies without α."""
    cells = [(strategy_of(a), a) for a in alphas] + [(s, 1.0) for s in others]
    return [Edit(target, reference, localization, *cell, sparsity, brief) for cell in cells]


def grid(target: str, settings: Profile) -> list[Edit]:
    """All edits of one target. "short" leaves out all but the main comparison."""
    main, top = main_value(settings), max(settings.sparsities)
    s, edits = settings.measured_sparsity, []
    if settings.grid == "pretrained":
        return _pretrained(target, settings)
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


def _pretrained(target: str, settings: Profile) -> list[Edit]:
    """The edits of a pretrained model: main ones with all measures, the others briefly.

    A cell costs a minute and more on a CPU, so the grid holds what the claims and figures ask for.
    """
    main, s, null = main_value(settings), settings.measured_sparsity, len(settings.seeds) > 1
    if target == ORIGINAL:
        full = [(CONTRAST, main, (1.0,)), (CONTRAST, "mask", (2.0,))]
        brief = [
            (CONTRAST, main, (0.5, 2.0)),
            (CONTRAST, "mask", (4.0,)),
            (CONTRAST, "value =mask", (2.0,)),
            (CONTRAST, "uninformed =value", (1.0,)),
            ("stereotypical", main, (-1.0,)),
        ]
        if null:
            brief += [(f"stereotypical{OTHER_SEED} - stereotypical", main, (1.0,))]
    else:
        reference = OPPOSITE[target]
        full = [(reference, "mask", (2.0,)), (reference, main, (1.0,))]
        brief = [
            (reference, "mask", (-1.0, 1.0, 4.0)),
            (reference, main, (2.0,)),
            (reference, "value =mask", (1.0, 2.0, 4.0)),
            (reference, "uninformed =mask", (2.0, 4.0)),
        ]
        if target == "stereotypical":
            brief += [
                (reference, "uninformed =mask by component", (2.0,)),
                (reference, "uninformed =mask by magnitude", (2.0,)),
                (reference, "uninformed =value", (1.0,)),
            ]
            brief += [(target + OTHER_SEED, "mask", (2.0,))] if null else []
    edits = [e for cell in full for e in _edits(target, *cell[:2], s, cell[2])]
    edits += [e for cell in brief for e in _edits(target, *cell[:2], s, cell[2], brief=True)]
    if target != ORIGINAL:
        edits += _edits(target, OPPOSITE[target], "mask", s, (), ("PR", "SW"), brief=True)
    return edits
