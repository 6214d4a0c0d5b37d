"""What a sound run of the toy has to show, with the thresholds that were set before it."""

import pandas as pd

from lcelib.paper.grid import OTHER_SEED
from lcelib.paper.results import (
    MEASURES,
    closed,
    edit_rows,
    is_monotone,
    main_value,
    mask_share,
    mean_closed,
    model_gap,
    model_values,
    relative_perplexity,
    ticket_excess,
)
from lcelib.paper.statistics import Summary, summary, yes_no
from lcelib.run.profiles import CONDITIONS, OPPOSITE
from lcelib.subnetworks import WINNING_TICKET


def checks(results: pd.DataFrame, located: pd.DataFrame, settings) -> list[dict]:
    """All checks as dicts: check, ours (mean over seeds with interval), threshold, met.

    `met` is None for values that are shown beside a check and have no threshold.
    """
    return [
        *separation(results, settings),
        *masks(results, located, settings),
        *effects(results, settings),
        *language(results, settings),
    ]


def row(check: str, ours: Summary | str, threshold: str, met: bool | None) -> dict:
    """One check; a plain bool, so that a check that fails can be written as JSON too."""
    return {
        "check": check,
        "ours": str(ours),
        "threshold": threshold,
        "met": None if met is None else bool(met),
    }


def separation(r, s) -> list[dict]:
    """S above base above A, and by how much."""
    at = s.measured_sparsity
    means = {
        k: [
            model_values(r, "stereotypical", k, at).mean(),
            model_values(r, "base", k, 0.0).mean(),
            model_values(r, "anti", k, at).mean(),
        ]
        for k in MEASURES
    }
    ordered = all(x[0] > x[1] > x[2] for x in means.values())
    every = all((model_gap(r, k, at) > 0).all() for k in MEASURES)
    d = summary(model_gap(r, "weat_d", at))
    scores = "; ".join(f"{k} {summary(model_gap(r, k, at))}" for k in ("stereoset_ss", "crows"))
    return [
        row("S above base above A in the mean, three measures", yes_no(ordered), "yes", ordered),
        row("S above A in every seed, three measures", yes_no(every), "yes", every),
        row("d(S) − d(A)", d, "≥ 0.8", d.mean >= 0.8),
        row("S − A in the 0–100 scores", scores, "none", None),
    ]


def masks(r, m, s) -> list[dict]:
    """How many mask bits differ between conditions and between seeds, and what the latter do."""
    at = s.measured_sparsity
    ours = 100 * mask_share(m, at, "stereotypical", "anti")
    seeds = 100 * mask_share(m, at, "stereotypical", "stereotypical" + OTHER_SEED)
    effect = [
        closed(r, t, "mask", "IP", 1.0, at, k, reference=t + OTHER_SEED)
        for t in OPPOSITE
        for k in MEASURES
    ]
    # Each seed is edited towards the next in a circle: signed effects cancel whatever the edit does.
    null = summary(pd.concat(effect, axis=1).abs().mean(axis=1))
    return [
        row("S–A masks differ, % of weights", summary(ours), "≤ 1.2", ours.mean() <= 1.2),
        row("two seeds' masks differ, % of weights", summary(seeds), "none", None),
        row("null contrast, IP(1): % of the gap moved, up or down", null, "none", None),
    ]


def effects(r, s) -> list[dict]:
    """What edits do to bias: size, controls, monotony, passing neutral, the neutral target."""
    at, value, top = s.measured_sparsity, main_value(s), max(s.sparsities)
    rows = []
    for where, strategy, alpha, bound in (
        ("mask", "IP", 1.0, 18),
        ("mask", "EP", 2.0, 40),
        (value, "IP", 1.0, 30),
    ):
        x = summary(mean_closed(r, where, strategy, alpha, at))
        name = f"{where}, {strategy}({alpha:g}): % of gap closed"
        rows.append(row(name, x, f"≥ {bound}", x.mean >= bound))
    control = summary(mean_closed(r, "uninformed =mask", "IP", 1.0, at))
    name = "uninformed =mask, IP(1): % of gap closed"
    rows.append(row(name, control, "≤ 5", abs(control.mean) <= 5))
    both = [mean_closed(r, w, "IP", 1.0, at).mean() for w in (value, "uninformed =value")]
    ratio = both[0] / both[1]
    rows.append(row(f"{value} over uninformed of its size", f"{ratio:.2g} ×", "≥ 3 ×", ratio >= 3))
    steady = all(
        is_monotone(r, t, w, k, s) for t in OPPOSITE for w in ("mask", value) for k in MEASURES
    )
    rows.append(row("all measures monotone in α on [−2, 3]", yes_no(steady), "yes", steady))
    for measure, bound in (("stereoset_ss", 50), ("weat_d", 0)):
        cells = (edit_rows(r, "stereotypical", value, "EP", a, at, measure) for a in (2.0, 3.0))
        low = min(float(x["value"].mean()) for x in cells)
        name = f"value-based S passes {measure} {bound} at α ≤ 3"
        rows.append(row(name, f"{low:.2f}", f"≤ {bound}", low <= bound))
    falls = [edit_rows(r, "neutral", "mask", "EP", -2.0, top, k, "stereotypical") for k in MEASURES]
    change = [float((x["value"] - x["target_value"]).mean()) for x in falls]
    shown = ", ".join(f"{x:+.3f}" for x in change)
    name = "neutral at α = −2 away from S: Δ of the three"
    return [*rows, row(name, shown, "all < 0", all(x < 0 for x in change))]


def language(r, s) -> list[dict]:
    """What edits and pruning cost in language modelling."""
    at, value = s.measured_sparsity, main_value(s)
    cells = [
        relative_perplexity(r, t, w, strategy, alpha, at)
        for t in OPPOSITE
        for w in ("mask", value)
        for strategy, alpha in (("IP", 0.5), ("IP", 1.0), ("EP", 2.0))
    ]
    changes = pd.concat(cells, axis=1)
    worst = summary(changes.abs().max(axis=1))
    pr, random = (
        pd.concat([relative_perplexity(r, t, w, "PR", None, at) for t in OPPOSITE], axis=1)
        for w in (value, "uninformed =value")
    )
    limit = 5 * changes.mean().abs().max()
    excess = ticket_excess(r, s).max(axis=None)
    lm = pd.concat([model_values(r, c, "stereoset_lm", at) for c in CONDITIONS], axis=1).min(axis=1)
    return [
        row("largest |Δperplexity| of IP, EP(2), %", worst, "≤ 2", worst.mean <= 2),
        row(
            "value-based PR's Δperplexity, %",
            summary(pr.mean(axis=1)),
            "> 5 × the largest mean above",
            pr.mean(axis=None) > limit,
        ),
        row("uninformed PR's of the same size, %", summary(random.mean(axis=1)), "none", None),
        row(
            "largest excess perplexity of a subnetwork over dense, %",
            f"{100 * excess:.1f}",
            f"≤ {100 * WINNING_TICKET:g}",
            excess <= WINNING_TICKET,
        ),
        row("LM score, lowest of the three models", summary(lm), "≥ 85", lm.mean() >= 85),
    ]
