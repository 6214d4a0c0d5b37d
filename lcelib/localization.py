"""Locate the weights in which target and reference differ: by mask, by value, or, as control, at random (paper §3.1)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lcelib import kernels
from lcelib.errors import LceError, MismatchError
from lcelib.kernels import selection
from lcelib.subnetworks import Subnetwork, check_names
from lcelib.tensors import Array, Arrays, component

MAGNITUDE_BINS = 10


@dataclass(frozen=True)
class Located:
    """The weights b that an edit may touch: sorted flat positions (int64) by tensor name."""

    positions: Arrays
    by: str
    total: int  # prunable weights of the model

    @property
    def size(self) -> int:
        """Return the number of located weights."""
        return sum(map(len, self.positions.values()))

    @property
    def share(self) -> float:
        """Return the located weights as a share of the prunable ones."""
        return self.size / self.total

    def overlap(self, other: "Located") -> int:
        """Return the number of weights located by both."""
        none = np.empty(0, np.int64)
        return sum(
            len(np.intersect1d(p, other.positions.get(n, none))) for n, p in self.positions.items()
        )

    def restrict(self, keep: Callable[[int, str], bool]) -> "Located":
        """Return the located weights in the components for which `keep(layer, component)` is true."""
        kept = {n: p for n, p in self.positions.items() if keep(*component(n))}
        return Located(kept, self.by, self.total)


def check_pair(target: Subnetwork, reference: Subnetwork) -> None:
    """Raise MismatchError unless two subnetworks share architecture and θ0 (paper §3)."""
    check_names(set(target.theta), set(reference.theta))
    for name in target.mask:
        if name not in reference.mask or target.theta[name].shape != reference.theta[name].shape:
            reason = f"{name} has another shape in the reference"
            raise MismatchError("reference", reason, "Use models of one architecture.")
    if target.initial != reference.initial:
        reason = "target and reference do not start from the same θ0"
        raise MismatchError("reference", reason, "Fine-tune both from one base model.")


def locate(
    target: Subnetwork,
    reference: Subnetwork,
    by: str = "mask",
    k: float | int | None = None,
    of: str = "shared",
    seed: int = 0,
    like: Located | None = None,
    strategy: str = "IP",
    match: str | None = None,
) -> Located:
    """Locate the weights b to edit in the target.

    by="mask" (Eq. 1): b = m_t XOR m_r, the weights present in exactly one of the
    two. (Eq. 1 prints a product; that would select the weights present in both,
    over half of the network, while the text says under 0.5 %.)

    by="value" (Eq. 2): of the weights present in both, the k with the largest
    |θ_r − θ_t|. `k` is a share in (0, 1] of the shared weights (`of="shared"`)
    or of all prunable ones (`of="prunable"`), or a count (int).

    by="uninformed": as many weights as `like`, drawn with `seed`: for IP and EP
    from the weights present in at least one of the two, for PR from those present
    in the target. `match="component"` keeps the number per tensor,
    `match="magnitude"` also per decile of the target's |w| within the tensor.

    Raises MismatchError for models that cannot be compared, LceError for impossible `k`
    and unknown options.
    """
    check_pair(target, reference)
    if by == "mask":
        positions = {n: kernels.positions(target.mask[n] ^ reference.mask[n]) for n in target.mask}
    elif by == "value":
        shared = {n: target.mask[n] & reference.mask[n] for n in target.mask}
        if of not in ("shared", "prunable"):
            raise LceError(f"of={of!r}", "is unknown", "Use shared or prunable.")
        present = sum(map(kernels.popcount, shared.values()))
        total = present if of == "shared" else target.total
        count = selection.count_k(k, total, present, "shared ")
        positions = kernels.top_k_difference(
            {n: target.theta[n] for n in shared}, reference.theta, count, shared
        )
    elif by == "uninformed":
        if like is None:
            raise LceError("uninformed", "needs `like`", "Give the Located it is the control of.")
        positions = _uninformed(target, reference, like, seed, strategy, match)
    else:
        raise LceError(f"by={by!r}", "is unknown", "Use mask, value or uninformed.")
    label = by if match is None else f"{by} (by {match})"
    return Located({n: p for n, p in positions.items() if len(p)}, label, target.total)


def _uninformed(
    target: Subnetwork,
    reference: Subnetwork,
    like: Located,
    seed: int,
    strategy: str,
    match: str | None,
) -> Arrays:
    """Draw as many positions as `like` has, for a control edit by `strategy`."""
    among = {
        n: target.mask[n] if strategy == "PR" else target.mask[n] | reference.mask[n]
        for n in target.mask
    }
    sizes = {n: target.theta[n].size for n in among}
    rng = np.random.default_rng([seed, 5])
    if match is None:
        available = sum(map(kernels.popcount, among.values()))
        if like.size > available:
            raise LceError("uninformed", f"only {available} weights to draw", "Use a smaller k.")
        return kernels.sample_positions(sizes, like.size, rng, among)
    if match not in ("component", "magnitude"):
        raise LceError(f"match={match!r}", "is unknown", "Use component or magnitude.")
    bins = 1 if match == "component" else MAGNITUDE_BINS
    drawn = {}
    for name, positions in like.positions.items():
        pool = np.flatnonzero(kernels.unpack(among[name], (sizes[name],)))
        magnitude = np.abs(target.theta[name].reshape(-1))
        edges = np.quantile(magnitude[pool], np.linspace(0, 1, bins + 1)[1:-1])
        groups = np.digitize(magnitude[pool], edges)
        counts = np.bincount(np.digitize(magnitude[positions], edges), minlength=bins)
        parts = [_draw(pool[groups == b], n, rng) for b, n in enumerate(counts)]
        drawn[name] = np.sort(np.concatenate(parts))
    return drawn


def _draw(pool: Array, n: int, rng: np.random.Generator) -> Array:
    """Return n of the pool without replacement, or all of it if it has fewer."""
    return rng.choice(pool, min(n, len(pool)), replace=False)
