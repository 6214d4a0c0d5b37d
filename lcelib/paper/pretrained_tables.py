"""The effect of every edit of a pretrained model, read from the results table.

The measure is the held-out half of WinoBias: the mean of
ln p(pro-stereotypical) − ln p(anti-stereotypical), called margin.
"""

from typing import Any

import numpy as np
import pandas as pd

from lcelib.paper.edits import Edit, Where, strategy_of
from lcelib.paper.findings import relative_perplexity
from lcelib.paper.grid import CONTRAST
from lcelib.paper.results import closed, edit_rows, model_values, select, to_opposite
from lcelib.run.profiles import OPPOSITE, ORIGINAL, Profile

MARGIN = "winobias_margin"
SEPARATION = ("winobias_margin", "stereoset_margin", "crows_margin", "agreement_margin")
POWER = 1.96 + 0.84  # two-sided 5 %, power 80 %


def sweep(target: str, where: Where, alpha: float, s: Profile, reference: str = "") -> Edit:
    """Return the IP or EP edit of a target at a strength, towards its opposite by default."""
    cell = (where, strategy_of(alpha), alpha)
    return to_opposite(target, cell, s.measured_sparsity, reference or None)


def of_original(where: Where, alpha: float, s: Profile, reference: str = CONTRAST) -> Edit:
    """Return the edit of the pretrained model, along A − S by default."""
    return sweep(ORIGINAL, where, alpha, s, reference)


def share(r: pd.DataFrame, target: str, where: Where, alpha: float, s: Profile) -> pd.Series:
    """Return, by seed, the percentage of the margin's gap that an edit towards the opposite closes."""
    return closed(r, sweep(target, where, alpha, s), MARGIN)


def change(r: pd.DataFrame, edit: Edit, measure: str = MARGIN) -> pd.Series:
    """Return, by seed, how an edit changes a measure."""
    rows = edit_rows(r, edit, measure)
    return rows["value"] - rows["target_value"]


def separation(r: pd.DataFrame) -> pd.DataFrame:
    """Return S − A on every measure with items, by seed: difference, standard error, n items."""
    rows = select(r, target="stereotypical", reference="anti", strategy="difference")
    rows = rows[rows["measure"].isin(SEPARATION)]
    out = rows[["seed", "measure", "value", "item_se", "n"]].copy()
    out.columns = ["seed", "measure", "difference", "se", "n"]
    return out.reset_index(drop=True)


def needed(r: pd.DataFrame) -> pd.DataFrame:
    """Return, per measure, the number of items needed to detect the mean difference over seeds.

    With 80 % power at the 5 % level: n (2.8 · se / difference)²; infinite where S is not
    above A in the mean.
    """
    table = separation(r).groupby("measure", sort=False)[["difference", "se", "n"]].mean()
    seen = table["difference"].where(table["difference"] > 0, 0.0)
    items = table["n"] * (POWER * table["se"] / seen) ** 2
    return table.assign(n=table["n"].astype(int), needed=np.ceil(items))


def edits(r: pd.DataFrame, s: Profile) -> pd.DataFrame:
    """Tabulate every edit of the fine-tuned models: weights, share of the margin's gap, perplexity.

    `closed` is the mean over seeds in per cent, `low` and `high` its 95 % interval over
    the pairs of WinoBias (the seeds score the same pairs, so the mean of their standard
    errors is used, which is no less than that of the mean; the gap is taken as known).
    """
    rows, at = [], s.measured_sparsity
    cells = select(r, measure=MARGIN, sparsity=at)
    cells = cells[cells["target"].isin(list(OPPOSITE)) & cells["k"].notna()]
    keys = ["target", "reference", "localization", "strategy", "alpha"]
    for key, group in cells.groupby(keys, dropna=False, sort=False):
        target, reference, where, strategy, alpha = key
        group = group.set_index("seed")
        gap = model_values(r, target, MARGIN, at) - model_values(r, OPPOSITE[target], MARGIN, at)
        each = 100 * (group["target_value"] - group["value"]) / gap
        se = 100 * group["item_se"] / gap.abs()
        half = 1.96 * float(se.mean())
        alpha = None if np.isnan(alpha) else alpha
        edit = Edit(target, reference, Where.parse(where), strategy, alpha, at)
        rows.append(
            {
                "target": target, "reference": reference, "localization": where,
                "strategy": strategy, "alpha": alpha, "weights": round(group["k"].mean()),
                "share_percent": 100 * group["k_share"].mean(), "closed": each.mean(),
                "low": each.mean() - half, "high": each.mean() + half,
                "by_seed": " ".join(f"{x:.1f}" for x in each),
                "perplexity_percent": relative_perplexity(r, edit).mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def one_edit(r: pd.DataFrame, row: Any, sparsity: float) -> pd.DataFrame:
    """Return all measures of one row of `edits`, means over seeds: before, after, reference."""
    alpha = None if row.alpha is None or np.isnan(row.alpha) else row.alpha
    cells = select(
        r, target=row.target, reference=row.reference, localization=row.localization,
        strategy=row.strategy, alpha=alpha, sparsity=sparsity,
    )  # fmt: skip
    columns = ["target_value", "value", "reference_value"]
    return cells.groupby("measure", sort=False)[columns].mean()


def originals(r: pd.DataFrame, s: Profile) -> pd.DataFrame:
    """Tabulate every edit of the original model: WinoBias in per cent and as margin, perplexity.

    `low` and `high` bound the margin's change, 95 % over the pairs of WinoBias.
    """
    rows, at = [], s.measured_sparsity
    cells = select(r, measure=MARGIN, target=ORIGINAL)
    cells = cells[cells["k"].notna()]
    percent = model_values(r, ORIGINAL, "winobias", at).mean()
    margin = model_values(r, ORIGINAL, MARGIN, at).mean()
    nothing = {"winobias": percent, "margin": margin, "change": 0.0, "perplexity_percent": 0.0}
    rows.append({"reference": "", "localization": "unedited", "weights": 0} | nothing)
    keys = ["reference", "localization", "strategy", "alpha"]
    for (reference, where, strategy, alpha), group in cells.groupby(keys, sort=False):
        edit = Edit(ORIGINAL, reference, Where.parse(where), strategy, alpha, at)
        pairs = edit_rows(r, edit, "winobias")
        moved = group["value"] - group["target_value"]
        half = 1.96 * float(group["item_se"].mean())
        rows.append(
            {
                "reference": reference, "localization": where, "alpha": alpha,
                "weights": round(group["k"].mean()), "winobias": pairs["value"].mean(),
                "margin": group["value"].mean(), "change": moved.mean(),
                "low": moved.mean() - half, "high": moved.mean() + half,
                "perplexity_percent": relative_perplexity(r, edit).mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
