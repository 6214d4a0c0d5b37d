"""Export a patch as a SHiRA adapter (Bhardwaj et al. 2024), for tools that read those of PEFT."""

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from lcelib.checkpoints.writing import folder
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.patches.patch import Patch
from lcelib.tensors import Array, to_tensor

WEIGHTS = "adapter_model.safetensors"


def export_shira(patch: Patch, output: Path) -> float:
    """Write the folder of a SHiRA adapter; return the largest error of a weight with it.

    The adapter holds new − old and adds it when the model runs, so a sum may round to
    another number than `new`: the error is max |(old + (new − old)) − new|, in the
    patch's dtype. SHiRA gives every matrix of shape m × n as many weights as a LoRA of one
    rank r would, r (m + n): matrices with fewer changes are filled up with changes of 0.
    PEFT applies it to linear layers only. Raises LceError if PEFT is missing, for a
    patch without its base's shapes, and for tensors that are not matrices.
    """
    require("an adapter of PEFT", "peft")
    from peft import ShiraConfig

    base = patch.info.get("base", {})
    shapes = {n: base.get("tensors", {}).get(n, {}).get("shape", []) for n in patch.changes}
    for name, shape in shapes.items():
        if len(shape) != 2 or not name.endswith(".weight"):
            reason = f"{name} is not known to be the weight of a linear layer"
            raise LceError("patch", reason, "Restrict it to linear layers; save it with its base.")
    changes = patch.settled().changes
    rank = max(math.ceil(len(c.index) / sum(shapes[n])) for n, c in changes.items())
    tensors, largest = {}, 0.0
    for name, change in changes.items():
        old, new = to_tensor(change.old), to_tensor(change.new)
        delta = new - old
        largest = max(largest, float((old + delta - new).abs().max()))
        index, values = fill(change.index, delta, rank * sum(shapes[name]), math.prod(shapes[name]))
        rows, columns = np.divmod(index, shapes[name][1])
        key = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{key}.shira_weight"] = values
        tensors[f"{key}.shira_indices"] = torch.from_numpy(
            np.stack([rows, columns]).astype(np.int32)
        )
    config = ShiraConfig(
        r=rank,
        target_modules=[name.removesuffix(".weight") for name in changes],
        base_model_name_or_path=base.get("id") or None,
        inference_mode=True,
    )
    with folder(output) as made:
        config.save_pretrained(str(made))
        save_file(tensors, made / WEIGHTS, {"format": "pt"})
    return largest


def fill(index: Array, values: torch.Tensor, count: int, size: int) -> tuple[Array, torch.Tensor]:
    """Extend positions and values to `count` with zeros at the first free positions."""
    if count > size:
        reason = f"would list {count:,} weights of a matrix of {size:,}"
        raise LceError("SHiRA", reason, "Export a patch with fewer weights.")
    free = np.setdiff1d(np.arange(min(count + len(index), size)), index)[: count - len(index)]
    order = np.argsort(np.concatenate([index, free]), kind="stable")
    padded = torch.cat([values, values.new_zeros(len(free))])
    return np.concatenate([index, free])[order], padded[torch.from_numpy(order)]
