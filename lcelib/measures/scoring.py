"""Scores, and the batched token prediction that they are computed from."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lcelib.measures import prefixes
from lcelib.models import is_causal, logits_at, pad, pad_id, supports_packing

TOKENS_PER_BATCH = 1024 * (16 if torch.cuda.is_available() else 1)
Input = TypeVar("Input", bound=Sequence[Any])
# Arguments of `logits_at`; for each answer its row of the logits, its target and its query.
Batch = tuple[tuple[Tensor, ...], Tensor, Tensor, list[int]]


@dataclass(frozen=True)
class Score:
    """One measured value, with its number of items and the variant of the measure in words.

    Where the value is a mean over items, `items` has their values in the order of the file.
    """

    measure: str
    value: float
    n: int
    variant: str
    items: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Query:
    """A request for log p(`target` at `position` | `ids`).

    For a masked model `ids` have the mask there; a causal one reads the tokens before it.
    """

    ids: tuple[int, ...]
    position: int
    target: int


def token_queries(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], positions: Sequence[int]
) -> list[Query]:
    """Return one query for each position: the token masked alone, or given all before it."""
    if is_causal(tokenizer):
        return [Query(tuple(ids), p, ids[p]) for p in positions]
    mask: Any = tokenizer.mask_token_id
    return [Query((*ids[:p], mask, *ids[p + 1 :]), p, ids[p]) for p in positions]


class Plan:
    """Queries prepared once; calling the plan with a model answers them.

    The answers are natural log-probabilities, float64, in the order of the queries. Equal
    inputs run once, in batches of similar length, and only the queried positions go
    through the head. A causal model predicts a token at the position before it,
    and where its architecture allows it, shared beginnings of sentences run once.
    """

    def __init__(self, queries: Sequence[Query], tokenizer: PreTrainedTokenizerBase) -> None:
        self.queries, self.fill = list(queries), pad_id(tokenizer)
        self.shift = int(is_causal(tokenizer))

    @cached_property
    def padded(self) -> list[Batch]:
        """The batches of whole inputs."""
        uses = defaultdict(list)
        for i, query in enumerate(self.queries):
            uses[query.ids].append((query.position - self.shift, i))
        batches = []
        for inputs in _chunks(sorted(uses, key=lambda ids: (len(ids), ids))):
            places = [(row, p, i) for row, x in enumerate(inputs) for p, i in sorted(uses[x])]
            batches.append(self._batch(pad(inputs, self.fill), places))
        return batches

    @cached_property
    def packed(self) -> list[Batch]:
        """The batches of prefix trees, in which each context of a causal model occurs once."""
        uses = defaultdict(list)
        for i, query in enumerate(self.queries):
            uses[query.ids[: query.position]].append(i)
        batches = []
        for trees in _chunks(sorted(prefixes.build_trees(uses), key=len, reverse=True)):
            places = [
                (row, place, i)
                for row, nodes in enumerate(trees)
                for place, node in enumerate(nodes)
                for i in uses.pop(node, ())
            ]
            batches.append(self._batch(prefixes.batch(trees, self.fill), places))
        return batches

    def _batch(self, inputs: tuple[Tensor, ...], places: list[tuple[int, int, int]]) -> Batch:
        """Return the batch in which query i is answered at (row, position), for all three in `places`.

        `places` are sorted by row and position, the order of the logits at `where`.
        """
        ids, attention, *positions = inputs
        where = torch.zeros(ids.shape, dtype=torch.bool)
        rows: dict[tuple[int, int], int] = {}
        for row, place, _ in places:
            where[row, place] = True
            rows.setdefault((row, place), len(rows))
        queries = [i for _, _, i in places]
        answers = torch.tensor([rows[row, place] for row, place, _ in places])
        targets = torch.tensor([self.queries[i].target for i in queries])
        return (ids, attention, where, *positions), answers, targets, queries

    @torch.inference_mode()
    def __call__(self, model: nn.Module) -> np.ndarray:
        """Return log p of every query, float64, shape (queries,)."""
        device = next(model.parameters()).device
        result = np.full(len(self.queries), np.nan)
        batches = self.packed if supports_packing(model) else self.padded
        for inputs, rows, targets, queries in batches:
            logits = logits_at(model, *(x.to(device) for x in inputs))
            log_p = torch.log_softmax(logits.float(), dim=-1)
            result[queries] = log_p[rows.to(device), targets.to(device)].cpu()
        return result


def _chunks(inputs: list[Input]) -> Iterator[list[Input]]:
    """Yield stretches of inputs in order of length, each of about TOKENS_PER_BATCH tokens."""
    while inputs:
        size = max(TOKENS_PER_BATCH // len(inputs[0]), 1)
        yield inputs[:size]
        inputs = inputs[size:]
