"""Sentences from templates: every template of a list with every word of it."""

import re
import tomllib
from pathlib import Path

from lcelib.errors import LceError

_SLOT = re.compile(r"\{([^{}]+)\}")


def sentences(path: str | Path) -> list[str]:
    """All sentences of a TOML file of lists, each with `words` and `sentences`.

    "{word}" and "{a word}" become a word of the list, with its article; other braces
    only mark a word: "The {word} said {she} would" → "The nurse said she would". Raises
    LceError for a file of another form.
    """
    try:
        lists = tomllib.loads(Path(path).read_text(encoding="utf-8")).values()
        return [
            _SLOT.sub(lambda slot, word=word: _fill(slot[1], word), template)
            for one in lists
            for template in one["sentences"]
            for word in one["words"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "Give a TOML file like lcelib/data/english.toml."
        raise LceError(f"templates {path}", f"cannot be read ({error!r})", remedy) from error


def _fill(slot: str, word: str) -> str:
    if slot == "a word":
        return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
    return word if slot == "word" else slot
