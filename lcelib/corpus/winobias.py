"""WinoBias (Zhao et al. 2018): sentence pairs whose pronouns agree or disagree with a stereotype."""

import re
from pathlib import Path

from lcelib.errors import LceError

_LINE = re.compile(r"^\d+ (.+)$")


def sentences(path: Path) -> list[str]:
    """Read the sentences of one file, without their numbers and the brackets of the mentions."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        remedy = "Fetch it: lce data get winobias_dev winobias_test."
        raise LceError(f"WinoBias file {path}", f"cannot be read ({error})", remedy) from error
    texts = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        match = _LINE.match(line.strip())
        if match is None:
            reason = f"line {number} does not begin with a number"
            raise LceError(f"WinoBias file {path}", reason, "Give the original files.")
        texts.append(re.sub(r"[\[\]]", "", match[1]).strip())
    return texts


def read(folder: str | Path, split: str) -> list[tuple[str, str]]:
    """Read the pairs (pro-stereotypical, anti-stereotypical) of both types; split "dev" or "test".

    The two sentences of a pair differ in the gender of their pronouns, and in a few pairs
    also by a typing error of the original. Raises LceError for missing or unequal files.
    """
    pairs: list[tuple[str, str]] = []
    for kind in (1, 2):
        pro, anti = (
            sentences(Path(folder) / f"{side}_stereotyped_type{kind}.txt.{split}")
            for side in ("pro", "anti")
        )
        if len(pro) != len(anti):
            reason = f"type {kind} has {len(pro)} pro and {len(anti)} anti sentences"
            raise LceError(f"WinoBias in {folder}", reason, "Fetch the files again.")
        pairs += zip(pro, anti, strict=True)
    return pairs
