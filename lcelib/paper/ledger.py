"""The results of a run in writing: located weights, the claims ledger, tables for the pages."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from lcelib.files import atomic
from lcelib.localization import locate
from lcelib.paper import pretrained
from lcelib.paper.claims import CLAIMS
from lcelib.paper.edits import OTHER_SEED
from lcelib.paper.results import NotInTableError
from lcelib.run.paths import Run
from lcelib.run.profiles import OPPOSITE, Profile
from lcelib.tensors import component

MET = {True: "met    ", False: "NOT MET", None: "       "}
UNTESTABLE = "cannot be tested at this profile"


def judge(results: pd.DataFrame, located: pd.DataFrame, settings: Profile) -> list[dict]:
    """Judge all claims of the grid.

    Keys: id, claim, paper, ours, interval, n_seeds, threshold, verdict.
    """
    ledger = []
    claims = pretrained.CLAIMS if settings.grid == "pretrained" else CLAIMS
    for claim in claims:
        try:
            ours, interval, verdict = claim.judge(results, located, settings)
            if not np.isfinite(interval.mean):
                raise NotInTableError("a value is missing")
        except NotInTableError:
            ours, interval, verdict = "the grid of this profile does not hold it", None, UNTESTABLE
        bounds = [round(x, 4) for x in (interval.low, interval.high)] if interval else [np.nan]
        ledger.append(
            {k: v for k, v in vars(claim).items() if k != "judge"}
            | {"ours": ours, "verdict": verdict, "n_seeds": len(settings.seeds)}
            | {"interval": bounds if np.isfinite(bounds).all() else None}
        )
    return ledger


def located_table(run: Run) -> pd.DataFrame:
    """Count the weights every localization selects, per seed, sparsity, pair and tensor."""
    from lcelib import subnetworks as sn

    settings = run.settings
    rows: list[tuple] = []
    for seed in settings.seeds:
        other = settings.other_seed(seed)
        for number, sparsity in enumerate(settings.sparsities, start=1):
            nets = {c: sn.load(run.subnetwork(seed, c, number)) for c in settings.conditions}
            pairs = [("stereotypical", "anti")]
            if "neutral" in nets:
                pairs += [("neutral", "stereotypical"), ("neutral", "anti")]
            if other != seed:
                for c in OPPOSITE:
                    nets[c + OTHER_SEED] = sn.load(run.subnetwork(other, c, number))
                    pairs.append((c, c + OTHER_SEED))
            for target, reference in pairs:
                t, r = nets[target], nets[reference]
                for by, k in (("mask", None), ("value", settings.k)):
                    found = locate(t, r, by=by, k=k).positions
                    for name in t.mask:
                        counts = len(found.get(name, ())), t.theta[name].size
                        key = (seed, sparsity, target, reference, by, *component(name))
                        rows.append((*key, *counts))
    columns = "seed sparsity target reference localization layer component selected size"
    return pd.DataFrame(rows, columns=columns.split())


def read(run: Run) -> tuple[list[dict], list[dict]]:
    """Read the ledger and the checks of a run, or the published ones."""
    folder = run.folder if run.claims.exists() else run.published
    texts = [(folder / f"{n}.json").read_text(encoding="utf-8") for n in ("claims", "checks")]
    return json.loads(texts[0]), json.loads(texts[1])


def summary_lines(run: Run) -> list[str]:
    """Return the ledger and the checks in plain text."""
    ledger, tests = read(run)
    lines = [f"Claims at profile {run.settings.name!r}, {len(run.settings.seeds)} seeds:"]
    lines += [f"  {c['id']:2} {c['verdict']:16} {c['claim']}: {c['ours']}" for c in ledger]
    if tests:
        lines += ["", "Checks (mean over seeds [95 % interval]):"]
        text = "  {} {check}: {ours} (threshold {threshold})"
        lines += [text.format(MET[t["met"]], **t) for t in tests]
    return lines


def verdicts(ledger: list[dict], heading: str) -> list[str]:
    """Return the ledger as a Markdown table with one short line for each claim."""
    rows = [f"| | claim | {heading} | verdict |", "| --- | --- | --- | --- |"]
    return rows + ["| {id} | {claim} | {ours} | **{verdict}** |".format(**c) for c in ledger]


def table(ledger: list[dict], heading: str) -> list[str]:
    """Return the whole ledger as a Markdown table, with intervals and thresholds."""
    columns = ("", "claim", "paper", heading, "95 % interval", "threshold", "verdict")
    rows = []
    for c in ledger:
        interval = "–" if c["interval"] is None else "{:.2f} … {:.2f}".format(*c["interval"])
        cells = (c["id"], c["claim"], c["paper"], c["ours"], interval, c["threshold"])
        rows.append((*(str(x).replace("|", "\\|") for x in cells), f"**{c['verdict']}**"))
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def replace_block(page: Path, name: str, lines: list[str], by: str = "make publish") -> None:
    """Replace the text between the markers of a generated block of a Markdown page."""
    start, end = f"<!-- {name}: generated by {by} -->", f"<!-- end of {name} -->"
    text = page.read_text(encoding="utf-8")
    if start not in text or end not in text:
        return
    head, rest = text.split(start)
    new = head + start + "\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    if new != text:
        with atomic(page) as temporary:
            temporary.write_text(new, encoding="utf-8")
