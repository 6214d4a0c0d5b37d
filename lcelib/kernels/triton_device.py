"""The Triton kernels as they run on the device; `triton` holds their host side.

A program handles one block of BLOCK weights of one tensor, which it looks up in a table, so
that one launch serves all tensors. Keys are the bits of |x| in float32 (see `selection`).
KIND is 0 for float32, 1 for bfloat16 (its bits, see `lcelib.tensors`), 2 for float16; EVEN
promises that addresses and sizes are multiples of 16. Excluded from mypy: Triton has no types.
"""

import triton
import triton.language as tl


@triton.jit
def _place(sizes, block_tensor, block_start, EVEN: tl.constexpr, BLOCK: tl.constexpr):
    """Return this program's tensor, its flat positions there, and which of them exist."""
    tensor = tl.load(block_tensor + tl.program_id(0))
    start, size = tl.load(block_start + tl.program_id(0)), tl.load(sizes + tensor)
    at = tl.multiple_of(start, BLOCK) + tl.arange(0, BLOCK)
    if EVEN:
        size = tl.multiple_of(size, 16)
    return tensor, at, at < size


@triton.jit
def _pointer(table, tensor, WORD: tl.constexpr, EVEN: tl.constexpr):
    """Return the address of a tensor's data; with EVEN a multiple of 16, for wide access."""
    pointer = tl.load(table + tensor).to(tl.pointer_type(WORD))
    if EVEN:
        pointer = tl.multiple_of(pointer, 16)
    return pointer


