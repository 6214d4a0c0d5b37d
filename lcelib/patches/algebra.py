"""The algebra of patches: compose two, take their difference, and keep track of what may be claimed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lcelib import kernels
from lcelib.errors import LceError, MismatchError
from lcelib.tensors import bits


@dataclass(frozen=True)
class Change:
    """Sorted flat positions in one tensor, the values there, and those at α = 1."""

    index: np.ndarray  # int64
    old: np.ndarray  # in the tensor's dtype; bfloat16 as its bits, uint16
    new: np.ndarray

    def at(self, alpha: float) -> np.ndarray:
        """old + α (new − old) in the tensor's dtype; exactly `old` at 0 and `new` at 1."""
        return kernels.interpolate(self.old, self.new, alpha)


Changes = dict[str, Change]


def settle(changes: Changes, alpha: float) -> Changes:
    """Return the changes with the strength α worked in: new values at α, so that α = 1 gives them."""
    return {n: Change(c.index, c.old, c.at(alpha)) for n, c in changes.items()}


def invert(changes: Changes) -> Changes:
    """Return the changes that lead back: old and new values exchanged."""
    return {n: Change(c.index, c.new, c.old) for n, c in changes.items()}


def compose(one: Changes, two: Changes, overlap: str) -> Changes:
    """Return both in one, for a model that has neither; `overlap` as in `Patch.compose`."""
    if overlap not in ("refuse", "first", "last"):
        raise LceError(f"overlap {overlap!r}", "is unknown", "Use refuse, first or last.")
    changes = {}
    for name, (mine, its) in pairs(one, two):
        index, old, first, last = union(name, mine, its)
        common = len(mine.index) + len(its.index) - len(index)
        if common and overlap == "refuse":
            reason = f"both list {common} weights of {name}"
            raise LceError("patches", reason, 'Decide: overlap="first" or "last".')
        over, under = (mine, last) if overlap == "first" else (its, first)
        under[np.searchsorted(index, over.index)] = over.new
        changes[name] = Change(index, old, under)
    return changes


def difference(one: Changes, two: Changes) -> Changes:
    """Return the changes that take a model with `one` to a model with `two`."""
    changes = {}
    for name, parts in pairs(one, two):
        index, _, first, last = union(name, *parts)
        differ = bits(first) != bits(last)
        if differ.any():
            changes[name] = Change(index[differ], first[differ], last[differ])
    return changes


def pairs(one: Changes, two: Changes) -> Iterator[tuple[str, tuple[Change, Change]]]:
    """Yield, for every tensor, what each of the two changes there, perhaps nothing."""
    for name in dict.fromkeys([*one, *two]):
        dtype = (one if name in one else two)[name].old.dtype
        none = Change(np.empty(0, np.int64), np.empty(0, dtype), np.empty(0, dtype))
        yield name, (one.get(name, none), two.get(name, none))


def union(name: str, one: Change, two: Change) -> tuple[np.ndarray, ...]:
    """Return all positions of two changes of one tensor, the old values there, and those of each."""
    index, first = np.unique(np.concatenate([one.index, two.index]), return_index=True)
    _, here, there = np.intersect1d(one.index, two.index, return_indices=True)
    same = one.old.dtype == two.old.dtype
    if not same or one.old[here].tobytes() != two.old[there].tobytes():
        reason = f"{name} has other old values in one than in the other"
        raise MismatchError("patches", reason, "Use patches of one base model.")
    old = np.concatenate([one.old, two.old])[first]
    states = []
    for change in (one, two):
        states.append(old.copy())
        states[-1][np.searchsorted(index, change.index)] = change.new
    return index, old, *states


def check_same_base(one: Mapping, two: Mapping) -> None:
    """Raise MismatchError where the descriptions of two patches name different models."""
    bases = [info.get("base", {}) for info in (one, two)]
    for key in ("architecture", "tokenizer"):
        if None not in (values := [b.get(key) for b in bases]) and values[0] != values[1]:
            raise MismatchError(
                "patches", f"are of different models ({key})", "Use one base model."
            )
    tensors = [b.get("tensors", {}) for b in bases]
    for name in tensors[0].keys() & tensors[1].keys():
        if tensors[0][name] != tensors[1][name]:
            reason = f"are of different models ({name} differs)"
            raise MismatchError("patches", reason, "Use one base model.")


def derived_info(how: str, *infos: Mapping) -> dict[str, object]:
    """Return the description of a patch made of others: their base and their digests.

    Direction and measures are left out: what was measured of them need not hold for it.
    """
    bases = [info["base"] for info in infos if "base" in info]
    sources = [info.get("digest", "unsaved") for info in infos]
    found: dict[str, object] = {"method": {"made by": how, "of": sources}, "direction": "unknown"}
    if len(bases) == len(infos):
        tensors = {n: t for b in bases for n, t in b.get("tensors", {}).items()}
        found["base"] = bases[0] | {"tensors": tensors}
    return found
