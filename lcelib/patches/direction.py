"""The direction of a patch, away from or towards a stereotype, and the guard against harm."""

from collections.abc import Mapping
from typing import Any

from lcelib.errors import HarmfulError, LceError

AWAY, TOWARDS, UNKNOWN = "away from stereotype", "towards stereotype", "unknown"
DIRECTIONS = (AWAY, TOWARDS, UNKNOWN)


def votes(info: Mapping[str, Any]) -> int:
    """Return the number of measures that moved away from neutral minus those that moved towards it.

    A change within 1.96 of its standard errors, if they are given, does not count.
    """
    total = 0
    for m in info.get("measures", []):
        noise = 1.96 * (m.get("change_se") or 0.0)
        if m.get("neutral") is not None and abs(m["after"] - m["before"]) > noise:
            before, after = (abs(m[when] - m["neutral"]) for when in ("before", "after"))
            total += (after > before) - (after < before)
    return total


def check_direction(info: dict[str, Any]) -> None:
    """Reject an unknown direction, and one that the patch's own measures contradict.

    Sets the direction "unknown" if there is none. Raises LceError.
    """
    direction = info.setdefault("direction", UNKNOWN)
    if direction not in DIRECTIONS:
        raise LceError(f"direction {direction!r}", "is unknown", f"Use {' or '.join(DIRECTIONS)}.")
    if votes(info) > 0 and direction != TOWARDS:
        reason = f"is {direction!r}, but by its measures the patch raises stereotype scores"
        raise LceError("direction", reason, f"Label it {TOWARDS!r}.")


def check_harm(info: Mapping[str, Any], alpha: float) -> None:
    """Raise HarmfulError for a strength at which the patch raises stereotype scores.

    A strength of the other sign reverses the direction. The patch's own measures override its
    label if scores rise, and replace an unknown one.
    """
    meant, moved = info.get("alpha", 1.0), votes(info)
    direction = TOWARDS if moved > 0 else info.get("direction", UNKNOWN)
    if direction == UNKNOWN and moved < 0:
        direction = AWAY
    same = (alpha < 0) == (meant < 0)
    if alpha and direction == (TOWARDS if same else AWAY):
        label = info.get("direction", UNKNOWN)
        reason = (
            f"at α = {alpha:g} raises stereotype scores (made for {meant:g}, labelled {label!r})"
        )
        raise HarmfulError("patch", reason, "If you want that, say so: towards_stereotype.")
