"""Bias specifications B = (T1, T2, A1, A2) (paper §4.1)."""

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lcelib.errors import LceError

_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_KEYS = {"name", "pairs", "attributes_1", "attributes_2", "labels"}


def word_spans(sentence: str) -> list[tuple[int, int, str]]:
    """Return start, end and lower-cased text of every word; hyphens and apostrophes join."""
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

    def __post_init__(self) -> None:
        words = [w for p in self.pairs for w in p] + [*self.attributes_1, *self.attributes_2]
        twice = sorted({w for w in words if words.count(w) > 1})
        if twice:
            raise LceError(self.title, f"{twice[0]!r} occurs twice", "List every word once.")
        if not (self.pairs and self.attributes_1 and self.attributes_2):
            remedy = "Fill pairs and both attribute lists."
            raise LceError(self.title, "a word list is empty", remedy)
        odd = [w for w in words if w != w.lower() or _WORD.fullmatch(w) is None]
        if odd:
            reason = f"{odd[0]!r} is not one lower-case word"
            raise LceError(self.title, reason, "Write single words.")

    @property
    def title(self) -> str:
        """The specification as error messages name it."""
        return f"bias specification {self.name!r}"

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
    """Read a bias specification from TOML: name, pairs, attributes_1, attributes_2, labels.

    Raises LceError for an unreadable file, an unknown or missing key, or a target without pair.
    """
    what = f"bias specification {path}"
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        remedy = "Give a TOML file like lcelib/data/gender.toml."
        raise LceError(what, f"cannot be read ({error})", remedy) from error
    unknown, missing = sorted(set(data) - _KEYS), sorted(_KEYS - {"labels"} - set(data))
    if unknown or missing:
        reason = f"unknown key {unknown[0]!r}" if unknown else f"no key {missing[0]!r}"
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
