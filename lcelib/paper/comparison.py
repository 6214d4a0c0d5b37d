"""Compare the results of a run with the published ones of its profile."""

import json
from pathlib import Path

import pandas as pd

from lcelib.paper.edits import Where
from lcelib.paper.results import read_results
from lcelib.run.paths import Run
from lcelib.run.profiles import ORIGINAL

KEYS = ["target", "reference", "localization", "strategy", "alpha", "sparsity", "measure"]
SHOWN = {
    "weat_d": "WEAT d",
    "stereoset_ss": "SS",
    "crows": "CrowS",
    "perplexity": "perplexity",
    "winobias_margin": "WinoBias margin",
}


def lines(run: Run) -> list[str]:
    """Return three lines: verdicts, the largest difference per figure, and what to do with them.

    Raises FileNotFoundError if the profile has no published results.
    """
    ours, published = (
        {c["id"]: c["verdict"] for c in json.loads(p.read_text(encoding="utf-8"))}
        for p in (run.claims, run.published / "claims.json")
    )
    same = sum(ours[number] == verdict for number, verdict in published.items())
    changed = [f"{n} {published[n]} → {v}" for n, v in ours.items() if v != published.get(n)]
    both = [read_results(folder / "results.csv") for folder in (run.folder, run.published)]
    found = differences(*both) | located_difference(run.folder, run.published)
    largest = "; ".join(f"{figure}: {text}" for figure, text in found.items())
    return [
        f"Verdicts: {same} of {len(published)} as published" + "".join(f"; {c}" for c in changed),
        f"Largest difference from the published means over seeds: {largest}",
        f"Nothing outside of {run.folder.parent.name}/ was changed; `make publish` copies these "
        f"results to {run.published.name}/ and into the documentation.",
    ]


def figures(results: pd.DataFrame) -> dict[str, pd.Series]:
    """Return which rows of a results table each figure shows."""
    edited = results["reference"].notna()
    places = results["localization"].map(Where.parse, na_action="ignore")
    sized = places.map(lambda where: where.k is not None, na_action="ignore").fillna(False)
    sweep = sized.astype(bool) & (results["strategy"] == "IP") & (results["alpha"] == 0.5)
    neutral = results["target"] == "neutral"
    if (results["target"] == ORIGINAL).any():  # the figures of a pretrained model
        difference, original = results["strategy"] == "difference", results["target"] == ORIGINAL
        found = {
            "unedited models": ~edited,
            "separation": difference,
            "original": edited & original,
            "alpha": edited & ~original & ~difference,
        }
        return {name: rows for name, rows in found.items() if rows.any()}
    found = {
        "tables 1 and 4": ~edited,
        "figure 5": sweep & ~neutral,
        "figures 4 and 6": edited & ~neutral,
        "figure 7": edited & neutral,
    }
    return {name: rows for name, rows in found.items() if rows.any()}


def differences(ours: pd.DataFrame, published: pd.DataFrame) -> dict[str, str]:
    """Return, per figure, the largest difference of a mean over seeds for each measure it shows."""
    found = {}
    for figure, rows in figures(published).items():
        mine, theirs = (
            table[table["measure"].isin(list(SHOWN))].groupby(KEYS, dropna=False)["value"].mean()
            for table in (ours, published[rows])
        )
        mine = mine.reindex(theirs.index)
        gap = (mine - theirs).abs().groupby(level="measure").max()
        parts = [f"{SHOWN[m]} {gap[m]:.2g}" for m in SHOWN if gap.get(m, 0) > 0]
        missing = int((mine.isna() & theirs.notna()).sum())
        parts += [f"{missing} of {len(theirs)} means missing"] if missing else []
        found[figure] = ", ".join(parts) or "none"
    return found


def located_difference(ours: Path, published: Path) -> dict[str, str]:
    """Return the largest difference of a matrix's share of located weights (figure 3), in per cent."""
    keys = ["sparsity", "target", "reference", "localization", "layer", "component"]
    shares = []
    for folder in (ours, published):
        rows = pd.read_csv(folder / "located.csv").groupby(keys)[["selected", "size"]].sum()
        shares.append(100 * rows["selected"] / rows["size"])
    mine, theirs = shares[0].reindex(shares[1].index), shares[1]
    gap, missing = (mine - theirs).abs().max(), int(mine.isna().sum())
    parts = [f"{gap:.2g} %"] if gap > 0 else []
    parts += [f"{missing} of {len(theirs)} shares missing"] if missing else []
    return {"located weights (figure 3)": ", ".join(parts) or "none"}
