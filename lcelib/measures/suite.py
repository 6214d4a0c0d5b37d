"""Several measures of one model in one batched pass."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from lcelib.measures.scoring import Plan, Score


class Suite:
    """Several measures prepared for one tokenizer; `suite(model)` returns all their scores.

    Measures with `queries` share one batched pass over the model and score its answers; the
    others score the model themselves. `suite(model, brief=True)` skips the `costly` ones.
    """

    def __init__(
        self,
        measures: Sequence[Any],
        tokenizer: PreTrainedTokenizerBase,
        costly: Sequence[Any] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._plans: dict[bool, Plan] = {}
        self._measures = {False: measures, True: [m for m in measures if m not in costly]}

    def __call__(self, model: nn.Module, brief: bool = False) -> list[Score]:
        """Return the scores of `model`, of the costly measures too unless `brief`."""
        measures = self._measures[brief]
        asking = [m for m in measures if hasattr(m, "queries")]
        if brief not in self._plans:
            queries = [q for m in asking for q in m.queries]
            self._plans[brief] = Plan(queries, self._tokenizer)
        log_p, start = self._plans[brief](model), 0
        scores: list[Score] = []
        for measure in asking:
            end = start + len(measure.queries)
            scores += measure.score(log_p[start:end])
            start = end
        return scores + [s for m in measures if m not in asking for s in m.score(model)]
