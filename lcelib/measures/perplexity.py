"""Perplexity of a language model on held-out sentences."""

from collections.abc import Sequence

import numpy as np
import torch

from lcelib.errors import LceError
from lcelib.measures.scoring import Query, Score, token_queries
from lcelib.models import causal, inner, token_ids
from lcelib.training import generator


class Perplexity:
    """exp of the mean masked-token loss (paper §4.3), or of a causal model's mean loss.

    The masks are drawn once, from `seed`, with probability `rate` per token and
    always replaced by [MASK]: every model that is scored with this object is
    asked about the same tokens, so that differences are paired. `each_once`
    masks every token once, alone, instead: pseudo-perplexity (Salazar et al. 2020).
    A causal model is asked for every token given those before it. The three are
    different quantities and never compared with each other.
    """

    def __init__(
        self,
        sentences: Sequence[str],
        tokenizer,
        rate: float = 0.15,
        seed: int = 0,
        each_once: bool = False,
        name: str = "perplexity",
    ):
        if not sentences:
            raise LceError("perplexity", "there are no held-out sentences", "Use more text.")
        self.name, self.n = name, len(sentences)
        rng, mask, self.queries = generator(seed, 4), tokenizer.mask_token_id, []
        for sentence in sentences:
            ids = token_ids(tokenizer, sentence)
            places = inner(tokenizer, ids)
            if each_once or causal(tokenizer):
                self.queries += token_queries(tokenizer, ids, places)
                continue
            drawn = torch.rand(len(ids), generator=rng) < rate
            chosen = [i for i in places if drawn[i]]
            masked = tuple(mask if i in chosen else t for i, t in enumerate(ids))
            self.queries += [Query(masked, i, ids[i]) for i in chosen]
        how = "each token masked once" if each_once else f"masks at {rate}, paired"
        how = "causal, per token" if causal(tokenizer) else how
        self.variant = f"{how}, {len(self.queries)} tokens"

    def score(self, log_p: np.ndarray) -> list[Score]:
        """The perplexity, in units of equally likely words."""
        return [Score(self.name, float(np.exp(-log_p.mean())), self.n, self.variant)]
