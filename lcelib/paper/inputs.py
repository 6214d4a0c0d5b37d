"""The corpus of a run: texts, counterfactual pairs, and how often words are masked."""

import json
from pathlib import Path

from lcelib.corpus import templates, wikipedia, winobias
from lcelib.corpus.augmentation import Corpus, Counterfactual, build_corpus
from lcelib.corpus.specification import BiasSpec, read_spec
from lcelib.corpus.texts import read_sentences
from lcelib.data import sources
from lcelib.files import DATA
from lcelib.run.paths import Run
from lcelib.run.profiles import Profile

TOY_SENTENCES = 60_000
TOY_TEXT_SEED = 1000  # other sentences than the base model was trained on


def read_texts(settings: Profile) -> list[str]:
    """Return all sentences of the profile's texts."""
    sentences = []
    for source in settings.texts:
        if source == "toybert":
            from lcelib.toybert.corpus import sentences as generate

            sentences += generate(TOY_SENTENCES, seed=TOY_TEXT_SEED)
        elif source == "english":
            sentences += templates.sentences(DATA / "english.toml")
        elif wikipedia.is_articles(source):
            spec = read_spec(settings.bias_spec)
            given = len(given_pairs(settings))
            sentences += wikipedia.sentences(source, spec, settings.max_pairs, given)
        elif source.endswith(".toml"):
            sentences += templates.sentences(source)
        else:
            sentences += read_sentences(Path(sources.resolve(source)))
    return sentences


def given_pairs(settings: Profile) -> list[Counterfactual]:
    """Return the development pairs of WinoBias; none if the profile does not name its folder."""
    if not settings.pairs:
        return []
    pairs = winobias.read(sources.resolve(settings.pairs), "dev")
    return [Counterfactual(*pair, "pronoun", "occupation", "stereotypical") for pair in pairs]


def make_corpus(settings: Profile) -> Corpus:
    """Augment the profile's texts with counterfactuals."""
    spec = read_spec(settings.bias_spec)
    given = given_pairs(settings)
    return build_corpus(read_texts(settings), spec, settings.max_pairs, given=given)


def read_corpus(run: Run) -> Corpus:
    """Read the corpus of a run."""
    content = json.loads(run.corpus.read_text(encoding="utf-8"))
    for key in ("pairs", "held_out_pairs"):
        content[key] = [Counterfactual(**p) for p in content[key]]
    return Corpus(**content)


def mask_rates(settings: Profile, spec: BiasSpec, condition: str) -> tuple[dict, float]:
    """Return the mask rate of each word of the specification, and of other tokens (paper §4.1)."""
    if condition == "neutral":
        return {}, settings.mask_rate_neutral
    return {w: settings.mask_rate_spec for w in spec.words}, settings.mask_rate_other
