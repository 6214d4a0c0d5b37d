"""Fine-tuning BERT-base: sentences in batches of like length, against padding all to 128 tokens."""

import math
import statistics
import time

import numpy as np
import torch
from torch import nn
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks import report
from lcelib.batches import EncodedText, batch_indices
from lcelib.models import load
from lcelib.training import Recipe, fine_tune

BATCH, STEPS, LONGEST, BUCKET = 16, 8, 128, 32
PAPER = {"rounds": 60, "steps": 13_881, "batch": 64}  # 3 epochs of 4,627 steps, 20 models × 3


def sentences(number: int = 20_000, seed: int = 0) -> list[list[int]]:
    """Token ids with the lengths of encyclopedic sentences: log-normal, 27 in the mean."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(math.log(24), 0.5, number).round(), 6, LONGEST).astype(int)
    return [[2, *rng.integers(5, 280, n - 2).tolist(), 3] for n in lengths]


def real_share(lengths: list[int], batch: int, steps: int = 300) -> float:
    """The share of a batch's places that hold a token, over `steps` batches."""
    batches = [batch_indices(lengths, batch, 0, step, BUCKET) for step in range(steps)]
    real = sum(lengths[i] for b in batches for i in b)
    return real / sum(len(b) * max(lengths[i] for i in b) for b in batches)


def new_model(device: str) -> nn.Module:
    """A BERT-base with random weights."""
    torch.manual_seed(0)
    config = BertConfig(hidden_dropout_prob=0.1, vocab_size=30_522)
    return AutoModelForMaskedLM.from_config(config).to(device)


def ours(ids: list[list[int]], tokenizer, batch: int, steps: int, device: str) -> float:
    """Seconds of a step, the mean over batches of all lengths, the first two left out."""
    text = EncodedText(ids, [[0.0, *[0.15] * (len(x) - 2), 0.0] for x in ids])
    recipe, marks = Recipe(steps, batch, bucket=BUCKET), []
    fine_tune(
        new_model(device), tokenizer, text, recipe, 0,
        progress=lambda *_: marks.append(time.perf_counter()),
    )  # fmt: skip
    return float(np.diff(marks)[1:].mean())


class Marks(TrainerCallback):
    """Notes the time of every step."""

    def __init__(self):
        self.times: list[float] = []

    def on_step_end(self, *_, **__):
        self.times.append(time.perf_counter())


def theirs(ids: list[list[int]], tokenizer, batch: int, steps: int, device: str, folder) -> float:
    """Seconds of a step of transformers' Trainer with every sentence padded to 128 tokens."""
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    pad = tokenizer.pad_token_id
    rows = [
        {
            "input_ids": x + [pad] * (LONGEST - len(x)),
            "attention_mask": [1] * len(x) + [0] * (LONGEST - len(x)),
        }
        for x in ids[: batch * steps]
    ]
    arguments = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=batch, max_steps=steps, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=device == "cpu",
        bf16=device != "cpu",
    )  # fmt: skip
    marks = Marks()
    trainer = Trainer(
        new_model(device), arguments, data_collator=collate, train_dataset=rows, callbacks=[marks]
    )
    trainer.train()
    return statistics.median(np.diff(marks.times)[1:])


def rows(device: str, folder):
    """One row for each way to train, with the share of real tokens and the paper's whole training.

    `hours`: 60 rounds of 13,881 steps of 64 sentences at the measured sentences per second.
    """
    ids, tokenizer = sentences(), load("toybert").tokenizer
    batch, steps = (BATCH, STEPS) if device == "cpu" else (PAPER["batch"], 60)
    share = real_share([len(x) for x in ids], batch)
    seconds = {
        "lcelib": ours(ids, tokenizer, batch, 5 * steps, device),
        "Trainer, padded to 128": theirs(ids, tokenizer, batch, steps, device, folder),
    }
    for variant, each in seconds.items():
        own = variant == "lcelib"
        hours = each / batch * PAPER["batch"] * PAPER["steps"] * PAPER["rounds"] / 3600
        yield {
            "device": device, "dtype": "float32" if device == "cpu" else "bfloat16",
            "operation": "fine-tuning step", "variant": variant,
            "weights": report.BERT_WHOLE, "seconds": each,
            "repeats": (5 * steps if own else steps) - 2,
            "extra_mib": float("nan"), "speedup": each / seconds["lcelib"],
            "real": share if own else sum(map(len, ids)) / len(ids) / LONGEST,
            "hours": hours, "note": f"{batch} sentences a step",
        }  # fmt: skip
