"""Sorted positions in Elias and Fano's code (docs/patch_format.md)."""

import numpy as np

from lcelib.tensors import Array, Arrays


def encode(index: Array) -> Arrays:
    """Return sorted positions as sections of a file: coded, or plain if that is shorter."""
    index = np.ascontiguousarray(index, np.uint32)
    count = len(index)
    if count == 0:
        return {"index": index}
    places = (index >> np.uint32(8)).astype(np.int64) + np.arange(count)
    length = int(places[-1]) // 8 + 1
    if count + length >= 4 * count:
        return {"index": index}
    high = np.zeros(8 * length, bool)
    high[places] = True
    return {"low": index.astype(np.uint8), "high": np.packbits(high, bitorder="little")}


def decode(low: Array, high: Array) -> Array:
    """Return the positions, uint32, from their code; raise ValueError for a corrupt one."""
    places = np.flatnonzero(np.unpackbits(high, bitorder="little"))
    if len(places) != len(low):
        raise ValueError(f"{len(places)} high parts for {len(low)} low parts")
    upper = places - np.arange(len(places))
    if len(upper) and upper[-1] >= 1 << 24:
        raise ValueError("a position beyond 2^32")
    index: Array = (upper.astype(np.uint32) << np.uint32(8)) | low
    return index
