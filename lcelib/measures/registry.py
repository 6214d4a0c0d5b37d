"""All measures from their files, as one suite."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lcelib.corpus import winobias
from lcelib.measures import CrowsPairs, Perplexity, StereoSet, Weat
from lcelib.measures import crows as pairs_of
from lcelib.measures import stereoset as items_of
from lcelib.measures import weat as words_of
from lcelib.measures.suite import Suite

LISTS = ("weat", "weat_unseen", "weat_names")
NEUTRAL = {"stereoset_ss": 50.0, "stereoset_margin": 0.0, "crows": 50.0, "crows_margin": 0.0}
NEUTRAL |= {"winobias": 50.0, "winobias_margin": 0.0} | {f"{name}_d": 0.0 for name in LISTS}


def suite(
    paths: Mapping[str, Path], tokenizer, kind: str = "gender", sentences: Sequence[str] = ()
) -> Suite:
    """The measures whose files are given, and perplexity where there are sentences.

    Names: winobias (a folder, or pairs as JSON), stereoset, crows, agreement, weat,
    weat_unseen, weat_names. `kind` chooses the items of StereoSet and CrowS-Pairs, the
    costly ones.
    """
    measures, costly = [], []
    if place := paths.get("winobias"):
        whole = Path(place).is_dir()
        text = None if whole else Path(place).read_text(encoding="utf-8")
        pairs = winobias.read(place, "test") if whole else json.loads(text)
        measures.append(CrowsPairs(pairs, tokenizer, name="winobias"))
    if place := paths.get("stereoset"):
        costly.append(StereoSet(items_of.read(place, kind), tokenizer, kind))
    if place := paths.get("crows"):
        costly.append(CrowsPairs(pairs_of.read(place, kind), tokenizer))
    measures += costly
    if place := paths.get("agreement"):
        pairs = pairs_of.read(place, "agreement")
        measures.append(CrowsPairs(pairs, tokenizer, name="agreement"))
    if sentences:
        measures.append(Perplexity(sentences, tokenizer))
    measures += [Weat(words_of.read(paths[n]), tokenizer, name=n) for n in LISTS if paths.get(n)]
    return Suite(measures, tokenizer, costly=costly)
