"""Fine-tuning, with preferential masking for masked language models, on any device.

All randomness of a step is a function of (seed, step): a run that was killed and
resumes from its checkpoint computes the same bits as an uninterrupted one.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lcelib import kernels
from lcelib.batches import (
    Batch,
    Collate,
    EncodedText,
    NextToken,
    PreferentialMasking,
    batch_indices,
    generator,
)
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.files import atomic
from lcelib.models import is_causal, logits_at

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedTokenizerBase


class _Settings(Protocol):
    """The fields of a profile that a recipe takes."""

    @property
    def steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def bucket(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW with linear warm-up over `warmup` of the steps, then linear decay to 0.

    Sentences of similar length share a batch within every `bucket` batches (0: never);
    the state is saved every `checkpoint_every` steps (0: never). The defaults are the
    paper's (Table 3) except `steps`, which is 3 epochs of 4,627 there.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-5
    warmup: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    bucket: int = 0
    checkpoint_every: int = 0

    @classmethod
    def of(cls, settings: _Settings) -> "Recipe":
        """Return the recipe of a profile; fields that a profile lacks have their defaults."""
        return cls(
            settings.steps,
            settings.batch_size,
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            bucket=settings.bucket,
            checkpoint_every=settings.checkpoint_every,
        )


class TokenLoss(nn.Module):
    """Mean cross-entropy at the positions `where`; a module, so that it can be distributed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, attention: Tensor, where: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch as a scalar."""
        return nn.functional.cross_entropy(logits_at(self.model, ids, attention, where), labels)


def fine_tune(
    model: nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    text: EncodedText,
    recipe: Recipe,
    seed: int,
    mask: dict[str, np.ndarray] | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, float], None] | None = None,
    collate: Collate | None = None,
    loss: nn.Module | None = None,
) -> list[float]:
    """Train `model` in place on `text` and return the loss of every step.

    `mask` (name → packed bits) keeps pruned weights at exactly 0 after each step. With
    `checkpoint` and `recipe.checkpoint_every` the state is saved there, and a run with the
    same recipe and seed resumes from it; the file is removed at the end. Another task passes
    its `collate` and its `loss`, a module that takes the batches of `collate`. Raises LceError
    at the first step whose loss is not finite.
    """
    require("training", "accelerate")
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    loss_module = loss or TokenLoss(model)
    loss_module.train()
    loss_module, optimizer = accelerator.prepare(loss_module, _adamw(model, recipe))
    if collate is None:
        collate = (NextToken if is_causal(tokenizer) else PreferentialMasking)(tokenizer, text)
    state = TrainingState(model, optimizer)
    losses, parameters = state.restore(checkpoint, recipe, seed), dict(model.named_parameters())
    bits = {n: torch.from_numpy(b).to(accelerator.device) for n, b in (mask or {}).items()}
    sparse = {n: parameters[n].detach() for n in bits}
    kernels.hold_at_zero(sparse, bits)
    lengths = [len(ids) for ids in text.ids]
    for step in range(len(losses), recipe.steps):
        batch = _draw_batch(accelerator, collate, lengths, recipe, seed, step)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, recipe)
        error = loss_module(**batch)
        losses.append(float(error.detach()))
        if not torch.isfinite(error):
            reason = "the loss is not finite"
            raise LceError(f"training step {step}", reason, "Lower learning_rate.")
        optimizer.zero_grad()
        accelerator.backward(error)
        optimizer.step()
        kernels.hold_at_zero(sparse, bits)
        if progress is not None:
            progress(step, losses[-1])
        due = recipe.checkpoint_every and (step + 1) % recipe.checkpoint_every == 0
        if due and checkpoint is not None and accelerator.is_main_process:
            state.save(checkpoint, losses, recipe, seed)
    if checkpoint is not None and accelerator.is_main_process:
        Path(checkpoint).unlink(missing_ok=True)
    model.eval()
    return losses


def _adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def _draw_batch(
    accelerator: "Accelerator",
    collate: Collate,
    lengths: Sequence[int],
    recipe: Recipe,
    seed: int,
    step: int,
) -> Batch:
    """Seed torch for this step and return this process's share of its batch, on its device."""
    torch.manual_seed(int(torch.randint(2**31, (), generator=generator(seed, 2, step))))
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    indices = batch_indices(lengths, recipe.batch_size, seed, step, recipe.bucket)[share]
    batch = collate(indices, generator(seed, 3, step, accelerator.process_index))
    return {k: v.to(accelerator.device) for k, v in batch.items()}


def schedule(step: int, recipe: Recipe) -> float:
    """Return the learning rate's factor: linear up over the warm-up, then linear down to 0."""
    warm = round(recipe.warmup * recipe.steps)
    if step < warm:
        return (step + 1) / warm
    return (recipe.steps - step) / (recipe.steps - warm)


class TrainingState:
    """Weights, AdamW's moments and the losses so far, in one safetensors file."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.parameters, self.optimizer = dict(model.named_parameters()), optimizer

    def save(self, path: Path, losses: list[float], recipe: Recipe, seed: int) -> None:
        """Write the state atomically."""
        tensors = {}
        for name, parameter in self.parameters.items():
            tensors[f"weight/{name}"] = parameter.detach().contiguous()
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value.contiguous()
        meta = {
            "losses": json.dumps(losses),
            "recipe": json.dumps(asdict(recipe)),
            "seed": f"{seed}",
        }
        with atomic(path) as temporary:
            save_file(tensors, temporary, meta)

    def restore(self, path: Path | None, recipe: Recipe, seed: int) -> list[float]:
        """Restore a state of the same recipe and seed and return its losses, else []."""
        if path is None or not Path(path).exists():
            return []
        try:
            with safe_open(path, "pt") as file:
                meta = file.metadata()
                same = meta["recipe"] == json.dumps(asdict(recipe)) and meta["seed"] == f"{seed}"
                tensors = {key: file.get_tensor(key) for key in file.keys()} if same else {}
        except (SafetensorError, KeyError, TypeError):
            return []
        for key, value in tensors.items():
            kind, name = key.split("/", 1)
            parameter = self.parameters[name]
            if kind == "weight":
                parameter.data.copy_(value)
            else:
                device = "cpu" if kind == "step" else parameter.device
                # A copy: the tensor read is a map of the file, which the next save replaces.
                self.optimizer.state[parameter][kind] = value.to(device, copy=True)
        losses: list[float] = json.loads(meta["losses"]) if tensors else []
        return losses
