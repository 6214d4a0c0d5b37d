"""Training batches: tokenized sentences with masking rates, the order they come in, collators."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lcelib.corpus.specification import word_spans
from lcelib.models import is_causal, pad, pad_id, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batch = dict[str, Tensor]
Collate = Callable[[Sequence[int], torch.Generator], Batch]  # sentence indices → inputs of a loss


@dataclass(frozen=True)
class EncodedText:
    """Tokenized sentences with each token's masking probability (0 for special tokens).

    A causal model's text has no rates: it learns to predict every token.
    """

    ids: list[list[int]]
    rates: list[list[float]]

    def __len__(self) -> int:
        return len(self.ids)


def encode(
    tokenizer: "PreTrainedTokenizerBase",
    sentences: Sequence[str],
    rates: dict[str, float],
    other: float,
) -> EncodedText:
    """Tokenize sentences and give every token the masking rate of the word it belongs to.

    `rates` maps lower-cased words to their rate, all other words get `other`
    (paper §4.1: 0.3 for specification words, 0.148 for the rest). All pieces of
    a word share its rate; "child-care" is a word.
    """
    if is_causal(tokenizer):
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
    """Return a torch generator that depends on `key` alone, the same on every platform."""
    return torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))


def batch_indices(
    lengths: Sequence[int], batch_size: int, seed: int, step: int, bucket: int = 0
) -> list[int]:
    """Return the sentences of one step; each epoch is a permutation drawn from (seed, epoch).

    With `bucket`, sentences are sorted by length within stretches of that many
    batches, which saves padding, and the order of the batches is drawn again.
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


class PreferentialMasking:
    """Collator that masks each token at its own rate: 80 % become [MASK], 10 % a random token.

    Every batch has at least one masked token.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", text: EncodedText) -> None:
        self.text, self.tokenizer = text, tokenizer

    def __call__(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return ids, attention mask, the masked positions `where` and their labels."""
        ids, attention = pad([self.text.ids[i] for i in indices], pad_id(self.tokenizer))
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
    """Collator for causal models: every token is predicted from those before it, none is masked."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", text: EncodedText) -> None:
        self.text, self.fill = text, pad_id(tokenizer)

    def __call__(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return ids, attention mask, the predicting positions `where` and their labels."""
        ids, attention = pad([self.text.ids[i] for i in indices], self.fill)
        where = torch.zeros(ids.shape, dtype=torch.bool)
        where[:, :-1] = attention[:, 1:].bool()
        labels = ids[:, 1:][where[:, :-1]]
        return {"ids": ids, "attention": attention, "where": where, "labels": labels}
