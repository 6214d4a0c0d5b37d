"""The four editing strategies (paper §3.2, Eq. 3–6); each gives a Patch on the target."""

import numpy as np

from lcelib.localization import Located, check_pair
from lcelib.patches.algebra import Change
from lcelib.patches.patch import Patch
from lcelib.strategies import check_strategy
from lcelib.subnetworks import Subnetwork


def edit(
    target: Subnetwork,
    reference: Subnetwork,
    located: Located,
    strategy: str,
    alpha: float = 1.0,
    theta_0: dict[str, np.ndarray] | None = None,
) -> Patch:
    """Edit the target at the located weights b; pruned weights count as 0 (w = m ⊙ θ).

    IP (Eq. 3), α in [0, 1], and EP (Eq. 4), α outside: θ' = w_t + α (w_r − w_t) ⊙ b.
    PR (Eq. 5): θ' = w_t − w_t ⊙ b. SW (Eq. 6), mask-based only: θ' = θ_t ⊙ m_r; a
    weight that is switched on again gets its value from before it was pruned,
    or, with `theta_0`, its value in the base model. Raises LceError for an α
    that does not belong to the strategy.
    """
    check_pair(target, reference)
    check_strategy(strategy, alpha, located.by)
    changes = {}
    for name, index in located.positions.items():
        old = target.weights[name].reshape(-1)[index]
        if strategy == "PR":
            new = np.zeros_like(old)
        elif strategy == "SW":
            source = target.theta if theta_0 is None else theta_0
            kept, switched = (net.keep(name).reshape(-1)[index] for net in (target, reference))
            restored = np.where(kept, old, source[name].reshape(-1)[index])
            new = np.where(switched, restored, 0)
        else:
            new = reference.weights[name].reshape(-1)[index]
        changes[name] = Change(index, old, new.astype(old.dtype))
    info = {"strategy": strategy, "localization": located.by}
    return Patch(changes, alpha if strategy in ("IP", "EP") else 1.0, info)


def transfer(
    base: Subnetwork, start: Subnetwork, end: Subnetwork, located: Located, alpha: float = 1.0
) -> Patch:
    """Add to a third model what `end` has more than `start` at the located weights b.

    θ' = w_base + α (w_end − w_start) ⊙ b. With start = base it is EP. The paper edits
    neutral models towards or away from one reference (§5.4); the difference of two
    that differ in the property alone leaves out what fine-tuning changed besides.
    """
    check_pair(base, start)
    check_pair(start, end)
    changes = {}
    for name, index in located.positions.items():
        old, left, right = (net.weights[name].reshape(-1)[index] for net in (base, start, end))
        changes[name] = Change(index, old, old + (right - left))
    return Patch(changes, alpha, {"strategy": "transfer", "localization": located.by})
