"""MNLI and STS-B (Wang et al. 2019) after an edit: what a fine-tuned task loses (paper Table 2)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.measures import Score
from lcelib.models import LanguageModel, causal, pad, pad_id, start_id
from lcelib.training import EncodedText, Recipe, fine_tune

HUB = "nyu-mll/glue"


@dataclass(frozen=True)
class Task:
    """A task on pairs of sentences: the fields, the number of outputs, and the splits to score."""

    name: str
    fields: tuple[str, str]
    outputs: int  # 1: a number
    splits: tuple[str, ...]


TASKS = {
    "mnli": Task(
        "mnli", ("premise", "hypothesis"), 3, ("validation_matched", "validation_mismatched")
    ),
    "stsb": Task("stsb", ("sentence1", "sentence2"), 1, ("validation",)),
}


def read(task: Task, split: str, folder: str | Path | None = None, limit: int | None = None):
    """Rows of one split: from the hub, or from `folder` with SPLIT.jsonl or SPLIT.parquet."""
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
        remedy = f"Is the network there? Or give a folder with {split}.jsonl of the hub's columns."
        raise LceError(what, f"cannot be read ({error})", remedy) from error
    return rows if limit is None else rows.select(range(min(limit, len(rows))))


class Pairs:
    """Collator: two sentences in one sequence with their label."""

    def __init__(self, tokenizer, task: Task, rows):
        self.fill, self.task = pad_id(tokenizer), task
        pairs = [[str(row[f]) for f in task.fields] for row in rows]
        self.labels = torch.tensor(
            [row["label"] for row in rows],
            dtype=torch.float32 if task.outputs == 1 else torch.long,
        )
        self.ids, self.types = map(list, zip(*(_ids(tokenizer, *p) for p in pairs), strict=True))

    def __call__(self, indices, rng=None) -> dict[str, Tensor]:
        ids, attention = pad([self.ids[i] for i in indices], self.fill)
        inputs = {"input_ids": ids, "attention_mask": attention}
        if self.types[0]:
            inputs["token_type_ids"], _ = pad([self.types[i] for i in indices], 0)
        return {"labels": self.labels[list(indices)]} | inputs


def _ids(tokenizer, first: str, second: str) -> tuple[list[int], list[int]]:
    """A pair as the model's kind knows it, and which sentence each token belongs to.

    The second list is empty where the model is not told. A causal model reads the pair
    between start tokens.
    """
    if not causal(tokenizer):
        longest = min(tokenizer.model_max_length, 128)
        found = tokenizer(first, second, truncation=True, max_length=longest)
        return found["input_ids"], found.get("token_type_ids", [])
    both = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (first, second)]
    mark = start_id(tokenizer)
    return [mark, *both[0][:62], mark, *both[1][:62], mark], []


class Classifier(nn.Module):
    """The encoder with one linear layer on its first hidden state, or a causal model's last.

    Fine-tuned as a whole. Calling it gives the loss; a number is fitted by its square.
    """

    def __init__(self, lm: LanguageModel, task: Task):
        super().__init__()
        self.encoder, self.last = lm.model.base_model, causal(lm.tokenizer)
        self.head = nn.Linear(lm.model.get_input_embeddings().embedding_dim, task.outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def answers(self, **inputs: Tensor) -> Tensor:
        """Outputs of shape (pairs, outputs)."""
        hidden = self.encoder(**inputs).last_hidden_state
        end = inputs["attention_mask"].sum(1) - 1
        place = end if self.last else torch.zeros_like(end)
        return self.head(hidden[torch.arange(len(end), device=end.device), place])

    def forward(self, labels: Tensor, **inputs: Tensor) -> Tensor:
        found = self.answers(**inputs)
        if labels.dtype == torch.long:
            return nn.functional.cross_entropy(found, labels)
        return nn.functional.mse_loss(found[:, 0], labels)


def evaluate(
    lm: LanguageModel,
    task: str,
    recipe: Recipe,
    seed: int = 0,
    folder: str | Path | None = None,
    limit: int | None = None,
) -> list[Score]:
    """Fine-tune a copy's encoder on a task and score its validation splits.

    The model is trained in place: give a copy where it is needed again. `limit` takes
    the first rows of every split; 0 steps are three epochs. The value depends on the
    seed: compare models that were fine-tuned with the same one.
    """
    if task not in TASKS:
        raise LceError(f"GLUE task {task!r}", "is unknown", f"Known: {', '.join(TASKS)}.")
    known = TASKS[task]
    train = Pairs(lm.tokenizer, known, read(known, "train", folder, limit))
    if not recipe.steps:  # three epochs
        recipe = replace(recipe, steps=3 * -(-len(train.ids) // recipe.batch_size))
    splits = {s: Pairs(lm.tokenizer, known, read(known, s, folder, limit)) for s in known.splits}
    torch.manual_seed(seed)
    model = Classifier(lm, known)
    text = EncodedText(train.ids, [])
    fine_tune(model, lm.tokenizer, text, recipe, seed, collate=train, loss=model)
    return [score for split, data in splits.items() for score in _score(model, known, split, data)]


@torch.inference_mode()
def _score(model: Classifier, task: Task, split: str, data: Pairs) -> list[Score]:
    from scipy.stats import pearsonr, spearmanr

    device, found = next(model.parameters()).device, []
    for start in range(0, len(data.ids), 64):
        batch = data(range(start, min(start + 64, len(data.ids))))
        inputs = {k: v.to(device) for k, v in batch.items() if k != "labels"}
        answers = model.answers(**inputs)
        found.append(answers.float().cpu().numpy())
    answers, labels = np.concatenate(found), data.labels.numpy()
    if task.outputs == 1:
        values = {
            "stsb_pearson": (pearsonr(answers[:, 0], labels).statistic, "Pearson's r × 100"),
            "stsb_spearman": (spearmanr(answers[:, 0], labels).statistic, "Spearman's ρ × 100"),
        }
    else:
        name = "mnli_m" if split.endswith("_matched") else "mnli_mm"
        values = {name: ((answers.argmax(1) == labels).mean(), "accuracy × 100")}
    return [
        Score(name, 100 * float(value), len(labels), f"{what}, {split}, fine-tuned as a whole")
        for name, (value, what) in values.items()
    ]
