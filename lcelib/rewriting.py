"""Edit checkpoints larger than memory: a new checkpoint, or the patch alone, chunk by chunk.

A checkpoint holds dense weights: they stay dense, and where weights were pruned
before, they are 0 as in w = m ⊙ θ. What is written is complete or absent, and is
compared with its source bit by bit before it gets its name.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from lcelib import checkpoint, kernels, tensors, writing
from lcelib.checkpoint import Checkpoint, check_alike
from lcelib.errors import LceError, Unfit
from lcelib.kernels.numpy_keys import Arrays, pieces
from lcelib.patches import base as base_model
from lcelib.patches import direction as directions
from lcelib.patches import format as patchfile
from lcelib.patches import reading
from lcelib.strategies import check_strategy
from lcelib.streaming import Found, Localization, Progress, info, silent, stream
from lcelib.tensors import bits


def edit(
    target: Path,
    reference: Path,
    how: Localization,
    strategy: str,
    alpha: float = 1.0,
    output: Path | None = None,
    patch: Path | None = None,
    base: Path | None = None,
    progress: Progress = silent,
    describe: dict | None = None,
) -> Found:
    """Edit the target's located weights; write a new checkpoint, a patch, or both.

    IP, EP: θ' = θ_t + α (θ_r − θ_t) ⊙ b (Eq. 3–4); PR: 0 (Eq. 5); SW: m_r ⊙ θ, where a
    weight that is switched on gets its value in `base`, the model before fine-tuning
    (Eq. 6). The written checkpoint is compared with the target, bit by bit. `describe`
    goes into the patch's description.
    """
    check_strategy(strategy, alpha, how.by)
    if output is None and patch is None:
        raise LceError(
            "edit", "has nothing to write", "Give --output FOLDER, --patch FILE, or both."
        )
    if strategy == "SW" and (base is None or how.sparsity is not None):
        reason = "switches the masks of pruned checkpoints, whose other values are those of a base"
        raise LceError("strategy SW", reason, "Give --base FOLDER (θ0), and no --sparsity.")
    one, two = checkpoint.read(target), checkpoint.read(reference)
    names = check_alike(one, two, how.tensors)
    old, new = one.arrays(names), two.arrays(names)
    if base is not None:
        three = checkpoint.read(base)
        check_alike(one, three, how.tensors)
    values = Values(strategy, old, new, None if base is None else three.arrays(names))
    found = Found({n: one.entries[n].size for n in names})
    strength = alpha if strategy in ("IP", "EP") else 1.0
    groups = groupby(stream(old, new, how, progress), key=lambda part: part[0])
    with ExitStack() as stack:
        writer = None
        if patch is not None:
            about = {"alpha": strength, "method": info(how, strategy=strategy)} | (describe or {})
            directions.check_direction(about)
            writer = stack.enter_context(patchfile.writing(patch, about, values=True))

        def edited(name: str) -> Iterator[np.ndarray]:
            """The tensor's new values, chunk by chunk."""
            for _, where, here in next(groups)[1]:
                part = old[name][where].copy()
                before, after = part[here], values.at_one(name, where, here)
                part[here] = kernels.interpolate(before, after, strength)
                found.note(name, before, part[here])
                if writer is not None:
                    writer.add(name, one.entries[name].dtype, here + where.start, before, after)
                yield part

        if output is None:
            for name in names:
                for _ in edited(name):
                    pass
        else:
            edits = {n: (lambda n=n: edited(n)) for n in names}
            with writing.new_checkpoint(one, output, edits, progress) as differing:
                compare(found, output, differing)
        if writer is not None:
            touched = [n for n, (count, _) in writer.lengths.items() if count]
            about["base"] = base_model.of_checkpoint(one, touched) | about.pop("base", {})
    return found


@dataclass(frozen=True)
class Values:
    """The values that a strategy gives to located weights at α = 1."""

    strategy: str
    target: Arrays
    reference: Arrays
    base: Arrays | None

    def at_one(self, name: str, where: slice, here: np.ndarray) -> np.ndarray:
        """New values at the positions `here` of one chunk."""
        if self.strategy == "PR":
            return np.zeros(len(here), self.target[name].dtype)
        value = self.reference[name][where][here]
        if self.strategy != "SW":
            return value
        own, before = self.target[name][where][here], self.base[name][where][here]
        return np.where(nonzero(value), np.where(nonzero(own), own, before), 0).astype(own.dtype)


def nonzero(values: np.ndarray) -> np.ndarray:
    """Which weights are not ±0; bfloat16 by its bits."""
    return (values & 0x7FFF if values.dtype == np.uint16 else values) != 0


def compare(found: Found, output: Path, differing: dict[str, int]) -> None:
    """Refuse any number of values that differ from the source's but the intended one."""
    for name in {**found.changed_in, **differing}:
        number, wanted = differing.get(name, 0), found.changed_in.get(name, 0)
        if number != wanted:
            reason = f"{number} weights of {name} were changed, not {wanted}"
            raise LceError(f"{output}", reason, "Is the disk sound? Nothing was kept.")


