"""The claims ledger: the paper's ten claims against our results, by thresholds fixed here.

Every threshold stands in this file before a run; the verdicts are computed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from lcelib.paper.edits import MASK, OTHER_SEED, UNINFORMED, Edit, Where, main_value
from lcelib.paper.findings import is_monotone, language, neutral_falls, separation, ticket_excess
from lcelib.paper.results import (
    MEASURES,
    Cell,
    NotInTableError,
    closed,
    density,
    edit_rows,
    mask_share,
    mean_closed,
    model_gap,
    select,
    to_opposite,
)
from lcelib.paper.statistics import Summary, summary, yes_no
from lcelib.run.profiles import OPPOSITE, Profile
from lcelib.subnetworks import WINNING_TICKET

SHOWS, PART, NOT = "shows", "shows in part", "does not show"
# Table 5 at 30 % prints absolute changes; the perplexity there is 5.69 (Table 4).
PAPER_LANGUAGE = "IP and EP(2): at most 0.7 % (0.041 of 5.69; Tab. 5, 30 %)"
PAPER_PRUNING = "value-based PR +167 % (9.53 of 5.69)"
Judgement = tuple[str, Summary, str]  # ours in words, its key number, the verdict


@dataclass(frozen=True)
class Claim:
    """One claim: what the paper says and reports, our threshold, and the function that judges."""

    id: int
    claim: str
    paper: str
    threshold: str
    judge: Callable[[pd.DataFrame, pd.DataFrame, Profile], Judgement]


def verdict(full: bool, part: bool) -> str:
    """Return the verdict in words."""
    return SHOWS if full else PART if part else NOT


def separate(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 1: S above base above A."""
    found = separation(r, 0.0)
    d = summary(found.gaps["weat_d"])
    full = found.ordered and found.in_every_seed and d.mean >= 0.8
    every = yes_no(found.in_every_seed)
    ours = f"d(S) − d(A) = {d.mean:.2f}; S above A on all three in every seed: {every}"
    return ours, d, verdict(full, all(gap.mean() > 0 for gap in found.gaps.values()))


