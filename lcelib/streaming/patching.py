"""Verify, apply and revert patches on checkpoint folders, chunk by chunk."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lcelib.checkpoints import reading as checkpoint
from lcelib.checkpoints import writing
from lcelib.checkpoints.reading import Checkpoint
from lcelib.errors import MismatchError
from lcelib.kernels.keys import pieces
from lcelib.patches import algebra, reading
from lcelib.patches import base as base_model
from lcelib.patches import direction as directions
from lcelib.patches.algebra import Changes
from lcelib.streaming.localization import Progress, no_progress
from lcelib.streaming.tally import Tally, check_written
from lcelib.tensors import Array


def read_fitting(
    source: Checkpoint, patch: Path, alpha: float | None
) -> tuple[Changes, dict[str, Any], float]:
    """Read a patch for a checkpoint: its changes, its description, and its strength.

    The strength is `alpha`, or that in the file. Raises MismatchError for tensors that do
    not fit, LceError for an invalid file.
    """
    changes, about = reading.read_changes(patch)
    kinds = {name: (entry.size, entry.dtype) for name, entry in source.entries.items()}
    algebra.check_fit(f"{source.folder}", kinds, changes)
    return changes, about, about.get("alpha", 1.0) if alpha is None else alpha


def verify(source: Path, patch: Path, alpha: float | None = None) -> str:
    """Return the state of a checkpoint: "base", or "applied" at `alpha`, by default the patch's own.

    Every changed tensor is compared whole. Raises MismatchError for any other model or state.
    """
    one = checkpoint.read(source)
    changes, about, alpha = read_fitting(one, patch, alpha)
    return _state(one, changes, about, alpha, changes)


def _state(
    one: Checkpoint, changes: Changes, about: dict[str, Any], alpha: float, whole: Mapping[str, Any]
) -> str:
    """Return the state of a checkpoint; the tensors `whole` are compared to their last weight."""
    found = {name: one.array(name)[change.index] for name, change in changes.items()}
    state = algebra.state(f"{one.folder}", found, changes, alpha)
    if "base" in about:
        digests = {
            n: base_model.digest(_replace(one, n, changes[n].index, changes[n].old)) for n in whole
        }
        shapes = {n: one.entries[n].shape for n in one.prunable()}
        vocabulary = checkpoint.vocabulary(one)
        base_model.check_base(f"{one.folder}", about["base"], shapes, vocabulary, digests)
    return state


def _replace(source: Checkpoint, name: str, index: Array, values: Array) -> Iterator[Array]:
    """Yield a tensor chunk by chunk with other values at some positions; the next chunk overwrites it."""
    whole = source.array(name)
    parts = [where for _, where in pieces({name: whole})]
    cuts = np.searchsorted(index, [0, *(where.stop for where in parts)])
    # One buffer for all: fresh memory costs more than the copy.
    buffer = np.empty_like(whole[parts[0]] if parts else whole)
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
    progress: Progress = no_progress,
    towards_stereotype: bool = False,
) -> Tally:
    """Write a checkpoint with a patch applied at `alpha`, by default its own, or reverted.

    Raises MismatchError, with nothing written, unless architecture, tokenizer and every listed
    weight are those of the patch's base, or, to revert, of the base with the patch; `verify`
    compares changed tensors whole. Raises HarmfulError for a patch that raises stereotype
    scores, without `towards_stereotype`.
    """
    one = checkpoint.read(source)
    changes, about, alpha = read_fitting(one, patch, alpha)
    if not (revert or towards_stereotype):
        directions.check_harm(about, alpha)
    state = _state(one, changes, about, alpha, {})
    if state != ("applied" if revert else "base") and alpha:
        reason = f"is the base of {patch}" if revert else f"has {patch} already"
        remedy = "There is nothing to revert." if revert else "Revert it first."
        raise MismatchError(f"{source}", reason, remedy)
    tally = Tally({n: one.entries[n].size for n in changes})

    def edit_tensor(name: str) -> Iterator[Array]:
        change = changes[name]
        values = change.at(0.0 if revert else alpha)
        tally.note(name, one.array(name)[change.index], values)
        yield from _replace(one, name, change.index, values)

    edits = {n: partial(edit_tensor, n) for n in changes}
    with writing.new_checkpoint(one, output, edits, progress) as differing:
        check_written(tally, output, differing)
    return tally
