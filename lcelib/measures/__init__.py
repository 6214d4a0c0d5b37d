"""Measures of bias and of language modelling, and one pass that takes them together."""

from collections.abc import Sequence

from lcelib.measures.crows import CrowsPairs
from lcelib.measures.perplexity import Perplexity
from lcelib.measures.scoring import Plan, Query, Score
from lcelib.measures.stereoset import StereoSet
from lcelib.measures.weat import Weat, WeatTest

__all__ = [
    "CrowsPairs",
    "Perplexity",
    "Plan",
    "Query",
    "Score",
    "StereoSet",
    "Suite",
    "Weat",
    "WeatTest",
]


class Suite:
    """Several measures prepared for one tokenizer: `suite(model)` gives all their scores.

    Measures that ask for tokens (with `queries`) share one batched pass over the model.
    """

    def __init__(self, measures: Sequence[object], tokenizer):
        self.asking = [m for m in measures if hasattr(m, "queries")]
        self.direct = [m for m in measures if not hasattr(m, "queries")]
        queries = [q for m in self.asking for q in m.queries]
        self.plan = Plan(queries, tokenizer)

    def __call__(self, model) -> list[Score]:
        log_p, start, scores = self.plan(model), 0, []
        for measure in self.asking:
            end = start + len(measure.queries)
            scores += measure.score(log_p[start:end])
            start = end
        return scores + [s for m in self.direct for s in m.score(model)]