def tickets(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 2: winning tickets to 40 %, bias kept."""
    excess, top = ticket_excess(r, s), max(s.sparsities)
    worst = float(excess.max().max())
    left = min(model_gap(r, k, top).mean() / model_gap(r, k, 0.0).mean() for k in MEASURES)
    ours = f"perplexity at most {100 * worst:+.1f} %; {100 * left:.0f} % of the gap kept"
    ticket = worst <= WINNING_TICKET
    found = verdict(ticket and left >= 0.5, ticket or left >= 0.5)
    return ours, summary(100 * excess.max(axis=1)), found


def masks_differ(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 3: under 0.5 % of the mask bits differ; masks of different seeds agree."""
    share = summary(100 * mask_share(m, s.measured_sparsity, "stereotypical", "anti"))
    jaccard, seeds = 0.0, "not measured (one seed)"
    if len(s.seeds) > 1:
        null = mask_share(m, s.measured_sparsity, "stereotypical", "stereotypical" + OTHER_SEED)
        left = 1 - s.measured_sparsity
        jaccard = float(((left - null / 2) / (left + null / 2)).mean())
        seeds = f"{jaccard:.3f}"
    ours = f"{share.mean:.2f} % differ; Jaccard of two seeds {seeds}"
    return ours, share, verdict(share.mean <= 0.5 and jaccard > 0.98, share.mean <= 1.2)


def clustered(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 4: the selected weights cluster in the last layers and in attention output."""
    pair = {"target": "stereotypical", "reference": "anti", "localization": "mask"}
    rows = select(m, sparsity=max(s.sparsities), **pair)
    if "attention.output.dense" not in set(rows["component"]):
        raise NotInTableError("this family of models has no attention.output.dense")
    layers, parts = density(rows, "layer"), density(rows, "component")
    last = layers.xs(layers.index.get_level_values(1).max(), level=1)
    by_part = parts.groupby(level=1).mean().sort_values(ascending=False)
    first = list(by_part.index).index("attention.output.dense") + 1 if len(by_part) > 1 else 0
    ratio = summary(last)
    ours = f"last layer {ratio.mean:.2f} × the mean density; attention output is {first} of {len(by_part)}"
    return ours, ratio, verdict(ratio.mean >= 1.2 and first == 1, ratio.mean >= 1.2 or first == 1)


def strategies_work(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 5: nearly every strategy moves bias as intended, uninformed edits barely.

    A cell is one edit in one direction on one measure; it is as intended where the mean over
    seeds of the share of the gap closed has the intended sign, however small it is.
    """
    at, cells = s.measured_sparsity, _strategies(s)
    edits = [to_opposite(target, cell, at) for cell in cells for target in OPPOSITE]
    intended = [
        (closed(r, edit, k).mean() > 0) == (edit.alpha is None or edit.alpha > 0)
        for edit in edits
        for k in MEASURES
    ]
    control = summary(mean_closed(r, (UNINFORMED, "IP", 1.0), at))
    right, total = sum(intended), len(intended)
    ours = (
        f"the mean over seeds has the intended sign in {right} of {total} cells ({len(cells)} edits × "
        f"{len(OPPOSITE)} directions × {len(MEASURES)} measures); uninformed IP(1) closes {control.mean:.1f} %"
    )
    barely = abs(control.mean) <= 5
    return ours, control, verdict(right >= 0.9 * total and barely, right >= 0.75 * total)


def monotone_in_alpha(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 6: WEAT is monotone in α, and EP passes neutral at α = 2."""
    value = main_value(s)
    ok = all(is_monotone(r, t, w, "weat_d", s) for t in OPPOSITE for w in (MASK, value))
    end = to_opposite("stereotypical", (value, "EP", 2.0), s.measured_sparsity)
    d = summary(edit_rows(r, end, "weat_d")["value"])
    ours = f"monotone on [−2, 3]: {yes_no(ok)}; value-based S at α = 2: d = {d.mean:.2f}"
    return ours, d, verdict(ok and d.mean <= 0, ok)


def language_kept(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 7: perplexity and LM score barely change, but for value-based PR."""
    found = language(r, s)
    pr = pd.concat(found.pruning.values(), axis=1).mean(axis=1)
    ours = (
        f"IP and EP(2): at most {found.worst:.1f} % perplexity ({_absolute(r, [found.farthest])}), "
        f"{found.lm:.1f} LM points; value-based PR {pr.mean():+.1f} % ({_absolute(r, found.pruning)})"
    )
    full = found.worst <= 2 and found.lm <= 2 and pr.mean() > 5 * found.worst
    return ours, summary(pr), verdict(full, found.worst <= 2)


def _absolute(r: pd.DataFrame, edits: Iterable[Edit]) -> str:
    """Return the mean change of perplexity over edits and seeds, beside the mean it starts from."""
    rows = pd.concat([edit_rows(r, edit, "perplexity") for edit in edits])
    change = (rows["value"] - rows["target_value"]).mean()
    return f"{change:.2f} of {rows['target_value'].mean():.2f}"


def sparsity_trend(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 8: mask-based grows and value-based shrinks with sparsity."""
    low, high = min(s.sparsities), max(s.sparsities)
    if low == high:
        raise NotInTableError("one sparsity shows no trend")
    mask, value = (
        mean_closed(r, (w, "IP", 1.0), high) - mean_closed(r, (w, "IP", 1.0), low)
        for w in (MASK, main_value(s))
    )
    ours = f"from {low:.0%} to {high:.0%}: mask {mask.mean():+.0f}, value {value.mean():+.0f} points of the gap"
    up, down = mask.mean() > 0, value.mean() < 0
    return ours, summary(mask), verdict(up and down, up or down)


def saturation(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 9: value-based interpolation saturates in k."""
    some, every = (
        mean_closed(r, (Where("value", k=k), "IP", 0.5), s.measured_sparsity) for k in (0.4, 1.0)
    )
    share = summary(100 * some / every)
    ours = f"k = 40 % reaches {share.mean:.0f} % of what all shared weights reach"
    return ours, share, verdict(share.mean >= 90, share.mean >= 75)


def neutral_target(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> Judgement:
    """Judge claim 10: the neutral target works with the stereotypical reference."""
    falls = neutral_falls(r, s)
    d, down = summary(falls["weat_d"]), {k: float(f.mean()) < 0 for k, f in falls.items()}
    ours = f"α = −2 away from S: {sum(down.values())} of 3 measures fall; Δd = {d.mean:.2f}"
    return ours, d, verdict(all(down.values()), down["weat_d"])


def _strategies(s: Profile) -> list[Cell]:
    swept = (("IP", 0.5), ("IP", 1.0), ("EP", 2.0), ("EP", -2.0), ("PR", None))
    mask = [(MASK, *cell) for cell in (*swept, ("SW", None))]
    return mask + [(main_value(s), *cell) for cell in swept]


CLAIMS = (
    Claim(1, "Stereotypical and anti-stereotypical models separate", "WEAT +0.93 / −0.75 (Tab. 1)",
          "S > base > A in the mean, S > A in every seed on three measures, Δd ≥ 0.8", separate),
    Claim(2, "Subnetworks to 40 % sparsity are winning tickets and keep the bias",
          "perplexity within 5 %, WEAT 0.91 / −0.44 at 40 % (Tab. 1, 4)",
          "perplexity ≤ +5 % in all; ≥ 50 % of each gap kept", tickets),
    Claim(3, "Target and reference masks hardly differ; masks of seeds agree",
          "< 0.5 % differ, Jaccard > 0.98", "≤ 0.5 % and Jaccard > 0.98; in part: ≤ 1.2 %",
          masks_differ),
    Claim(4, "Selected weights cluster in the last layers, in attention output",
          "last layers, mostly attention.output.dense (Fig. 3)",
          "last layer ≥ 1.2 × the mean density and attention output densest; in part: one",
          clustered),
    Claim(5, "Nearly every strategy moves bias as intended, uninformed edits barely", "Fig. 4",
          "≥ 90 % of cells with the intended sign of the mean over seeds, and uninformed ≤ 5 % of "
          "the gap; in part: ≥ 75 %", strategies_work),
    Claim(6, "WEAT is monotone in α and passes neutral at α = 2", "Fig. 6a",
          "monotone on [−2, 3] in both directions, d ≤ 0 at α = 2 from S; in part: monotone",
          monotone_in_alpha),
    Claim(7, "Perplexity and LM score barely change, but for value-based pruning",
          f"{PAPER_LANGUAGE}, {PAPER_PRUNING}",
          "IP, EP(2) ≤ 2 % and ≤ 2 LM points, PR > 5 × the largest; in part: ≤ 2 %",
          language_kept),
    Claim(8, "With sparsity mask-based edits get stronger, value-based weaker", "stated in the text",
          "share of the gap by IP(1) rises for mask and falls for value; in part: one",
          sparsity_trend),
    Claim(9, "Value-based interpolation saturates in k", "at k of 20–40 % (Fig. 5)",
          "k = 40 % reaches ≥ 90 % of k = 100 %; in part: ≥ 75 %", saturation),
    Claim(10, "Editing a neutral model away from the stereotypical one removes bias",
          "α = −2 (Fig. 7)", "all three measures fall at α = −2; in part: WEAT falls",
          neutral_target),
)  # fmt: skip
