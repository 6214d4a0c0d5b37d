"""Sentences from text files."""

import re
from pathlib import Path

from lcelib.corpus.specification import word_spans

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'“(\[]?[A-Z0-9])")


def split_sentences(text: str) -> list[str]:
    """Return the sentences of 4 to 60 words in running text, without headings and fragments."""
    parts = (s.strip() for line in text.splitlines() for s in _SENTENCE_END.split(line.strip()))
    return [s for s in parts if 4 <= len(word_spans(s)) <= 60 and s[-1] in ".!?\"'”)"]


def read_sentences(path: Path) -> list[str]:
    """Read the sentences of a text file, of a GAP table (column Text), or of a folder of them."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix in (".txt", ".tsv"))
        return [sentence for file in files for sentence in read_sentences(file)]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".tsv":
        header, *lines = text.splitlines()
        column = header.split("\t").index("Text")
        text = "\n".join(line.split("\t")[column] for line in lines)
    return split_sentences(text)
