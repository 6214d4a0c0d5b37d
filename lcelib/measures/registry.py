"""The measures of a run: one entry each, and all of them as one suite.

A new measure is a class (see `crows` for one that asks for token probabilities, `weat` for
one that takes the model) and an entry here. Its items are given by `--set measures=NAME=FILE`
in a run and by `lce measure --on NAME=FILE`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lcelib.corpus import winobias
from lcelib.errors import LceError
from lcelib.measures import crows, stereoset, weat
from lcelib.measures.crows import CrowsPairs
from lcelib.measures.perplexity import Perplexity
from lcelib.measures.stereoset import StereoSet
from lcelib.measures.suite import Suite
from lcelib.measures.weat import Weat


@dataclass(frozen=True)
class Entry:
    """A measure: its name, how it is prepared, and the values that mean no bias.

    `prepare(path, tokenizer, kind)` reads the items and returns the measure; `kind` chooses
    items of one type of bias where a benchmark has several. `neutral` maps the names of its
    scores to their value without bias. `costly` measures are left out of brief evaluations.
    """

    name: str
    prepare: Callable[[Path, Any, str], Any]
    neutral: Mapping[str, float] = field(default_factory=dict)
    costly: bool = False


def _winobias(path: Path, tokenizer: Any, kind: str) -> CrowsPairs:
    """Read a folder of WinoBias, or its test pairs as JSON."""
    whole = Path(path).is_dir()
    pairs = winobias.read(path, "test") if whole else json.loads(path.read_text(encoding="utf-8"))
    return CrowsPairs(pairs, tokenizer, name="winobias")


def _stereoset(path: Path, tokenizer: Any, kind: str) -> StereoSet:
    return StereoSet(stereoset.read(path, kind), tokenizer, kind)


def _crows(path: Path, tokenizer: Any, kind: str) -> CrowsPairs:
    return CrowsPairs(crows.read(path, kind), tokenizer)


def _agreement(path: Path, tokenizer: Any, kind: str) -> CrowsPairs:
    return CrowsPairs(crows.read(path, "agreement"), tokenizer, name="agreement")


def _weat(name: str, path: Path, tokenizer: Any, kind: str) -> Weat:
    return Weat(weat.read(path), tokenizer, name=name)


MEASURES = (
    Entry("winobias", _winobias, {"winobias": 50.0, "winobias_margin": 0.0}),
    Entry("stereoset", _stereoset, {"stereoset_ss": 50.0, "stereoset_margin": 0.0}, costly=True),
    Entry("crows", _crows, {"crows": 50.0, "crows_margin": 0.0}, costly=True),
    Entry("agreement", _agreement),
    *(
        Entry(name, partial(_weat, name), {f"{name}_d": 0.0})
        for name in ("weat", "weat_unseen", "weat_names")
    ),
)
NEUTRAL = {score: value for entry in MEASURES for score, value in entry.neutral.items()}


def check_names(names: Sequence[str]) -> None:
    """Raise LceError for a name that no measure has."""
    known = [entry.name for entry in MEASURES]
    if unknown := sorted(set(names) - set(known)):
        raise LceError(
            f"measure {unknown[0]!r}", "is unknown", f"Known: {', '.join(known)}; texts."
        )


def suite(
    paths: Mapping[str, Path], tokenizer: Any, kind: str = "gender", sentences: Sequence[str] = ()
) -> Suite:
    """Prepare the measures whose files are given, and perplexity where there are sentences.

    `paths` maps names of MEASURES to files; `kind` chooses the items of StereoSet and
    CrowS-Pairs.
    """
    check_names(list(paths))
    given = [entry for entry in MEASURES if entry.name in paths]
    ready = [entry.prepare(Path(paths[entry.name]), tokenizer, kind) for entry in given]
    costly = [measure for entry, measure in zip(given, ready, strict=True) if entry.costly]
    perplexity = [Perplexity(sentences, tokenizer)] if sentences else []
    return Suite([*ready, *perplexity], tokenizer, costly=costly)
