"""Changes of listed weights: fit and state of a model, composition, difference, derived descriptions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lcelib import kernels
from lcelib.errors import LceError, MismatchError
from lcelib.tensors import Array, Arrays, bits, dtype_name

SAME_MODEL = "Use the model that the patch was made for."


@dataclass(frozen=True)
class Change:
    """Sorted flat positions in one tensor, the values there, and those at α = 1."""

    index: Array  # int64; uint32 as a file has it
    old: Array  # in the tensor's dtype; bfloat16 as its bits, uint16
    new: Array

    def at(self, alpha: float) -> Array:
        """Return old + α (new − old) in the tensor's dtype; exactly `old` at 0 and `new` at 1."""
        return kernels.interpolate(self.old, self.new, alpha)


Changes = dict[str, Change]


def check_fit(what: str, tensors: Mapping[str, tuple[int, str]], changes: Changes) -> None:
    """Raise MismatchError unless a model has every changed tensor, large enough, of its dtype.

    `tensors` maps the model's names to number of weights and dtype, by safetensors' name.
    """
    if missing := sorted(set(changes) - set(tensors)):
        reason = f"has no tensor {missing[0]} ({len(missing)} missing)"
        raise MismatchError(what, reason, SAME_MODEL)
    for name, change in changes.items():
        size, dtype = tensors[name]
        if len(change.index) and change.index[-1] >= size:
            reason = f"{name} has {size} weights, the patch needs more"
            raise MismatchError(what, reason, SAME_MODEL)
        if dtype != (wanted := dtype_name(change.old)):
            reason = f"{name} is {dtype}, the patch {wanted}"
            raise MismatchError(what, reason, "Use the model in the patch's dtype.")


def count_mismatches(found: Arrays, changes: Changes, alpha: float) -> dict[str, int]:
    """Count the listed weights per tensor whose bits are not those of strength α; 0 left out.

    `found` has the model's values at the listed positions.
    """
    counts = {n: np.count_nonzero(bits(found[n]) != bits(c.at(alpha))) for n, c in changes.items()}
    return {name: int(count) for name, count in counts.items() if count}


def state(what: str, found: Arrays, changes: Changes, alpha: float) -> str:
    """Return "base" if a model has the old values, "applied" if those of strength α.

    `found` has its values at the listed positions. Raises MismatchError for any other state.
    """
    mismatches = count_mismatches(found, changes, 0)
    if not mismatches:
        return "base"
    if not count_mismatches(found, changes, alpha):
        return "applied"
    name, number = next(iter(mismatches.items()))
    reason = (
        f"in {len(mismatches)} tensors the listed weights hold neither the old values nor those at "
        f"α = {alpha:g} (first: {number} weights of {name} are not what the patch expects)"
    )
    raise MismatchError(what, reason, "Use the patch's base, or give the α it was applied with.")


def settle(changes: Changes, alpha: float) -> Changes:
    """Return the changes with the strength α worked in, so that they are those at α = 1."""
    return {n: Change(c.index, c.old, c.at(alpha)) for n, c in changes.items()}


def invert(changes: Changes) -> Changes:
    """Return the inverse changes: old and new values exchanged."""
    return {n: Change(c.index, c.new, c.old) for n, c in changes.items()}


def compose(one: Changes, two: Changes, overlap: str) -> Changes:
    """Return the union of two changes of one base; `overlap` as in `Patch.compose`."""
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
    """Yield, for every tensor, its name and both changes there, an empty one for none."""
    for name in dict.fromkeys([*one, *two]):
        dtype = (one if name in one else two)[name].old.dtype
        none = Change(np.empty(0, np.int64), np.empty(0, dtype), np.empty(0, dtype))
        yield name, (one.get(name, none), two.get(name, none))


def union(name: str, one: Change, two: Change) -> tuple[Array, Array, Array, Array]:
    """Return the positions of two changes of one tensor, and there the old and both new values.

    Where only one changes a weight, the other's new value is the old one. Raises
    MismatchError if the old values differ.
    """
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
    return index, old, states[0], states[1]


def check_same_base(one: Mapping[str, Any], two: Mapping[str, Any]) -> None:
    """Raise MismatchError if the descriptions of two patches name different models."""
    bases = [info.get("base", {}) for info in (one, two)]
    for key in ("architecture", "tokenizer"):
        if None not in (values := [b.get(key) for b in bases]) and values[0] != values[1]:
            reason = f"are of different models ({key})"
            raise MismatchError("patches", reason, "Use patches of one base model.")
    tensors = [b.get("tensors", {}) for b in bases]
    for name in tensors[0].keys() & tensors[1].keys():
        if tensors[0][name] != tensors[1][name]:
            reason = f"are of different models ({name} differs)"
            raise MismatchError("patches", reason, "Use patches of one base model.")


def derive_info(how: str, *infos: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a patch made of others: their base and their digests.

    Direction and measures are left out: what was measured for them need not hold for it.
    """
    bases = [info["base"] for info in infos if "base" in info]
    sources = [info.get("digest", "unsaved") for info in infos]
    derived: dict[str, Any] = {"method": {"made by": how, "of": sources}, "direction": "unknown"}
    if len(bases) == len(infos):
        tensors = {n: t for b in bases for n, t in b.get("tensors", {}).items()}
        derived["base"] = bases[0] | {"tensors": tensors}
    return derived
