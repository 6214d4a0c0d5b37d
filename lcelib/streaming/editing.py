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

from lcelib import kernels
from lcelib.checkpoints import reading as checkpoint
from lcelib.checkpoints import writing
from lcelib.checkpoints.reading import check_alike
from lcelib.errors import LceError
from lcelib.kernels.numpy_keys import Arrays, pieces
from lcelib.patches import base as base_model
from lcelib.patches import direction as directions
from lcelib.patches import format as patchfile
from lcelib.strategies import check_strategy
from lcelib.streaming.found import Found, compare
from lcelib.streaming.localization import Localization, Progress, info, silent, stream
from lcelib.tensors import bits, nonzero


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
