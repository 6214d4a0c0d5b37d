"""The grid of edits behind the figures: which target, reference, localization, strategy and α."""

from collections.abc import Sequence

from lcelib.paper.edits import (
    MASK,
    MATCHED,
    OTHER_SEED,
    UNINFORMED,
    UNINFORMED_AS_VALUE,
    VALUE_AS_MASK,
    Edit,
    Where,
    main_value,
    strategy_of,
)
from lcelib.run.profiles import OPPOSITE, ORIGINAL, Profile

CONTRAST = "anti - stereotypical"
SWEEP = (-5.0, -2.0, -1.0, 0.5, 1.0, 2.0, 3.0, 5.0)
MAIN = (0.5, 1.0, 2.0, -2.0)
K_SWEEP = (0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 1.0)


def _edits(
    target: str,
    reference: str,
    where: Where,
    sparsity: float,
    alphas: Sequence[float],
    others: Sequence[str] = (),
    brief: bool = False,
) -> list[Edit]:
    """Return IP or EP by α, then the strategies without α."""
    cells = [(strategy_of(a), a) for a in alphas] + [(s, None) for s in others]
    return [Edit(target, reference, where, *cell, sparsity, brief) for cell in cells]


def grid(target: str, settings: Profile) -> list[Edit]:
    """Return all edits of one target; the grid "short" has the main comparison only."""
    main, top = main_value(settings), max(settings.sparsities)
    s, edits = settings.measured_sparsity, []
    if settings.grid == "pretrained":
        return _pretrained(target, settings)
    if settings.grid == "short":
        for reference in ("stereotypical",) if target == "neutral" else (OPPOSITE[target],):
            for where in (MASK, main, UNINFORMED):
                edits += _edits(target, reference, where, s, (1.0, 2.0))
        return edits
    if target == "neutral":
        for reference in ("stereotypical", "anti"):
            edits += _edits(target, reference, MASK, top, MAIN, ("PR", "SW"))
            edits += _edits(target, reference, main, top, MAIN, ("PR",))
            edits += _edits(target, reference, UNINFORMED, top, (2.0, -2.0))
        for sparsity in settings.sparsities[:-1]:
            edits += _edits(target, "stereotypical", MASK, sparsity, MAIN, ("PR", "SW"))
            edits += _edits(target, "stereotypical", main, sparsity, MAIN, ("PR",))
        return edits
    reference = OPPOSITE[target]
    edits += _edits(target, reference, MASK, s, SWEEP, ("PR", "SW", "SW θ0"))
    edits += _edits(target, reference, main, s, SWEEP, ("PR",))
    edits += _edits(target, reference, VALUE_AS_MASK, s, SWEEP)
    edits += _edits(target, reference, UNINFORMED, s, SWEEP, ("PR",))
    edits += _edits(target, reference, UNINFORMED_AS_VALUE, s, MAIN, ("PR",))
    for matched in MATCHED:
        edits += _edits(target, reference, matched, s, (1.0, 2.0))
    for share in (k for k in K_SWEEP if k != settings.k):
        edits += _edits(target, reference, Where("value", k=share), s, (0.5,))
    for sparsity in settings.sparsities:
        if sparsity != s:
            edits += _edits(target, reference, MASK, sparsity, MAIN, ("PR", "SW"))
            edits += _edits(target, reference, main, sparsity, MAIN, ("PR",))
    if len(settings.seeds) > 1:
        edits += _edits(target, target + OTHER_SEED, MASK, s, (1.0,))
    return edits


def _pretrained(target: str, settings: Profile) -> list[Edit]:
    """Return the edits of a pretrained model: main ones with all measures, the others briefly.

    A cell takes over a minute on a CPU, so the grid holds only what the claims and figures need.
    """
    main, s, null = main_value(settings), settings.measured_sparsity, len(settings.seeds) > 1
    if target == ORIGINAL:
        full = [(CONTRAST, main, (1.0,)), (CONTRAST, MASK, (2.0,))]
        brief = [
            (CONTRAST, main, (0.5, 2.0)),
            (CONTRAST, MASK, (4.0,)),
            (CONTRAST, VALUE_AS_MASK, (2.0,)),
            (CONTRAST, UNINFORMED_AS_VALUE, (1.0,)),
            ("stereotypical", main, (-1.0,)),
        ]
        if null:
            brief += [(f"stereotypical{OTHER_SEED} - stereotypical", main, (1.0,))]
    else:
        reference = OPPOSITE[target]
        full = [(reference, MASK, (2.0,)), (reference, main, (1.0,))]
        brief = [
            (reference, MASK, (-1.0, 1.0, 4.0)),
            (reference, main, (2.0,)),
            (reference, VALUE_AS_MASK, (1.0, 2.0, 4.0)),
            (reference, UNINFORMED, (2.0, 4.0)),
        ]
        if target == "stereotypical":
            brief += [
                *((reference, matched, (2.0,)) for matched in MATCHED),
                (reference, UNINFORMED_AS_VALUE, (1.0,)),
            ]
            brief += [(target + OTHER_SEED, MASK, (2.0,))] if null else []
    edits = [e for cell in full for e in _edits(target, *cell[:2], s, cell[2])]
    edits += [e for cell in brief for e in _edits(target, *cell[:2], s, cell[2], brief=True)]
    if target != ORIGINAL:
        edits += _edits(target, OPPOSITE[target], MASK, s, (), ("PR", "SW"), brief=True)
    return edits
