"""Edit subnetworks in memory (paper §3.2; the equations are in `strategies`); each edit is a Patch."""

import numpy as np

from lcelib.kernels.keys import present
from lcelib.localization import Located, check_pair
from lcelib.patches.algebra import Change
from lcelib.patches.patch import Patch
from lcelib.strategies import check_strategy, new_values
from lcelib.subnetworks import Subnetwork
from lcelib.tensors import Array, Arrays


def edit(
    target: Subnetwork,
    reference: Subnetwork,
    located: Located,
    strategy: str,
    alpha: float = 1.0,
    theta_0: Arrays | None = None,
) -> Patch:
    """Edit the target at the located weights b by IP, EP, PR or SW (Eq. 3–6, `new_values`).

    SW restores a weight that it switches on to its value from before it was pruned, or,
    with `theta_0`, to its value in the base model. Raises LceError for two models that
    cannot be compared, and for an α or a localization that the strategy does not allow.
    """
    check_pair(target, reference)
    strength = check_strategy(strategy, alpha, located.by)
    restored = target.theta if theta_0 is None else theta_0
    changes = {}
    for name, index in located.positions.items():
        (old, kept), (other, switched_on) = (_at(net, name, index) for net in (target, reference))
        base = restored[name].reshape(-1)[index]
        new = new_values(strategy, old, other, base, kept, switched_on)
        changes[name] = Change(index, old, new)
    return Patch(changes, strength, {"strategy": strategy, "localization": located.by})


def transfer(
    base: Subnetwork, start: Subnetwork, end: Subnetwork, located: Located, alpha: float = 1.0
) -> Patch:
    """Add the difference of two models to a third at the located weights b.

    θ' = w_base + α (w_end − w_start) ⊙ b. With start = base this is EP. The paper edits
    neutral models towards or away from one reference (§5.4); the difference of two models
    that differ in the property alone leaves out what else fine-tuning changed. Raises
    LceError for models that cannot be compared.
    """
    check_pair(base, start)
    check_pair(start, end)
    changes = {}
    for name, index in located.positions.items():
        (old, _), (left, _), (right, _) = (_at(net, name, index) for net in (base, start, end))
        changes[name] = Change(index, old, old + (right - left))
    return Patch(changes, alpha, {"strategy": "transfer", "localization": located.by})


def _at(network: Subnetwork, name: str, index: Array) -> tuple[Array, Array]:
    """Return w = m ⊙ θ and m at the given positions of one tensor."""
    mask = present(network.mask[name], index).view(bool)
    return np.where(mask, network.theta[name].reshape(-1)[index], 0), mask
