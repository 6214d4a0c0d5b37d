"""Train the shipped base model: `python -m lcelib.toybert.train FOLDER`.

Four layers of width 128 on 60,000 generated sentences. From a random start
such a model stays on a plateau where perplexity looks fine but names and
pronouns do not agree; word embeddings initialized from the corpus's own
co-occurrences (PPMI, truncated SVD) avoid that.
"""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerBase

from lcelib.batches import encode
from lcelib.files import atomic
from lcelib.models import embedding
from lcelib.toybert import lexicon as lex
from lcelib.toybert.corpus import sentences
from lcelib.toybert.tokenizer import build_tokenizer
from lcelib.training import Recipe, fine_tune

RECIPE = Recipe(
    steps=2500,
    batch_size=64,
    learning_rate=1e-3,
    warmup=0.05,
    betas=(0.9, 0.98),
    weight_decay=0.01,
    checkpoint_every=250,
)
WIDTH, WINDOW, INIT_STD, EMBEDDING_STD = 128, 4, 0.07, 0.2


def masking_rates() -> dict[str, float]:
    """Return the masking rates: 0.5 for gendered words, 0.3 for attributes (others 0.15)."""
    gendered = sum(lex.PAIRS, ()) + lex.UNSEEN_GENDER + lex.POSSESSIVES + lex.OBJECTS
    attributes = [w for group in lex.GROUPS for w in group.words]
    return {w: 0.5 for w in gendered + lex.ABSOLUTES} | {w: 0.3 for w in attributes}


def ppmi_svd(texts: list[list[int]], vocabulary: int, width: int) -> np.ndarray:
    """Return word vectors from positive pointwise mutual information, (vocabulary, width).

    PPMI(i, j) = max(0, log(p(i, j) / (p(i) p(j)))) over a symmetric window of
    WINDOW words; the vectors are U·√Σ of its truncated SVD (Levy and Goldberg
    2014), scaled to standard deviation EMBEDDING_STD.
    """
    counts = np.zeros((vocabulary, vocabulary))
    pairs = Counter(
        (a, b) for ids in texts for i, a in enumerate(ids) for b in ids[i + 1 : i + 1 + WINDOW]
    )
    for (a, b), n in pairs.items():
        counts[a, b] += n
        counts[b, a] += n
    total, marginal = counts.sum(), counts.sum(0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ppmi = np.log(counts * total / (marginal * marginal.T))
    ppmi = np.where(np.isfinite(ppmi) & (ppmi > 0), ppmi, 0)
    u, s, _ = np.linalg.svd(ppmi)
    vectors: np.ndarray = u[:, :width] * np.sqrt(s[:width])
    vectors *= EMBEDDING_STD / vectors.std()
    return vectors


def new_model(
    tokenizer: PreTrainedTokenizerBase, texts: list[list[int]], seed: int
) -> BertForMaskedLM:
    """Return the untrained toy BERT with PPMI-SVD word embeddings."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=INIT_STD,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertForMaskedLM(config)
    vectors = ppmi_svd(texts, len(tokenizer), WIDTH)
    with torch.no_grad():
        embedding(model).weight.copy_(torch.from_numpy(vectors).float())
    return model


def main(folder: Path, seed: int = 0, recipe: Recipe = RECIPE) -> None:
    """Train, save model and tokenizer, and log step, loss and learning rate as CSV."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    text = encode(tokenizer, sentences(60_000, seed=seed), masking_rates(), other=0.15)
    model = new_model(tokenizer, text.ids, seed)
    checkpoint = folder / "checkpoint.safetensors"
    losses = fine_tune(
        model, tokenizer, text, recipe, seed, checkpoint=checkpoint, progress=_print_progress
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with (
        atomic(folder / "training_log.csv") as path,
        open(path, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows(
            (i, f"{np.mean(losses[i : i + 50]):.4f}") for i in range(0, len(losses), 50)
        )


def _print_progress(step: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"step {step:5d}  loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
