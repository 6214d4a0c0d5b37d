"""The kernels of pruning, localization and editing, and their contract.

Two backends offer the same functions and return the same bits:

- `numpy`, the specification, for arrays in memory and memory-mapped files;
- `triton`, for tensors on a GPU; if it fails, `numpy` does the work and a warning says so.

The contract of both:

- tensors are a dict name → array (NumPy, or torch on one device), contiguous, float32,
  float16 or bfloat16 (in NumPy its bits, see `lcelib.tensors`); a flat position counts in
  C order;
- results are of the same kind as the arguments; positions are sorted int64;
- a mask is packed: uint8, eight weights a byte, the first weight in the highest bit,
  unused bits 0;
- magnitudes and differences are those of the float32 values; −0 equals 0; NaN and Inf
  raise LceError with tensor and count;
- ties go to the lowest position, tensors in the order of the dict;
- arithmetic is float32, rounded once to the dtype;
- the same input gives the same output, whatever the number of threads.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lcelib.errors import LceError
from lcelib.kernels import numpy as cpu
from lcelib.kernels.numpy import distinct, interpolate, pack, popcount, positions, unpack
from lcelib.kernels.selection import Cut
from lcelib.tensors import to_array, to_tensor

Tensors = Mapping[str, Any]  # arrays, or torch tensors on one device
Results = dict[str, Any]  # of the same kind

__all__ = [
    "Cut",
    "dense_edit",
    "distinct",
    "hold_at_zero",
    "interpolate",
    "kth_magnitude",
    "pack",
    "popcount",
    "positions",
    "prune_masks",
    "read_at",
    "sample_positions",
    "swap_at",
    "top_k_difference",
    "unpack",
    "write_at",
    "xor_count",
]


def kth_magnitude(weights: Tensors, counts: Sequence[int]) -> list[Cut]:
    """Return the exact cuts below which the `counts` weights of lowest |w| lie, over all tensors.

    One pass over the weights serves all counts (global magnitude pruning, paper §4.2).
    """
    cuts: list[Cut] = _run("kth_magnitude", weights, counts)
    return cuts


def prune_masks(weights: Tensors, pruned: int | Cut) -> Results:
    """Return packed masks m = [|w| > cut], without the `pruned` weights of lowest |w|.

    The cut is global, over all tensors. Weights that are already 0 fall first, so a mask
    only ever shrinks while the weights it prunes are held at 0.
    """
    masks: Results = _run("prune_masks", weights, pruned)
    return masks


def xor_count(first: Tensors, second: Tensors) -> dict[str, int]:
    """Return |m_1 XOR m_2| per tensor: weights present in exactly one of two masks (Eq. 1)."""
    counts: dict[str, int] = _run("xor_count", first, second)
    return counts


def top_k_difference(
    target: Tensors, reference: Tensors, k: int | dict[str, int], among: Tensors | None = None
) -> Results:
    """Return the positions of the k largest |θ_r − θ_t| over all tensors (Eq. 2).

    A dict `k` selects that many in each tensor instead. `among` are packed masks of the
    weights to select from, of which there are at least k.
    """
    _check_sizes(target, reference)
    positions: Results = _run("top_k_difference", target, reference, k, among)
    return positions


def sample_positions(
    sizes: dict[str, int], k: int, rng: np.random.Generator, among: Tensors | None = None
) -> Results:
    """Return the positions of exactly k weights, drawn without replacement on the host.

    Every set of k is equally likely; memory grows with k, not with the model.
    `among` are packed masks of the weights to draw from.
    """
    positions: Results = _run("sample_positions", sizes, k, rng, among)
    return positions


def read_at(weights: Tensors, positions: Tensors) -> Results:
    """Return the values at flat positions, by tensor."""
    values: Results = _run("read_at", weights, positions)
    return values


def write_at(weights: Tensors, positions: Tensors, values: Tensors) -> None:
    """Write values at flat positions, in place; nothing else changes."""
    _run("write_at", weights, positions, values, changed=0)


def swap_at(
    weights: Tensors, positions: Tensors, expected: Tensors, values: Tensors
) -> dict[str, int]:
    """Write values at flat positions, in place, if all weights there are `expected`, bit for bit.

    Returns the number of weights that are not, by tensor. If any is not, and after an
    error, every weight is as before.
    """
    mismatches: dict[str, int] = _run("swap_at", weights, positions, expected, values, changed=0)
    return mismatches


def dense_edit(target: Tensors, reference: Tensors, alpha: float, out: Tensors) -> None:
    """Write θ + α (θ_r − θ) for every weight into `out`, which may be `target` (Eq. 3–4, b = 1)."""
    _check_sizes(out, target)
    _check_sizes(out, reference)
    _run("dense_edit", target, reference, alpha, out, changed=3)


def hold_at_zero(weights: Tensors, masks: Tensors) -> None:
    """Set w ← m ⊙ w in place, for packed masks; pruned weights become +0 (paper §4.2)."""
    _run("hold_at_zero", weights, masks, changed=0)


def _check_sizes(first: Tensors, second: Tensors) -> None:
    for name, array in first.items():
        if name not in second or second[name].shape != array.shape:
            reason = "is missing in the second model, or has another shape there"
            raise LceError(f"tensor {name}", reason, "Use models of one architecture.")


def _run(operation: str, *arguments: Any, changed: int | None = None) -> Any:
    """Run on the backend of the arguments' kind; `changed` is the argument written in place."""
    values = [v for a in arguments if isinstance(a, Mapping) for v in a.values()]
    if not {type(v) for v in values} - {np.ndarray, int}:
        return getattr(cpu, operation)(*arguments)
    import torch

    device = next(v for v in values if torch.is_tensor(v)).device
    if device.type == "cuda" and operation != "sample_positions":
        try:
            from lcelib.kernels import triton

            return getattr(triton, operation)(*arguments)
        except LceError:
            raise
        except Exception as error:
            reason = f"{operation} on the GPU failed ({type(error).__name__}: {error})"
            warnings.warn(f"{reason}; it runs on the CPU, slowly.", RuntimeWarning, stacklevel=3)
    host = [_map(a, to_array) for a in arguments]
    result = getattr(cpu, operation)(*host)
    if changed is not None and device.type != "cpu":
        for name, tensor in arguments[changed].items():
            tensor.copy_(to_tensor(host[changed][name], device))
    return _map(result, lambda array: to_tensor(array, device))


def _map(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to the arrays of a dict; other values pass."""
    if not isinstance(value, Mapping):
        return value
    return {n: v if isinstance(v, int) else function(v) for n, v in value.items()}
