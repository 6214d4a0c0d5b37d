"""Several measures of one model in one batched pass."""

from collections.abc import Sequence

from lcelib.measures.scoring import Plan, Score


class Suite:
    """Several measures prepared for one tokenizer: `suite(model)` gives all their scores.

    Measures that ask for tokens (with `queries`) share one batched pass over the model.
    `suite(model, brief=True)` leaves out those named `costly`.
    """

    def __init__(self, measures: Sequence[object], tokenizer, costly: Sequence[object] = ()):
        self._tokenizer, self._plans = tokenizer, {}
        self._measures = {False: measures, True: [m for m in measures if m not in costly]}

    def __call__(self, model, brief: bool = False) -> list[Score]:
        measures = self._measures[brief]
        asking = [m for m in measures if hasattr(m, "queries")]
        if brief not in self._plans:
            queries = [q for m in asking for q in m.queries]
            self._plans[brief] = Plan(queries, self._tokenizer)
        log_p, start, scores = self._plans[brief](model), 0, []
        for measure in asking:
            end = start + len(measure.queries)
            scores += measure.score(log_p[start:end])
            start = end
        return scores + [s for m in measures if m not in asking for s in m.score(model)]
