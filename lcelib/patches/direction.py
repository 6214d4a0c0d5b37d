"""The direction of a patch, away from or towards a stereotype, and the guard that rejects harm."""

from collections.abc import Mapping

from lcelib.errors import HarmfulError, LceError

AWAY, TOWARDS, UNKNOWN = "away from stereotype", "towards stereotype", "unknown"
DIRECTIONS = (AWAY, TOWARDS, UNKNOWN)


def votes(info: Mapping) -> int:
    """Count the measures that moved away from their neutral value, minus those that moved towards it.

    A change within 1.96 of its standard errors, where they are given, does not count.
    """
    found = 0
    for m in info.get("measures", []):
        noise = 1.96 * (m.get("change_se") or 0.0)
        if m.get("neutral") is not None and abs(m["after"] - m["before"]) > noise:
            before, after = (abs(m[when] - m["neutral"]) for when in ("before", "after"))
            found += (after > before) - (after < before)
    return found


def check_direction(info: dict) -> None:
    """Refuse a direction that is none, and one that the patch's own measures contradict."""
    direction = info.setdefault("direction", UNKNOWN)
    if direction not in DIRECTIONS:
        raise LceError(f"direction {direction!r}", "is unknown", f"Use {' or '.join(DIRECTIONS)}.")
    if votes(info) > 0 and direction != TOWARDS:
        reason = f"is {direction!r}, but by its measures the patch raises stereotype scores"
        raise LceError("direction", reason, f"Label it {TOWARDS!r}.")


def refuse_harm(info: Mapping, alpha: float) -> None:
    """Refuse a strength at which the patch raises stereotype scores; its sign turns the direction.

    The patch's own measures override its label where they rise, and replace it where it is unknown.
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
