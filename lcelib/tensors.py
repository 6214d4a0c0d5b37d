"""Tensors by name and dtype: layers and components, widths, and bfloat16 as its bits."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lcelib.errors import LceError

if TYPE_CHECKING:
    import torch

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}  # bfloat16 as its bits
WIDTHS = {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8}
WIDTHS |= {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}

_MATRIX = re.compile(r"(?:^|\.)(\d+)\.(.+)\.weight$")


def component(name: str) -> tuple[int, str]:
    """Layer number and component of a prunable tensor: (11, "attention.output.dense")."""
    match = _MATRIX.search(name)
    if match is None:
        raise LceError(f"tensor {name!r}", "is not a matrix inside a layer", "See prunable(model).")
    return int(match[1]), match[2]


def in_a_layer(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor of a checkpoint is a weight matrix inside the stack of layers.

    The rule of `models.prunable` without the model: two dimensions, and a name
    "….<number>.….weight". It holds for BERT, RoBERTa, DistilBERT, GPT-2, Llama and
    the like; `lce locate --tensors` chooses others.
    """
    return len(shape) == 2 and _MATRIX.search(name) is not None


def place(name: str) -> str:
    """The component a tensor belongs to, or its own name outside the layers."""
    try:
        return component(name)[1]
    except LceError:
        return name


def bits(values) -> np.ndarray:
    """Return the bits of an array or a tensor as unsigned integers on the host."""
    if isinstance(values, np.ndarray):
        return values.view(f"u{values.dtype.itemsize}")
    import torch

    word = {2: torch.uint16, 4: torch.uint32, 8: torch.uint64}[values.element_size()]
    return values.cpu().view(word).numpy()


def like(values: np.ndarray, tensor: "torch.Tensor") -> "torch.Tensor":
    """Return an array as a tensor on the device of `tensor`; uint16 holds bfloat16."""
    import torch

    values = values if values.flags.writeable else values.copy()  # of a file, memory-mapped
    found = torch.from_numpy(np.ascontiguousarray(values))
    return (found.view(torch.bfloat16) if values.dtype == np.uint16 else found).to(tensor.device)


def dtype_of(values: np.ndarray) -> str:
    """The name that safetensors gives a dtype; uint16 holds bfloat16."""
    return next(name for name, kind in DTYPES.items() if kind == values.dtype)


def nonzero(values: np.ndarray) -> np.ndarray:
    """Which weights are not ±0; bfloat16 by its bits."""
    return (values & 0x7FFF if values.dtype == np.uint16 else values) != 0
