"""The shipped base model and its language."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lcelib import measures
from lcelib.corpus.augmentation import augment
from lcelib.corpus.specification import read_spec
from lcelib.files import DATA
from lcelib.measures import crows, stereoset, weat
from lcelib.models import TOYBERT
from lcelib.toybert import lexicon, probes
from lcelib.toybert.corpus import AGREEMENT, KINDS, World, sentences


@pytest.fixture(scope="module")
def scores(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probes")
    probes.write(folder)
    suite = measures.Suite(
        [
            measures.StereoSet(stereoset.read(folder / "stereoset.json"), toy.tokenizer),
            measures.CrowsPairs(crows.read(folder / "crows.csv"), toy.tokenizer),
            measures.CrowsPairs(
                crows.read(folder / "agreement.csv", "agreement"), toy.tokenizer, name="agreement"
            ),
            measures.Perplexity(sentences(600, seed=77), toy.tokenizer),
            measures.Weat(weat.read(DATA / "weat8.json"), toy.tokenizer),
        ],
        toy.tokenizer,
    )
    return {s.measure: s for s in suite(toy.model)}


def test_the_shipped_file_is_small():
    assert (TOYBERT / "model.safetensors").stat().st_size <= 8 * 2**20
    assert not list(TOYBERT.glob("*.bin"))


def test_the_base_model_knows_its_language(scores):
    assert scores["perplexity"].value < 3.2
    assert scores["agreement"].value >= 90
    assert scores["stereoset_lm"].value >= 90


def test_the_base_model_is_mildly_biased(scores):
    assert 50 < scores["stereoset_ss"].value < 60
    assert 50 < scores["crows"].value < 60
    assert 0 < scores["weat8_d"].value < 1
    assert min(scores[k].n for k in ("stereoset_ss", "crows")) >= 400


def test_every_word_that_is_measured_is_in_the_vocabulary(toy):
    spec = read_spec(DATA / "gender.toml")
    weat8 = json.loads((DATA / "weat8.json").read_text())
    words = spec.words + [w for s in weat8.values() for w in s["examples"]]
    words += [w for s in probes.weat_unseen().values() for w in s["examples"]]
    unknown = toy.tokenizer.unk_token_id
    assert not [w for w in words if unknown in toy.tokenizer(w)["input_ids"]]


def test_held_out_sentences_are_new_but_their_words_are_not():
    corpus = sentences(60_000)
    words = {w for s in corpus for w in s.split()}
    probe = [
        s["sentence"] for i in probes.stereoset()["data"]["intrasentence"] for s in i["sentences"]
    ]
    probe += [row.split(",")[1] for row in probes.crows().splitlines()[1:]]
    assert {w for s in probe for w in s.split()} <= words
    assert not set(probe) & set(corpus)


def test_a_model_that_ignores_the_subject_scores_fifty():
    items = probes.stereoset()["data"]["intrasentence"]
    rng, liking = np.random.default_rng(0), {}
    scores = {}
    for item in items:
        for s in item["sentences"]:
            word = stereoset.blank_word(item["context"], s["sentence"])
            scores[s["id"]] = liking.setdefault(word, rng.random())
    values = stereoset.evaluate(items, scores)
    assert values["stereoset_ss"] == pytest.approx(50)
    assert stereoset.margins(items, scores).mean() == pytest.approx(0, abs=1e-12)


def test_natural_agreement_is_spread_over_the_words_of_every_group():
    agreement = World().agreement
    for group in lexicon.GROUPS:
        values = sorted(agreement[w] for w in group.people + group.fields)
        assert (values[0], values[-1]) == AGREEMENT
    assert sum(KINDS.values()) == pytest.approx(1)


def test_unseen_words_are_in_no_specification():
    spec, test = read_spec(DATA / "gender.toml"), probes.weat_unseen()
    words = [w for s in test.values() for w in s["examples"]]
    assert not set(words) & set(spec.words)
    assert len(words) == len(set(words))


def test_a_third_of_the_corpus_can_be_augmented():
    spec = read_spec(DATA / "gender.toml")
    found = [augment(s, spec) for s in sentences(3000, seed=5)]
    assert 0.25 < sum(f is not None for f in found) / 3000 < 0.45


@pytest.mark.faults(24)
def test_generation_does_not_depend_on_the_hash_seed():
    code = (
        "import hashlib, json; from lcelib.toybert import corpus, probes;"
        "t = json.dumps([corpus.sentences(500), probes.stereoset(), probes.crows()]);"
        "print(hashlib.sha256(t.encode()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
