"""The kernels in Triton: the GPU path (contract: package docstring; specification: `numpy`).

This module holds the host side; `triton_device` holds what runs on the device. Integer
counts are summed atomically, which is exact in any order; collected weights are sorted
into the order of their blocks afterwards, so every run gives the same result. Never
imported on a CPU, except under TRITON_INTERPRET=1. Excluded from mypy: Triton has no types.
"""

import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import triton
import triton.language as tl

from lcelib.errors import LceError
from lcelib.kernels import selection
from lcelib.kernels import triton_device as device
from lcelib.kernels.keys import by_role
from lcelib.kernels.selection import RUN, Cut

Tensors = dict[str, torch.Tensor]
BLOCK = 1 << 14 if os.environ.get("TRITON_INTERPRET") == "1" else 1 << 12
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


@lru_cache(maxsize=16)
def _table(sizes: tuple[int, ...], where: torch.device) -> tuple[torch.Tensor, ...]:
    """Return the tensors' sizes, and each block's tensor and start position, on the device."""
    blocks = [-(-size // BLOCK) for size in sizes]
    tensor = np.repeat(np.arange(len(sizes), dtype=np.int32), blocks)
    start = np.concatenate([np.arange(n, dtype=np.int64) * BLOCK for n in blocks])
    arrays = (np.array(sizes, np.int64), tensor, start)
    return tuple(torch.from_numpy(a).to(where) for a in arrays)


@lru_cache(maxsize=16)
def _sampled(sizes: tuple[int, ...], where: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tensor and flat position of every sampled weight, on the device."""
    ends = np.cumsum(sizes)
    starts = selection.sample_starts(int(ends[-1]))
    tensor = np.searchsorted(ends, starts, side="right")
    place = (starts - (ends - sizes)[tensor])[:, None] + np.arange(RUN)
    tensor = np.broadcast_to(tensor[:, None], place.shape)
    exists = place < np.array(sizes)[tensor]
    arrays = (tensor[exists].astype(np.int32), place[exists])
    return tuple(torch.from_numpy(a).to(where) for a in arrays)


class Tables:
    """Dicts of tensors with the same names, sizes and device, ready for one launch."""

    def __init__(self, tensors: Tensors) -> None:
        self.names, values = list(tensors), list(tensors.values())
        self.device = values[0].device
        self.shape = tuple(t.numel() for t in values)
        self.even = all(n % 16 == 0 for n in self.shape)
        self.sizes, self.block_tensor, self.block_start = _table(self.shape, self.device)
        self.grid = (len(self.block_tensor),)

    @property
    def blocks(self) -> tuple[torch.Tensor, ...]:
        """Return the three tables that every kernel takes."""
        return self.sizes, self.block_tensor, self.block_start

    def addresses(self, tensors: Tensors) -> torch.Tensor:
        """Return the address of each tensor's data, int64 on the device."""
        chosen = [tensors[n] for n in self.names]
        for name, tensor in zip(self.names, chosen, strict=True):
            if not tensor.is_contiguous():
                raise LceError(f"tensor {name}", "is a strided view", "Give contiguous tensors.")
        pointers = [t.data_ptr() for t in chosen]
        self.even &= all(p % 16 == 0 for p in pointers)
        return torch.tensor(pointers, dtype=torch.int64).to(self.device)


def kind(tensors: Tensors) -> int:
    """Return the code KIND of the tensors' common dtype; raise LceError if there is none."""
    for name, tensor in tensors.items():
        if tensor.dtype not in KINDS or tensor.dtype != next(iter(tensors.values())).dtype:
            reason = f"is {tensor.dtype}"
            raise LceError(f"tensor {name}", reason, "Give float32, float16 or bfloat16, one kind.")
    return KINDS[next(iter(tensors.values())).dtype]


def word(tensors: Tensors) -> tl.dtype:
    """Return the unsigned integer type of the tensors' element size."""
    return {1: tl.uint8, 2: tl.uint16, 4: tl.uint32}[next(iter(tensors.values())).element_size()]


class Keys:
    """The keys of |w|, or of |second − first|, on the device (see `keys.Keys`)."""

    def __init__(
        self, first: Tensors, second: Tensors | None = None, among: Tensors | None = None
    ) -> None:
        self.models = {"": first} if second is None else by_role(first, second)
        self.table, self.offset = Tables(first), int(among is not None)
        self.size, self.device = sum(self.table.shape), self.table.device
        given = [first if x is None else x for x in (first, second, among)]
        self.bad = torch.zeros(1, dtype=torch.int32, device=self.device)
        self.data = (*(self.table.addresses(x) for x in given), self.bad)
        self.flags = {
            "KIND": kind(first), "PAIR": second is not None, "AMONG": among is not None,
            "EVEN": self.table.even, "BLOCK": BLOCK,
        }  # fmt: skip

    def zeros(self, size: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        """Return a tensor of zeros on the device of the data."""
        return torch.zeros(size, dtype=dtype, device=self.device)

    def check(self) -> None:
        """Raise LceError for NaN and Inf, with tensor and count."""
        if not int(self.bad):
            return
        for which, tensors in self.models.items():
            for name, tensor in tensors.items():
                bad = tensor.numel() - int(torch.isfinite(tensor).sum())
                if bad:
                    reason = f"{bad} of {tensor.numel()} weights are NaN or Inf{which}"
                    raise LceError(f"tensor {name}", reason, "Use a sound checkpoint.")

    def sample(self) -> np.ndarray:
        """Return the sorted keys of short runs of weights, spread over all tensors."""
        tensors, places = _sampled(self.table.shape, self.device)
        out, total = self.zeros(len(places), torch.int32), len(places)
        grid = (triton.cdiv(total, BLOCK),)
        device.sample[grid](*self.data, tensors, places, total, out, **self.flags)
        return out.sort().values.cpu().numpy()

    def scan(self, intervals: Sequence[tuple[int, int]], most: int) -> list[tuple]:
        """Count and collect keys by interval, in one pass (see `selection.Keys`)."""
        ends = torch.tensor(intervals, dtype=torch.int32).to(self.device)
        lows, highs = ends[:, 0].contiguous(), ends[:, 1].contiguous()
        most = min(most, self.size)
        counts = self.zeros(2 * len(intervals)).view(2, -1)
        values = torch.empty((len(intervals), most), dtype=torch.int32, device=self.device)
        device.scan[self.table.grid](
            *self.data, *self.table.blocks, lows, highs, len(intervals),
            counts[0], counts[1], values, most, **self.flags,
        )  # fmt: skip
        below, inside = counts.tolist()
        self.check()
        return [
            (b, n, values[i, :n] if low < high and n <= most else None)
            for i, (b, n, (low, high)) in enumerate(zip(below, inside, intervals, strict=True))
        ]

    def order_statistic(self, values: torch.Tensor, rank: int) -> tuple[int, int, int]:
        """Return the value of a rank (from 1) among `values`, how many are below, how many equal."""
        ordered = values.sort().values
        key = ordered[rank - 1]
        first, last = (int(torch.searchsorted(ordered, key, side=s)) for s in ("left", "right"))
        return int(key), first, last - first

    def collect(self, low: int, most: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return positions over all tensors of keys ≥ low, and these keys; None if more than `most`."""
        most, blocks = min(most, self.size), self.table.grid[0]
        counter, tickets, counts = (
            self.zeros(1),
            self.zeros(blocks),
            self.zeros(blocks, torch.int32),
        )
        positions = torch.empty(most, dtype=torch.int64, device=self.device)
        values = torch.empty(most, dtype=torch.int32, device=self.device)
        bases = self.table.sizes.cumsum(0) - self.table.sizes
        device.collect[self.table.grid](
            *self.data, *self.table.blocks, bases, low, counter, tickets, counts,
            positions, values, most, **self.flags,
        )  # fmt: skip
        total = int(counter)
        self.check()
        if total > most:
            return None
        shift = tickets - (counts.cumsum(0) - counts)
        order = shift.repeat_interleave(counts) + torch.arange(total, device=self.device)
        return positions[order], values[order]

    def by_tensor(self, positions: torch.Tensor) -> Tensors:
        """Split sorted positions over all tensors into positions in each."""
        ends = self.table.sizes.cumsum(0)
        starts = (ends - self.table.sizes).tolist()
        cuts = torch.searchsorted(positions, ends).tolist()
        parts = positions.tensor_split(cuts[:-1])
        return {n: p - s for n, p, s in zip(self.table.names, parts, starts, strict=True)}


def kth_magnitude(weights: Tensors, counts: Sequence[int]) -> list[Cut]:
    """Return the cuts below which the `counts` weights of lowest |w| lie, over all tensors."""
    return selection.lowest(Keys(weights), counts)


def prune_masks(weights: Tensors, pruned: int | Cut) -> Tensors:
    """Return packed masks m = [|w| > cut], without the `pruned` weights of lowest |w|."""
    cut = pruned if isinstance(pruned, Cut) else kth_magnitude(weights, [pruned])[0]
    keys = Keys(weights)
    masks = {n: keys.zeros(-(-w.numel() // 8), torch.uint8) for n, w in weights.items()}
    first, table, equal = keys.data[0], keys.table, keys.zeros(keys.table.grid[0])
    addresses = table.addresses(masks)
    flags = {"KIND": keys.flags["KIND"], "EVEN": table.even, "BLOCK": BLOCK}
    device.equal[table.grid](first, keys.bad, *table.blocks, cut.key, equal, **flags)
    before = equal.cumsum(0) - equal
    device.pack[table.grid](
        first, keys.bad, *table.blocks, cut.key, before, cut.ties, addresses, **flags
    )
    keys.check()
    return masks


def xor_count(first: Tensors, second: Tensors) -> dict[str, int]:
    """Return |m_1 XOR m_2| per tensor: the weights present in exactly one of two packed masks."""
    table = Tables(first)
    counts = torch.zeros(len(first), dtype=torch.int64, device=table.device)
    pair = table.addresses(first), table.addresses(second)
    device.xor[table.grid](*pair, *table.blocks, counts, EVEN=table.even, BLOCK=BLOCK)
    return dict(zip(table.names, counts.tolist(), strict=True))


def top_k_difference(
    target: Tensors, reference: Tensors, k: int | dict[str, int], among: Tensors | None = None
) -> Tensors:
    """Return the sorted positions of the k largest |θ_r − θ_t|, over all tensors or in each."""
    if isinstance(k, dict):
        one = (({n: target[n]}, {n: reference[n]}, k[n], among and {n: among[n]}) for n in target)
        return {n: p for arguments in one for n, p in top_k_difference(*arguments).items()}
    keys = Keys(target, reference, among)
    if k == 0:
        return {n: keys.zeros(0) for n in target}
    low, _ = selection.interval(keys.sample(), 1 - k / keys.size)
    collected = keys.collect(max(low, keys.offset), k + k // 2 + (1 << 20))
    if collected is None or len(collected[1]) < k:
        cut = selection.highest(keys, k)
        collected = keys.collect(cut.key, k - cut.ties + cut.equal)
    positions, values = collected
    bound = values.sort(descending=True).values[k - 1]
    chosen, equal = values > bound, values == bound
    chosen |= equal & (equal.cumsum(0) <= k - chosen.sum())
    return keys.by_tensor(positions[chosen])


def read_at(weights: Tensors, positions: Tensors) -> Tensors:
    """Return the values at flat positions, by tensor."""
    values = {
        n: torch.empty(len(p), dtype=weights[n].dtype, device=p.device)
        for n, p in positions.items()
    }
    _move_at(weights, positions, values, False)
    return values


def write_at(weights: Tensors, positions: Tensors, values: Tensors) -> None:
    """Write values at flat positions, in place; nothing else changes."""
    _move_at(weights, positions, values, True)


def swap_at(
    weights: Tensors, positions: Tensors, expected: Tensors, values: Tensors
) -> dict[str, int]:
    """Write `values` if all weights there are `expected`, else nothing; return mismatches by tensor."""
    word = {2: torch.int16, 4: torch.int32}
    counts = {}
    for name, found in read_at(weights, positions).items():
        pair = (x.view(word[x.element_size()]) for x in (found, expected[name]))
        counts[name] = int(torch.ne(*pair).sum())
    wrong = {name: count for name, count in counts.items() if count}
    if not wrong:
        write_at(weights, positions, values)
    return wrong


def _move_at(weights: Tensors, positions: Tensors, values: Tensors, write: bool) -> None:
    if not any(len(p) for p in positions.values()):
        return
    table = Tables(positions)
    given = [table.addresses(x) for x in (weights, positions, values)]
    flags = {"WORD": word(weights), "WRITE": write, "EVEN": table.even, "BLOCK": BLOCK}
    device.move[table.grid](*given, *table.blocks, **flags)


def dense_edit(target: Tensors, reference: Tensors, alpha: float, out: Tensors) -> None:
    """Write θ + α (θ_r − θ) for every weight into `out`, which may be `target` (Eq. 3–4, b = 1)."""
    if alpha in (0, 1):
        for name, goal in out.items():
            goal.copy_((reference if alpha else target)[name])
        return
    table = Tables(out)
    given = [table.addresses(x) for x in (target, reference, out)]
    flags = {"KIND": kind(out), "EVEN": table.even, "BLOCK": BLOCK, "enable_fp_fusion": False}
    device.dense[table.grid](*given, *table.blocks, float(alpha), **flags)


def hold_at_zero(weights: Tensors, masks: Tensors) -> None:
    """Set w ← m ⊙ w in place: pruned weights become +0; only they are written."""
    table = Tables(weights)
    pair = table.addresses(weights), table.addresses(masks)
    device.hold[table.grid](*pair, *table.blocks, WORD=word(weights), EVEN=table.even, BLOCK=BLOCK)
