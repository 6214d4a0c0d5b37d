"""Numbers of weights located and changed by a pass over checkpoints, and the check of what it wrote."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lcelib.errors import LceError
from lcelib.tensors import Array, bits


@dataclass
class Tally:
    """Numbers of weights by tensor: all that could be located, located, changed by an edit."""

    sizes: dict[str, int]
    located: dict[str, int] = field(default_factory=dict)
    changed_in: dict[str, int] = field(default_factory=dict)  # that got other bits

    def note(self, name: str, before: Array, after: Array) -> None:
        """Count located weights of a tensor, and those whose bits change."""
        self.located[name] = self.located.get(name, 0) + len(before)
        changed = int(np.count_nonzero(bits(before) != bits(after)))
        self.changed_in[name] = self.changed_in.get(name, 0) + changed

    @property
    def total(self) -> int:
        """Return the number of weights that could have been located."""
        return sum(self.sizes.values())

    @property
    def count(self) -> int:
        """Return the number of located weights."""
        return sum(self.located.values())

    @property
    def changed(self) -> int:
        """Return the number of weights whose bits an edit changed."""
        return sum(self.changed_in.values())


def check_written(tally: Tally, output: Path, differing: dict[str, int]) -> None:
    """Raise LceError unless exactly the intended number of values differs from the source."""
    for name in {**tally.changed_in, **differing}:
        number, intended = differing.get(name, 0), tally.changed_in.get(name, 0)
        if number != intended:
            reason = f"{number} weights of {name} were changed, not {intended}"
            raise LceError(f"{output}", reason, "Check the disk. Nothing was kept.")
