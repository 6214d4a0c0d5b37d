"""Edit checkpoints larger than memory: a new checkpoint, or the patch alone, chunk by chunk.

The equations are in `strategies`. A checkpoint holds dense weights: they stay dense, and
pruned weights are 0 as in w = m ⊙ θ. An output is complete or absent, and is compared
with its source bit by bit before it gets its name.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from lcelib import kernels
from lcelib.checkpoints import reading as checkpoint
from lcelib.checkpoints import writing
from lcelib.checkpoints.reading import Checkpoint, check_alike
from lcelib.errors import LceError
from lcelib.kernels.keys import pieces
from lcelib.patches import base as base_model
from lcelib.patches import direction as directions
from lcelib.patches import format as patchfile
from lcelib.strategies import check_strategy, new_values
from lcelib.streaming import localization
from lcelib.streaming.localization import Localization, Progress, no_progress
from lcelib.streaming.tally import Tally, check_written
from lcelib.tensors import Array, bits


def edit(
    target: Path,
    reference: Path,
    how: Localization,
    strategy: str,
    alpha: float = 1.0,
    output: Path | None = None,
    patch: Path | None = None,
    base: Path | None = None,
    progress: Progress = no_progress,
    describe: dict[str, Any] | None = None,
) -> Tally:
    """Edit the target's located weights by IP, EP, PR or SW (Eq. 3–6, `new_values`).

    Writes a new checkpoint, a patch, or both. SW gives a weight that it switches on its value
    in `base`, the model before fine-tuning. `describe` goes into the patch's description.
    Raises LceError for settings that exclude each other, and MismatchError for checkpoints
    of different architectures; nothing is written then.
    """
    strength = check_strategy(strategy, alpha, how.by)
    _check_settings(how, strategy, output or patch, base)
    one, two = checkpoint.read(target), checkpoint.read(reference)
    names = check_alike(one, two, how.tensors)
    old, new = one.arrays(names), two.arrays(names)
    restored = None if base is None else _arrays_like(one, base, how)
    tally = Tally({n: one.entries[n].size for n in names})
    located = localization.stream(old, new, how, progress)
    groups = groupby(located, key=lambda part: part[0])
    with ExitStack() as stack:
        writer = None
        if patch is not None:
            method = localization.describe(how, strategy=strategy)
            about: dict[str, Any] = {"alpha": strength, "method": method} | (describe or {})
            directions.check_direction(about)
            writer = stack.enter_context(patchfile.open_writer(patch, about, values=True))

        def edit_tensor(name: str) -> Iterator[Array]:
            """Yield the tensor's new values, chunk by chunk."""
            for _, where, here in next(groups)[1]:
                part = old[name][where].copy()
                before, value = part[here], new[name][where][here]
                start = None if restored is None else restored[name][where][here]
                after = new_values(strategy, before, value, start)
                part[here] = kernels.interpolate(before, after, strength)
                tally.note(name, before, part[here])
                if writer is not None:
                    writer.add(name, one.entries[name].dtype, here + where.start, before, after)
                yield part

        if output is None:
            for _ in chain.from_iterable(map(edit_tensor, names)):
                pass  # the patch alone
        else:
            edits = {n: partial(edit_tensor, n) for n in names}
            with writing.new_checkpoint(one, output, edits, progress) as differing:
                check_written(tally, output, differing)
        if writer is not None:
            touched = [n for n, (count, _) in writer.lengths.items() if count]
            about["base"] = base_model.of_checkpoint(one, touched) | about.pop("base", {})
    return tally


def _arrays_like(target: Checkpoint, folder: Path, how: Localization) -> dict[str, Array]:
    other = checkpoint.read(folder)
    return other.arrays(check_alike(target, other, how.tensors))


def _check_settings(how: Localization, strategy: str, goal: Path | None, base: Path | None) -> None:
    if goal is None:
        remedy = "Give --output FOLDER, --patch FILE, or both."
        raise LceError("edit", "has nothing to write", remedy)
    if strategy == "SW" and (base is None or how.sparsity is not None):
        reason = "switches the masks of pruned checkpoints, whose other values are those of a base"
        raise LceError("strategy SW", reason, "Give --base FOLDER (θ0), and no --sparsity.")


def difference(
    base: Path,
    changed: Path,
    patch: Path,
    describe: dict[str, Any],
    progress: Progress = no_progress,
) -> Tally:
    """Write the patch that turns `base` into `changed`: all weights whose bits differ.

    `describe` goes into the patch's description. Raises MismatchError for checkpoints of
    different architectures.
    """
    one, two = checkpoint.read(base), checkpoint.read(changed)
    names = check_alike(one, two, ("*",))
    old, new = one.arrays(names), two.arrays(names)
    tally = Tally({n: a.size for n, a in old.items()})
    about: dict[str, Any] = {
        "alpha": 1.0,
        "method": {"made by": "the difference of two checkpoints"},
    } | describe
    directions.check_direction(about)
    with patchfile.open_writer(patch, about, values=True) as writer:
        for name, where in pieces(old):
            before, after = old[name][where], new[name][where]
            here = np.flatnonzero(bits(before) != bits(after))
            tally.note(name, before[here], after[here])
            writer.add(name, one.entries[name].dtype, here + where.start, before[here], after[here])
            progress(2 * before.nbytes)
        touched = [n for n, count in tally.located.items() if count]
        about["base"] = base_model.of_checkpoint(one, touched) | about.pop("base", {})
    return tally
