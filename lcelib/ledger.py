"""Writes what a run showed: the claims ledger, the checks, and their tables in the README."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from lcelib.claims import CLAIMS, is_monotone, relative_perplexity
from lcelib.experiments import OTHER_SEED
from lcelib.files import atomic
from lcelib.gaps import (
    MEASURES,
    OPPOSITE,
    closed,
    edit_rows,
    main_value,
    mask_share,
    mean_closed,
    model_gap,
    model_values,
)
from lcelib.localization import locate
from lcelib.models import component
from lcelib.profiles import CONDITIONS
from lcelib.statistics import Summary, summary, yes_no
from lcelib.workflow import PUBLISHED, Run

MET = {True: "met    ", False: "NOT MET", None: "       "}
UNTESTABLE = "cannot be tested at this profile"


def judge(results: pd.DataFrame, located: pd.DataFrame, settings) -> list[dict]:
    """All ten claims as dicts: id, claim, paper, ours, interval, n_seeds, threshold, verdict."""
    ledger = []
    for claim in CLAIMS:
        try:
            ours, interval, verdict = claim.judge(results, located, settings)
            if not np.isfinite(interval.mean):
                raise ValueError("a value is missing")
        except (KeyError, ValueError, IndexError, ZeroDivisionError):
            ours, interval, verdict = "the grid of this profile does not hold it", None, UNTESTABLE
        bounds = [round(x, 4) for x in (interval.low, interval.high)] if interval else [np.nan]
        ledger.append(
            {
                "id": claim.id,
                "claim": claim.claim,
                "paper": claim.paper,
                "ours": ours,
                "interval": bounds if np.isfinite(bounds).all() else None,
                "n_seeds": len(settings.seeds),
                "threshold": claim.threshold,
                "verdict": verdict,
            }
        )
    return ledger


def located_table(run: Run) -> pd.DataFrame:
    """How many weights every localization selects, per seed, sparsity, pair and tensor."""
    from lcelib import subnetworks as sn

    settings, rows = run.settings, []
    for seed in settings.seeds:
        other = settings.other_seed(seed)
        for number, sparsity in enumerate(settings.sparsities, start=1):
            nets = {c: sn.load(run.subnetwork(seed, c, number)) for c in CONDITIONS}
            pairs = [("stereotypical", "anti"), ("neutral", "stereotypical"), ("neutral", "anti")]
            if other != seed:
                for c in OPPOSITE:
                    nets[c + OTHER_SEED] = sn.load(run.subnetwork(other, c, number))
                    pairs.append((c, c + OTHER_SEED))
            for target, reference in pairs:
                t, r = nets[target], nets[reference]
                for by, k in (("mask", None), ("value", settings.k)):
                    found = locate(t, r, by=by, k=k).positions
                    for name in t.mask:
                        layer, part = component(name)
                        selected, size = len(found.get(name, ())), t.theta[name].size
                        rows.append(
                            (seed, sparsity, target, reference, by, layer, part, selected, size)
                        )
    columns = "seed sparsity target reference localization layer component selected size"
    return pd.DataFrame(rows, columns=columns.split())


def checks(r: pd.DataFrame, m: pd.DataFrame, s) -> list[dict]:
    """What a sound run of the toy has to show: name, our mean and interval, threshold, whether met."""
    at, v = s.measured_sparsity, main_value(s)
    gap_d = summary(model_gap(r, "weat_d", at))
    value, control = (mean_closed(r, w, "IP", 1.0, at) for w in (v, "uninformed =value"))
    null = _null(r, at)
    changes = _changes(r, s)
    small = summary(changes.abs().max(axis=1))
    pr = pd.concat([relative_perplexity(r, t, v, "PR", None, at) for t in OPPOSITE], axis=1)
    lm = pd.concat([model_values(r, c, "stereoset_lm", at) for c in CONDITIONS], axis=1).min(axis=1)
    ticket = max(
        float((model_values(r, c, "perplexity", x) / model_values(r, c, "perplexity", 0.0)).max())
        for c in CONDITIONS
        for x in s.sparsities
    )
    names = {
        k: [model_values(r, c, k, at).mean() for c in ("stereotypical", "anti")] for k in MEASURES
    }
    base = {k: model_values(r, "base", k, 0.0).mean() for k in MEASURES}
    ordered = all(x[0] > base[k] > x[1] for k, x in names.items())
    every = all((model_gap(r, k, at) > 0).all() for k in MEASURES)
    monotone = all(
        is_monotone(r, t, w, k, s) for t in OPPOSITE for w in ("mask", v) for k in MEASURES
    )
    falls = [
        summary(x["value"] - x["target_value"])
        for x in (
            edit_rows(r, "neutral", "mask", "EP", -2.0, max(s.sparsities), k, "stereotypical")
            for k in MEASURES
        )
    ]
    mask = mask_share(m, at, "stereotypical", "anti")
    null_mask = mask_share(m, at, "stereotypical", "stereotypical" + OTHER_SEED)

    def row(name, summary_, threshold, met):
        ours = summary_ if isinstance(summary_, str) else str(summary_)
        return {"check": name, "ours": ours, "threshold": threshold, "met": met and bool(met)}

    def share(localization, strategy, alpha, bound):
        x = summary(mean_closed(r, localization, strategy, alpha, at))
        return row(
            f"{localization}, {strategy}({alpha:g}): % of gap closed",
            x,
            f"≥ {bound}",
            x.mean >= bound,
        )

    u = summary(mean_closed(r, "uninformed =mask", "IP", 1.0, at))
    ratio = value.mean() / control.mean()
    neutral_ss, neutral_d = _passes(r, s)
    return [
        row("S above base above A in the mean, three measures", yes_no(ordered), "yes", ordered),
        row("S above A in every seed, three measures", yes_no(every), "yes", every),
        row("d(S) − d(A)", gap_d, "≥ 0.8", gap_d.mean >= 0.8),
        row("S − A in the scores: SS, CrowS", _score_gaps(r, at), "shown beside", None),
        row("S–A masks differ, % of weights", summary(100 * mask), "≤ 1.2", mask.mean() <= 0.012),
        row(
            "two seeds' masks differ, % of weights", summary(100 * null_mask), "shown beside", True
        ),
        row("null contrast, IP(1): % of gap closed", null, "≤ 5", abs(null.mean) <= 5),
        share("mask", "IP", 1.0, 18),
        share("mask", "EP", 2.0, 40),
        row("uninformed =mask, IP(1): % of gap closed", u, "≤ 5", abs(u.mean) <= 5),
        share(v, "IP", 1.0, 30),
        row("the same over uninformed of that size", f"{ratio:.2g} ×", "≥ 3 ×", ratio >= 3),
        row("all measures monotone in α on [−2, 3]", yes_no(monotone), "yes", monotone),
        row(
            "value-based S passes SS 50 at α ≤ 3", f"SS {neutral_ss:.1f}", "≤ 50", neutral_ss <= 50
        ),
        row("value-based S passes d 0 at α ≤ 3", f"d {neutral_d:.2f}", "≤ 0", neutral_d <= 0),
        row("largest |Δperplexity| of IP, EP(2), %", small, "≤ 2", small.mean <= 2),
        row(
            "value-based PR's Δperplexity, %",
            summary(pr.mean(axis=1)),
            "> 5 × the largest mean above",
            pr.mean().mean() > 5 * changes.mean().abs().max(),
        ),
        row(
            "neutral at α = −2 away from S: Δ of the three",
            ", ".join(f"{x.mean:+.3f}" for x in falls),
            "all < 0",
            all(x.mean < 0 for x in falls),
        ),
        row(
            "largest perplexity of a subnetwork over dense",
            f"{ticket:.3f}",
            "≤ 1.05",
            ticket <= 1.05,
        ),
        row("LM score, lowest of the three models", summary(lm), "≥ 85", lm.mean() >= 85),
    ]


def _score_gaps(r, at: float) -> str:
    """The gap between S and A in the 0–100 scores."""
    return "; ".join(f"{k} {summary(model_gap(r, k, at))}" for k in ("stereoset_ss", "crows"))


def _null(r, at: float) -> Summary:
    """IP(1) towards the same condition of another seed, in % of the S–A gap."""
    parts = [
        closed(r, t, "mask", "IP", 1.0, at, k, reference=t + OTHER_SEED)
        for t in OPPOSITE
        for k in MEASURES
    ]
    return summary(pd.concat(parts, axis=1).mean(axis=1))


def _changes(r, s) -> pd.DataFrame:
    """Δperplexity in % by seed for IP and EP(2), both localizations and directions."""
    cells = [
        relative_perplexity(r, t, w, strategy, alpha, s.measured_sparsity)
        for t in OPPOSITE
        for w in ("mask", main_value(s))
        for strategy, alpha in (("IP", 0.5), ("IP", 1.0), ("EP", 2.0))
    ]
    return pd.concat(cells, axis=1)


def _passes(r, s) -> tuple[float, float]:
    """Lowest mean SS and d that value-based edits of S reach at some α ≤ 3."""
    low = []
    for k in ("stereoset_ss", "weat_d"):
        rows = [
            edit_rows(r, "stereotypical", main_value(s), "EP", a, s.measured_sparsity, k)["value"]
            for a in (2.0, 3.0)
        ]
        low.append(min(float(x.mean()) for x in rows))
    return low[0], low[1]


def read(run: Run) -> tuple[list[dict], list[dict]]:
    """The ledger and the checks of a run, or the published ones."""
    folder = run.folder if run.claims.exists() else PUBLISHED
    return tuple(
        json.loads((folder / f"{n}.json").read_text(encoding="utf-8")) for n in ("claims", "checks")
    )


def summary_lines(run: Run) -> list[str]:
    """The ledger and the checks in plain text."""
    ledger, tests = read(run)
    lines = [f"Claims at profile {run.settings.name!r}, {len(run.settings.seeds)} seeds:"]
    lines += [f"  {c['id']:2} {c['verdict']:16} {c['claim']}: {c['ours']}" for c in ledger]
    if tests:
        lines += ["", "Checks (mean over seeds [95 % interval]):"]
        lines += [
            f"  {MET[t['met']]} {t['check']}: {t['ours']} (threshold {t['threshold']})"
            for t in tests
        ]
    return lines


def readme_tables(readme: Path, run: Run) -> None:
    """Replace the generated ledger between its markers in the README."""
    ledger, _ = read(run)
    rows = [
        "| | claim | paper | toy profile, 4 seeds | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| {c['id']} | {c['claim']} | {c['paper']} | {c['ours']} | **{c['verdict']}** |"
        for c in ledger
    ]
    start, end = "<!-- ledger: generated by make paper -->", "<!-- end of ledger -->"
    text = readme.read_text(encoding="utf-8")
    if start not in text or end not in text:
        return
    head, rest = text.split(start)
    new = head + start + "\n" + "\n".join(rows) + "\n" + end + rest.split(end)[1]
    if new != text:
        with atomic(readme) as temporary:
            temporary.write_text(new, encoding="utf-8")
