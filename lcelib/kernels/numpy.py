"""The kernels in NumPy: the specification, written to be read (contract: package docstring)."""

import numpy as np

Arrays = dict[str, np.ndarray]


def pack(keep: np.ndarray) -> np.ndarray:
    """Pack a boolean array into bits, shape (ceil(size / 8),), uint8."""
    return np.packbits(keep.reshape(-1))


def unpack(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The boolean array of the given shape that `pack` made the bits from."""
    return np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)


def lowest(values: np.ndarray, k: int) -> np.ndarray:
    """Sorted positions of the k lowest values; among equals the first positions win."""
    if k <= 0:
        return np.empty(0, np.int64)
    bound = np.partition(values, k - 1)[k - 1]
    below = np.flatnonzero(values < bound)
    ties = np.flatnonzero(values == bound)[: k - len(below)]
    return np.sort(np.concatenate([below, ties]))


def _split(positions: np.ndarray, arrays: Arrays) -> Arrays:
    """Positions in the concatenation of all tensors → flat positions per tensor."""
    starts = np.cumsum([0] + [a.size for a in arrays.values()])
    cuts = np.searchsorted(positions, starts)
    return {name: positions[cuts[i] : cuts[i + 1]] - starts[i] for i, name in enumerate(arrays)}


def prune_masks(weights: Arrays, pruned: int) -> Arrays:
    """Packed masks that drop the `pruned` weights of lowest magnitude over all tensors.

    Weights that are already 0 go first, so a mask only ever shrinks when the
    weights it pruned are held at 0 (global magnitude pruning, paper §4.2).
    """
    magnitudes = np.concatenate([np.abs(w).reshape(-1) for w in weights.values()])
    masks = {}
    for name, positions in _split(lowest(magnitudes, pruned), weights).items():
        keep = np.ones(weights[name].size, bool)
        keep[positions] = False
        masks[name] = pack(keep)
    return masks


def xor_count(first: Arrays, second: Arrays) -> dict[str, int]:
    """The number of weights per tensor that stand in exactly one of two packed masks."""
    return {n: int(np.bitwise_count(first[n] ^ second[n]).sum()) for n in first}


def top_k_difference(target: Arrays, reference: Arrays, among: Arrays, k: int) -> Arrays:
    """Sorted flat positions of the k largest |reference − target| over all tensors (Eq. 2).

    `among` are packed masks of the weights to choose from.
    """
    candidates = {
        name: np.flatnonzero(unpack(among[name], (target[name].size,))) for name in target
    }
    differences = np.concatenate(
        [
            np.abs(reference[n].reshape(-1)[c] - target[n].reshape(-1)[c])
            for n, c in candidates.items()
        ]
    )
    chosen = _split(lowest(-differences, k), candidates)
    return {name: candidates[name][positions] for name, positions in chosen.items()}


def sample_positions(among: Arrays, sizes: dict[str, int], k: int, rng) -> Arrays:
    """Sorted flat positions of k weights drawn without replacement from packed masks."""
    candidates = {n: np.flatnonzero(unpack(among[n], (sizes[n],))) for n in among}
    total = sum(map(len, candidates.values()))
    chosen = np.sort(rng.choice(total, k, replace=False, shuffle=False))
    return {n: candidates[n][p] for n, p in _split(chosen, candidates).items()}


def read_at(weights: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The values at flat positions."""
    return weights.reshape(-1)[positions]


def write_at(weights: np.ndarray, positions: np.ndarray, values: np.ndarray) -> None:
    """Write values at flat positions, in place; nothing else changes."""
    weights.reshape(-1)[positions] = values
