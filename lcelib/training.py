"""Fine-tuning, with preferential masking for masked language models, on any device.

All randomness of a step is a function of (seed, step): a run that was killed
and goes on from its checkpoint computes the same bits as one that was not.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lcelib import kernels
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.files import atomic
from lcelib.models import causal, logits_at, pad, pad_id, token_ids


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW with linear warm-up over `warmup` of the steps, then linear decay to 0.

    Sentences of like length go together within `bucket` batches (0: never);
    every `checkpoint_every` steps the state is saved (0: never). The defaults are the
    paper's (Table 3) but for `steps`, which is 3 epochs of 4,627 there.
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
    def of(cls, settings: object) -> "Recipe":
        """Return the recipe with the fields that `settings` (a profile) has, defaults else."""
        names = [f.name for f in fields(cls) if hasattr(settings, f.name)]
        return cls(**{name: getattr(settings, name) for name in names})


@dataclass(frozen=True)
class EncodedText:
    """Tokenized sentences with each token's probability of being masked (0 for specials).

    A causal model's text has no rates: it learns to predict every token.
    """

    ids: list[list[int]]
    rates: list[list[float]]

    def __len__(self) -> int:
        return len(self.ids)


def encode(
    tokenizer, sentences: Sequence[str], rates: dict[str, float], other: float
) -> EncodedText:
    """Tokenize sentences and give every token the masking rate of the word it belongs to.

    `rates` maps lower-cased words to their rate, all other words get `other`
    (paper §4.1: 0.3 for specification words, 0.148 for the rest). All pieces of
    a word share its rate; "child-care" is a word.
    """
    from lcelib.corpus.specification import word_spans

    if causal(tokenizer):
        return EncodedText([token_ids(tokenizer, s)[:128] for s in sentences], [])
    out = tokenizer(
        list(sentences),
        truncation=True,
        max_length=min(tokenizer.model_max_length, 128),
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    all_rates = []
    rows = zip(sentences, out["offset_mapping"], out["special_tokens_mask"], strict=True)
    for sentence, offsets, special in rows:
        spans = [(a, b, rates[w]) for a, b, w in word_spans(sentence) if w in rates]
        row = []
        for (start, end), is_special in zip(offsets, special, strict=True):
            rate = next((r for a, b, r in spans if a <= start and end <= b), other)
            row.append(0.0 if is_special else rate)
        all_rates.append(row)
    return EncodedText(out["input_ids"], all_rates)


def generator(*key: int) -> torch.Generator:
    """A torch generator that depends on `key` alone, the same on every platform."""
    return torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))


class PreferentialMasking:
    """Collator: mask each token with its own rate; of the masked, 80 % become [MASK], 10 % random.

    Called with sentence indices and a generator it returns input ids, attention
    mask and the boolean positions with their labels. Every batch has at least
    one masked token.
    """

    def __init__(self, tokenizer, text: EncodedText):
        self.text, self.tokenizer = text, tokenizer

    def __call__(self, indices: Sequence[int], rng: torch.Generator) -> dict[str, Tensor]:
        ids, attention = pad([self.text.ids[i] for i in indices], self.tokenizer.pad_token_id)
        rates = torch.zeros(ids.shape)
        for row, i in enumerate(indices):
            rates[row, : len(self.text.rates[i])] = torch.tensor(self.text.rates[i])
        where = torch.rand(ids.shape, generator=rng) < rates
        if not where.any():
            where.view(-1)[rates.argmax()] = True
        labels = ids[where]
        kind = torch.rand(labels.shape, generator=rng)
        random = torch.randint(len(self.tokenizer), labels.shape, generator=rng)
        replaced = torch.where(kind < 0.8, self.tokenizer.mask_token_id, labels)
        ids[where] = torch.where(kind >= 0.9, random, replaced)
        return {"ids": ids, "attention": attention, "where": where, "labels": labels}


class NextToken:
    """Collator for causal models: every token is predicted from those before it.

    There is nothing to mask, so a causal model needs no preferential masking.
    """

    def __init__(self, tokenizer, text: EncodedText):
        self.text, self.fill = text, pad_id(tokenizer)

    def __call__(self, indices: Sequence[int], rng: torch.Generator) -> dict[str, Tensor]:
        ids, attention = pad([self.text.ids[i] for i in indices], self.fill)
        where = torch.zeros(ids.shape, dtype=torch.bool)
        where[:, :-1] = attention[:, 1:].bool()
        labels = ids[:, 1:][where[:, :-1]]
        return {"ids": ids, "attention": attention, "where": where, "labels": labels}


class TokenLoss(nn.Module):
    """The mean cross-entropy at the chosen positions; a module, so that it can be distributed."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, attention: Tensor, where: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits_at(self.model, ids, attention, where), labels)


