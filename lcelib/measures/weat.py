"""The Word Embedding Association Test on contextual models (Caliskan et al. 2017; paper §4.3)."""

import json
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import torch

from lcelib.errors import LceError
from lcelib.measures.scoring import Score
from lcelib.models import causal, hidden_states, inner, pad, pad_id, spaced, token_ids, unknown

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
    """Read a WEAT or SEAT file in the format of sent-bias (targ1, targ2, attr1, attr2)."""
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
            raise LceError(f"WEAT file {path}", reason, "Leave each word in one set, once.")
    return WeatTest(Path(path).stem, *sets)


def associations(vectors: np.ndarray, test: WeatTest) -> np.ndarray:
    """s(w, A, B) = mean cos(w, a) − mean cos(w, b) for w in X then Y.

    `vectors` has shape (words, width) or (layers, words, width) in the order of
    `test.words`; the result has shape (|X| + |Y|,) or (layers, |X| + |Y|).
    """
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    n, a = len(test.x) + len(test.y), len(test.a)
    cosines = unit[..., :n, :] @ np.swapaxes(unit[..., n:, :], -1, -2)
    return cosines[..., :a].mean(-1) - cosines[..., a:].mean(-1)


def effect_size(s: np.ndarray, n_x: int, ddof: int = 1) -> np.ndarray:
    """d = (mean_X s − mean_Y s) / std_{X ∪ Y} s, over the last axis."""
    return (s[..., :n_x].mean(-1) - s[..., n_x:].mean(-1)) / s.std(-1, ddof=ddof)


def p_value(s: np.ndarray, n_x: int, seed: int = 0) -> float:
    """One-sided p: the share of partitions of X ∪ Y, sizes kept, whose Σ_X s is ≥ the observed.

    Exact up to 200,000 partitions (WEAT-8 has 12,870), else from as many random
    ones with the observed counted in.
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
    """A WEAT test made ready for one tokenizer.

    Every word is fed alone as "[CLS] w [SEP]", or after a causal model's start token,
    with a leading space where that belongs to the word. Options that the paper
    leaves open are explicit: `pooling` "pieces" (mean of the word's pieces), "first"
    and "last" (one piece), "cls" (the first token, for masked models), or "all" (with
    the special tokens; bias-bench's for SEAT); `layers` "mean"
    (each layer's effect size, then their mean; embeddings excluded), "last", or
    a number (0 = embedding layer); `ddof` of the standard deviation.
    """

    def __init__(
        self,
        test: WeatTest,
        tokenizer,
        pooling: str = "pieces",
        layers: str | int = "mean",
        ddof: int = 1,
        name: str | None = None,
    ):
        self.test, self.layers, self.ddof, self.name = test, layers, ddof, name or test.name
        ids = [token_ids(tokenizer, spaced(tokenizer, word)) for word in test.words]
        if lacking := unknown(tokenizer, test.words):
            reason = f"{len(lacking)} words are not in the vocabulary: {', '.join(lacking)}"
            raise LceError(f"WEAT test {test.name}", reason, "Use words that the model knows.")
        self.ids, self.attention = pad(ids, pad_id(tokenizer))
        pools = ["pieces", "first", "last", "all"] + ([] if causal(tokenizer) else ["cls"])
        if pooling not in pools:
            reason = "is not one for this kind of model"
            raise LceError(f"pooling {pooling!r}", reason, f"Use one of {', '.join(pools)}.")
        self._pool = torch.zeros(self.ids.shape)
        for row, sequence in enumerate(ids):
            own = list(inner(tokenizer, sequence))
            chosen = {
                "pieces": own, "first": own[:1], "last": own[-1:], "cls": [0],
                "all": range(len(sequence)),
            }[pooling]  # fmt: skip
            self._pool[row, list(chosen)] = 1 / len(chosen)
        self.variant = f"{test.name}, pooling {pooling}, layers {layers}, ddof {ddof}"

    @torch.inference_mode()
    def vectors(self, model) -> np.ndarray:
        """Word vectors of the chosen layers, float64, shape (layers, words, width)."""
        device = next(model.parameters()).device
        states = hidden_states(model, self.ids.to(device), self.attention.to(device)).float().cpu()
        pooled = torch.einsum("lwtd,wt->lwd", states.double(), self._pool.double()).numpy()
        if self.layers == "mean":
            return pooled[1:]
        return pooled[-1:] if self.layers == "last" else pooled[[int(self.layers)]]

    def score(self, model) -> list[Score]:
        """Effect size d and association difference (means over layers), and the exact p.

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
