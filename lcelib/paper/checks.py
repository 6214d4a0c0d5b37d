"""Checks of a toy run against thresholds that were set before it."""

from typing import Any

import pandas as pd

from lcelib.paper import findings
from lcelib.paper.edits import MASK, OTHER_SEED, UNINFORMED, UNINFORMED_AS_VALUE, main_value
from lcelib.paper.results import (
    MEASURES,
    closed,
    edit_rows,
    mask_share,
    mean_closed,
    model_gap,
    model_values,
    to_opposite,
)
from lcelib.paper.statistics import Summary, summary, yes_no
from lcelib.run.profiles import CONDITIONS, OPPOSITE, Profile
from lcelib.subnetworks import WINNING_TICKET


def checks(results: pd.DataFrame, located: pd.DataFrame, settings: Profile) -> list[dict]:
    """Return all checks as dicts: check, ours (mean over seeds with interval), threshold, met.

    `met` is None for values without a threshold, which are shown beside a check.
    """
    return [
        *separation(results, settings),
        *masks(results, located, settings),
        *effects(results, settings),
        *language(results, settings),
    ]


def row(check: str, ours: Summary | str, threshold: str, met: bool | None) -> dict:
    """Return one check; `met` as a plain bool, since JSON has no NumPy ones."""
    met = None if met is None else bool(met)
    return {"check": check, "ours": str(ours), "threshold": threshold, "met": met}


def separation(r: pd.DataFrame, s: Profile) -> list[dict]:
    """Check that S is above base above A, and by how much."""
    at = s.measured_sparsity
    found = findings.separation(r, at)
    ordered, every, d = found.ordered, found.in_every_seed, summary(found.gaps["weat_d"])
    scores = "; ".join(f"{k} {summary(model_gap(r, k, at))}" for k in ("stereoset_ss", "crows"))
    return [
        row("S above base above A in the mean, three measures", yes_no(ordered), "yes", ordered),
        row("S above A in every seed, three measures", yes_no(every), "yes", every),
        row("d(S) − d(A)", d, "≥ 0.8", d.mean >= 0.8),
        row("S − A in the 0–100 scores", scores, "none", None),
    ]


def masks(r: pd.DataFrame, m: pd.DataFrame, s: Profile) -> list[dict]:
    """Check how many mask bits differ; show how many between seeds, and their effect."""
    at = s.measured_sparsity
    ours = 100 * mask_share(m, at, "stereotypical", "anti")
    seeds = 100 * mask_share(m, at, "stereotypical", "stereotypical" + OTHER_SEED)
    edits = [to_opposite(t, (MASK, "IP", 1.0), at, t + OTHER_SEED) for t in OPPOSITE]
    effect = [closed(r, edit, k) for edit in edits for k in MEASURES]
    # Each seed is edited towards the next in a circle: signed effects cancel whatever the edit does.
    null = summary(pd.concat(effect, axis=1).abs().mean(axis=1))
    return [
        row("S–A masks differ, % of weights", summary(ours), "≤ 1.2", ours.mean() <= 1.2),
        row("two seeds' masks differ, % of weights", summary(seeds), "none", None),
        row("null contrast, IP(1): % of the gap moved, up or down", null, "none", None),
    ]


def effects(r: pd.DataFrame, s: Profile) -> list[dict]:
    """Check how edits change bias: size, controls, monotony, passing neutral, the neutral target."""
    at, value, rows = s.measured_sparsity, main_value(s), []
    for cell, bound in (((MASK, "IP", 1.0), 18), ((MASK, "EP", 2.0), 40), ((value, "IP", 1.0), 30)):
        x = summary(mean_closed(r, cell, at))
        name = f"{cell[0]}, {cell[1]}({cell[2]:g}): % of gap closed"
        rows.append(row(name, x, f"≥ {bound}", x.mean >= bound))
    control = summary(mean_closed(r, (UNINFORMED, "IP", 1.0), at))
    name = f"{UNINFORMED}, IP(1): % of gap closed"
    rows.append(row(name, control, "≤ 5", abs(control.mean) <= 5))
    both = [mean_closed(r, (w, "IP", 1.0), at).mean() for w in (value, UNINFORMED_AS_VALUE)]
    ratio = both[0] / both[1]
    rows.append(row(f"{value} over uninformed of its size", f"{ratio:.2g} ×", "≥ 3 ×", ratio >= 3))
    sweeps = [(t, w, k) for t in OPPOSITE for w in (MASK, value) for k in MEASURES]
    steady = all(findings.is_monotone(r, *sweep, s) for sweep in sweeps)
    rows.append(row("all measures monotone in α on [−2, 3]", yes_no(steady), "yes", steady))
    for measure, bound in (("stereoset_ss", 50), ("weat_d", 0)):
        edits = [to_opposite("stereotypical", (value, "EP", a), at) for a in (2.0, 3.0)]
        low = min(float(edit_rows(r, edit, measure)["value"].mean()) for edit in edits)
        name = f"value-based S passes {measure} {bound} at α ≤ 3"
        rows.append(row(name, f"{low:.2f}", f"≤ {bound}", low <= bound))
    change = [float(fall.mean()) for fall in findings.neutral_falls(r, s).values()]
    shown = ", ".join(f"{x:+.3f}" for x in change)
    name = "neutral at α = −2 away from S: Δ of the three"
    return [*rows, row(name, shown, "all < 0", all(x < 0 for x in change))]


def language(r: pd.DataFrame, s: Profile) -> list[dict]:
    """Check the cost of edits and pruning in language modelling."""
    at, found = s.measured_sparsity, findings.language(r, s)
    worst = summary(pd.concat(found.gentle.values(), axis=1).abs().max(axis=1))
    pr = pd.concat(found.pruning.values(), axis=1)
    pruned = [to_opposite(t, (UNINFORMED_AS_VALUE, "PR", None), at) for t in OPPOSITE]
    random = pd.concat([findings.relative_perplexity(r, edit) for edit in pruned], axis=1)
    excess = float(findings.ticket_excess(r, s).max().max())
    lm = pd.concat([model_values(r, c, "stereoset_lm", at) for c in CONDITIONS], axis=1).min(axis=1)
    mean: Any = pr.mean(axis=None)
    over, pr_each = mean > 5 * found.worst, summary(pr.mean(axis=1))
    tickets, limit = f"{100 * excess:.1f}", f"≤ {100 * WINNING_TICKET:g}"
    name = "largest excess perplexity of a subnetwork over dense, %"
    return [
        row("largest |Δperplexity| of IP, EP(2), %", worst, "≤ 2", worst.mean <= 2),
        row("value-based PR's Δperplexity, %", pr_each, "> 5 × the largest mean above", over),
        row("uninformed PR's of the same size, %", summary(random.mean(axis=1)), "none", None),
        row(name, tickets, limit, excess <= WINNING_TICKET),
        row("LM score, lowest of the three models", summary(lm), "≥ 85", lm.mean() >= 85),
    ]
