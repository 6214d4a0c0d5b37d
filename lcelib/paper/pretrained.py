"""Claims about editing a pretrained model, with fixed thresholds, and a summary in sentences.

The paper's claims are about three fine-tuned models. Here two are fine-tuned, and the
pretrained model itself is the neutral target. The measure is the held-out half of
WinoBias: the mean of ln p(pro-stereotypical) − ln p(anti-stereotypical), called margin.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lcelib.data.sources import describe
from lcelib.paper.claims import PAPER_LANGUAGE, Claim, Judgement, verdict
from lcelib.paper.edits import (
    MASK,
    MATCHED,
    OTHER_SEED,
    UNINFORMED,
    UNINFORMED_AS_VALUE,
    VALUE_AS_MASK,
    main_value,
)
from lcelib.paper.findings import relative_perplexity
from lcelib.paper.pretrained_tables import (
    MARGIN,
    SEPARATION,
    change,
    needed,
    of_original,
    separation,
    share,
    sweep,
)
from lcelib.paper.results import closed, mask_share, model_values, select
from lcelib.paper.statistics import summary
from lcelib.run.profiles import OPPOSITE, ORIGINAL, Profile


def separate(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 1: S above the original above A on held-out pairs."""
    at = s.measured_sparsity
    values = {c: model_values(r, c, MARGIN, at) for c in (*OPPOSITE, ORIGINAL)}
    gap = values["stereotypical"] - values["anti"]
    order = (values["stereotypical"] > values[ORIGINAL]) & (values[ORIGINAL] > values["anti"])
    ours = "margins " + ", ".join(f"{c} {v.mean():+.2f}" for c, v in values.items())
    return ours, summary(gap), verdict(bool(order.all()), bool((gap > 0).all()))


