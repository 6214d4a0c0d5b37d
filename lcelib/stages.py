"""What each rule of the Snakefile does, one function a rule."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from lcelib.corpus import Corpus, Counterfactual, build_corpus, read_spec, split_sentences
from lcelib.errors import LceError
from lcelib.experiments import OTHER_SEED, measure_all, write_rows
from lcelib.files import atomic, write_json
from lcelib.profiles import CONDITIONS, Profile
from lcelib.workflow import PROBES, Run

TOY_SENTENCES = 60_000
TOY_TEXT_SEED = 1000  # other sentences than the base model was trained on


def read_texts(settings: Profile) -> list[str]:
    """All sentences of the profile's texts."""
    sentences = []
    for source in settings.texts:
        if source == "toybert":
            from lcelib.toybert.corpus import sentences as generate

            sentences += generate(TOY_SENTENCES, seed=TOY_TEXT_SEED)
        else:
            sentences += split_sentences(Path(source).read_text(encoding="utf-8"))
    return sentences


def check_inputs(settings: Profile) -> None:
    """Refuse what cannot work before any work: files, specification, overlap with the text."""
    spec = read_spec(settings.bias_spec)
    named = {f: getattr(settings, f) for f in PROBES.values()}
    files = [("texts", t) for t in settings.texts] + list(named.items())
    for field, place in files:
        if place != "toybert" and not Path(place).is_file():
            raise LceError(f"{field} {place!r}", "is no file", "Check the path.")
    if not Run(settings).corpus.exists():
        build_corpus(read_texts(settings), spec, settings.max_pairs)


def corpus(settings: Profile) -> None:
    """Counterfactual augmentation → corpus.json."""
    made = build_corpus(read_texts(settings), read_spec(settings.bias_spec), settings.max_pairs)
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
        if getattr(settings, field) != "toybert":
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(getattr(settings, field), folder / name)


def subnetworks(settings: Profile, seed: int, condition: str) -> None:
    """Iterative magnitude pruning of one condition; goes on where it was stopped."""
    from lcelib import subnetworks as sn
    from lcelib.models import load
    from lcelib.training import encode, fine_tune

    use_threads(settings)
    run, lm, spec = Run(settings), load(settings.model), read_spec(settings.bias_spec)
    biased = condition != "neutral"
    text = encode(
        lm.tokenizer,
        read_corpus(run).training(condition),
        {w: settings.mask_rate_spec for w in spec.words} if biased else {},
        settings.mask_rate_other if biased else settings.mask_rate_neutral,
    )
    scratch = run.folder / "scratch" / f"seed{seed}-{condition}"
    paths = run.subnetworks(seed, condition)
    rounds = [scratch / p.name for p in paths]

    def train(model, mask, number):
        state = scratch / f"round{number}.checkpoint"
        fine_tune(model, lm.tokenizer, text, settings.recipe, seed, mask, state)

    def done(number):
        return sn.load(rounds[number]) if rounds[number].exists() else None

    found = sn.iterative_magnitude_pruning(
        lm.model, theta_hash(lm.model), list(settings.sparsities), train, done
    )
    for path, network in zip(rounds, found, strict=True):
        if not path.exists():
            network.save(path)
    for path, final in zip(rounds, paths, strict=True):
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, final)
    shutil.rmtree(scratch)


def theta_hash(model) -> str:
    """The SHA-256 of a model's parameters, names and values."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode() + parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def suite(run: Run, tokenizer, condition: str):
    """All measures of a run for one condition, with that condition's held-out perplexity."""
    from lcelib import measures
    from lcelib.measures import crows, stereoset, weat

    return measures.Suite(
        [
            measures.StereoSet(stereoset.read(run.probe("stereoset.json")), tokenizer),
            measures.CrowsPairs(crows.read(run.probe("crows.csv")), tokenizer),
            measures.CrowsPairs(
                crows.read(run.probe("agreement.csv"), "agreement"), tokenizer, name="agreement"
            ),
            measures.Perplexity(read_corpus(run).held_out(condition), tokenizer),
            measures.Weat(weat.read(run.probe("weat.json")), tokenizer, name="weat"),
            measures.Weat(weat.read(run.probe("weat_unseen.json")), tokenizer, name="weat_unseen"),
        ],
        tokenizer,
    )


def measure(settings: Profile, seed: int, target: str) -> None:
    """Measure the base model, all subnetworks of one condition, and all edits of it."""
    from lcelib import subnetworks as sn
    from lcelib.models import load

    use_threads(settings)
    run, lm = Run(settings), load(settings.model)
    ready = suite(run, lm.tokenizer, target)
    sparsities = [0.0, *settings.sparsities]
    networks = {
        (condition, sparsity): sn.load(run.subnetwork(seed, condition, i))
        for condition in CONDITIONS
        for i, sparsity in enumerate(sparsities)
    }
    for condition in CONDITIONS:
        at = sparsities.index(settings.measured_sparsity)
        path = run.subnetwork(settings.other_seed(seed), condition, at)
        networks[condition + OTHER_SEED, settings.measured_sparsity] = sn.load(path)

    rows = measure_all(target, networks, lm.model, ready, settings, seed)
    write_rows(run.measured(seed, target), rows)


def use_threads(settings: Profile) -> None:
    """One number of threads everywhere: sums are reordered with it, and bits change."""
    import torch

    torch.set_num_threads(settings.threads)


def results(settings: Profile) -> None:
    """Put all measured values into one table."""
    run = Run(settings)
    paths = [run.measured(s, t) for s in settings.seeds for t in CONDITIONS]
    parts = [path.read_text(encoding="utf-8").splitlines() for path in paths]
    lines = [parts[0][0], *(line for part in parts for line in part[1:])]
    with atomic(run.results) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
