"""The claims ledger: the paper's ten claims against our results, by thresholds fixed here.

Every threshold stands in this file before a run; the verdicts are computed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lcelib.paper.results import (
    MEASURES,
    closed,
    density,
    edit_rows,
    is_monotone,
    main_value,
    mask_share,
    mean_closed,
    model_gap,
    model_values,
    relative_perplexity,
    select,
    ticket_excess,
)
from lcelib.paper.statistics import Summary, summary, yes_no
from lcelib.run.profiles import OPPOSITE
from lcelib.subnetworks import WINNING_TICKET

SHOWS, PART, NOT = "shows", "shows in part", "does not show"
# Table 5 at 30 % prints absolute changes; the perplexity there is 5.69 (Table 4).
PAPER_LANGUAGE = "IP and EP(2): at most 0.7 % (0.041 of 5.69; Tab. 5, 30 %)"
PAPER_PRUNING = "value-based PR +167 % (9.53 of 5.69)"


@dataclass(frozen=True)
class Claim:
    """One claim: what the paper says and reports, our threshold, and the function that judges."""

    id: int
    claim: str
    paper: str
    threshold: str
    judge: Callable


def verdict(full: bool, part: bool) -> str:
    """The verdict in words."""
    return SHOWS if full else PART if part else NOT


def separate(r: pd.DataFrame, m: pd.DataFrame, s) -> tuple[str, Summary, str]:
    """Claim 1: S above base above A."""
    at = {
        c: {k: model_values(r, c, k, 0.0) for k in MEASURES}
        for c in ("stereotypical", "anti", "base")
    }
    gap = {k: at["stereotypical"][k] - at["anti"][k] for k in MEASURES}
    order = all(
        at["stereotypical"][k].mean() > at["base"][k].mean() > at["anti"][k].mean()
        for k in MEASURES
    )
    every = all((gap[k] > 0).all() for k in MEASURES)
    d = summary(gap["weat_d"])
    full = order and every and d.mean >= 0.8
    ours = f"d(S) − d(A) = {d.mean:.2f}; S above A on all three in every seed: {yes_no(every)}"
    return ours, d, verdict(full, all(g.mean() > 0 for g in gap.values()))


def tickets(r, m, s):
    """Claim 2: winning tickets to 40 %, bias kept."""
    excess, top = ticket_excess(r, s), max(s.sparsities)
    worst = float(excess.max(axis=None))
    kept = min(model_gap(r, k, top).mean() / model_gap(r, k, 0.0).mean() for k in MEASURES)
    ours = f"perplexity at most {100 * worst:+.1f} %; {100 * kept:.0f} % of the gap kept"
    ticket = worst <= WINNING_TICKET
    found = verdict(ticket and kept >= 0.5, ticket or kept >= 0.5)
    return ours, summary(100 * excess.max(axis=1)), found


def masks_differ(r, m, s):
    """Claim 3: under 0.5 % of the mask bits differ; masks of different seeds agree."""
    share = mask_share(m, s.measured_sparsity, "stereotypical", "anti")
    ours_share = summary(100 * share)
    null = mask_share(m, s.measured_sparsity, "stereotypical", "stereotypical (other seed)")
    kept = 1 - s.measured_sparsity
    jaccard = float(((kept - null / 2) / (kept + null / 2)).mean())
    seeds = f"{jaccard:.3f}" if np.isfinite(jaccard) else "not measured (one seed)"
    ours = f"{ours_share.mean:.2f} % differ; Jaccard of two seeds {seeds}"
    full = ours_share.mean <= 0.5 and jaccard > 0.98
    return ours, ours_share, verdict(full, ours_share.mean <= 1.2)


def clustered(r, m, s):
    """Claim 4: the selected weights cluster in the last layers and in attention output."""
    rows = select(
        m,
        sparsity=max(s.sparsities),
        target="stereotypical",
        reference="anti",
        localization="mask",
    )
    layers, parts = density(rows, "layer"), density(rows, "component")
    last = layers.xs(layers.index.get_level_values(1).max(), level=1)
    by_part = parts.groupby(level=1).mean().sort_values(ascending=False)
    first = list(by_part.index).index("attention.output.dense") + 1 if len(by_part) > 1 else 0
    ratio = summary(last)
    ours = f"last layer {ratio.mean:.2f} × the mean density; attention output is {first} of {len(by_part)}"
    return ours, ratio, verdict(ratio.mean >= 1.2 and first == 1, ratio.mean >= 1.2 or first == 1)


def strategies_work(r, m, s):
    """Claim 5: nearly every strategy moves bias as intended, uninformed edits barely.

    A cell is one edit in one direction on one measure; it is as intended where the mean over
    seeds of the share of the gap closed has the intended sign, however small it is.
    """
    right, total = 0, 0
    for localization, cells in _strategies(s):
        for strategy, alpha in cells:
            for target in OPPOSITE:
                for k in MEASURES:
                    moved = closed(r, target, localization, strategy, alpha, s.measured_sparsity, k)
                    if moved.empty:
                        raise ValueError("a strategy is not in the table")
                    right += (moved.mean() > 0) == (alpha is None or alpha > 0)
                    total += 1
    control = summary(mean_closed(r, "uninformed =mask", "IP", 1.0, s.measured_sparsity))
    edits = total // (len(OPPOSITE) * len(MEASURES))
    ours = (
        f"the mean over seeds has the intended sign in {right} of {total} cells ({edits} edits × "
        f"{len(OPPOSITE)} directions × {len(MEASURES)} measures); uninformed IP(1) closes {control.mean:.1f} %"
    )
    barely = abs(control.mean) <= 5
    return ours, control, verdict(right >= 0.9 * total and barely, right >= 0.75 * total)


def monotone_in_alpha(r, m, s):
    """Claim 6: WEAT monotone in α; EP overshoots neutral at α = 2."""
    ok = all(is_monotone(r, t, w, "weat_d", s) for t in OPPOSITE for w in ("mask", main_value(s)))
    end = edit_rows(r, "stereotypical", main_value(s), "EP", 2.0, s.measured_sparsity, "weat_d")[
        "value"
    ]
    d = summary(end)
    ours = f"monotone on [−2, 3]: {yes_no(ok)}; value-based S at α = 2: d = {d.mean:.2f}"
    return ours, d, verdict(ok and d.mean <= 0, ok)


def language_kept(r, m, s):
    """Claim 7: perplexity and LM score barely change, but for value-based PR."""
    at, value = s.measured_sparsity, main_value(s)
    cells = [
        (target, where, strategy, alpha, at)
        for target in OPPOSITE
        for where in ("mask", value)
        for strategy, alpha in (("IP", 0.5), ("IP", 1.0), ("EP", 2.0))
    ]
    changes = {cell: abs(float(relative_perplexity(r, *cell).mean())) for cell in cells}
    far = max(changes, key=changes.get)
    worst = changes[far]
    lm = (edit_rows(r, *cell, "stereoset_lm") for cell in cells)
    change = max(float((rows["value"] - rows["target_value"]).abs().mean()) for rows in lm)
    pruned = [(target, value, "PR", None, at) for target in OPPOSITE]
    pr = pd.concat([relative_perplexity(r, *cell) for cell in pruned], axis=1).mean(axis=1)
    ours = (
        f"IP and EP(2): at most {worst:.1f} % perplexity ({_absolute(r, [far])}), "
        f"{change:.1f} LM points; value-based PR {pr.mean():+.1f} % ({_absolute(r, pruned)})"
    )
    full = worst <= 2 and change <= 2 and pr.mean() > 5 * worst
    return ours, summary(pr), verdict(full, worst <= 2)


def _absolute(r, cells) -> str:
    """Return the mean change of perplexity over edits and seeds, beside the mean it starts from."""
    rows = pd.concat([edit_rows(r, *cell, "perplexity") for cell in cells])
    change = (rows["value"] - rows["target_value"]).mean()
    return f"{change:.2f} of {rows['target_value'].mean():.2f}"


def sparsity_trend(r, m, s):
    """Claim 8: mask-based grows and value-based shrinks with sparsity."""
    low, high = min(s.sparsities), max(s.sparsities)
    if low == high:
        raise ValueError("one sparsity shows no trend")
    mask, value = (
        mean_closed(r, w, "IP", 1.0, high) - mean_closed(r, w, "IP", 1.0, low)
        for w in ("mask", main_value(s))
    )
    ours = f"from {low:.0%} to {high:.0%}: mask {mask.mean():+.0f}, value {value.mean():+.0f} points of the gap"
    up, down = mask.mean() > 0, value.mean() < 0
    return ours, summary(mask), verdict(up and down, up or down)


def saturation(r, m, s):
    """Claim 9: value-based interpolation saturates in k."""
    at = {k: mean_closed(r, f"value {k:g}", "IP", 0.5, s.measured_sparsity) for k in (0.4, 1.0)}
    share = summary(100 * at[0.4] / at[1.0])
    ours = f"k = 40 % reaches {share.mean:.0f} % of what all shared weights reach"
    return ours, share, verdict(share.mean >= 90, share.mean >= 75)


def neutral_target(r, m, s):
    """Claim 10: the neutral target works with the stereotypical reference."""
    top, falls = max(s.sparsities), []
    for k in MEASURES:
        rows = edit_rows(r, "neutral", "mask", "EP", -2.0, top, k, "stereotypical")
        falls.append(rows["value"] - rows["target_value"])
    d = summary(falls[-1])
    down = [float(f.mean()) < 0 for f in falls]
    ours = f"α = −2 away from S: {sum(down)} of 3 measures fall; Δd = {d.mean:.2f}"
    return ours, d, verdict(all(down), down[-1])


def _strategies(s):
    swept = (("IP", 0.5), ("IP", 1.0), ("EP", 2.0), ("EP", -2.0))
    return (
        ("mask", (*swept, ("PR", None), ("SW", None))),
        (main_value(s), (*swept, ("PR", None))),
    )


CLAIMS = (
    Claim(
        1,
        "Stereotypical and anti-stereotypical models separate",
        "WEAT +0.93 / −0.75 (Tab. 1)",
        "S > base > A in the mean, S > A in every seed on three measures, Δd ≥ 0.8",
        separate,
    ),
    Claim(
        2,
        "Subnetworks to 40 % sparsity are winning tickets and keep the bias",
        "perplexity within 5 %, WEAT 0.91 / −0.44 at 40 % (Tab. 1, 4)",
        "perplexity ≤ +5 % in all; ≥ 50 % of each gap kept",
        tickets,
    ),
    Claim(
        3,
        "Target and reference masks hardly differ; masks of seeds agree",
        "< 0.5 % differ, Jaccard > 0.98",
        "≤ 0.5 % and Jaccard > 0.98; in part: ≤ 1.2 %",
        masks_differ,
    ),
    Claim(
        4,
        "Selected weights cluster in the last layers, in attention output",
        "last layers, mostly attention.output.dense (Fig. 3)",
        "last layer ≥ 1.2 × the mean density and attention output densest; in part: one",
        clustered,
    ),
    Claim(
        5,
        "Nearly every strategy moves bias as intended, uninformed edits barely",
        "Fig. 4",
        "≥ 90 % of cells with the intended sign of the mean over seeds, and uninformed ≤ 5 % of the gap; in part: ≥ 75 %",
        strategies_work,
    ),
    Claim(
        6,
        "WEAT is monotone in α and passes neutral at α = 2",
        "Fig. 6a",
        "monotone on [−2, 3] in both directions, d ≤ 0 at α = 2 from S; in part: monotone",
        monotone_in_alpha,
    ),
    Claim(
        7,
        "Perplexity and LM score barely change, but for value-based pruning",
        f"{PAPER_LANGUAGE}, {PAPER_PRUNING}",
        "IP, EP(2) ≤ 2 % and ≤ 2 LM points, PR > 5 × the largest; in part: ≤ 2 %",
        language_kept,
    ),
    Claim(
        8,
        "With sparsity mask-based edits get stronger, value-based weaker",
        "stated in the text",
        "share of the gap by IP(1) rises for mask and falls for value; in part: one",
        sparsity_trend,
    ),
    Claim(
        9,
        "Value-based interpolation saturates in k",
        "at k of 20–40 % (Fig. 5)",
        "k = 40 % reaches ≥ 90 % of k = 100 %; in part: ≥ 75 %",
        saturation,
    ),
    Claim(
        10,
        "Editing a neutral model away from the stereotypical one removes bias",
        "α = −2 (Fig. 7)",
        "all three measures fall at α = −2; in part: WEAT falls",
        neutral_target,
    ),
)
