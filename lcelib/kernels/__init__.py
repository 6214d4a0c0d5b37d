"""The kernels of pruning, localization and editing, and their contract.

Two backends offer the same functions and give the same bits:

- `numpy`, the specification, for arrays in memory or memory-mapped files;
- `triton`, for tensors on a GPU; should it fail, the work is done by `numpy`, with a warning.

What holds for both:

- tensors are a dict name → array (NumPy, or torch on one device), contiguous, float32,
  float16 or bfloat16 (as NumPy array: its bits, uint16); a flat index counts in C order;
- results are of the same kind: positions are sorted int64;
- a mask is packed: uint8, eight weights a byte, first weight in the highest
  bit, unused bits 0;
- magnitudes and differences are those of the float32 values; −0 equals 0; NaN and Inf
  are refused with tensor and count (LceError);
- ties go to the lowest position, tensors in the order of the dict;
- arithmetic is float32, rounded once to the dtype;
- the same input gives the same output, whatever the number of threads.
"""

import warnings
from collections.abc import Sequence

import numpy as np

from lcelib.errors import LceError
from lcelib.kernels import numpy as cpu
from lcelib.kernels.numpy import Cut, distinct, interpolate, pack, popcount, positions, unpack

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


def kth_magnitude(weights: dict, counts: Sequence[int]) -> list[Cut]:
    """The exact cuts below which the `counts` weights of lowest |w| lie, over all tensors.

    One pass over the weights serves all counts (global magnitude pruning, paper §4.2).
    """
    return _run("kth_magnitude", weights, counts)


def prune_masks(weights: dict, pruned: int | Cut) -> dict:
    """Packed masks without the `pruned` weights of lowest |w| over all tensors.

    Weights that are already 0 go first, so a mask only ever shrinks when the
    weights it pruned are held at 0.
    """
    return _run("prune_masks", weights, pruned)


def xor_count(first: dict, second: dict) -> dict[str, int]:
    """The number of weights per tensor that stand in exactly one of two packed masks (Eq. 1)."""
    return _run("xor_count", first, second)


def top_k_difference(
    target: dict, reference: dict, k: int | dict[str, int], among: dict | None = None
) -> dict:
    """Positions of the k largest |θ_r − θ_t| over all tensors, or, for a dict k, in each (Eq. 2).

    `among` are packed masks of the weights to choose from, of which there are at least k.
    """
    _check_sizes(target, reference)
    return _run("top_k_difference", target, reference, k, among)


def sample_positions(
    sizes: dict[str, int], k: int, rng: np.random.Generator, among: dict | None = None
) -> dict:
    """Positions of exactly k weights, drawn without replacement on the host.

    Every set of k is equally likely; memory grows with k, not with the model.
    `among` are packed masks of the weights to draw from.
    """
    return _run("sample_positions", sizes, k, rng, among)


def read_at(weights: dict, positions: dict) -> dict:
    """The values at flat positions, by tensor."""
    return _run("read_at", weights, positions)


def write_at(weights: dict, positions: dict, values: dict) -> None:
    """Write values at flat positions, in place; nothing else changes."""
    _run("write_at", weights, positions, values, changed=0)


def swap_at(weights: dict, positions: dict, expected: dict, values: dict) -> dict[str, int]:
    """Write values at flat positions if the weights there are all `expected`, bit for bit.

    Returns how many are not, by tensor; then, and after an error, every weight is as before.
    """
    return _run("swap_at", weights, positions, expected, values, changed=0)


def dense_edit(target: dict, reference: dict, alpha: float, out: dict) -> None:
    """θ + α (θ_r − θ) for every weight (Eq. 3–4 with b = 1) into `out`, which may be `target`."""
    _check_sizes(out, target)
    _check_sizes(out, reference)
    _run("dense_edit", target, reference, alpha, out, changed=3)


def hold_at_zero(weights: dict, masks: dict) -> None:
    """w ← m ⊙ w in place, for packed masks; pruned weights become +0 (paper §4.2)."""
    _run("hold_at_zero", weights, masks, changed=0)


def _check_sizes(first: dict, second: dict) -> None:
    for name, array in first.items():
        if name not in second or second[name].shape != array.shape:
            reason = "has another shape in the second model, or is not there"
            raise LceError(f"tensor {name}", reason, "Use models of one architecture.")


def _run(operation: str, *arguments, changed: int | None = None):
    """Run on the backend of the arguments' kind; `changed` is the argument written in place."""
    kinds = {type(v) for a in arguments if isinstance(a, dict) for v in a.values()}
    if not kinds - {np.ndarray, int}:
        return getattr(cpu, operation)(*arguments)
    import torch

    tensors = [
        v for a in arguments if isinstance(a, dict) for v in a.values() if torch.is_tensor(v)
    ]
    where = tensors[0].device
    if where.type == "cuda" and operation != "sample_positions":
        try:
            from lcelib.kernels import triton

            return getattr(triton, operation)(*arguments)
        except LceError:
            raise
        except Exception as error:
            reason = f"{operation} on the GPU failed ({type(error).__name__}: {error})"
            warnings.warn(f"{reason}; it runs on the CPU, slowly.", RuntimeWarning, stacklevel=3)
    host = [_map(a, _to_host) for a in arguments]
    result = getattr(cpu, operation)(*host)
    if changed is not None and where.type != "cpu":
        for name, tensor in arguments[changed].items():
            tensor.copy_(_to_device(host[changed][name], where))
    return _map(result, lambda array: _to_device(array, where))


def _map(value, function):
    """Apply a function to the arrays of a dict; other values pass."""
    if not isinstance(value, dict):
        return value
    return {n: v if isinstance(v, int) else function(v) for n, v in value.items()}


def _to_host(tensor) -> np.ndarray:
    """A tensor as an array: the same memory where it is on the CPU, bfloat16 as its bits."""
    import torch

    if isinstance(tensor, np.ndarray):
        return tensor
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    return tensor.numpy()


def _to_device(array: np.ndarray, where):
    """An array as a tensor on a device; uint16 as bfloat16."""
    import torch

    tensor = torch.from_numpy(array)
    return (tensor.view(torch.bfloat16) if array.dtype == np.uint16 else tensor).to(where)
