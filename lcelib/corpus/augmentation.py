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
    found: str  # which of the two versions the text had: "stereotypical" or "anti"


def augment(sentence: str, spec: BiasSpec) -> Counterfactual | None:
    """Both versions of a sentence that holds exactly one target and exactly one attribute.

    Stereotypical is target ∈ T_i with attribute ∈ A_j, i = j; where the text has
    i ≠ j the target is replaced by its pair (paper §4.1). Other sentences give None.
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
    """`word` in the capitals of `like`: "She", "he" → "He"; "SHE", "he" → "HE"."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


def is_neutral(sentence: str, spec: BiasSpec) -> bool:
    """Whether no word of the specification stands in the sentence."""
    return not any(w in spec.target or w in spec.attribute for _, _, w in word_spans(sentence))


@dataclass(frozen=True)
class Corpus:
    """The texts of all three models and their held-out tenths.

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
        """The training sentences of "stereotypical", "anti" or "neutral"."""
        if condition == "neutral":
            return self.neutral_model
        return [getattr(p, condition) for p in self.pairs] + self.neutral

    def held_out(self, condition: str) -> list[str]:
        """The held-out tenth of the same kind."""
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
    """Make the three training sets from unlabelled sentences (paper §4.1).

    At most `limit` counterfactual pairs are used, and all `given` ones besides; a tenth
    of everything is held out. Equal sentences are used once. Raises LceError when the sentences hold
    no pair, or too few neutral ones.
    """
    pairs, neutral = [], []
    for sentence in dict.fromkeys(sentences):
        counterfactual = augment(sentence, spec)
        if counterfactual is not None:
            pairs.append(counterfactual)
        elif is_neutral(sentence, spec):
            neutral.append(sentence)
    what = f"bias specification {spec.name!r}"
    if not pairs and not given:
        remedy = "Use more text, or attribute words that occur in it together with targets."
        raise LceError(what, "no sentence holds one target and one attribute", remedy)
    seen = {p.attribute for p in pairs}
    for number in (1, 2):
        if not given and not seen & set(getattr(spec, f"attributes_{number}")):
            reason = f"no word of attributes_{number} occurs with a target in the corpus"
            raise LceError(what, reason, "Use attribute words that the corpus holds.")
    rng = Random(seed)
    rng.shuffle(pairs)
    rng.shuffle(neutral)
    pairs = [*pairs[:limit], *given]
    if given:
        rng.shuffle(pairs)
    n = len(pairs)
    if len(neutral) < 3 * n:
        reason = f"{n} pairs need {3 * n} neutral sentences, the text has {len(neutral)}"
        raise LceError(what, reason, "Use more text, or a smaller max_pairs.")
    own, other = neutral[:n], neutral[n : 3 * n]
    held = max(n // 10, 1)
    return Corpus(
        pairs[held:], own[held:], other[2 * held :], pairs[:held], own[:held], other[: 2 * held]
    )
