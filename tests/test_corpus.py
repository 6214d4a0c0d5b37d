"""Counterfactual augmentation and bias specifications."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcelib.corpus.augmentation import Counterfactual, augment, build_corpus, is_neutral
from lcelib.corpus.specification import BiasSpec, read_spec, word_spans
from lcelib.corpus.texts import read_sentences, split_sentences
from lcelib.errors import LceError
from lcelib.files import DATA

SPEC = read_spec(DATA / "gender.toml")
FILLER = ["the", "works", "at", "home", "today", "with", "a", "her", "dog"]


def words_of(sentence):
    return [w for _, _, w in word_spans(sentence)]


def test_the_papers_specification():
    assert len(SPEC.pairs) == 16
    assert len(SPEC.attributes_1) == 21
    assert len(SPEC.attributes_2) == 20
    weat = json.loads((DATA / "weat8.json").read_text())
    words = [w.lower() for s in weat.values() for w in s["examples"]]
    assert len(words) == 32
    assert sum(w in SPEC.words for w in words) == 23  # so nine were never injected


@given(
    st.lists(st.sampled_from(FILLER), max_size=6),
    st.sampled_from(sorted(SPEC.target)),
    st.sampled_from(sorted(SPEC.attribute)),
    st.sampled_from([str, str.capitalize, str.upper]),
    st.randoms(use_true_random=False),
)
def test_augmentation_swaps_the_target_and_nothing_else(filler, target, attribute, case, random):
    words = [*filler, case(target), attribute]
    random.shuffle(words)
    sentence = " ".join(words) + "."
    made = augment(sentence, SPEC)
    assert sentence in (made.stereotypical, made.anti)
    for version, i_equals_j in ((made.stereotypical, True), (made.anti, False)):
        found = [w for w in words_of(version) if w in SPEC.target]
        assert len(found) == 1
        assert (SPEC.target[found[0]] == SPEC.attribute[attribute]) == i_equals_j
        again = augment(version, SPEC)
        assert (again.stereotypical, again.anti) == (made.stereotypical, made.anti)
    pairs = zip(words_of(made.stereotypical), words_of(made.anti), strict=True)
    differ = [(a, b) for a, b in pairs if a != b]
    assert differ == [(differ[0][0], SPEC.counterpart[differ[0][0]])]


@pytest.mark.parametrize(
    "sentence",
    [
        "She told her mother about the nurse.",  # two targets
        "The nurse met a surgeon and she waved.",  # two attributes
        "She walks home.",
        "The nurse walks home.",
        "She helped her and she is a nurse.",  # one target word twice
        "The dancer knew the sheik.",  # no whole word
    ],
)
def test_other_sentences_are_not_augmented(sentence):
    assert augment(sentence, SPEC) is None


def test_possessives_keep_the_damage_that_the_paper_accepts():
    made = augment("She likes science and her dog.", SPEC)
    assert made.anti == "She likes science and her dog."
    assert made.stereotypical == "He likes science and her dog."


def test_hyphenated_attributes_are_words():
    assert augment("My aunt works in child-care.", SPEC).attribute == "child-care"
    assert is_neutral("The child and the care.", SPEC)


def sentences(n):
    biased = [f"The woman number {chr(97 + i % 26)}{i} is a surgeon in town." for i in range(n)]
    biased += [f"My father {i} met the poetry club again." for i in range(n)]
    return biased + [f"The dog {i} sleeps in the park." for i in range(8 * n)]


def test_corpus_parts_are_as_large_as_the_paper_says_and_share_nothing():
    made = build_corpus(sentences(30) * 2, SPEC, limit=40)
    assert len(made.pairs) + len(made.held_out_pairs) == 40
    assert len(made.held_out_pairs) == 4
    assert len(made.neutral) == len(made.pairs)
    assert len(made.neutral_model) == 2 * len(made.neutral)
    groups = [
        made.neutral,
        made.neutral_model,
        made.held_out_neutral,
        made.held_out_neutral_model,
        [p.stereotypical for p in made.pairs],
        [p.stereotypical for p in made.held_out_pairs],
    ]
    flat = [s for g in groups for s in g]
    assert len(flat) == len(set(flat))
    assert all(is_neutral(s, SPEC) for s in made.neutral + made.neutral_model)
    assert build_corpus(sentences(30), SPEC, limit=40) == made


def write(tmp_path, text):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return path


GOOD = (
    'name = "age"\npairs = [["young", "old"]]\nattributes_1 = ["fast"]\nattributes_2 = ["slow"]\n'
)


def test_a_users_own_specification_works(tmp_path):
    spec = read_spec(write(tmp_path, GOOD))
    assert augment("The old dog is fast.", spec).stereotypical == "The young dog is fast."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("attributes_1", "attribute_1"), "attribute_1"),
        (GOOD.replace('["young", "old"]', '["young"]'), "no pair"),
        (GOOD.replace('"slow"', '"fast"'), "twice"),
        (GOOD.replace('["slow"]', "[]"), "empty"),
        (GOOD.replace('"slow"', '"not fast"'), "one lower-case word"),
        ("name = ", "cannot be read"),
    ],
)
def test_bad_specifications_are_refused(tmp_path, text, says):
    with pytest.raises(LceError, match=says) as error:
        read_spec(write(tmp_path, text))
    assert len(str(error.value).splitlines()) <= 3


def test_attributes_that_the_text_lacks_are_refused():
    spec = BiasSpec("x", (("woman", "man"),), ("surgeon",), ("zebra",))
    with pytest.raises(LceError, match="attributes_2"):
        build_corpus(sentences(5), spec, limit=10)
    spec = BiasSpec("x", (("lion", "tiger"),), ("surgeon",), ("zebra",))
    with pytest.raises(LceError, match="one target and one attribute"):
        build_corpus(sentences(5), spec, limit=10)


def test_sentence_splitting_drops_headings():
    text = " = Robert =\n\nHe was born in 1900 in York. He wrote two long books there !\nshort one."
    assert split_sentences(text) == [
        "He was born in 1900 in York.",
        "He wrote two long books there !",
    ]


def test_given_pairs_join_the_counterfactual_ones():
    """As with WinoBias: pairs that need no augmentation, all of them used."""
    extra = [Counterfactual(f"He is {i}.", f"She is {i}.", "x", "y", "anti") for i in range(30)]
    texts = [f"The tree number {i} is tall." for i in range(200)]
    corpus = build_corpus(texts, SPEC, 100, given=extra)
    assert sorted(p.stereotypical for p in corpus.pairs + corpus.held_out_pairs) == sorted(
        p.stereotypical for p in extra
    )
    assert len(corpus.training("anti")) == 2 * 27
    with pytest.raises(LceError, match="no sentence holds"):
        build_corpus(texts, SPEC, 100)


def test_gap_tables_and_folders_are_texts(tmp_path):
    table = "ID\tText\tPronoun\nx-1\tShe went home early. He stayed there all day.\tshe\n"
    (tmp_path / "gap-test.tsv").write_text(table, encoding="utf-8")
    (tmp_path / "more.txt").write_text("Nobody was at home yesterday.\n", encoding="utf-8")
    (tmp_path / "LICENSE").write_text("This is not a text to learn from.", encoding="utf-8")
    assert read_sentences(tmp_path) == [
        "She went home early.",
        "He stayed there all day.",
        "Nobody was at home yesterday.",
    ]
