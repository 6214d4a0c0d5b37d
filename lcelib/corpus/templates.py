"""Sentences from templates: every template of a list with each of its words."""

import re
import tomllib
from pathlib import Path

from lcelib.errors import LceError

_SLOT = re.compile(r"\{([^{}]+)\}")


def sentences(path: str | Path) -> list[str]:
    """Return all sentences of a TOML file of lists, each with `words` and `sentences`.

    "{word}" and "{a word}" become a word of the list, with its article; other braces
    only mark a word: "The {word} said {she} would" → "The nurse said she would". Raises
    LceError for a file in another format.
    """
    try:
        lists = tomllib.loads(Path(path).read_text(encoding="utf-8")).values()
        return [
            _fill(template, word)
            for entry in lists
            for template in entry["sentences"]
            for word in entry["words"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "Give a TOML file like lcelib/data/english.toml."
        raise LceError(f"templates {path}", f"cannot be read ({error!r})", remedy) from error


def _fill(template: str, word: str) -> str:
    article = "an" if word[:1] in "aeiou" else "a"
    fillings = {"word": word, "a word": f"{article} {word}"}
    return _SLOT.sub(lambda slot: fillings.get(slot[1], slot[1]), template)
