"""Counterfactual data augmentation and the three training sets (paper §4.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from lcelib.corpus.specification import BiasSpec, word_spans
from lcelib.errors import LceError


@dataclass(frozen=True)
class Counterfactual:
    """A sentence with one target and one attribute, in both its versions."""

    stereotypical: str
    anti: str
    target: str
    attribute: str
    found: str  # the version that the text had: "stereotypical" or "anti"


def augment(sentence: str, spec: BiasSpec) -> Counterfactual | None:
    """Return both versions of a sentence with exactly one target and one attribute, else None.

    Stereotypical is target ∈ T_i with attribute ∈ A_j, i = j; where the text has
    i ≠ j the target is replaced by its pair (paper §4.1).
    Only the target changes: "She saw her dog" becomes "He saw her dog".
    """
    spans = word_spans(sentence)
    targets = [s for s in spans if s[2] in spec.target]
    attributes = [s for s in spans if s[2] in spec.attribute]
    if len(targets) != 1 or len(attributes) != 1:
        return None
    start, end, word = targets[0]
    other = match_case(sentence[start:end], spec.counterpart[word])
    swapped = sentence[:start] + other + sentence[end:]
    attribute = attributes[0][2]
    agrees = spec.target[word] == spec.attribute[attribute]
    pair = (sentence, swapped) if agrees else (swapped, sentence)
    return Counterfactual(*pair, word, attribute, "stereotypical" if agrees else "anti")


def match_case(like: str, word: str) -> str:
    """Return `word` capitalized as `like` is: "She", "he" → "He"; "SHE", "he" → "HE"."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


def is_neutral(sentence: str, spec: BiasSpec) -> bool:
    """Return whether the sentence has no word of the specification."""
    return not any(w in spec.target or w in spec.attribute for _, _, w in word_spans(sentence))


@dataclass(frozen=True)
class Corpus:
    """The training sentences of all three models, and the tenth of each that is held out.

    `pairs` and `neutral` train the stereotypical and the anti-stereotypical
    model (as many of each); `neutral_model` trains the neutral one and shares no
    sentence with `neutral`.
    """

    pairs: list[Counterfactual]
    neutral: list[str]
    neutral_model: list[str]
    held_out_pairs: list[Counterfactual]
    held_out_neutral: list[str]
    held_out_neutral_model: list[str]

    def training(self, condition: str) -> list[str]:
        """Return the training sentences of "stereotypical", "anti" or "neutral"."""
        if condition == "neutral":
            return self.neutral_model
        return [getattr(p, condition) for p in self.pairs] + self.neutral

    def held_out(self, condition: str) -> list[str]:
        """Return the held-out sentences of "stereotypical", "anti" or "neutral"."""
        if condition == "neutral":
            return self.held_out_neutral_model
        return [getattr(p, condition) for p in self.held_out_pairs] + self.held_out_neutral


def build_corpus(
    sentences: Iterable[str],
    spec: BiasSpec,
    limit: int,
    seed: int = 0,
    given: Sequence[Counterfactual] = (),
) -> Corpus:
    """Build the three training sets from unlabelled sentences (paper §4.1).

    Uses at most `limit` counterfactual pairs from the sentences, and all `given` ones as
    well. Duplicate sentences count once; a tenth of everything is held out. Raises LceError
    when the sentences contain no pair, or too few neutral sentences.
    """
    pairs: list[Counterfactual] = []
    neutral: list[str] = []
    for sentence in dict.fromkeys(sentences):
        counterfactual = augment(sentence, spec)
        if counterfactual is not None:
            pairs.append(counterfactual)
        elif is_neutral(sentence, spec):
            neutral.append(sentence)
    if not given:
        _check_attributes(pairs, spec)
    rng = Random(seed)
    rng.shuffle(pairs)
    rng.shuffle(neutral)
    pairs = [*pairs[:limit], *given]
    if given:
        rng.shuffle(pairs)
    n = len(pairs)
    if len(neutral) < 3 * n:
        reason = f"{n} pairs need {3 * n} neutral sentences, the text has {len(neutral)}"
        raise LceError(spec.title, reason, "Use more text, or a smaller max_pairs.")
    shared, other = neutral[:n], neutral[n : 3 * n]
    tenth = max(n // 10, 1)
    return Corpus(
        pairs[tenth:], shared[tenth:], other[2 * tenth :],
        pairs[:tenth], shared[:tenth], other[: 2 * tenth],
    )  # fmt: skip


def _check_attributes(pairs: Sequence[Counterfactual], spec: BiasSpec) -> None:
    """Raise LceError unless attributes of both sets occur with a target."""
    if not pairs:
        remedy = "Use more text, or attribute words that occur in it together with targets."
        raise LceError(spec.title, "no sentence holds one target and one attribute", remedy)
    sides = {spec.attribute[p.attribute] for p in pairs}
    for side in (0, 1):
        if side not in sides:
            reason = f"no word of attributes_{side + 1} occurs with a target in the corpus"
            raise LceError(spec.title, reason, "Use attribute words that occur in the corpus.")
