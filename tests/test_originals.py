"""Every item of a real model's scores against one question, one pass, as the originals do it."""

import numpy as np
import pytest
from conftest import shared

from benchmarks import originals
from lcelib.measures import CrowsPairs, Plan, StereoSet, Weat, crows, stereoset, weat
from lcelib.models import load


@pytest.fixture(scope="module")
def minilm():
    return load(shared("models/minilm-mlm"))


def spread(items, number):
    return items[:: len(items) // number]


def test_stereoset_item_by_item(minilm):
    items = stereoset.read(shared("data/stereoset_gender_test.json"))
    odd = [i for i in items if any("BLANK" in w and w != "BLANK" for w in i["context"].split(" "))]
    several = [i for i in items if "homemaker" in str(i)]
    items = [*spread(items, 25), *odd[:4], *several[:2]]
    prepared = StereoSet(items, minilm.tokenizer)
    found = prepared.sentence_scores(Plan(prepared.queries, minilm.tokenizer)(minilm.model))
    known = originals.stereoset(minilm, items)
    assert max(prepared._pieces[k].stop - prepared._pieces[k].start for k in found) > 1
    assert [np.log(found[k]) for k in known] == pytest.approx(np.log([*known.values()]), abs=1e-4)


@pytest.mark.parametrize("variant", ["differing", "shared"])
def test_crows_pairs_item_by_item(minilm, variant):
    pairs = spread(crows.read(shared("data/crows_pairs_anonymized.csv")), 20)
    prepared = CrowsPairs(pairs, minilm.tokenizer, variant)
    found = prepared.pair_scores(Plan(prepared.queries, minilm.tokenizer)(minilm.model))
    assert found == pytest.approx(np.array(originals.crows_pairs(minilm, pairs, variant)), abs=1e-4)


@pytest.mark.parametrize("name", ["sent-weat6", "sent-weat6b", "sent-weat7", "sent-weat8", "weat8"])
def test_seat_vectors_and_effect_sizes(minilm, name):
    """SEAT as in bias-bench: sentences, last layer, all tokens with the special ones."""
    test = weat.read(shared(f"data/{name}.json"))
    prepared = Weat(test, minilm.tokenizer, pooling="all", layers="last")
    found = prepared.vectors(minilm.model)[0]
    known = originals.seat_vectors(minilm, test.words)
    np.testing.assert_allclose(found, known, atol=1e-4)
    cuts = np.cumsum([len(test.x), len(test.y), len(test.a)])
    d = originals.effect_size(*np.split(known, cuts))
    assert prepared.score(minilm.model)[0].value == pytest.approx(d, abs=1e-4)
