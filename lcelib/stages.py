"""What each rule of the Snakefile does, one function a rule."""

import json
import os
import shutil
from pathlib import Path

from lcelib.corpus import templates, wikipedia, winobias
from lcelib.corpus.augmentation import Corpus, Counterfactual, build_corpus
from lcelib.corpus.specification import BiasSpec, read_spec
from lcelib.corpus.texts import read_sentences
from lcelib.data import sources
from lcelib.errors import LceError
from lcelib.experiments import measure_all, write_rows
from lcelib.files import DATA, atomic, write_json
from lcelib.grid import OTHER_SEED
from lcelib.profiles import GENERATED, ORIGINAL, Profile
from lcelib.workflow import PROBES, Run, use_threads

PERPLEXITY_SENTENCES = 100  # about
TOY_SENTENCES = 60_000
TOY_TEXT_SEED = 1000  # other sentences than the base model was trained on


def read_texts(settings: Profile) -> list[str]:
    """All sentences of the profile's texts."""
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
    """The development pairs of WinoBias, where the profile names its folder."""
    if not settings.pairs:
        return []
    pairs = winobias.read(sources.resolve(settings.pairs), "dev")
    return [Counterfactual(*pair, "pronoun", "occupation", "stereotypical") for pair in pairs]


def make_corpus(settings: Profile) -> Corpus:
    """Counterfactual augmentation of the profile's texts."""
    spec = read_spec(settings.bias_spec)
    given = given_pairs(settings)
    return build_corpus(read_texts(settings), spec, settings.max_pairs, given=given)


def check_inputs(settings: Profile) -> Corpus:
    """Refuse what cannot work before any work: files, specification, overlap with the text.

    Returns the corpus, which had to be made for that.
    """
    read_spec(settings.bias_spec)
    named = {f: getattr(settings, f) for f in PROBES.values()}
    files = [("texts", t) for t in settings.texts] + list(named.items())
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


def check_words(settings: Profile, tokenizer) -> None:
    """Refuse word lists that the model's vocabulary cannot write, with the words."""
    from lcelib.measures import Weat, weat
    from lcelib.models import unknown

    spec = read_spec(settings.bias_spec)
    if lacking := unknown(tokenizer, spec.words):
        reason = f"{len(lacking)} words are not in the model's vocabulary: {', '.join(lacking)}"
        raise LceError(f"bias specification {spec.name!r}", reason, "Use words that it knows.")
    for field in ("weat", "weat_unseen", "weat_names"):
        if (place := getattr(settings, field)) not in GENERATED:
            Weat(weat.read(sources.resolve(place)), tokenizer)


