"""The names of the editing strategies and what each allows (paper §3.2)."""

import math

from lcelib.errors import LceError

STRATEGIES = ("IP", "EP", "PR", "SW")


def check_strategy(strategy: str, alpha: float, by: str) -> None:
    """Refuse combinations that the paper does not define."""
    if strategy not in STRATEGIES:
        raise LceError(f"strategy {strategy!r}", "is unknown", f"Use {', '.join(STRATEGIES)}.")
    if not math.isfinite(alpha):
        raise LceError(f"alpha={alpha}", "is not finite", "Give a number.")
    inside = 0 <= alpha <= 1
    if strategy == "IP" and not inside:
        raise LceError(f"alpha={alpha}", "is not in [0, 1]", "Use EP to extrapolate.")
    if strategy == "EP" and inside:
        raise LceError(f"alpha={alpha}", "is in [0, 1]", "Use IP to interpolate.")
    if strategy == "SW" and by.startswith("value"):
        reason = "switches masks, and value-based localization selects weights that both have"
        raise LceError("strategy SW", reason, 'Locate with by="mask" (--by mask).')
