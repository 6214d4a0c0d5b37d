"""WinoBias (Zhao et al. 2018): sentences whose pronoun takes an occupation for or against type."""

import re
from pathlib import Path

from lcelib.errors import LceError

_LINE = re.compile(r"^\d+ (.+)$")


def sentences(path: Path) -> list[str]:
    """The sentences of one file, without the running number and the brackets of the mentions."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        remedy = "Fetch it: lce data get winobias_dev winobias_test."
        raise LceError(f"WinoBias file {path}", f"cannot be read ({error})", remedy) from error
    found = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        match = _LINE.match(line.strip())
        if match is None:
            reason = f"line {number} does not begin with a number"
            raise LceError(f"WinoBias file {path}", reason, "Give the original files.")
        found.append(re.sub(r"[\[\]]", "", match[1]).strip())
    return found


def read(folder: str | Path, split: str) -> list[tuple[str, str]]:
    """Pairs (pro-stereotypical, anti-stereotypical) of both types; split "dev" or "test".

    The two sentences of a pair differ in the gender of pronouns, and in a few pairs by
    a slip of the original besides.
    """
    pairs = []
    for kind in (1, 2):
        both = [
            sentences(Path(folder) / f"{side}_stereotyped_type{kind}.txt.{split}")
            for side in ("pro", "anti")
        ]
        if len(both[0]) != len(both[1]):
            reason = f"type {kind} has {len(both[0])} pro and {len(both[1])} anti sentences"
            raise LceError(f"WinoBias in {folder}", reason, "Get the files again.")
        pairs += zip(*both, strict=True)
    return pairs
