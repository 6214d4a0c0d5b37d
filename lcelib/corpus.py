"""Bias specifications and counterfactual data augmentation (paper §4.1)."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

from lcelib.errors import LceError

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'“(\[]?[A-Z0-9])")
_KEYS = {"name", "pairs", "attributes_1", "attributes_2", "labels"}


def word_spans(sentence: str) -> list[tuple[int, int, str]]:
    """Start, end and lower-cased text of every word; hyphens and apostrophes join."""
    return [(m.start(), m.end(), m[0].lower()) for m in _WORD.finditer(sentence)]


@dataclass(frozen=True)
class BiasSpec:
    """A bias specification B = (T1, T2, A1, A2): target pairs and two attribute sets (paper §4.1).

    A target of T_i with an attribute of A_j is stereotypical where i = j. All
    words are lower-case. Raises LceError for an incomplete or ambiguous list.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    attributes_1: tuple[str, ...]
    attributes_2: tuple[str, ...]
    labels: tuple[str, str] = ("T1", "T2")

    def __post_init__(self):
        words = [w for p in self.pairs for w in p] + [*self.attributes_1, *self.attributes_2]
        twice = sorted({w for w in words if words.count(w) > 1})
        if twice:
            raise self._error(f"{twice[0]!r} stands in it twice", "Give every word one place.")
        if not (self.pairs and self.attributes_1 and self.attributes_2):
            raise self._error("a word list is empty", "Fill pairs and both attribute lists.")
        odd = [w for w in words if w != w.lower() or _WORD.fullmatch(w) is None]
        if odd:
            raise self._error(f"{odd[0]!r} is not one lower-case word", "Write single words.")

    def _error(self, reason: str, remedy: str) -> LceError:
        return LceError(f"bias specification {self.name!r}", reason, remedy)

    @cached_property
    def target(self) -> dict[str, int]:
        """Target word → 0 for T1, 1 for T2."""
        return {word: side for pair in self.pairs for side, word in enumerate(pair)}

    @cached_property
    def attribute(self) -> dict[str, int]:
        """Attribute word → 0 for A1, 1 for A2."""
        return {w: 0 for w in self.attributes_1} | {w: 1 for w in self.attributes_2}

    @cached_property
    def counterpart(self) -> dict[str, str]:
        """Target word → the other word of its pair."""
        return {a: b for pair in self.pairs for a, b in (pair, pair[::-1])}

    @property
    def words(self) -> list[str]:
        """All words of the specification."""
        return [*self.target, *self.attribute]


def read_spec(path: str | Path) -> BiasSpec:
    """Read a bias specification from TOML: name, pairs, attributes_1, attributes_2, labels."""
    what = f"bias specification {path}"
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        remedy = "Give a TOML file like lcelib/data/gender.toml."
        raise LceError(what, f"cannot be read ({error})", remedy) from error
    unknown, absent = sorted(set(data) - _KEYS), sorted(_KEYS - {"labels"} - set(data))
    if unknown or absent:
        reason = f"unknown key {unknown[0]!r}" if unknown else f"no key {absent[0]!r}"
        raise LceError(what, reason, f"The keys are {', '.join(sorted(_KEYS))}.")
    for pair in data["pairs"]:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise LceError(what, f"the target {pair!r} has no pair", 'Write ["woman", "man"].')
    return BiasSpec(
        data["name"],
        tuple(map(tuple, data["pairs"])),
        tuple(data["attributes_1"]),
        tuple(data["attributes_2"]),
        tuple(data.get("labels", ("T1", "T2"))),
    )


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


def split_sentences(text: str) -> list[str]:
    """Sentences of 4 to 60 words from running text; headings and fragments are dropped."""
    parts = (s.strip() for line in text.splitlines() for s in _SENTENCE_END.split(line.strip()))
    return [s for s in parts if 4 <= len(word_spans(s)) <= 60 and s[-1] in ".!?\"'”)"]


def read_sentences(path: Path) -> list[str]:
    """The sentences of a text file, of GAP's tables (column Text), or of a folder of either."""
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix in (".txt", ".tsv"))
        return [s for p in inside for s in read_sentences(p)]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".tsv":
        head, *lines = text.splitlines()
        column = head.split("\t").index("Text")
        text = "\n".join(line.split("\t")[column] for line in lines)
    return split_sentences(text)


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
