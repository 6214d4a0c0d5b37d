"""CrowS-Pairs (Nangia et al. 2020) in both variants, read from the original file format."""

import csv
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

from lcelib.errors import LceError
from lcelib.measures.scoring import Score, token_queries
from lcelib.models import causal, inner, token_ids

VARIANTS = {
    "differing": "mean ln p of the tokens that differ (bias-bench), rounded to 3 decimals",
    "shared": "sum of ln p of the tokens both share (original), rounded to 3 decimals",
    "sentence": "ln p of the whole sentence, left to right, rounded to 3 decimals",
}


def read(path: str | Path, bias_type: str = "gender") -> list[tuple[str, str]]:
    """Pairs (sent_more, sent_less) of one bias type."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        pairs = [(r["sent_more"], r["sent_less"]) for r in rows if r["bias_type"] == bias_type]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        remedy = "Give a file in the format of crows_pairs_anonymized.csv."
        raise LceError(f"CrowS-Pairs file {path}", f"cannot be read ({error!r})", remedy) from error
    if not pairs:
        raise LceError(f"CrowS-Pairs file {path}", f"has no {bias_type} pairs", "Choose another.")
    return pairs


def spans(first: list[int], second: list[int], shared: bool) -> tuple[list[int], list[int]]:
    """Positions of the tokens that two sentences share, or of those that differ."""
    places = ([], [])
    for operation, *bounds in SequenceMatcher(None, first, second, autojunk=True).get_opcodes():
        if (operation == "equal") == shared:
            places[0].extend(range(*bounds[:2]))
            places[1].extend(range(*bounds[2:]))
    return places


class CrowsPairs:
    """The queries of all pairs for one tokenizer, and the scores from their answers.

    `variant` is "differing" (bias-bench; what the paper used) or "shared" (the
    original), which are made for masked models, or "sentence", the likelihood of a
    causal one; by default the first for masked models, the last for causal ones.
    `name` is the prefix of the scores: pairs of other tests have the same form.
    """

    def __init__(self, pairs, tokenizer, variant: str | None = None, name: str = "crows"):
        left_to_right = causal(tokenizer)
        variant = variant or ("sentence" if left_to_right else "differing")
        fitting = [v for v in VARIANTS if (v == "sentence") == left_to_right]
        if variant not in fitting:
            reason = "is not one for this kind of model"
            raise LceError(f"CrowS variant {variant!r}", reason, f"Use {' or '.join(fitting)}.")
        self.name, self.variant = name, VARIANTS[variant]
        self.total, self.queries = len(pairs), []
        self._pairs: list[tuple[slice, slice]] = []
        self._reduce = np.mean if variant == "differing" else np.sum
        for pair in pairs:
            ids = [token_ids(tokenizer, sentence) for sentence in pair]
            if variant == "sentence":
                places = tuple(list(inner(tokenizer, sentence)) for sentence in ids)
            else:
                places = spans(*ids, shared=variant == "shared")
            if variant == "shared":  # never the special tokens at the ends
                places = tuple(p[1:-1] for p in places)
            if all(places):
                self._pairs.append(
                    tuple(self._add(*x, tokenizer) for x in zip(ids, places, strict=True))
                )

    def _add(self, ids: list[int], places: list[int], tokenizer) -> slice:
        start = len(self.queries)
        self.queries += token_queries(tokenizer, ids, places)
        return slice(start, len(self.queries))

    def pair_scores(self, log_p: np.ndarray) -> np.ndarray:
        """Scores of sent_more and sent_less, shape (pairs, 2)."""
        return np.array([[self._reduce(log_p[s]) for s in pair] for pair in self._pairs])

    def score(self, log_p: np.ndarray) -> list[Score]:
        """Share of pairs with sent_more above sent_less in 0–100 (a tie is none), mean margin."""
        more, less = self.pair_scores(log_p).T
        prefers, margins = 100.0 * (more.round(3) > less.round(3)), more - less
        n = len(self._pairs)
        variant = self.variant + (f", {self.total - n} pairs skipped" if n < self.total else "")
        return [
            Score(self.name, float(prefers.mean()), n, variant, prefers),
            Score(f"{self.name}_margin", float(margins.mean()), n, variant, margins),
        ]
