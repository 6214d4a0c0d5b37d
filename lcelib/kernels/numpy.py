"""The kernels in NumPy: the CPU path and the specification (contract: package docstring)."""

from collections.abc import Sequence

import numpy as np

from lcelib.kernels import selection
from lcelib.kernels.keys import (
    CHUNK,
    THREADS,
    Keys,
    Piece,
    choose,
    flatten,
    pieces,
    present,
    run_threads,
)
from lcelib.kernels.selection import Cut
from lcelib.tensors import Array, Arrays, bits, narrow, widen

SWAP = 1 << 13  # positions; what was read is still in the cache when it is written


def kth_magnitude(weights: Arrays, counts: Sequence[int]) -> list[Cut]:
    """Return the cuts below which the `counts` weights of lowest |w| lie, over all tensors."""
    return selection.lowest(Keys(weights), counts)


def prune_masks(weights: Arrays, pruned: int | Cut) -> Arrays:
    """Return packed masks m = [|w| > cut], without the `pruned` weights of lowest |w|."""
    cut = pruned if isinstance(pruned, Cut) else kth_magnitude(weights, [pruned])[0]
    check = cut is pruned  # finding the cut has looked for NaN and Inf
    masks = {n: np.empty(-(-w.size // 8), np.uint8) for n, w in weights.items()}
    keys, every = Keys(weights), 0 < cut.ties == cut.equal

    def work(todo: list[Piece]) -> None:
        flags, ties = np.empty(CHUNK, bool), cut.ties
        for name, where, key in keys.stream(todo, check=check):
            flag = flags[: len(key)]
            if every:
                np.greater(key, np.uint32(cut.key), out=flag)
            else:
                ties = choose(np.less, key, cut, ties, flag)
                np.logical_not(flag, out=flag)
            masks[name][where.start // 8 : -(-where.stop // 8)] = np.packbits(flag)

    run_threads(work, keys.pieces, THREADS if every else 1)
    return masks


def pack(keep: Array) -> Array:
    """Pack a boolean array into bits, shape (ceil(size / 8),), uint8."""
    return np.packbits(keep.reshape(-1))


def unpack(mask: Array, shape: tuple[int, ...]) -> Array:
    """Return the boolean array of the given shape from which `pack` made a mask."""
    return np.unpackbits(mask, count=int(np.prod(shape))).view(bool).reshape(shape)


def positions(mask: Array) -> Array:
    """Return the sorted positions of the weights present in a packed mask; int64."""
    found = [8 * w.start + np.flatnonzero(np.unpackbits(mask[w])) for _, w in pieces({"": mask})]
    return np.concatenate([np.empty(0, np.int64), *found])


def xor_count(first: Arrays, second: Arrays) -> dict[str, int]:
    """Return |m_1 XOR m_2| per tensor: the weights present in exactly one of two packed masks."""
    counts, size = {}, 1 << 14
    words, ones = np.empty(size, np.uint64), np.empty(size, np.uint8)
    for name, mask in first.items():
        other, whole = second[name], len(mask) // 8 * 8
        counts[name] = popcount(mask[whole:] ^ other[whole:]) if whole < len(mask) else 0
        a, b = mask[:whole].view(np.uint64), other[:whole].view(np.uint64)
        for start in range(0, len(a), size):
            part = slice(start, start + size)
            differ = np.bitwise_xor(a[part], b[part], out=words[: len(a[part])])
            count = np.bitwise_count(differ, out=ones[: len(differ)])
            counts[name] += int(count.sum(dtype=np.uint32))
    return counts


def top_k_difference(
    target: Arrays, reference: Arrays, k: int | dict[str, int], among: Arrays | None = None
) -> Arrays:
    """Return the sorted positions of the k largest |θ_r − θ_t|, over all tensors or in each."""
    if isinstance(k, dict):
        one = (({n: target[n]}, {n: reference[n]}, k[n], among and {n: among[n]}) for n in target)
        return {n: p for arguments in one for n, p in top_k_difference(*arguments).items()}
    return top_k(Keys(target, reference, among), k)


def top_k(keys: Keys, k: int) -> Arrays:
    """Return the sorted positions of the k highest keys: one pass, or three if the sample misled."""
    if k == 0:
        return {n: np.empty(0, np.int64) for n in keys.first}
    low, _ = selection.interval(keys.sample(), 1 - k / keys.size)
    collected = keys.collect(max(low, keys.offset), k + k // 2 + (1 << 20))
    if collected is None or len(collected[1]) < k:
        return keys.above(selection.highest(keys, k))
    positions, values = collected
    bound = np.partition(values, len(values) - k)[len(values) - k]
    chosen = values > bound
    chosen[np.flatnonzero(values == bound)[: k - np.count_nonzero(chosen)]] = True
    ends = np.cumsum([len(p) for p in positions.values()])[:-1]
    parts = zip(positions.items(), np.split(chosen, ends), strict=True)
    return {name: where[flag] for (name, where), flag in parts}


def sample_positions(
    sizes: dict[str, int], k: int, rng: np.random.Generator, among: Arrays | None = None
) -> Arrays:
    """Return the sorted positions of exactly k weights, every set of k equally likely."""
    counts = {n: size if among is None else popcount(among[n]) for n, size in sizes.items()}
    ranks, drawn, begin = distinct(sum(counts.values()), k, rng), {}, 0
    for name, count in counts.items():
        here = ranks[np.searchsorted(ranks, begin) : np.searchsorted(ranks, begin + count)] - begin
        drawn[name] = here if among is None else select(among[name], here)
        begin += count
    return drawn


def distinct(total: int, k: int, rng: np.random.Generator) -> Array:
    """Return k distinct integers below `total`, sorted, every set equally likely."""
    if k > total // 2:
        keep = np.ones(total, bool)
        keep[distinct(total, total - k, rng)] = False
        return np.flatnonzero(keep)
    drawn: Array = np.empty(0, np.int64)
    while len(drawn) < k:  # never draws more than are missing: the first k different ones
        drawn = np.sort(np.concatenate([drawn, rng.integers(total, size=k - len(drawn))]))
        drawn = drawn[np.diff(drawn, prepend=-1) > 0]
    return drawn


def popcount(mask: Array) -> int:
    """Return the number of weights present in a packed mask."""
    return sum(int(np.bitwise_count(mask[s]).sum()) for _, s in pieces({"": mask}))


def select(mask: Array, ranks: Array) -> Array:
    """Return the positions of the set bits of the given ranks (from 0, sorted)."""
    parts, begin, done = [np.empty(0, np.int64)], 0, 0
    for _, where in pieces({"": mask}):
        ones = begin + np.cumsum(np.bitwise_count(mask[where]), dtype=np.int64)
        upto = int(np.searchsorted(ranks, ones[-1]))
        here = ranks[done:upto]
        byte = np.searchsorted(ones, here, side="right")
        eight = np.unpackbits(mask[where][byte][:, None], axis=1)
        inside = here - (ones[byte] - eight.sum(axis=1, dtype=np.int64))
        bit = (np.cumsum(eight, axis=1) <= inside[:, None]).sum(axis=1)
        parts.append(8 * (where.start + byte) + bit)
        begin, done = int(ones[-1]), upto
    return np.concatenate(parts)


def read_at(weights: Arrays, positions: Arrays) -> Arrays:
    """Return the values at flat positions, by tensor."""

    def work(names: list[str]) -> list[Array]:
        return [weights[n].reshape(-1).take(positions[n], mode="clip") for n in names]  # in range

    names = list(positions)
    parts = run_threads(work, names, _threads(positions))
    return dict(zip(names, (v for part in parts for v in part), strict=True))


def write_at(weights: Arrays, positions: Arrays, values: Arrays) -> None:
    """Write values at flat positions, in place; nothing else changes."""

    def work(names: list[str]) -> None:
        for n in names:
            flatten(n, weights[n])[positions[n]] = values[n]

    run_threads(work, list(positions), _threads(positions))


def swap_at(weights: Arrays, positions: Arrays, expected: Arrays, values: Arrays) -> dict[str, int]:
    """Write `values` if all weights there are `expected`, else nothing; return mismatches by tensor."""
    wrong: dict[str, int] = {}
    written: list[tuple[str, slice]] = []

    def work(names: list[str]) -> None:
        for n in names:
            whole = flatten(n, weights[n])
            for start in range(0, len(positions[n]), SWAP):
                part = slice(start, start + SWAP)
                here = whole.take(positions[n][part], mode="clip")
                differ = int(np.count_nonzero(bits(here) != bits(expected[n][part])))
                if differ:
                    wrong[n] = wrong.get(n, 0) + differ
                elif not wrong:
                    written.append((n, part))
                    whole[positions[n][part]] = values[n][part]

    try:
        run_threads(work, list(positions), _threads(positions))
    except BaseException:
        wrong[""] = 1
        raise
    finally:
        for n, part in written if wrong else ():
            flatten(n, weights[n])[positions[n][part]] = expected[n][part]
    return wrong


def _threads(positions: Arrays) -> int:
    """Return the number of threads for random access: 1 if it would end before they start."""
    return THREADS if sum(map(len, positions.values())) > CHUNK // 4 else 1


def interpolate(old: Array, new: Array, alpha: float) -> Array:
    """Return old + α (new − old), computed in float32 and rounded once.

    It is exactly `old` at α = 0 and exactly `new` at α = 1.
    """
    if alpha in (0, 1):
        return new if alpha else old
    out = np.empty_like(old)
    dense_edit({"": old}, {"": new}, alpha, {"": out})
    return out


def dense_edit(target: Arrays, reference: Arrays, alpha: float, out: Arrays) -> None:
    """Write θ + α (θ_r − θ) for every weight into `out`, which may be `target` (Eq. 3–4, b = 1)."""
    old, new, goal = ({n: flatten(n, a) for n, a in x.items()} for x in (target, reference, out))

    def work(todo: list[Piece]) -> None:
        longest = max((w.stop - w.start for _, w in todo), default=0)
        a, b, c = np.empty((3, longest), np.float32)
        for name, where in todo:
            before, after, result = old[name][where], new[name][where], goal[name][where]
            if alpha in (0, 1):
                np.copyto(result, after if alpha else before)
                continue
            value = widen(before, a)
            fresh = result.dtype == np.float32 and not np.may_share_memory(result, before)
            step = result if fresh else b[: len(value)]  # one stream of memory less
            np.subtract(widen(after, b), value, out=step)
            np.multiply(step, np.float32(alpha), out=step)
            if result.dtype == np.float32:
                np.add(value, step, out=result)
            else:
                narrow(np.add(value, step, out=c[: len(value)]), result)

    run_threads(work, pieces(goal))


def hold_at_zero(weights: Arrays, masks: Arrays) -> None:
    """Set w ← m ⊙ w in place: pruned weights become +0, whatever they were."""
    values = {n: flatten(n, a) for n, a in weights.items()}

    def work(todo: list[Piece]) -> None:
        for name, where in todo:
            part = values[name][where]
            words = bits(part)  # as integers, 0 times anything is +0
            np.multiply(words, present(masks[name], where), out=words)

    run_threads(work, pieces(values))
