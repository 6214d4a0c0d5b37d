"""Where target and reference differ: by mask, by value, or, as control, anywhere (paper §3.1)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lcelib import kernels
from lcelib.errors import LceError, MismatchError
from lcelib.subnetworks import Subnetwork, check_names
from lcelib.tensors import component

MAGNITUDE_BINS = 10


@dataclass(frozen=True)
class Located:
    """The weights b that an edit may touch: sorted flat positions (int64) by tensor name."""

    positions: dict[str, np.ndarray]
    by: str
    total: int  # prunable weights of the model

    @property
    def size(self) -> int:
        """The number of located weights."""
        return sum(map(len, self.positions.values()))

    @property
    def share(self) -> float:
        """Located weights as a share of the prunable ones."""
        return self.size / self.total

    def overlap(self, other: "Located") -> int:
        """The number of weights that both have located."""
        none = np.empty(0, np.int64)
        return sum(
            len(np.intersect1d(p, other.positions.get(n, none))) for n, p in self.positions.items()
        )

    def restrict(self, keep: Callable[[int, str], bool]) -> "Located":
        """The located weights in the components for which `keep(layer, component)` holds."""
        kept = {n: p for n, p in self.positions.items() if keep(*component(n))}
        return Located(kept, self.by, self.total)


def check_pair(target: Subnetwork, reference: Subnetwork) -> None:
    """Refuse two subnetworks that do not share architecture and θ0 (paper §3)."""
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
    two. (Eq. 1 prints a product; the product would select the weights that both
    have, over half of the network, where the text says under 0.5 %.)

    by="value" (Eq. 2): of the weights present in both, the k with the largest
    |θ_r − θ_t|. `k` is a share in (0, 1] of the shared weights (`of="shared"`)
    or of all prunable ones (`of="prunable"`), or a count (int).

    by="uninformed": as many weights as `like`, drawn with `seed`: for IP and EP
    from the weights pruned in at most one of the two, for PR from those present
    in the target. `match="component"` keeps the number per tensor,
    `match="magnitude"` also per decile of the target's |w| within the tensor.

    Raises LceError for models that cannot be compared and for impossible `k`.
    """
    check_pair(target, reference)
    if by == "mask":
        found = {n: kernels.positions(target.mask[n] ^ reference.mask[n]) for n in target.mask}
    elif by == "value":
        shared = {n: target.mask[n] & reference.mask[n] for n in target.mask}
        count = _count(k, of, shared, target.total)
        found = kernels.top_k_difference(
            {n: target.theta[n] for n in shared}, reference.theta, count, shared
        )
    elif by == "uninformed":
        if like is None:
            raise LceError("uninformed", "needs `like`", "Give the Located it is the control of.")
        found = _uninformed(target, reference, like, seed, strategy, match)
    else:
        raise LceError(f"by={by!r}", "is unknown", "Use mask, value or uninformed.")
    label = by if match is None else f"{by} (by {match})"
    return Located({n: p for n, p in found.items() if len(p)}, label, target.total)


def _count(k: float | int | None, of: str, shared: dict, total: int) -> int:
    present = sum(map(kernels.popcount, shared.values()))
    if of not in ("shared", "prunable"):
        raise LceError(f"of={of!r}", "is unknown", "Use shared or prunable.")
    share = isinstance(k, float) and 0 < k <= 1
    count = round(k * (present if of == "shared" else total)) if share else k
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= present:
        reason = f"is neither a share in (0, 1] nor a count up to the {present} shared weights"
        raise LceError(f"k={k!r}", reason, "Give k=0.1 for a tenth, k=1000 for a thousand.")
    return count


def _uninformed(target, reference, like, seed, strategy, match) -> dict[str, np.ndarray]:
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
    found = {}
    for name, wanted in like.positions.items():
        pool = np.flatnonzero(kernels.unpack(among[name], (sizes[name],)))
        size = np.abs(target.theta[name].reshape(-1))
        bins = 1 if match == "component" else MAGNITUDE_BINS
        edges = np.quantile(size[pool], np.linspace(0, 1, bins + 1)[1:-1])
        found[name] = np.sort(
            np.concatenate(
                [
                    _draw(pool[np.digitize(size[pool], edges) == b], n, rng)
                    for b, n in enumerate(
                        np.bincount(np.digitize(size[wanted], edges), minlength=bins)
                    )
                ]
            )
        )
    return found


def _draw(pool: np.ndarray, n: int, rng) -> np.ndarray:
    """n of the pool, or all of it where it holds fewer."""
    return rng.choice(pool, min(n, len(pool)), replace=False)