@triton.jit
def _float(table, tensor, at, valid, KIND: tl.constexpr, EVEN: tl.constexpr):
    """Weights as float32; bfloat16 is widened by its bits."""
    if KIND == 0:
        value = tl.load(_pointer(table, tensor, tl.float32, EVEN) + at, mask=valid, other=0.0)
    elif KIND == 1:
        bits = tl.load(_pointer(table, tensor, tl.uint16, EVEN) + at, mask=valid, other=0)
        value = (bits.to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        half = tl.load(_pointer(table, tensor, tl.float16, EVEN) + at, mask=valid, other=0.0)
        value = half.to(tl.float32)
    return value


@triton.jit
def _present(table, tensor, at, valid):
    """Return 1 where the packed mask has the weight, else 0."""
    byte = tl.load(_pointer(table, tensor, tl.uint8, False) + at // 8, mask=valid, other=0)
    return (byte.to(tl.int32) >> (7 - at % 8).to(tl.int32)) & 1


@triton.jit
def _keys(
    first, second, among, bad, tensor, at, valid,
    KIND: tl.constexpr, PAIR: tl.constexpr, AMONG: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Return the keys of |first| or |second − first|; add the number of NaN and Inf to `bad`."""
    value = _float(first, tensor, at, valid, KIND, EVEN)
    if PAIR:
        value = _float(second, tensor, at, valid, KIND, EVEN) - value
    key = (value.to(tl.uint32, bitcast=True) & 0x7FFFFFFF).to(tl.int32)
    broken = tl.sum((valid & (key >= 0x7F800000)).to(tl.int32))
    tl.atomic_add(bad, broken, mask=broken > 0)
    if AMONG:
        key = tl.where(_present(among, tensor, at, valid) != 0, key + 1, 0)
    return key


@triton.jit
def sample(
    first, second, among, bad, tensors, places, total, out,
    KIND: tl.constexpr, PAIR: tl.constexpr, AMONG: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """keys[i] = |w[tensors[i], places[i]]| for sampled weights i < total.

    One program computes BLOCK keys, of any tensors, and stores them in `out`.
    """
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = here < total
    tensor = tl.load(tensors + here, mask=valid, other=0)
    at = tl.load(places + here, mask=valid, other=0)
    key = _keys(first, second, among, bad, tensor, at, valid, KIND, PAIR, AMONG, False)
    tl.store(out + here, key, mask=valid)


@triton.jit
def scan(
    first, second, among, bad, sizes, block_tensor, block_start,
    lows, highs, number, below, inside, values, most,
    KIND: tl.constexpr, PAIR: tl.constexpr, AMONG: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """below[i] = #{key < lows[i]}, inside[i] = #{lows[i] ≤ key ≤ highs[i]}.

    Where lows[i] < highs[i], the keys inside go to values[i, :most], in any order: each
    program draws a ticket, its first place there, from the atomic counter inside[i].
    """
    tensor, at, valid = _place(sizes, block_tensor, block_start, EVEN, BLOCK)
    key = _keys(first, second, among, bad, tensor, at, valid, KIND, PAIR, AMONG, EVEN)
    for i in range(number):
        low, high = tl.load(lows + i), tl.load(highs + i)
        tl.atomic_add(below + i, tl.sum((valid & (key < low)).to(tl.int32)).to(tl.int64))
        here = (valid & (key >= low) & (key <= high)).to(tl.int32)
        ticket = tl.atomic_add(inside + i, tl.sum(here).to(tl.int64))
        goal = ticket + tl.cumsum(here, 0) - 1
        wanted = (here != 0) & (goal < most) & (low < high)
        tl.store(values + i * most + goal, key, mask=wanted)


@triton.jit
def collect(
    first, second, among, bad, sizes, block_tensor, block_start, bases,
    low, counter, tickets, counts, positions, values, most,
    KIND: tl.constexpr, PAIR: tl.constexpr, AMONG: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """positions, values = every key ≥ low with its position over all tensors.

    A program's ticket, from the atomic `counter`, is where its keys start; `tickets` and
    `counts` per block let the host put the blocks in order.
    """
    tensor, at, valid = _place(sizes, block_tensor, block_start, EVEN, BLOCK)
    key = _keys(first, second, among, bad, tensor, at, valid, KIND, PAIR, AMONG, EVEN)
    here = (valid & (key >= low)).to(tl.int32)
    count = tl.sum(here)
    ticket = tl.atomic_add(counter, count.to(tl.int64))
    tl.store(tickets + tl.program_id(0), ticket)
    tl.store(counts + tl.program_id(0), count)
    goal = ticket + tl.cumsum(here, 0) - 1
    wanted = (here != 0) & (goal < most)
    tl.store(positions + goal, tl.load(bases + tensor) + at, mask=wanted)
    tl.store(values + goal, key, mask=wanted)


@triton.jit
def equal(
    first, bad, sizes, block_tensor, block_start, bound, counts,
    KIND: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """counts[block] = #{key = bound}, so that ties can be numbered in order."""
    tensor, at, valid = _place(sizes, block_tensor, block_start, EVEN, BLOCK)
    key = _keys(first, first, first, bad, tensor, at, valid, KIND, False, False, EVEN)
    tl.store(counts + tl.program_id(0), tl.sum((valid & (key == bound)).to(tl.int64)))


@triton.jit
def pack(
    first, bad, sizes, block_tensor, block_start, bound, before, ties, masks,
    KIND: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Mask m = [key > bound, or key = bound and it is not among the first `ties`], packed.

    `before` holds the number of equal keys in the blocks before. Eight neighbouring flags
    make one byte, the first in its highest bit.
    """
    tensor, at, valid = _place(sizes, block_tensor, block_start, EVEN, BLOCK)
    key = _keys(first, first, first, bad, tensor, at, valid, KIND, False, False, EVEN)
    equal = (valid & (key == bound)).to(tl.int32)
    spent = tl.load(before + tl.program_id(0)) + tl.cumsum(equal, 0) > ties
    keep = (valid & ((key > bound) | ((equal != 0) & spent))).to(tl.int32)
    weights = 1 << (7 - tl.arange(0, 8))
    byte = tl.sum(tl.reshape(keep, (BLOCK // 8, 8)) * weights[None, :], axis=1)
    goal = tl.load(block_start + tl.program_id(0)) // 8 + tl.arange(0, BLOCK // 8)
    pointer = _pointer(masks, tensor, tl.uint8, EVEN)
    tl.store(pointer + goal, byte.to(tl.uint8), mask=goal * 8 < tl.load(sizes + tensor))


@triton.jit
def xor(
    first, second, sizes, block_tensor, block_start, counts,
    EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """counts[tensor] += popcount(m_1 XOR m_2) (Eq. 1), byte by byte."""
    tensor, at, valid = _place(sizes, block_tensor, block_start, EVEN, BLOCK)
    a = tl.load(_pointer(first, tensor, tl.uint8, EVEN) + at, mask=valid, other=0)
    b = tl.load(_pointer(second, tensor, tl.uint8, EVEN) + at, mask=valid, other=0)
    x = (a ^ b).to(tl.int32)
    x = x - ((x >> 1) & 0x55)
    x = (x & 0x33) + ((x >> 2) & 0x33)
    tl.atomic_add(counts + tensor, tl.sum((x + (x >> 4)) & 0x0F).to(tl.int64))


@triton.jit
def move(
    weights, positions, values, sizes, block_tensor, block_start,
    WORD: tl.constexpr, WRITE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """values[i] = w[positions[i]], or, with WRITE, w[positions[i]] = values[i].

    Words are copied as they are, without regard to their dtype.
    """
    tensor, at, valid = _place(sizes, block_tensor, block_start, EVEN, BLOCK)
    where = _pointer(positions, tensor, tl.int64, EVEN) + at
    weight = _pointer(weights, tensor, WORD, EVEN)
    weight += tl.load(where, mask=valid, other=0)
    value = _pointer(values, tensor, WORD, EVEN) + at
    if WRITE:
        tl.store(weight, tl.load(value, mask=valid, other=0), mask=valid)
    else:
        tl.store(value, tl.load(weight, mask=valid, other=0), mask=valid)


@triton.jit
def dense(
    target, reference, out, sizes, block_tensor, block_start, alpha,
    KIND: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Edit: out = θ + α (θ_r − θ) (Eq. 3–4 with b = 1), in float32, rounded once to the dtype.

    Rounding to bfloat16, to the nearest with ties to even, is that of `tensors.narrow`.
    """
    tensor, at, valid = _place(sizes, block_tensor, block_start, EVEN, BLOCK)
    value = _float(target, tensor, at, valid, KIND, EVEN)
    step = _float(reference, tensor, at, valid, KIND, EVEN) - value
    value = value + step * alpha
    if KIND == 0:
        tl.store(_pointer(out, tensor, tl.float32, EVEN) + at, value, mask=valid)
    elif KIND == 1:
        bits = value.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        tl.store(_pointer(out, tensor, tl.uint16, EVEN) + at, bits.to(tl.uint16), mask=valid)
    else:
        half = value.to(tl.float16)
        tl.store(_pointer(out, tensor, tl.float16, EVEN) + at, half, mask=valid)


@triton.jit
def hold(
    weights, masks, sizes, block_tensor, block_start,
    WORD: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Hold: w = m ⊙ w. +0 is written where the packed mask has no weight, nothing elsewhere."""
    tensor, at, valid = _place(sizes, block_tensor, block_start, EVEN, BLOCK)
    pruned = valid & (_present(masks, tensor, at, valid) == 0)
    tl.store(_pointer(weights, tensor, WORD, EVEN) + at, tl.zeros((BLOCK,), WORD), mask=pruned)
