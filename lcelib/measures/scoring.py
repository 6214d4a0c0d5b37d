"""Scores, and the batched prediction of tokens that all of them rest on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lcelib.models import causal, logits_at, pad, pad_id

TOKENS_PER_BATCH = 1024


@dataclass(frozen=True)
class Score:
    """One measured value, with its number of items and the variant of the measure in words."""

    measure: str
    value: float
    n: int
    variant: str


@dataclass(frozen=True)
class Query:
    """The question for log p(`target` at `position` | `ids`).

    For a masked model `ids` hold the mask there; a causal one looks at what stands before.
    """

    ids: tuple[int, ...]
    position: int
    target: int


def token_queries(tokenizer, ids: Sequence[int], places: Sequence[int]) -> list[Query]:
    """One question for each of a sentence's tokens: masked alone, or given all before it."""
    if causal(tokenizer):
        return [Query(tuple(ids), place, ids[place]) for place in places]
    mask = tokenizer.mask_token_id
    return [Query((*ids[:p], mask, *ids[p + 1 :]), p, ids[p]) for p in places]


class Plan:
    """Queries made ready once: equal inputs run once, sorted by length, padded, in batches.

    Calling it with a model gives the natural log-probabilities, float64, in the
    order of the queries. Only the positions asked for go through the head; a causal
    model's answer for a token stands one position before it.
    """

    def __init__(self, queries: Sequence[Query], tokenizer):
        self.queries, self.shift = list(queries), int(causal(tokenizer))
        fill = pad_id(tokenizer)
        by_input: dict[tuple[int, ...], list[int]] = {}
        for i, query in enumerate(self.queries):
            by_input.setdefault(query.ids, []).append(i)
        inputs = sorted(by_input, key=lambda ids: (len(ids), ids))
        self.batches = []
        while inputs:
            size = max(TOKENS_PER_BATCH // len(inputs[0]), 1)
            chunk, inputs = inputs[:size], inputs[size:]
            asked = [sorted(by_input[ids], key=self._position) for ids in chunk]
            self.batches.append(self._batch(chunk, asked, fill))

    def _position(self, i: int) -> int:
        return self.queries[i].position - self.shift

    def _batch(self, chunk, asked, fill):
        ids, attention = pad(chunk, fill)
        where = torch.zeros(ids.shape, dtype=torch.bool)
        rows, targets, order = [], [], []
        for row, group in enumerate(asked):
            positions = sorted({self._position(i) for i in group})
            where[row, positions] = True
            for i in group:
                rows.append(len(order) + positions.index(self._position(i)))
                targets.append((i, self.queries[i].target))
            order += positions
        return ids, attention, where, torch.tensor(rows), targets

    @torch.inference_mode()
    def __call__(self, model) -> np.ndarray:
        device = next(model.parameters()).device
        result = np.full(len(self.queries), np.nan)
        for ids, attention, where, rows, targets in self.batches:
            logits = logits_at(model, ids.to(device), attention.to(device), where.to(device))
            log_p = torch.log_softmax(logits.float(), dim=-1)
            index, words = zip(*targets, strict=True)
            result[list(index)] = log_p[rows.to(device), torch.tensor(words, device=device)].cpu()
        return result
