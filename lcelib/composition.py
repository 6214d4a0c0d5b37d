"""Patches of patches: two in one, the difference of two, and what may be said of the result."""

from collections.abc import Iterator

import numpy as np

from lcelib.errors import LceError, Unfit
from lcelib.patch import Change, Patch


def compose(one: Patch, two: Patch, overlap: str) -> Patch:
    """Both in one, for a model that has neither (Patch.compose)."""
    if overlap not in ("refuse", "first", "last"):
        raise LceError(f"overlap {overlap!r}", "is unknown", "Use refuse, first or last.")
    same_base(one, two)
    changes = {}
    for name, (mine, its) in pairs(one, two):
        index, old, first, last = both(name, mine, its)
        common = len(mine.index) + len(its.index) - len(index)
        if common and overlap == "refuse":
            reason = f"both list {common} weights of {name}"
            raise LceError("patches", reason, 'Decide: overlap="first" or "last".')
        over, under = (mine, last) if overlap == "first" else (its, first)
        under[np.searchsorted(index, over.index)] = over.new
        changes[name] = Change(index, old, under)
    return Patch(changes, 1.0, derived(f"composed, overlap: {overlap}", one, two))


def difference(one: Patch, two: Patch) -> Patch:
    """The patch that takes a model with the one to a model with the other (Patch.diff)."""
    same_base(one, two)
    changes = {}
    for name, parts in pairs(one, two):
        index, _, first, last = both(name, *parts)
        width = first.itemsize
        bytes_ = (v.view(np.uint8).reshape(-1, width) for v in (first, last))
        differ = np.not_equal(*bytes_).any(1)
        if differ.any():
            changes[name] = Change(index[differ], first[differ], last[differ])
    return Patch(changes, 1.0, derived("difference", one, two))


def pairs(one: Patch, two: Patch) -> Iterator[tuple[str, tuple[Change, Change]]]:
    """For every tensor what each patch changes there at its strength, perhaps nothing."""
    changes = [p.settled().changes for p in (one, two)]
    for name in dict.fromkeys([*changes[0], *changes[1]]):
        dtype = next(c[name].old.dtype for c in changes if name in c)
        none = Change(np.empty(0, np.int64), np.empty(0, dtype), np.empty(0, dtype))
        yield name, tuple(c.get(name, none) for c in changes)


def both(name: str, one: Change, two: Change) -> tuple[np.ndarray, ...]:
    """All positions of two changes of one tensor; there the old values, and those of each."""
    index, first = np.unique(np.concatenate([one.index, two.index]), return_index=True)
    _, here, there = np.intersect1d(one.index, two.index, return_indices=True)
    same = one.old.dtype == two.old.dtype
    if not same or one.old[here].tobytes() != two.old[there].tobytes():
        reason = f"{name} has other old values in one than in the other"
        raise Unfit("patches", reason, "Use patches of one base model.")
    old = np.concatenate([one.old, two.old])[first]
    states = []
    for change in (one, two):
        states.append(old.copy())
        states[-1][np.searchsorted(index, change.index)] = change.new
    return index, old, *states


def same_base(one: Patch, two: Patch) -> None:
    """Refuse patches whose files name different models."""
    bases = [p.info.get("base", {}) for p in (one, two)]
    for key in ("architecture", "tokenizer"):
        if None not in (values := [b.get(key) for b in bases]) and values[0] != values[1]:
            raise Unfit("patches", f"are of different models ({key})", "Use one base model.")
    tensors = [b.get("tensors", {}) for b in bases]
    for name in tensors[0].keys() & tensors[1].keys():
        if tensors[0][name] != tensors[1][name]:
            reason = f"are of different models ({name} differs)"
            raise Unfit("patches", reason, "Use one base model.")


def derived(how: str, *patches: Patch) -> dict[str, object]:
    """The description of a patch made of others: their base, and where it comes from.

    What was measured of them does not hold for it.
    """
    bases = [p.info["base"] for p in patches if "base" in p.info]
    sources = [p.info.get("digest", "unsaved") for p in patches]
    info: dict[str, object] = {"method": {"made by": how, "of": sources}, "direction": "unknown"}
    if len(bases) == len(patches):
        tensors = {n: t for b in bases for n, t in b.get("tensors", {}).items()}
        info["base"] = bases[0] | {"tensors": tensors}
    return info
