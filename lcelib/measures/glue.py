"""MNLI and STS-B (Wang et al. 2019) fine-tuned after an edit, to see what it costs (paper Table 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lcelib.batches import Batch, EncodedText
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.measures import Score
from lcelib.models import LanguageModel, base_model, embedding, is_causal, pad, pad_id, start_id
from lcelib.training import Recipe, fine_tune

if TYPE_CHECKING:
    from datasets import Dataset

HUB = "nyu-mll/glue"


@dataclass(frozen=True)
class Task:
    """A task on sentence pairs: its fields, number of outputs, and splits to score."""

    name: str
    fields: tuple[str, str]
    outputs: int  # classes; 1: a regression
    splits: tuple[str, ...]


TASKS = {
    "mnli": Task(
        "mnli", ("premise", "hypothesis"), 3, ("validation_matched", "validation_mismatched")
    ),
    "stsb": Task("stsb", ("sentence1", "sentence2"), 1, ("validation",)),
}


def read(
    task: Task, split: str, folder: str | Path | None = None, limit: int | None = None
) -> "Dataset":
    """Read the rows of one split, from the hub or from SPLIT.jsonl or SPLIT.parquet in `folder`."""
    require("GLUE", "datasets")
    import datasets

    try:
        if folder is None:
            data = datasets.load_dataset(HUB, task.name, split=split)
        else:
            file = next(p for p in sorted(Path(folder).iterdir()) if p.stem == split)
            kind = "parquet" if file.suffix == ".parquet" else "json"
            data = datasets.load_dataset(kind, data_files=str(file), split="train")
        rows = data.select_columns([*task.fields, "label"])
    except (OSError, ValueError, RuntimeError, StopIteration) as error:
        what = f"GLUE {task.name} {split}"
        remedy = f"Check the network, or give a folder with {split}.jsonl in the hub's columns."
        raise LceError(what, f"cannot be read ({error})", remedy) from error
    return rows if limit is None else rows.select(range(min(limit, len(rows))))


class PairCollator:
    """Collator that puts two sentences into one sequence, with their label."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, task: Task, rows: "Dataset") -> None:
        self.fill = pad_id(tokenizer)
        pairs = [[str(row[f]) for f in task.fields] for row in rows]
        self.labels = torch.tensor(
            [row["label"] for row in rows],
            dtype=torch.float32 if task.outputs == 1 else torch.long,
        )
        encoded = [_encode_pair(tokenizer, *pair) for pair in pairs]
        self.ids, self.types = [ids for ids, _ in encoded], [types for _, types in encoded]

    def __call__(self, indices: Sequence[int], rng: torch.Generator | None = None) -> Batch:
        """Return the labels and the encoder's inputs; nothing is drawn from `rng`."""
        ids, attention = pad([self.ids[i] for i in indices], self.fill)
        inputs = {"input_ids": ids, "attention_mask": attention}
        if self.types[0]:
            inputs["token_type_ids"], _ = pad([self.types[i] for i in indices], 0)
        return {"labels": self.labels[list(indices)]} | inputs


def _encode_pair(
    tokenizer: PreTrainedTokenizerBase, first: str, second: str
) -> tuple[list[int], list[int]]:
    """Return the token ids of a pair, and the token types, [] for models without them.

    A causal model reads the two sentences between start tokens.
    """
    if not is_causal(tokenizer):
        longest = min(tokenizer.model_max_length, 128)
        encoding: Any = tokenizer(first, second, truncation=True, max_length=longest)
        return encoding["input_ids"], encoding.get("token_type_ids", [])
    both = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (first, second)]
    mark = start_id(tokenizer)
    return [mark, *both[0][:62], mark, *both[1][:62], mark], []


class Classifier(nn.Module):
    """The encoder with one linear layer on its first hidden state, or on a causal model's last.

    It is fine-tuned as a whole; calling it returns the loss.
    """

    def __init__(self, lm: LanguageModel, task: Task) -> None:
        super().__init__()
        self.encoder, self.last = base_model(lm.model), is_causal(lm.tokenizer)
        self.head = nn.Linear(embedding(lm.model).embedding_dim, task.outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def predict(self, **inputs: Tensor) -> Tensor:
        """Return the outputs, shape (pairs, outputs)."""
        hidden = self.encoder(**inputs).last_hidden_state
        end = inputs["attention_mask"].sum(1) - 1
        position = end if self.last else torch.zeros_like(end)
        outputs: Tensor = self.head(hidden[torch.arange(len(end), device=end.device), position])
        return outputs

    def forward(self, labels: Tensor, **inputs: Tensor) -> Tensor:
        """Return the cross-entropy of classes, or the squared error of a number."""
        outputs = self.predict(**inputs)
        if labels.dtype == torch.long:
            return nn.functional.cross_entropy(outputs, labels)
        return nn.functional.mse_loss(outputs[:, 0], labels)


def evaluate(
    lm: LanguageModel,
    task: str,
    recipe: Recipe,
    seed: int = 0,
    folder: str | Path | None = None,
    limit: int | None = None,
) -> list[Score]:
    """Fine-tune a model's encoder on a task and score the validation splits.

    The model is trained in place: pass a copy if you need it again. `limit` takes
    the first rows of every split; 0 steps are three epochs. The value depends on the
    seed: compare only models fine-tuned with the same one. Raises LceError for an unknown
    task or unreadable data.
    """
    if task not in TASKS:
        raise LceError(f"GLUE task {task!r}", "is unknown", f"Known: {', '.join(TASKS)}.")
    settings = TASKS[task]
    train, *validation = (
        PairCollator(lm.tokenizer, settings, read(settings, split, folder, limit))
        for split in ("train", *settings.splits)
    )
    if not recipe.steps:  # three epochs
        recipe = replace(recipe, steps=3 * -(-len(train.ids) // recipe.batch_size))
    torch.manual_seed(seed)
    model = Classifier(lm, settings)
    text = EncodedText(train.ids, [])
    fine_tune(model, lm.tokenizer, text, recipe, seed, collate=train, loss=model)
    splits = zip(settings.splits, validation, strict=True)
    return [score for split, data in splits for score in _score(model, settings, split, data)]


@torch.inference_mode()
def _score(model: Classifier, task: Task, split: str, data: PairCollator) -> list[Score]:
    from scipy.stats import pearsonr, spearmanr

    device, outputs = next(model.parameters()).device, []
    for start in range(0, len(data.ids), 64):
        batch = data(range(start, min(start + 64, len(data.ids))))
        inputs = {k: v.to(device) for k, v in batch.items() if k != "labels"}
        outputs.append(model.predict(**inputs).float().cpu().numpy())
    predicted, labels = np.concatenate(outputs), data.labels.numpy()
    if task.outputs == 1:
        values = {
            "stsb_pearson": (pearsonr(predicted[:, 0], labels).statistic, "Pearson's r × 100"),
            "stsb_spearman": (spearmanr(predicted[:, 0], labels).statistic, "Spearman's ρ × 100"),
        }
    else:
        name = "mnli_m" if split.endswith("_matched") else "mnli_mm"
        values = {name: (np.mean(predicted.argmax(1) == labels), "accuracy × 100")}
    return [
        Score(name, 100 * float(value), len(labels), f"{what}, {split}, fine-tuned as a whole")
        for name, (value, what) in values.items()
    ]
