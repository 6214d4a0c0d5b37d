"""The Word Embedding Association Test on contextual models (Caliskan et al. 2017; paper §4.3)."""

import json
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from lcelib.errors import LceError
from lcelib.measures.scoring import Score
from lcelib.models import (
    add_space,
    hidden_states,
    inner_positions,
    is_causal,
    pad,
    pad_id,
    token_ids,
    unknown_words,
)

EXACT_PARTITIONS = 200_000
_SETS = ("targ1", "targ2", "attr1", "attr2")


@dataclass(frozen=True)
class WeatTest:
    """Target sets X, Y and attribute sets A, B; an effect > 0 ties X to A and Y to B."""

    name: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """All words, X first."""
        return [*self.x, *self.y, *self.a, *self.b]


def read(path: str | Path) -> WeatTest:
    """Read a WEAT or SEAT file in the format of sent-bias (targ1, targ2, attr1, attr2).

    Raises LceError for another format, an empty set or a repeated word.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        sets = [tuple(data[k]["examples"]) for k in _SETS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "Give a JSON file like sent-bias' weat8.jsonl."
        raise LceError(f"WEAT file {path}", f"cannot be read ({error!r})", remedy) from error
    if not all(sets):
        raise LceError(f"WEAT file {path}", "one of its word sets is empty", "Fill all four sets.")
    for words in (sets[0] + sets[1], sets[2] + sets[3]):
        twice = sorted({w for w in words if words.count(w) > 1})
        if twice:
            reason = f"{', '.join(twice[:3])} occurs twice in the targets or in the attributes"
            raise LceError(f"WEAT file {path}", reason, "List each word once, in one set.")
    return WeatTest(Path(path).stem, *sets)


def associations(vectors: np.ndarray, test: WeatTest) -> np.ndarray:
    """Return s(w, A, B) = mean cos(w, a) − mean cos(w, b) for w in X then Y.

    `vectors` has shape (words, width) or (layers, words, width) in the order of
    `test.words`; the result has shape (|X| + |Y|,) or (layers, |X| + |Y|).
    """
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    n, a = len(test.x) + len(test.y), len(test.a)
    cosines = unit[..., :n, :] @ np.swapaxes(unit[..., n:, :], -1, -2)
    s: np.ndarray = cosines[..., :a].mean(-1) - cosines[..., a:].mean(-1)
    return s


def effect_size(s: np.ndarray, n_x: int, ddof: int = 1) -> np.ndarray:
    """Return d = (mean_X s − mean_Y s) / std_{X ∪ Y} s, over the last axis."""
    d: np.ndarray = (s[..., :n_x].mean(-1) - s[..., n_x:].mean(-1)) / s.std(-1, ddof=ddof)
    return d


def p_value(s: np.ndarray, n_x: int, seed: int = 0) -> float:
    """Return the one-sided p: the share of equal-sized partitions of X ∪ Y with Σ_X s ≥ observed.

    Exact up to 200,000 partitions (WEAT-8 has 12,870), else from that many random
    ones and the observed one.
    """
    n = len(s)
    observed = s[:n_x].sum() - 1e-12
    if comb(n, n_x) <= EXACT_PARTITIONS:
        index = np.array(list(combinations(range(n), n_x)))
        return float((s[index].sum(1) >= observed).mean())
    rng = np.random.default_rng(seed)
    index = rng.permuted(np.tile(np.arange(n), (EXACT_PARTITIONS, 1)), axis=1)[:, :n_x]
    return float(((s[index].sum(1) >= observed).sum() + 1) / (EXACT_PARTITIONS + 1))


class Weat:
    """A WEAT test prepared for one tokenizer.

    Every word is fed alone as "[CLS] w [SEP]", or after a causal model's start token,
    with a leading space where the vocabulary has one. The paper leaves these options
    open: `pooling` "pieces" (mean of the word's pieces), "first"
    and "last" (one piece), "cls" (the first token, for masked models), or "all" (with
    the special tokens, as bias-bench does for SEAT); `layers` "mean"
    (mean of the layers' effect sizes; embeddings excluded), "last", or
    a number (0 = embedding layer); `ddof` of the standard deviation. Raises LceError for
    words outside the vocabulary.
    """

    def __init__(
        self,
        test: WeatTest,
        tokenizer: PreTrainedTokenizerBase,
        pooling: str = "pieces",
        layers: str | int = "mean",
        ddof: int = 1,
        name: str | None = None,
    ) -> None:
        self.test, self.layers, self.ddof, self.name = test, layers, ddof, name or test.name
        ids = [token_ids(tokenizer, add_space(tokenizer, word)) for word in test.words]
        if missing := unknown_words(tokenizer, test.words):
            reason = f"{len(missing)} words are not in the vocabulary: {', '.join(missing)}"
            raise LceError(f"WEAT test {test.name}", reason, "Use words that the model knows.")
        self.ids, self.attention = pad(ids, pad_id(tokenizer))
        pools = ["pieces", "first", "last", "all"] + ([] if is_causal(tokenizer) else ["cls"])
        if pooling not in pools:
            reason = "is not available for this kind of model"
            raise LceError(f"pooling {pooling!r}", reason, f"Use one of {', '.join(pools)}.")
        self._pool = torch.zeros(self.ids.shape)
        for row, sequence in enumerate(ids):
            pieces = list(inner_positions(tokenizer, sequence))
            chosen = {
                "pieces": pieces, "first": pieces[:1], "last": pieces[-1:], "cls": [0],
                "all": list(range(len(sequence))),
            }[pooling]  # fmt: skip
            self._pool[row, chosen] = 1 / len(chosen)
        self.variant = f"{test.name}, pooling {pooling}, layers {layers}, ddof {ddof}"

    @torch.inference_mode()
    def vectors(self, model: nn.Module) -> np.ndarray:
        """Return the word vectors of the chosen layers, float64, shape (layers, words, width)."""
        device = next(model.parameters()).device
        states = hidden_states(model, self.ids.to(device), self.attention.to(device)).float().cpu()
        pooled = torch.einsum("lwtd,wt->lwd", states.double(), self._pool.double()).numpy()
        if self.layers == "mean":
            return pooled[1:]
        return pooled[-1:] if self.layers == "last" else pooled[[int(self.layers)]]

    def score(self, model: nn.Module) -> list[Score]:
        """Return effect size d and association difference, means over layers, and the p-value.

        The p-value tests the associations averaged over the layers.
        """
        s, n_x = associations(self.vectors(model), self.test), len(self.test.x)
        d = float(effect_size(s, n_x, self.ddof).mean())
        difference = float((s[:, :n_x].mean(1) - s[:, n_x:].mean(1)).mean())
        n, name = len(self.test.words), self.name
        return [
            Score(f"{name}_d", d, n, self.variant),
            Score(f"{name}_association", difference, n, self.variant),
            Score(f"{name}_p", p_value(s.mean(0), n_x), n, self.variant + ", one-sided"),
        ]