def difference(
    base: Path, changed: Path, patch: Path, describe: dict, progress: Progress = silent
) -> Found:
    """Write the patch that makes the one checkpoint of the other: all weights whose bits differ."""
    one, two = checkpoint.read(base), checkpoint.read(changed)
    names = check_alike(one, two, ("*",))
    old, new = one.arrays(names), two.arrays(names)
    found = Found({n: a.size for n, a in old.items()})
    about = {"alpha": 1.0, "method": {"made by": "the difference of two checkpoints"}} | describe
    directions.check_direction(about)
    with patchfile.writing(patch, about, values=True) as writer:
        for name, where in pieces(old):
            before, after = old[name][where], new[name][where]
            here = np.flatnonzero(bits(before) != bits(after))
            found.note(name, before[here], after[here])
            writer.add(name, one.entries[name].dtype, here + where.start, before[here], after[here])
            progress(2 * before.nbytes)
        touched = [n for n, count in found.located.items() if count]
        about["base"] = base_model.of_checkpoint(one, touched) | about.pop("base", {})
    return found


def expected(source: Checkpoint, patch: Path, alpha: float | None) -> tuple[dict, dict, float]:
    """The patch's arrays and description, and its strength; refuses tensors that do not fit."""
    changes, about = reading.read(patch)
    if any(len(arrays) != 3 for arrays in changes.values()):
        raise LceError(f"{patch}", "lists positions without values", "Give a file of `lce edit`.")
    for name, (index, before, _) in changes.items():
        fits = name in source.entries and source.entries[name].dtype in tensors.DTYPES
        if not fits or source.array(name).dtype != before.dtype:
            reason = f"has no tensor {name} of the patch's dtype"
            raise Unfit(f"{source.folder}", reason, "Use the model that the patch was made for.")
        if len(index) and index[-1] >= source.entries[name].size:
            reason = f"has fewer weights in {name} than the patch needs"
            raise Unfit(f"{source.folder}", reason, "Use the model that the patch was made for.")
    return changes, about, about.get("alpha", 1.0) if alpha is None else alpha


def verify(source: Path, patch: Path, alpha: float | None = None) -> str:
    """ "base" or "applied": the state of a checkpoint, every touched tensor compared whole."""
    one = checkpoint.read(source)
    return _state(one, patch, *expected(one, patch, alpha), whole=True)


def _state(
    one: Checkpoint, patch: Path, changes: dict, about: dict, alpha: float, whole: bool
) -> str:
    """The same for what has been read; touched tensors are compared `whole`, or where listed."""

    def wrong(strength: float) -> dict[str, int]:
        values = {n: kernels.interpolate(a[1], a[2], strength) for n, a in changes.items()}
        found = {n: bits(one.array(n)[changes[n][0]]) != bits(v) for n, v in values.items()}
        return {n: int(np.count_nonzero(differ)) for n, differ in found.items() if differ.any()}

    state = "base" if not (left := wrong(0.0)) else "applied" if not wrong(alpha) else None
    if state is None:
        name, number = next(iter(left.items()))
        reason = f"{number} weights of {name} are not what {patch} expects"
        raise Unfit(f"{one.folder}", reason, "Is this the right model, in the right state?")
    if "base" in about:
        touched = changes if whole else ()
        digests = {n: base_model.digest(_restored(one, n, *changes[n][:2])) for n in touched}
        shapes = {n: one.entries[n].shape for n in one.prunable()}
        vocabulary = checkpoint.vocabulary(one)
        base_model.check_base(f"{one.folder}", about["base"], shapes, vocabulary, digests)
    return state


def _restored(source: Checkpoint, name: str, index, values) -> Iterator[np.ndarray]:
    """A tensor chunk by chunk, with those values at those positions; each is overwritten by the next."""
    whole = source.array(name)
    parts = [where for _, where in pieces({name: whole})]
    cuts = np.searchsorted(index, [0, *(where.stop for where in parts)])
    buffer = np.empty_like(
        whole[parts[0]] if parts else whole
    )  # fresh memory costs more than the copy
    for where, first, last in zip(parts, cuts[:-1], cuts[1:], strict=True):
        part = buffer[: where.stop - where.start]
        part[:] = whole[where]
        part[index[first:last].astype(np.int64) - where.start] = values[first:last]
        yield part


def apply(
    source: Path,
    patch: Path,
    output: Path,
    alpha: float | None = None,
    revert: bool = False,
    progress: Progress = silent,
    towards_stereotype: bool = False,
) -> Found:
    """Write a checkpoint with a patch applied at `alpha` (by default its own), or taken back.

    Refused, with nothing written, unless architecture, tokenizer and every listed weight are
    those of the patch's base, or of the base with it; `verify` compares touched tensors whole.
    """
    one = checkpoint.read(source)
    changes, about, alpha = expected(one, patch, alpha)
    if not (revert or towards_stereotype):
        directions.refuse_harm(about, alpha)
    state = _state(one, patch, changes, about, alpha, whole=False)
    if state != ("applied" if revert else "base") and alpha:
        reason = f"does not have {patch}" if revert else f"has {patch} already"
        remedy = "Give --alpha as it was applied with." if revert else "Take it back first."
        raise Unfit(f"{source}", reason, remedy)
    goal = 0.0 if revert else alpha
    found = Found({n: one.entries[n].size for n in changes})

    def edited(name: str) -> Iterator[np.ndarray]:
        index, before, after = changes[name]
        values = kernels.interpolate(before, after, goal)
        found.note(name, one.array(name)[index], values)
        yield from _restored(one, name, index, values)

    edits = {n: (lambda n=n: edited(n)) for n in changes}
    with writing.new_checkpoint(one, output, edits, progress) as differing:
        compare(found, output, differing)
    return found
