"""Tensors by name and dtype: layers and components, widths, and bfloat16 as its bits.

NumPy has no bfloat16. A bfloat16 value is the upper half of a float32: the sign, all eight
bits of the exponent, and seven bits of the mantissa. So everywhere in lcelib a NumPy array
of dtype uint16 holds bfloat16 values as their bits, and this module alone knows how:
`to_array` and `to_tensor` cross the border to torch, `widen` and `narrow` convert chunks to
float32 and back, `bits`, `is_nonzero` and `all_finite` look at values without converting.
(The Triton kernels do the same on the device.) Torch is imported only when a tensor is met.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lcelib.errors import LceError

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

BFLOAT16 = np.dtype(np.uint16)
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": BFLOAT16,
}
WIDTHS = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8}
WIDTHS |= {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
EXPONENTS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}  # all set: NaN or infinite

_MATRIX = re.compile(r"(?:^|\.)(\d+)\.(.+)\.weight$")


def component(name: str) -> tuple[int, str]:
    """Return layer number and component of a prunable tensor: (11, "attention.output.dense").

    Raises LceError for a tensor outside the layers.
    """
    match = _MATRIX.search(name)
    if match is None:
        raise LceError(f"tensor {name!r}", "is not a matrix inside a layer", "See prunable(model).")
    return int(match[1]), match[2]


def component_or_name(name: str) -> str:
    """Return the component of a tensor, or its name if it is outside the layers."""
    match = _MATRIX.search(name)
    return match[2] if match else name


def in_a_layer(name: str, shape: Sequence[int]) -> bool:
    """Return whether a tensor of a checkpoint is a weight matrix inside the stack of layers.

    This is the rule of `models.prunable` without the model: two dimensions, and a name
    "….<number>.….weight". It holds for BERT, RoBERTa, DistilBERT, GPT-2, Llama and
    the like; `lce locate --tensors` chooses others.
    """
    return len(shape) == 2 and _MATRIX.search(name) is not None


def dtype_name(values: "Array | torch.Tensor") -> str:
    """Return safetensors' name of a dtype: "F32", "F16" or "BF16"; others by their own name."""
    name = str(values.dtype).removeprefix("torch.")
    return {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "uint16": "BF16"}.get(
        name, name
    )


def to_array(values: "Array | torch.Tensor") -> Array:
    """Return a tensor as an array on the host, bfloat16 as its bits; arrays pass unchanged.

    A tensor on the CPU shares its memory with the array.
    """
    if isinstance(values, np.ndarray):
        return values
    import torch

    values = values.detach().cpu()
    array: Array = (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()
    return array


def to_tensor(values: Array, device: "torch.device | str" = "cpu") -> "torch.Tensor":
    """Return an array as a contiguous tensor on a device, uint16 as bfloat16.

    On the CPU the two share memory, unless the array is strided or read-only (a file's).
    """
    import torch

    tensor = torch.from_numpy(np.require(values, requirements=["C", "W"]))
    return (tensor.view(torch.bfloat16) if values.dtype == BFLOAT16 else tensor).to(device)


def bits(values: "Array | torch.Tensor") -> Array:
    """Return the bits of an array or a tensor as unsigned integers on the host."""
    array = to_array(values)
    return array.view(f"u{array.dtype.itemsize}")


def widen(values: Array, out: Array) -> Array:
    """Return values as float32: the same array, or 16-bit ones exactly converted into `out`."""
    if values.dtype == np.float32:
        return values
    out = out[: len(values)]
    if values.dtype == BFLOAT16:
        words = out.view(np.uint32)
        np.copyto(words, values)
        np.left_shift(words, 16, out=words)
    else:
        np.copyto(out, values)
    return out


def narrow(values: Array, out: Array) -> None:
    """Write float32 values into `out`, rounded to its dtype (to the nearest, ties to even)."""
    if out.dtype == BFLOAT16:
        words = values.view(np.uint32)
        np.copyto(out, (words + (0x7FFF + ((words >> 16) & 1))) >> 16, casting="unsafe")
    else:
        with np.errstate(over="ignore"):
            np.copyto(out, values, casting="same_kind")


def is_nonzero(values: Array) -> Array:
    """Return which values are neither 0 nor −0, as booleans."""
    nonzero: Array = (values & 0x7FFF if values.dtype == BFLOAT16 else values) != 0
    return nonzero


def all_finite(values: Array) -> bool:
    """Return whether no value is NaN or infinite."""
    exponent = EXPONENTS[dtype_name(values)]
    return not ((bits(values) & exponent) == exponent).any()
