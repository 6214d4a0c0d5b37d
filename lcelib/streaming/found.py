"""What a pass over two checkpoints found, and the check of what it wrote."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lcelib.errors import LceError
from lcelib.tensors import bits


@dataclass
class Found:
    """What was located: numbers of weights by tensor, and what the edit did."""

    sizes: dict[str, int]
    located: dict[str, int] = field(default_factory=dict)
    changed_in: dict[str, int] = field(default_factory=dict)  # that an edit gave other bits

    def note(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        """Count located values of a tensor, and those that change."""
        self.located[name] = self.located.get(name, 0) + len(before)
        changed = int(np.count_nonzero(bits(before) != bits(after)))
        self.changed_in[name] = self.changed_in.get(name, 0) + changed

    @property
    def total(self) -> int:
        """The number of weights that could have been located."""
        return sum(self.sizes.values())

    @property
    def count(self) -> int:
        """The number of located weights."""
        return sum(self.located.values())

    @property
    def changed(self) -> int:
        """The number of weights that an edit gave other bits."""
        return sum(self.changed_in.values())


def compare(found: Found, output: Path, differing: dict[str, int]) -> None:
    """Refuse any number of values that differ from the source's but the intended one."""
    for name in {**found.changed_in, **differing}:
        number, wanted = differing.get(name, 0), found.changed_in.get(name, 0)
        if number != wanted:
            reason = f"{number} weights of {name} were changed, not {wanted}"
            raise LceError(f"{output}", reason, "Is the disk sound? Nothing was kept.")
