"""Scores, and the batched prediction of tokens that all of them rest on."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from lcelib.measures import prefixes
from lcelib.models import causal, logits_at, packs, pad, pad_id

TOKENS_PER_BATCH = 1024 * (16 if torch.cuda.is_available() else 1)


@dataclass(frozen=True)
class Score:
    """One measured value, with its number of items and the variant of the measure in words.

    Where the value is a mean over items, `items` has them, in the order of the file.
    """

    measure: str
    value: float
    n: int
    variant: str
    items: np.ndarray | None = field(default=None, compare=False, repr=False)


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
    """Queries made ready once; calling it with a model gives the answers.

    Those are natural log-probabilities, float64, in the order of the queries. Equal
    inputs run once, in batches of like length, and only the positions asked for go
    through the head. A causal model's answer stands one position before the token,
    and where its architecture allows it, beginnings that sentences share run once.
    """

    def __init__(self, queries: Sequence[Query], tokenizer):
        self.queries, self.fill = list(queries), pad_id(tokenizer)
        self.shift = int(causal(tokenizer))

    def _position(self, i: int) -> int:
        return self.queries[i].position - self.shift

    @cached_property
    def padded(self) -> list[tuple]:
        """Batches of whole inputs: (arguments of `logits_at`, rows of its result, targets)."""
        asked = defaultdict(list)
        for i, query in enumerate(self.queries):
            asked[query.ids].append((self._position(i), i))
        batches = []
        for inputs in _chunks(sorted(asked, key=lambda ids: (len(ids), ids))):
            ids, attention = pad(inputs, self.fill)
            places = [(row, p, i) for row, x in enumerate(inputs) for p, i in sorted(asked[x])]
            batches.append(self._batch((ids, attention), places))
        return batches

    @cached_property
    def packed(self) -> list[tuple]:
        """The same with each context of a causal model computed once."""
        asked = defaultdict(list)
        for i, query in enumerate(self.queries):
            asked[query.ids[: query.position]].append(i)
        batches = []
        for group in _chunks(sorted(prefixes.trees(asked), key=len, reverse=True)):
            places = [
                (row, place, i)
                for row, nodes in enumerate(group)
                for place, node in enumerate(nodes)
                for i in asked.pop(node, ())
            ]
            batches.append(self._batch(prefixes.batch(group, self.fill), places))
        return batches

    def _batch(self, inputs: tuple, places: list[tuple[int, int, int]]) -> tuple:
        """The positions asked for, in the order of `where`, and which answer is whose."""
        ids, attention, *positions = inputs
        where = torch.zeros(ids.shape, dtype=torch.bool)
        distinct = dict.fromkeys((row, place) for row, place, _ in places)
        rows = {key: n for n, key in enumerate(distinct)}
        for key in distinct:
            where[key] = True
        of = [i for _, _, i in places]
        answer = torch.tensor([rows[row, place] for row, place, _ in places])
        targets = torch.tensor([self.queries[i].target for i in of])
        return (ids, attention, where, *positions), answer, targets, of

    @torch.inference_mode()
    def __call__(self, model) -> np.ndarray:
        device = next(model.parameters()).device
        result = np.full(len(self.queries), np.nan)
        for inputs, answer, targets, of in self.packed if packs(model) else self.padded:
            logits = logits_at(model, *(x.to(device) for x in inputs))
            log_p = torch.log_softmax(logits.float(), dim=-1)
            result[of] = log_p[answer.to(device), targets.to(device)].cpu()
        return result


def _chunks(inputs: list) -> Iterator[list]:
    """Stretches of inputs in order of length, each of about TOKENS_PER_BATCH tokens."""
    while inputs:
        size = max(TOKENS_PER_BATCH // len(inputs[0]), 1)
        yield inputs[:size]
        inputs = inputs[size:]
