"""A patch for a pretrained model: chosen on pairs that no model was trained on, then measured.

Candidates add α (A − S) to the pretrained model at a few of its weights, where A and S are the
anti-stereotypical and the stereotypical model of one seed, or the means of their weights over
all seeds. The rule stands here, and was fixed before anything was measured on the test pairs:

1. A setting (localization, number of weights, α) is admissible for a contrast if, on the
   held-out tenth of the training corpus, perplexity changes by `LANGUAGE` or less, and the share
   of sentences in which gender agrees (general agreement, nothing to do with stereotypes) falls
   by `AGREEMENT` percentage points or less.
2. Of the settings that are admissible for every seed's contrast and for the mean, those are
   kept whose |margin| for the mean is within `CLOSE` of the smallest; of them the one with the
   fewest weights is taken, then the one with the smallest α. Where nothing is admissible
   everywhere, the same among those admissible for the mean; where nothing is there either, or
   the margin does not shrink, nothing is released.
3. The patch is that of the mean. The test pairs are then scored once.

An earlier form asked for a quarter of the margin with nine tenths of the agreement's margin.
On the held-out tenth of SmolLM2-135M-Instruct no setting has both: what moves stereotypes there moves
agreement along, at half the rate. It was replaced by the above before the test was scored.
What other settings do on the test pairs (.5 % by value, by mask) was known by then, from
figures/smollm2/results.csv.

The agreement sentences of the rule have one noun each. They do not show whether the model
still binds a pronoun to the right one of two nouns, which WinoBias's type 2 turns on, so the
direction of what is released here stays "unknown" until that is among the measures.
"""

from collections.abc import Iterable, Iterator

import pandas as pd
from transformers import PreTrainedTokenizerBase

from lcelib import kernels
from lcelib.editing import transfer
from lcelib.localization import Located, locate
from lcelib.measures import CrowsPairs, Perplexity, Score, crows
from lcelib.measures.registry import NEUTRAL
from lcelib.measures.suite import Suite
from lcelib.paper.inputs import read_corpus
from lcelib.patches.patch import Patch
from lcelib.run.paths import Run
from lcelib.run.profiles import CONDITIONS, MEAN, Profile
from lcelib.subnetworks import Subnetwork, SubnetworkFiles

SHARES = (0.00025, 0.0005, 0.001, 0.002, 0.003)  # .3 % of SmolLM2's weights are just below 3 MB
STRENGTHS = (1.0, 2.0, 3.0, 4.0, 6.0)
LANGUAGE, AGREEMENT, CLOSE = 0.01, 1.0, 0.02
COLUMNS = [
    "edit",
    "weights",
    "alpha",
    "measure",
    "variant",
    "n",
    "before",
    "after",
    "change_se",
    "neutral",
]
Pair = tuple[Subnetwork, Subnetwork]  # stereotypical and anti-stereotypical
LICENCE = "Apache-2.0, as the model"
CITATION = "Lutz, Choenni, Strohmaier, Lauscher: Local Contrastive Editing of Gender Stereotypes, EMNLP 2024"
NO_DIRECTION = (
    "No direction is claimed. A lower WinoBias score is not by itself less stereotype: each of its "
    "sentences has two occupations, so a model that no longer follows which of them the pronoun "
    "refers to also scores as neutral, and the agreement sentences, with one noun each, do not see it."
)
COUNTED = {
    "smollm2": "Counted outside of the released measures, for the patch of 26,542 weights: 95 % of the "
    "change of winobias_margin is in type 2 (63.6 to 52.0 % pro-stereotypical, -11.6 ± 3.7; margin "
    "0.62 to 0.05, -0.57 ± 0.08; n = 396), next to nothing in type 1 (53.0 to 52.5 %, -0.5 ± 2.7; margin "
    "0.17 to 0.14, -0.03 ± 0.04; n = 396). With two nouns of definitional gender in place of the occupations of a type 2 sentence "
    '("The grandmother met the groom and wished him well": him or her) one pronoun is right by '
    "definition. It is the likelier one in 91 % before and in 60 % after, 50 % being chance (383 "
    "sentences of the test half, mean of three random draws of the nouns: 56, 62 and 63 % after). "
    "So part of the lower score is that the pronoun no longer follows its noun."
}
LIMITS = (
    "It changes which pronoun the model finds likely beside an occupation, in sentences like those "
    "of WinoBias. Other stereotypes, other languages, people outside of the binary, chat answers and "
    "what an application makes of the model were not measured. A balanced mean is no fairness in "
    "each case. It fits these weights alone: the same model quantized or tuned otherwise is refused."
)


def limits(model: str) -> str:
    """Return the limits of a patch for this model, with the counts known of the shipped one."""
    return " ".join(filter(None, (NO_DIRECTION, COUNTED.get(model), LIMITS)))


def seeds_of(settings: Profile, name: str) -> tuple[int, ...]:
    """Return the seeds whose models make up a contrast."""
    return settings.seeds if name == MEAN else (int(name),)