def few_weights(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 2: the masks differ in under .5 % of the weights."""
    found = summary(100 * mask_share(m, s.measured_sparsity, "stereotypical", "anti"))
    return f"{found.mean:.3f} % of the mask bits differ", found, verdict(found.mean <= 0.5, False)


def _mask_based(target: str) -> Callable[[pd.DataFrame, pd.DataFrame, Profile], Judgement]:
    def judge(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
        one, two = (share(r, target, MASK, a, s) for a in (1.0, 2.0))
        full = one.mean() >= 10 and two.mean() >= 20
        ours = f"α = 1 closes {one.mean():.0f} % of the gap, α = 2 {two.mean():.0f} %"
        return ours, summary(two), verdict(full, one.mean() >= 10 or two.mean() >= 20)

    return judge


def beats_uninformed(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 5: mask-based edits close ten times what as many random weights do."""
    ratios, texts = [], []
    for target in OPPOSITE:
        mask, random = (share(r, target, w, 2.0, s).mean() for w in (MASK, UNINFORMED))
        ratios.append(mask >= 10 * abs(random))
        texts.append(f"{target} {mask:.1f} % against {random:+.1f} %")
    first = share(r, "stereotypical", UNINFORMED, 2.0, s)
    return "α = 2: " + "; ".join(texts), summary(first), verdict(all(ratios), any(ratios))


def beats_matched(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 6: nor do random weights of the same matrices and sizes."""
    mask = share(r, "stereotypical", MASK, 2.0, s).mean()
    found = {w.matched: share(r, "stereotypical", w, 2.0, s) for w in MATCHED}
    ours = "α = 2: " + ", ".join(f"matched by {n} {x.mean():+.1f} %" for n, x in found.items())
    fine = [abs(x.mean()) <= mask / 5 for x in found.values()]
    return f"{ours}, mask {mask:.1f} %", summary(found["magnitude"]), verdict(all(fine), any(fine))


def null_contrast(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 7: editing towards the other seed of a condition moves bias little, up or down.

    Each seed is edited towards the next in a circle, so the signed effects cancel whatever
    the edit does; the absolute ones are judged.
    """
    at, target = s.measured_sparsity, "stereotypical"
    mask = share(r, target, MASK, 2.0, s).mean()
    other = closed(r, sweep(target, MASK, 2.0, s, target + OTHER_SEED), MARGIN)
    size = mask_share(m, at, target, target + OTHER_SEED).mean()
    bits = 100 * size, 100 * mask_share(m, at, target, "anti").mean()
    moved = other.abs()
    seeds = ", ".join(f"{x:+.1f}" for x in other)
    ours = (
        f"{moved.mean():.1f} % up or down at α = 2 (by seed {seeds}), with {bits[0]:.3f} % of the bits "
        f"(S against A {bits[1]:.3f} %)"
    )
    return ours, summary(moved), verdict(moved.mean() <= mask / 4, moved.mean() < mask)


def language_kept(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 8: perplexity changes by at most 2 % under every IP, and EP to α = 2."""
    changes = {
        (w, a, t): relative_perplexity(r, sweep(t, w, a, s))
        for t in OPPOSITE
        for w in (MASK, VALUE_AS_MASK, main_value(s))
        for a in (1.0, 2.0)
    }
    far = {key: change.abs().max() for key, change in changes.items()}  # in the worst seed
    worst = max(far, key=far.get)
    ours = f"at most {far[worst]:.1f} % in any seed ({worst[0]}, α = {worst[1]:g}, from {worst[2]})"
    fine = {where: all(far[k] <= 2 for k in far if k[0] == where) for where, *_ in far}
    main = changes[MASK, 2.0, "stereotypical"]
    return ours, summary(main), verdict(all(fine.values()), fine[MASK])


def original_improves(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 9: along A − S the original loses half of its margin; random weights do nothing."""
    before = model_values(r, ORIGINAL, MARGIN, s.measured_sparsity).mean()
    main, random = (change(r, of_original(w, 1.0, s)) for w in (main_value(s), UNINFORMED_AS_VALUE))
    ours = (
        f"α = 1 takes the margin from {before:+.2f} to {before + main.mean():+.2f}, "
        f"random weights to {before + random.mean():+.2f}"
    )
    halved = before > 0 and abs(before + main.mean()) <= before / 2
    full = halved and abs(random.mean()) <= abs(main.mean()) / 10
    return ours, summary(main), verdict(full, main.mean() < 0)


def original_kept(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 10: that edit barely changes the language model."""
    edit = of_original(main_value(s), 1.0, s)
    lm, perplexity = change(r, edit, "stereoset_lm"), relative_perplexity(r, edit)
    fine = [abs(perplexity.mean()) <= 2, abs(lm.mean()) <= 2]
    ours = f"perplexity {perplexity.mean():+.1f} %, StereoSet LM {lm.mean():+.1f} points"
    return ours, summary(perplexity), verdict(all(fine), any(fine))


def elsewhere(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 11: the two models separate on StereoSet and CrowS-Pairs too."""
    table = separation(r)
    other = table[table["measure"].isin(["stereoset_margin", "crows_margin"])]
    seen = (other["difference"] > 1.96 * other["se"]).groupby(other["measure"]).all()
    ours = "; ".join(
        f"{row.measure}, seed {row.seed}: {row.difference:+.3f} ± {1.96 * row.se:.3f}, n = {row.n}"
        for row in other.itertuples()
    )
    crows = other.loc[other["measure"] == "crows_margin", "difference"]
    return ours, summary(crows), verdict(bool(seen.all()), bool(seen.any()))


CLAIMS = (
    Claim(1, "S, the original and A separate on held-out pairs", "Tab. 1",
          "S > original > A in every seed; in part: S > A", separate),
    Claim(2, "The masks of S and A differ in few weights", "< 0.5 %", "≤ 0.5 %", few_weights),
    Claim(3, "Mask-based edits move S towards A", "Fig. 4, 6",
          "≥ 10 % of the gap at α = 1 and ≥ 20 % at α = 2; in part: one",
          _mask_based("stereotypical")),
    Claim(4, "Mask-based edits move A towards S", "Fig. 4, 6", "the same", _mask_based("anti")),
    Claim(5, "Uninformed edits of the same size barely do", "Fig. 4",
          "mask-based ≥ 10 × in both directions; in part: in one", beats_uninformed),
    Claim(6, "Nor do random weights of the same matrices and sizes", "beyond the paper",
          "≤ 1/5 of mask-based for both; in part: for one", beats_matched),
    Claim(7, "Nor does editing towards another seed", "beyond the paper",
          "mean absolute effect ≤ 1/4 of mask-based at α = 2 (before the run: the signed mean, "
          "which cancels); in part: less than it", null_contrast),
    Claim(8, "Perplexity barely changes", PAPER_LANGUAGE,
          "≤ 2 % for mask and value, α = 1 and 2; in part: for the mask", language_kept),
    Claim(9, "The original model's WinoBias margin halves along A − S", "Fig. 7, of a fine-tuned one",
          "|margin| at most half of before, random weights ≤ 1/10 of the change; in part: it falls",
          original_improves),
    Claim(10, "while perplexity and LM score stay", "Tab. 8",
          "perplexity ≤ 2 % and LM ≤ 2 points; in part: one", original_kept),
    Claim(11, "S and A separate on StereoSet and CrowS-Pairs too", "Tab. 1",
          "above 1.96 standard errors over items in every seed, both; in part: one", elsewhere),
)  # fmt: skip


def sentences(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> list[str]:
    """Summarize the run in three sentences with numbers."""
    at, n = s.measured_sparsity, len(s.seeds)
    cells = {(t, a): share(r, t, MASK, a, s).mean() for t in OPPOSITE for a in (1.0, 2.0)}
    random = share(r, "stereotypical", UNINFORMED, 2.0, s).mean()
    bits = 100 * mask_share(m, at, "stereotypical", "anti").mean()
    before = {k: model_values(r, ORIGINAL, k, at).mean() for k in ("winobias", MARGIN)}
    edit = of_original(main_value(s), 1.0, s)
    after = {k: before[k] + change(r, edit, k).mean() for k in before}
    pairs = int(select(r, measure=MARGIN)["n"].iloc[0])
    part = 100 * select(r, target=ORIGINAL, localization=str(main_value(s)))["k_share"].mean()
    text = relative_perplexity(r, sweep("stereotypical", MASK, 2.0, s)).mean()
    return [
        f"Edits of the {bits:.3f} % of the weights inside the layers in which the masks of a stereotypical and an "
        f"anti-stereotypical {describe(s.model)} differ close {cells['stereotypical', 1.0]:.0f} % (α = 1) and "
        f"{cells['stereotypical', 2.0]:.0f} % (α = 2) of their gap on {pairs} held-out WinoBias pairs "
        f"({cells['anti', 1.0]:.0f} and {cells['anti', 2.0]:.0f} % in the other direction), as many "
        f"random weights at α = 2 {random:+.1f} %, while perplexity changes by {text:+.1f} % "
        f"(means over {n} seeds).",
        f"The original model, edited along A − S at {part:.2f} % of them, goes from "
        f"{before['winobias']:.1f} to {after['winobias']:.1f} % "
        f"pro-stereotypical choices (margin {before[MARGIN]:+.2f} to "
        f"{after[MARGIN]:+.2f}).",
        f"At this training budget {power(r)}.",
    ]


def power(r: pd.DataFrame) -> str:
    """Return how many items StereoSet and CrowS-Pairs need to tell the two models apart."""
    items, texts = needed(r), []
    for measure, name in zip(SEPARATION[1:3], ("StereoSet", "CrowS-Pairs"), strict=True):
        has, needs = items.loc[measure, "n"], items.loc[measure, "needed"]
        if np.isinf(needs):
            texts.append(f"{name}, with {has:,.0f} items, does not put S above A")
        else:
            texts.append(
                f"{name} needs {needs:,.0f} items to tell S and A apart (it has {has:,.0f})"
            )
    return " and ".join(texts)
