"""The editing strategies IP, EP, PR and SW: what each writes (paper §3.2, Eq. 3–6), what each allows."""

import math

import numpy as np

from lcelib.errors import LceError
from lcelib.tensors import Array, is_nonzero

STRATEGIES = ("IP", "EP", "PR", "SW")


def new_values(
    strategy: str,
    target: Array,
    reference: Array,
    base: Array | None = None,
    target_mask: Array | None = None,
    reference_mask: Array | None = None,
) -> Array:
    """Return what a strategy writes to located weights at α = 1, of the target's dtype.

    All arrays hold the weights where b = 1, in one order: `target` w_t = m_t ⊙ θ_t and
    `reference` w_r = m_r ⊙ θ_r, in which pruned weights are 0, and their masks. Written is
    θ' = w_t + α (new − w_t) ⊙ b (`kernels.interpolate`), so that the four strategies are:

    - IP (Eq. 3), 0 ≤ α ≤ 1: θ' = w_t + α (w_r − w_t) ⊙ b, so new = w_r;
    - EP (Eq. 4), any other α: the same;
    - PR (Eq. 5): θ' = w_t − w_t ⊙ b, so new = 0;
    - SW (Eq. 6): θ' = θ_t ⊙ m_r, so new = 0 where m_r = 0, w_t where both masks are 1, and
      `base` where m_r alone is 1: the value from before the target's weight was pruned, or
      its value in the model before fine-tuning.

    Without masks, which files do not have, a weight counts as pruned if it is 0.
    """
    if strategy == "PR":
        return np.zeros_like(target)
    if strategy != "SW":
        return reference.astype(target.dtype, copy=False)
    if base is None:
        raise LceError("strategy SW", "needs the values to restore", "Give the base model.")
    kept = is_nonzero(target) if target_mask is None else target_mask
    switched_on = is_nonzero(reference) if reference_mask is None else reference_mask
    restored = np.where(kept, target, base)
    return np.where(switched_on, restored, 0).astype(target.dtype, copy=False)


def check_strategy(strategy: str, alpha: float, by: str) -> float:
    """Return the strength of the edit: α for IP and EP, 1 for PR and SW.

    Raises LceError for what the paper does not define: an α outside the strategy's range,
    or SW with value-based localization.
    """
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
    return alpha if strategy in ("IP", "EP") else 1.0