def contrast(run: Run, name: str) -> Pair:
    """Return the dense stereotypical and anti-stereotypical model of one seed, or their means."""
    seeds = seeds_of(run.settings, name)

    def mean(condition: str) -> Subnetwork:
        models = SubnetworkFiles({s: run.subnetwork(s, condition, 0) for s in seeds}, kept=1)
        first = models[seeds[0]]
        theta = {n: value / len(seeds) for n, value in first.theta.items()}
        for seed in seeds[1:]:
            for n, value in models[seed].theta.items():
                theta[n] += value / len(seeds)
        return Subnetwork(theta, first.mask, first.initial)

    stereotypical, anti = CONDITIONS[:2]
    return mean(stereotypical), mean(anti)


def pruned(network: Subnetwork, sparsity: float) -> Subnetwork:
    """Return a dense model with the mask of its largest weights (one shot, no rewinding)."""
    mask = kernels.prune_masks(network.weights, round(sparsity * network.total))
    return Subnetwork(network.theta, mask, network.initial)


def locations(
    stereotypical: Subnetwork, anti: Subnetwork, sparsity: float
) -> Iterator[tuple[str, Subnetwork, Subnetwork, Located]]:
    """Yield by mask, and by value for each share: name, both networks, the located weights."""
    pair = pruned(stereotypical, sparsity), pruned(anti, sparsity)
    yield "mask", *pair, locate(*pair, by="mask")
    for share in SHARES:
        located = locate(stereotypical, anti, by="value", k=share)
        yield f"value {share:g}", stereotypical, anti, located


def validation(run: Run, tokenizer: PreTrainedTokenizerBase) -> Suite:
    """Return the measures that choose: held-out training pairs, general agreement, perplexity."""
    corpus = read_corpus(run)
    pairs = [(p.stereotypical, p.anti) for p in corpus.held_out_pairs]
    agreement = crows.read(run.probe["agreement"], "agreement")
    measures = [
        CrowsPairs(pairs, tokenizer, name="held_out"),
        CrowsPairs(agreement, tokenizer, name="agreement"),
        Perplexity(corpus.held_out_neutral, tokenizer),
    ]
    return Suite(measures, tokenizer)


def admissible(table: pd.DataFrame) -> pd.Series:
    """Return which rows of one contrast's table meet the first part of the rule."""
    base = table[table["alpha"] == 0].iloc[0]
    return (
        (table["alpha"] > 0)
        & ((table["perplexity"] / base["perplexity"] - 1).abs() <= LANGUAGE)
        & (table["agreement"] >= base["agreement"] - AGREEMENT)
    )


def choose(table: pd.DataFrame) -> tuple[str, float, bool] | None:
    """Return localization and α by the rule, and whether every contrast admits them."""
    fine = {}
    for name, rows in table.groupby("contrast"):
        passed = rows[admissible(rows)]
        fine[name] = set(zip(passed["localization"], passed["alpha"], strict=True))
    everywhere = set.intersection(*fine.values())
    mean = table[table["contrast"] == MEAN].set_index(["localization", "alpha"])
    left, weights = mean["held_out_margin"].abs(), mean["weights"]
    allowed = everywhere or fine[MEAN]
    smallest = min((left[setting] for setting in allowed), default=left["", 0.0])
    if smallest >= left["", 0.0]:
        return None
    near = [setting for setting in allowed if left[setting] <= smallest + CLOSE]
    return *min(near, key=lambda setting: (weights[setting], setting[1])), bool(everywhere)


def at_setting(run: Run, base: Subnetwork, how: str, alpha: float) -> Iterator[tuple[str, Patch]]:
    """Yield the patches at one setting: each seed, two seeds of S, random weights, the mean."""
    sparsity, seeds = run.settings.measured_sparsity, run.settings.seeds

    def located(pair: Pair) -> tuple[Subnetwork, Subnetwork, Located]:
        named = locations(*pair, sparsity)
        return next((start, end, here) for name, start, end, here in named if name == how)

    for seed in seeds:
        yield f"A - S, seed {seed}", transfer(base, *located(contrast(run, str(seed))), alpha)
    if len(seeds) > 1:
        pair = contrast(run, str(seeds[0]))[0], contrast(run, str(seeds[1]))[0]
        yield f"S, seeds {seeds[1]} - {seeds[0]}", transfer(base, *located(pair), alpha)
    start, end, here = located(contrast(run, MEAN))
    random = locate(start, end, by="uninformed", like=here, seed=seeds[0])
    yield "A - S, mean, random weights", transfer(base, start, end, random, alpha)
    yield "A - S, mean", transfer(base, start, end, here, alpha)


def changes(before: Iterable[Score], after: Iterable[Score]) -> list[dict]:
    """List each measure before and after, as in a patch file, with the change's standard error."""
    known, rows = {s.measure: s for s in before}, []
    for score in after:
        old = known[score.measure]
        row = {"measure": score.measure, "variant": score.variant, "n": score.n}
        row |= {"before": old.value, "after": score.value, "neutral": NEUTRAL.get(score.measure)}
        if score.items is not None:
            items = score.items - old.items
            row["change_se"] = float(items.std(ddof=1) / len(items) ** 0.5)
        rows.append(row)
    return rows
