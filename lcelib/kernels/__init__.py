"""The kernels of pruning, localization and editing, and their contract.

Every backend offers the same functions over NumPy arrays, and gives the same
index sets bit for bit:

- tensors are a dict name → array; a flat index counts in C order;
- a mask is packed: `uint8`, eight weights a byte, first weight in the highest
  bit, unused bits 0;
- magnitudes compare as |x|; −0 equals 0; NaN is refused by the caller;
- ties go to the lowest position, tensors in the order of the dict;
- the same input gives the same output, whatever the number of threads.

`numpy` is the CPU path and the specification.
"""

from lcelib.kernels.numpy import (
    pack,
    prune_masks,
    read_at,
    sample_positions,
    top_k_difference,
    unpack,
    write_at,
    xor_count,
)

__all__ = [
    "pack",
    "prune_masks",
    "read_at",
    "sample_positions",
    "top_k_difference",
    "unpack",
    "write_at",
    "xor_count",
]
