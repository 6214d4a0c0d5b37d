"""Which tensors are prunable, and which layer and component one belongs to, by its name."""

import re
from collections.abc import Sequence

from lcelib.errors import LceError

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
