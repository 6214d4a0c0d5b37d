"""Sorted positions in Elias and Fano's code."""

import numpy as np


def encode(index: np.ndarray) -> dict[str, np.ndarray]:
    """Sorted positions as the sections that take fewer bytes."""
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


def decode(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The positions from Elias and Fano's code, as uint32."""
    places = np.flatnonzero(np.unpackbits(high, bitorder="little"))
    if len(places) != len(low):
        raise ValueError(f"{len(places)} high parts for {len(low)} low parts")
    upper = places - np.arange(len(places))
    if len(upper) and upper[-1] >= 1 << 24:
        raise ValueError("a position beyond 2^32")
    return (upper.astype(np.uint32) << np.uint32(8)) | low
