"""Perplexity of a language model on held-out sentences."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lcelib.batches import generator
from lcelib.errors import LceError
from lcelib.measures.scoring import Query, Score, token_queries
from lcelib.models import inner_positions, is_causal, token_ids


class Perplexity:
    """exp of the mean masked-token loss (paper §4.3), or of a causal model's mean loss.

    The masks are drawn once, from `seed`, with probability `rate` per token, and
    masked tokens always become [MASK]: every model scored with this object
    predicts the same tokens, so that differences are paired. `each_once`
    masks every token once, alone, instead: pseudo-perplexity (Salazar et al. 2020).
    A causal model predicts every token given those before it. The three are
    different quantities; do not compare them with each other.
    """

    def __init__(
        self,
        sentences: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        rate: float = 0.15,
        seed: int = 0,
        each_once: bool = False,
        name: str = "perplexity",
    ) -> None:
        if not sentences:
            raise LceError("perplexity", "there are no held-out sentences", "Use more text.")
        self.name, self.n = name, len(sentences)
        rng, mask, causal = generator(seed, 4), tokenizer.mask_token_id, is_causal(tokenizer)
        self.queries: list[Query] = []
        for sentence in sentences:
            ids = token_ids(tokenizer, sentence)
            positions = inner_positions(tokenizer, ids)
            if each_once or causal:
                self.queries += token_queries(tokenizer, ids, positions)
                continue
            drawn = torch.rand(len(ids), generator=rng) < rate
            chosen = [i for i in positions if drawn[i]]
            masked = tuple(mask if i in chosen else t for i, t in enumerate(ids))
            self.queries += [Query(masked, i, ids[i]) for i in chosen]
        how = "each token masked once" if each_once else f"masks at {rate}, paired"
        how = "causal, per token" if causal else how
        self.variant = f"{how}, {len(self.queries)} tokens"

    def score(self, log_p: np.ndarray) -> list[Score]:
        """Return the perplexity, in units of equally likely words."""
        return [Score(self.name, float(np.exp(-log_p.mean())), self.n, self.variant)]
