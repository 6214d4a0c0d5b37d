"""Reading articles as a stream: what is kept, where it stops, and how it goes on."""

import json

import pytest

from lcelib.corpus import wikipedia
from lcelib.corpus.augmentation import augment, is_neutral
from lcelib.corpus.specification import read_spec
from lcelib.errors import LceError
from lcelib.files import DATA
from lcelib.paper.inputs import make_corpus
from lcelib.run.profiles import profile

SPEC = read_spec(DATA / "gender.toml")


@pytest.fixture
def dump(tmp_path, monkeypatch):
    """A folder of articles in two files, as the hub's dataset has them, and an empty cache."""
    monkeypatch.setenv("LCE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "dump"
    folder.mkdir()
    for part in range(2):
        rows = []
        for i in range(part * 60, part * 60 + 60):
            word = ("nurse", "surgeon")[i % 2]
            text = (
                f"Town number {i} lies on a river.\n\nThe {word} of town {i} said she was tired. "
            )
            text += f"She and he met in town {i}. The bridge of town {i} is made of iron. "
            text += "This sentence stands in every article."
            rows.append({"id": str(i), "url": "", "title": f"Town {i}", "text": text})
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"train-{part}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def test_the_first_useful_sentences_are_kept_and_no_more(dump):
    found = wikipedia.sentences(str(dump), SPEC, 20)
    pairs = [s for s in found if augment(s, SPEC)]
    neutral = [s for s in found if is_neutral(s, SPEC)]
    assert (len(pairs), len(neutral)) == (20, 60)
    assert len(set(found)) == len(found) == 80
    assert pairs == [
        f"The {('nurse', 'surgeon')[i % 2]} of town {i} said she was tired." for i in range(20)
    ]


@pytest.mark.faults(8)
def test_an_interrupted_stream_goes_on_and_gives_the_same_bytes(dump, tmp_path, monkeypatch):
    monkeypatch.setattr(wikipedia, "SAVE_EVERY", 7)
    read, seen = wikipedia._classify, []

    def counted(text, spec):
        seen.append(text)
        if len(seen) == 75:  # in the second file
            raise KeyboardInterrupt
        return read(text, spec)

    monkeypatch.setattr(wikipedia, "_classify", counted)
    with pytest.raises(KeyboardInterrupt):
        wikipedia.sentences(str(dump), SPEC, 100)
    assert not list((tmp_path / "cache").rglob("*.txt"))
    interrupted = wikipedia.sentences(str(dump), SPEC, 100)
    assert len(seen) == 75 + 120 - 70  # it went on after the last ones that were saved
    monkeypatch.setenv("LCE_CACHE", str(tmp_path / "other"))
    assert wikipedia.sentences(str(dump), SPEC, 100) == interrupted


def test_a_stream_that_breaks_says_how_to_go_on(dump, monkeypatch):
    class Broken:
        def __iter__(self):
            yield {"text": "The nurse said she was tired."}
            raise ConnectionError("the host is gone\nand more")

    monkeypatch.setattr(wikipedia, "articles", lambda source: Broken())
    with pytest.raises(LceError, match=r"the host is gone.*\n?.*it resumes from"):
        wikipedia.sentences(str(dump), SPEC, 5)


def test_a_second_call_needs_no_stream(dump, monkeypatch):
    first = wikipedia.sentences(str(dump), SPEC, 5)
    monkeypatch.setattr(wikipedia, "articles", None)
    assert wikipedia.sentences(str(dump), SPEC, 5) == first


def test_a_profile_takes_articles_as_texts(dump):
    settings = profile("toy", {"texts": str(dump), "max_pairs": "30"})
    corpus = make_corpus(settings)
    assert len(corpus.pairs) + len(corpus.held_out_pairs) == 30


def test_a_text_without_any_pair_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LCE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": "Nothing of the kind stands here at all."}) + "\n")
    with pytest.raises(LceError, match="no sentence holds one target and one attribute"):
        make_corpus(profile("toy", {"texts": str(file)}))


@pytest.mark.faults(21)
def test_wikipedia_without_network_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("LCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LceError, match="Wikipedia 'wikipedia': cannot be read"):
        wikipedia.sentences("wikipedia", SPEC, 5)
