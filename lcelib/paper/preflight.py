"""Reject what cannot work before any work: files, word lists, a wrong tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING

from lcelib.corpus import winobias
from lcelib.corpus.augmentation import Corpus
from lcelib.corpus.specification import read_spec
from lcelib.data import sources
from lcelib.errors import LceError
from lcelib.paper.inputs import make_corpus, read_corpus
from lcelib.run.paths import Run
from lcelib.run.profiles import GENERATED, Profile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lcelib.models import LanguageModel


def check_inputs(settings: Profile) -> Corpus:
    """Reject missing files, a bad specification, and one that does not occur in the texts.

    Returns the corpus, which is built to check the last of them.
    """
    read_spec(settings.bias_spec)
    if settings.measures:
        from lcelib.measures.registry import check_names

        check_names(list(settings.items))
    named = [(name, place) for name, (place, _) in settings.items.items()]
    files = [*(("texts", t) for t in settings.texts), *named]
    for field, place in files:
        try:
            there = place in GENERATED or Path(sources.resolve(place)).exists()
        except LceError as error:
            remedy = f"{error.remedy} Or set {field} to a file of yours, or to nothing."
            raise LceError(f"{field} {place!r}", error.reason, remedy) from error
        if not there:
            reason = f"is no file ({Path(place).resolve()})"
            raise LceError(f"{field} {place!r}", reason, "See `lce data check` for names.")
    if settings.winobias:
        winobias.read(sources.resolve(settings.winobias), "test")
    elif settings.grid == "pretrained":
        reason = "has no pairs to measure, and all its claims are about them"
        raise LceError("grid 'pretrained'", reason, "Set winobias, as winobias_test.")
    if settings.glue not in ("", "hub"):
        from lcelib.measures import glue as tasks

        for name, task in tasks.TASKS.items():
            for split in ("train", *task.splits):
                tasks.read(task, split, Path(settings.glue) / name, 1)
    run = Run(settings)
    return read_corpus(run) if run.corpus.exists() else make_corpus(settings)


def check_words(settings: Profile, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Reject word lists that the model's vocabulary cannot write; name the words."""
    from lcelib.measures import Weat, weat
    from lcelib.models import unknown_words

    spec = read_spec(settings.bias_spec)
    if lacking := unknown_words(tokenizer, spec.words):
        reason = f"{len(lacking)} words are not in the model's vocabulary: {', '.join(lacking)}"
        raise LceError(f"bias specification {spec.name!r}", reason, "Use words that it knows.")
    for field in ("weat", "weat_unseen", "weat_names"):
        if (place := getattr(settings, field)) not in GENERATED:
            Weat(weat.read(sources.resolve(place)), tokenizer)


def check_prediction(settings: Profile, lm: "LanguageModel", sentences: list[str]) -> None:
    """Reject a model that predicts its own texts worse than chance: probably a wrong tokenizer.

    A tokenizer of the right size with other ids cannot be recognized otherwise.
    """
    from lcelib.measures import Perplexity
    from lcelib.measures.suite import Suite

    perplexity = Suite([Perplexity(sentences, lm.tokenizer)], lm.tokenizer)(lm.model)[0].value
    if perplexity > 2 * len(lm.tokenizer):
        reason = (
            f"has a perplexity of {perplexity:,.0f} on {len(sentences)} of the texts' sentences; "
            f"chance among its {len(lm.tokenizer):,} tokens is {len(lm.tokenizer):,}"
        )
        raise LceError(
            f"model {settings.model!r}", reason, "Is this the tokenizer it was made with?"
        )
