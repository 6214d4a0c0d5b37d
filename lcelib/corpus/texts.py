"""Sentences from text files."""

import re
from pathlib import Path

from lcelib.corpus.specification import word_spans

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'“(\[]?[A-Z0-9])")


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
