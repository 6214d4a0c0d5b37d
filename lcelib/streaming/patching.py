"""Verify, apply and revert patches on checkpoint folders, chunk by chunk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lcelib import kernels, tensors
from lcelib.checkpoints import reading as checkpoint
from lcelib.checkpoints import writing
from lcelib.checkpoints.reading import Checkpoint
from lcelib.errors import LceError, MismatchError
from lcelib.kernels.numpy_keys import pieces
from lcelib.patches import base as base_model
from lcelib.patches import direction as directions
from lcelib.patches import reading
from lcelib.streaming.found import Found, compare
from lcelib.streaming.localization import Progress, silent
from lcelib.tensors import bits


def expected(source: Checkpoint, patch: Path, alpha: float | None) -> tuple[dict, dict, float]:
    """The patch's arrays and description, and its strength; refuses tensors that do not fit."""
    changes, about = reading.read(patch)
    if any(len(arrays) != 3 for arrays in changes.values()):
        raise LceError(f"{patch}", "lists positions without values", "Give a file of `lce edit`.")
    for name, (index, before, _) in changes.items():
        fits = name in source.entries and source.entries[name].dtype in tensors.DTYPES
        if not fits or source.array(name).dtype != before.dtype:
            reason = f"has no tensor {name} of the patch's dtype"
            raise MismatchError(
                f"{source.folder}", reason, "Use the model that the patch was made for."
            )
        if len(index) and index[-1] >= source.entries[name].size:
            reason = f"has fewer weights in {name} than the patch needs"
            raise MismatchError(
                f"{source.folder}", reason, "Use the model that the patch was made for."
            )
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
        raise MismatchError(f"{one.folder}", reason, "Is this the right model, in the right state?")
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
        raise MismatchError(f"{source}", reason, remedy)
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