def batch_indices(
    lengths: Sequence[int], batch_size: int, seed: int, step: int, bucket: int = 0
) -> list[int]:
    """The sentences of one step: epochs are permutations drawn from (seed, epoch).

    With `bucket`, sentences are grouped by length within stretches of that many
    batches, which saves the padding, and the order of the batches is drawn again.
    """
    per_epoch = max(len(lengths) // batch_size, 1)
    epoch, place = divmod(step, per_epoch)
    rng = generator(seed, 1, epoch)
    order = torch.randperm(len(lengths), generator=rng).tolist()
    if bucket:
        for start in range(0, len(order), bucket * batch_size):
            stretch = slice(start, start + bucket * batch_size)
            order[stretch] = sorted(order[stretch], key=lambda i: lengths[i])
        place = int(torch.randperm(per_epoch, generator=rng)[place])
    return order[place * batch_size : (place + 1) * batch_size]


def fine_tune(
    model: nn.Module,
    tokenizer,
    text: EncodedText,
    recipe: Recipe,
    seed: int,
    mask: dict[str, np.ndarray] | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, float], None] | None = None,
    collate: Callable | None = None,
    loss: nn.Module | None = None,
) -> list[float]:
    """Train `model` in place on `text` and return the loss of every step.

    `mask` (name → packed bits) keeps pruned weights at exactly 0 after each step. With
    `checkpoint` and `recipe.checkpoint_every` the state is saved there and taken up again;
    the file is removed at the end. Another task gives its `collate` and its `loss`, a module
    that takes what `collate` returns. Raises LceError when the loss is not finite, at
    that step.
    """
    require("training", "accelerate")
    from accelerate import Accelerator

    precision = "bf16" if torch.cuda.is_available() else "no"
    accelerator = Accelerator(mixed_precision=precision)
    loss_module = loss or TokenLoss(model)
    loss_module.train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    loss_module, optimizer = accelerator.prepare(loss_module, optimizer)
    if collate is None:
        collate = (NextToken if causal(tokenizer) else PreferentialMasking)(tokenizer, text)
    state = TrainingState(model, optimizer)
    losses, parameters = state.restore(checkpoint, recipe, seed), dict(model.named_parameters())
    bits = {n: torch.from_numpy(b).to(accelerator.device) for n, b in (mask or {}).items()}
    sparse = {n: parameters[n].detach() for n in bits}
    kernels.hold_at_zero(sparse, bits)
    lengths = [len(ids) for ids in text.ids]
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    for step in range(len(losses), recipe.steps):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator(seed, 2, step))))
        indices = batch_indices(lengths, recipe.batch_size, seed, step, recipe.bucket)[share]
        batch = collate(indices, generator(seed, 3, step, accelerator.process_index))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, recipe)
        error = loss_module(**{k: v.to(accelerator.device) for k, v in batch.items()})
        losses.append(float(error.detach()))
        if not torch.isfinite(error):
            raise LceError(
                f"training step {step}", "the loss is not finite", "Lower learning_rate."
            )
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


def schedule(step: int, recipe: Recipe) -> float:
    """The learning rate's factor at a step: linear up over the warm-up, then linear down to 0."""
    warm = round(recipe.warmup * recipe.steps)
    if step < warm:
        return (step + 1) / warm
    return (recipe.steps - step) / (recipe.steps - warm)


class TrainingState:
    """Weights, AdamW's moments and the losses so far, in one safetensors file."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.parameters, self.optimizer = dict(model.named_parameters()), optimizer

    def save(self, path: Path, losses: list[float], recipe: Recipe, seed: int) -> None:
        """Write the state, complete or not at all."""
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
        """Take up a saved state of the same recipe and seed; return its losses, [] for a new run."""
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
                self.optimizer.state[parameter][kind] = value.to(device)
        return json.loads(meta["losses"]) if tensors else []