def check_prediction(settings: Profile, lm, sentences: list[str]) -> None:
    """Refuse a model to which its own texts are stranger than chance: most likely a wrong tokenizer.

    A tokenizer of the right size with other ids cannot be told by looking at it.
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


def corpus(settings: Profile) -> None:
    """Counterfactual augmentation → corpus.json."""
    made = make_corpus(settings)
    content = {k: v for k, v in vars(made).items() if "pairs" not in k}
    for key in ("pairs", "held_out_pairs"):
        content[key] = [vars(p) for p in getattr(made, key)]
    write_json(Run(settings).corpus, content)


def read_corpus(run: Run) -> Corpus:
    """The corpus of a run."""
    content = json.loads(run.corpus.read_text(encoding="utf-8"))
    for key in ("pairs", "held_out_pairs"):
        content[key] = [Counterfactual(**p) for p in content[key]]
    return Corpus(**content)


def probes(settings: Profile) -> None:
    """Copy or generate the files of all measures."""
    run = Run(settings)
    folder = run.probe("x").parent
    if "toybert" in (getattr(settings, f) for f in PROBES.values()):
        from lcelib.toybert.probes import write

        write(folder)
    for name, field in PROBES.items():
        place = getattr(settings, field)
        if place in ("toybert", ""):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if field == "winobias":
            write_json(folder / name, winobias.read(sources.resolve(place), "test"))
        else:
            shutil.copyfile(sources.resolve(place), folder / name)


def mask_rates(settings: Profile, spec: BiasSpec, condition: str) -> tuple[dict, float]:
    """How often words of the specification, and all other tokens, are masked (paper §4.1)."""
    if condition == "neutral":
        return {}, settings.mask_rate_neutral
    return {w: settings.mask_rate_spec for w in spec.words}, settings.mask_rate_other


def subnetworks(settings: Profile, seed: int, condition: str) -> None:
    """Iterative magnitude pruning of one condition; goes on where it was stopped."""
    from lcelib import subnetworks as sn
    from lcelib.models import load
    from lcelib.training import encode, fine_tune

    use_threads(settings)
    run, lm, spec = Run(settings), load(settings.model), read_spec(settings.bias_spec)
    rates = mask_rates(settings, spec, condition)
    text = encode(lm.tokenizer, read_corpus(run).training(condition), *rates)
    scratch = run.scratch(f"subnetworks-seed{seed}-{condition}", [run.corpus])
    paths = run.subnetworks(seed, condition)
    rounds = [scratch / p.name for p in paths]

    def train(model, mask, number):
        state = scratch / f"round{number}.checkpoint"
        fine_tune(model, lm.tokenizer, text, settings.recipe, seed, mask, state)

    def done(number):
        return sn.load(rounds[number]) if rounds[number].exists() else None

    found = sn.iterative_magnitude_pruning(
        lm.model, sn.theta_hash(lm.model), list(settings.sparsities), train, done
    )
    for path, network in zip(rounds, found, strict=True):
        if not path.exists():
            network.save(path)
    for path, final in zip(rounds, paths, strict=True):
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, final)
    shutil.rmtree(scratch)


def suite(run: Run, tokenizer, condition: str):
    """All measures of a run for one condition, with that condition's held-out perplexity.

    StereoSet and CrowS-Pairs are the costly ones.
    """
    from lcelib.measures.registry import suite as all_of

    settings, held_out = run.settings, read_corpus(run).held_out(condition)
    if settings.grid == "pretrained":  # changes are paired: they need few
        held_out = held_out[:: max(len(held_out) // PERPLEXITY_SENTENCES, 1)]
    paths = {field: run.probe(name) for name, field in PROBES.items() if getattr(settings, field)}
    return all_of(paths, tokenizer, settings.bias_type, held_out)


def measure(settings: Profile, seed: int, target: str) -> None:
    """Measure the base model, all subnetworks of one condition, and all edits of it."""
    import torch

    from lcelib import subnetworks as sn
    from lcelib.models import load

    use_threads(settings)
    run, lm = Run(settings), load(settings.model)
    lm.model.to("cuda" if torch.cuda.is_available() else "cpu")
    ready = suite(run, lm.tokenizer, "neutral" if target == ORIGINAL else target)
    sparsities = [0.0, *settings.sparsities]
    paths = {
        (condition, sparsity): run.subnetwork(seed, condition, i)
        for condition in settings.conditions
        for i, sparsity in enumerate(sparsities)
    }
    for condition in settings.conditions:
        at = sparsities.index(settings.measured_sparsity)
        path = run.subnetwork(settings.other_seed(seed), condition, at)
        paths[condition + OTHER_SEED, settings.measured_sparsity] = path
    networks = sn.Stored(paths)
    inputs = [run.corpus, *run.probes, *paths.values()]
    scratch = run.scratch(f"measure-seed{seed}-{target}", inputs)
    rows = list(measure_all(target, networks, lm.model, ready, settings, seed, scratch))
    write_rows(run.measured(seed, target), rows)
    shutil.rmtree(scratch)


def results(settings: Profile) -> None:
    """Put all measured values into one table."""
    run = Run(settings)
    paths = [run.measured(s, t) for s in settings.seeds for t in settings.targets]
    parts = [path.read_text(encoding="utf-8").splitlines() for path in paths]
    lines = [parts[0][0], *(line for part in parts for line in part[1:])]
    with atomic(run.results) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
