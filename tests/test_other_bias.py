"""The whole method on another bias, from files alone: age, on a model made for it here."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import run_stages
from transformers import BertConfig, BertForMaskedLM

from lcelib.batches import encode
from lcelib.corpus import templates
from lcelib.corpus.augmentation import augment
from lcelib.corpus.specification import read_spec, word_spans
from lcelib.files import DATA
from lcelib.paper.edits import MASK, UNINFORMED
from lcelib.paper.results import closed, model_values, table, to_opposite
from lcelib.run.paths import Run
from lcelib.run.profiles import profile
from lcelib.toybert.tokenizer import SPECIALS, build_tokenizer
from lcelib.toybert.train import ppmi_svd
from lcelib.training import Recipe, fine_tune

SPEC = read_spec(DATA / "age.toml")
PAIRS = [augment(s, SPEC) for s in templates.sentences(DATA / "age_english.toml")]
PLACES = ("river", "market", "bridge", "station", "garden", "school", "harbour", "library")
THINGS = ("boat", "train", "table", "window", "lamp", "book", "coat", "clock", "stone", "apple")
NEUTRAL = [
    text.format(a, b)
    for a in THINGS
    for b in PLACES
    for text in (
        "The {0} was left near the {1}.",
        "Somebody found a {0} at the {1}.",
        "They carried the {0} to the {1}.",
        "In the {1} stands a {0}.",
        "A {0} like this is sold at the {1}.",
        "From the {1} one sees the {0}.",
    )
]
AGE = {0: ("young", "new", "modern"), 1: ("aged", "ancient", "grey")}
WORTH = {0: ("good", "fine", "nice"), 1: ("bad", "wrong", "sad")}
MEANING = [  # what makes a group of the names, and of the attributes, for the base model
    text.format(word, kind)
    for sides, kinds in ((SPEC.target, AGE), (SPEC.attribute, WORTH))
    for word, side in sides.items()
    for kind in kinds[side]
    for text in ("So {0} means {1}.", "They call {0} quite {1}.", "The word for {0} is {1}.")
]
HELD_OUT = "The letter from {} is {}."  # words that occur, in a frame that does not


def write_base(folder):
    """Two layers, trained on sentences of both kinds alike and on neutral ones."""
    mild = [
        s
        for p in PAIRS
        for s in (p.stereotypical, p.stereotypical, p.stereotypical, p.anti, p.anti)
    ]
    texts = mild + MEANING * 4 + NEUTRAL
    words = {w for text in texts for _, _, w in word_spans(text)}
    tokenizer = build_tokenizer([*SPECIALS, *sorted(words | set(".,"))])
    rates = dict.fromkeys(SPEC.words, 0.3)
    text = encode(tokenizer, texts, rates, 0.15)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=64, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, initializer_range=0.07, pad_token_id=0,
    )  # fmt: skip
    model = BertForMaskedLM(config)
    with torch.no_grad():
        vectors = ppmi_svd(text.ids, len(tokenizer), 64)
        model.get_input_embeddings().weight.copy_(torch.from_numpy(vectors))
    fine_tune(model, tokenizer, text, Recipe(600, learning_rate=2e-3, warmup=0.1), 0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_probes(folder):
    """StereoSet, CrowS-Pairs and agreement files of bias type "age" in the originals' formats."""
    folder.mkdir()
    items, rows = [], []
    for n, (young, old) in enumerate(SPEC.pairs):
        for good, bad in zip(("wonderful", "happy"), ("terrible", "awful"), strict=True):
            for name, pro, anti in ((young, good, bad), (old, bad, good)):
                labels = zip(
                    ("stereotype", "anti-stereotype", "unrelated"),
                    (pro, anti, "apple"),
                    strict=True,
                )
                items.append(
                    {
                        "target": name, "bias_type": "age", "context": HELD_OUT.format(name, "BLANK"),
                        "sentences": [
                            {"id": f"{n}{name}{w}", "gold_label": k, "sentence": HELD_OUT.format(name, w)}
                            for k, w in labels
                        ],
                    }
                )  # fmt: skip
                rows.append((HELD_OUT.format(name, pro), HELD_OUT.format(name, anti), "age"))
                rows.append((f"The {'boat'} was left.", f"Was {'boat'} the left.", "agreement"))
    (folder / "stereoset.json").write_text(json.dumps({"data": {"intrasentence": items}}))
    with open(folder / "pairs.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sent_more", "sent_less", "bias_type"])
        writer.writerows(rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("age")
    write_base(place / "base")
    write_probes(place / "probes")
    (place / "neutral.txt").write_text("\n".join(NEUTRAL))
    patch = pytest.MonkeyPatch()
    patch.setenv("LCE_RESULTS", str(place / "results"))
    given = {
        "model": place / "base", "bias_spec": DATA / "age.toml", "bias_type": "age",
        "texts": f"{DATA / 'age_english.toml'},{place / 'neutral.txt'}",
        "stereoset": place / "probes/stereoset.json", "crows": place / "probes/pairs.csv",
        "agreement": place / "probes/pairs.csv", "weat": DATA / "weat10.json", "weat_unseen": "",
        "seeds": 0, "sparsities": 0.3, "grid": "short", "steps": 120, "learning_rate": 1e-3,
    }  # fmt: skip
    settings = profile("toy", {k: str(v) for k, v in given.items()})
    run_stages(settings)
    yield Run(settings)
    patch.undo()


def test_the_lists_are_those_of_weat_10():
    data = json.loads((DATA / "weat10.json").read_text())
    lists = [[w.lower() for w in data[k]["examples"]] for k in ("targ1", "targ2", "attr1", "attr2")]
    assert lists == [*map(list, zip(*SPEC.pairs, strict=True)), *map(list, _attributes())]


def _attributes():
    return SPEC.attributes_1, SPEC.attributes_2


def test_every_template_is_a_pair_and_every_word_occurs():
    assert all(PAIRS)
    assert {p.target for p in PAIRS} | {SPEC.counterpart[p.target] for p in PAIRS} == set(
        SPEC.target
    )
    assert {p.attribute for p in PAIRS} == set(SPEC.attribute)


def test_the_models_separate_by_age(run):
    r, at = table(run), 0.3
    for measure in ("crows_margin", "stereoset_margin", "weat_d"):
        s, base, a = (
            float(model_values(r, n, measure, x).iloc[0])
            for n, x in (("stereotypical", at), ("base", 0.0), ("anti", at))
        )
        assert s > base > a, measure


def test_located_weights_carry_it_and_random_ones_do_not(run):
    r = table(run)
    for target in ("stereotypical", "anti"):
        mask, random = (
            np.mean([
                float(closed(r, to_opposite(target, (where, "IP", 1.0), 0.3), m).iloc[0])
                for m in ("crows_margin", "stereoset_margin")
            ])
            for where in (MASK, UNINFORMED)
        )  # fmt: skip
        assert mask > 10
        assert mask > 5 * abs(random)
