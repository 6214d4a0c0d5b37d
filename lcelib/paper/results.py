"""Reading the results table: one value per seed, and the share of a gap that an edit closes."""

import numpy as np
import pandas as pd

from lcelib.paper.statistics import gap_closed
from lcelib.run.paths import Run, available
from lcelib.run.profiles import CONDITIONS, OPPOSITE, Profile

MONOTONE = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
MEASURES = ("stereoset_margin", "crows_margin", "weat_d")


def table(run: Run) -> pd.DataFrame:
    """The results table of a run (or the published one of the toy profile)."""
    return pd.read_csv(available(run), keep_default_na=False, na_values=[""])


def full_grid(settings: Profile) -> bool:
    """Whether the run holds all that figures and checks ask for."""
    return settings.grid == "paper" and len(settings.seeds) > 1 and len(settings.sparsities) > 1


def select(results: pd.DataFrame, **where) -> pd.DataFrame:
    """The rows whose columns have the given values; None means empty."""
    for column, value in where.items():
        cell = results[column]
        results = results[cell.isna() if value is None else cell == value]
    return results


def model_values(results: pd.DataFrame, name: str, measure: str, sparsity: float) -> pd.Series:
    """Value by seed of an unedited model: a condition, or "base"."""
    target = "base (stereotypical)" if name == "base" else name
    rows = select(results, target=target, reference=None, measure=measure, sparsity=sparsity)
    return rows.set_index("seed")["value"]


def model_gap(results: pd.DataFrame, measure: str, sparsity: float) -> pd.Series:
    """Stereotypical minus anti-stereotypical value by seed."""
    stereotypical, anti = (
        model_values(results, name, measure, sparsity) for name in ("stereotypical", "anti")
    )
    return stereotypical - anti


def edit_rows(
    results, target, localization, strategy, alpha, sparsity, measure, reference=None
) -> pd.DataFrame:
    """The rows of one edit by seed; `reference` defaults to the opposite condition."""
    return select(
        results,
        target=target,
        reference=reference or OPPOSITE[target],
        localization=localization,
        strategy=strategy,
        alpha=alpha,
        sparsity=sparsity,
        measure=measure,
    ).set_index("seed")


def strategy_of(alpha: float) -> str:
    """IP for α in [0, 1], EP outside (Eq. 3, 4)."""
    return "IP" if 0 <= alpha <= 1 else "EP"


def closed(results, target, localization, strategy, alpha, sparsity, measure, reference=None):
    """Per seed, the percentage of the gap between target and its opposite that an edit closes.

    The denominator is always the gap between the stereotypical and the
    anti-stereotypical subnetwork of that seed, also for another reference.
    """
    rows = edit_rows(results, target, localization, strategy, alpha, sparsity, measure, reference)
    opposite = model_values(results, OPPOSITE[target], measure, sparsity)
    return 100 * gap_closed(rows["value"], rows["target_value"], opposite.reindex(rows.index))


def mean_closed(results, localization, strategy, alpha, sparsity) -> pd.Series:
    """The percentage of the gap closed by seed, averaged over both directions and three measures."""
    parts = [
        closed(results, target, localization, strategy, alpha, sparsity, measure)
        for target in OPPOSITE
        for measure in MEASURES
    ]
    return pd.concat(parts, axis=1).mean(axis=1)


def curve(results, target, localization, sparsity, measure, alphas) -> pd.DataFrame:
    """Values by seed (rows) and α (columns); α = 0 is the unedited target."""
    columns = {}
    for alpha in alphas:
        if alpha == 0:
            columns[alpha] = model_values(results, target, measure, sparsity)
        else:
            rows = edit_rows(
                results, target, localization, strategy_of(alpha), alpha, sparsity, measure
            )
            columns[alpha] = rows["value"]
    return pd.DataFrame(columns)


def mask_share(located: pd.DataFrame, sparsity: float, target: str, reference: str) -> pd.Series:
    """The share of prunable weights in exactly one of two masks, by seed."""
    rows = select(
        located, sparsity=sparsity, target=target, reference=reference, localization="mask"
    )
    sums = rows.groupby("seed")[["selected", "size"]].sum()
    return sums["selected"] / sums["size"]


def density(rows: pd.DataFrame, by: str) -> pd.Series:
    """Selected share per layer or component over the share in the whole model, by (seed, group)."""
    sums = rows.groupby(["seed", by])[["selected", "size"]].sum()
    total = rows.groupby("seed")[["selected", "size"]].sum()
    overall = total["selected"] / total["size"]
    return (sums["selected"] / sums["size"]).div(overall, level="seed")


def label(localization: str, strategy: str, alpha: float | None) -> str:
    """A readable name of an edit: "mask, EP α=2"."""
    return f"{localization}, {strategy}" + ("" if alpha is None else f" α={alpha:g}")


def closed_table(results, cells, sparsity, measures=MEASURES) -> pd.DataFrame:
    """Mean percentage of the gap closed: edits (rows) by target and measure (columns).

    `cells` are (localization, strategy, alpha); alpha is None for PR and SW.
    """
    return pd.DataFrame(
        {
            label(*cell): {
                (target, m): closed(results, target, *cell, sparsity, m).mean()
                for target in OPPOSITE
                for m in measures
            }
            for cell in cells
        }
    ).T


def model_table(results, names, measures, sparsity=0.0) -> pd.DataFrame:
    """Means over seeds of unedited models: measures (rows) by model (columns)."""
    return pd.DataFrame(
        {n: {m: model_values(results, n, m, sparsity).mean() for m in measures} for n in names}
    )


def edit_table(results, target, cells, sparsity, measure, reference=None) -> pd.DataFrame:
    """Means over seeds of value, target, reference and Δperplexity: one row per edit in `cells`."""
    columns = ["target_value", "value", "reference_value", "perplexity_delta"]
    rows = {}
    for cell in cells:
        found = edit_rows(results, target, *cell, sparsity, measure, reference)
        if len(found):
            rows[label(*cell)] = found[columns].mean()
    return pd.DataFrame(rows).T


def main_value(settings) -> str:
    """The name of the value-based localization at the profile's k."""
    return f"value {settings.k:g}"


def ticket_excess(r, s) -> pd.DataFrame:
    """Perplexity over that of the dense model, minus 1: seeds by (condition, sparsity)."""
    at = {
        (c, x): model_values(r, c, "perplexity", x)
        for c in CONDITIONS
        for x in (0.0, *s.sparsities)
    }
    return pd.DataFrame(
        {key: values / at[key[0], 0.0] - 1 for key, values in at.items() if key[1] > 0}
    )


def is_monotone(r, target: str, localization: str, measure: str, s) -> bool:
    """Whether the mean over seeds is strictly monotone in α on [−2, 3], towards the reference."""
    means = curve(r, target, localization, s.measured_sparsity, measure, MONOTONE).mean()
    steps = np.diff(means.to_numpy())
    if len(steps) < len(MONOTONE) - 1 or np.isnan(steps).any():
        raise ValueError("the α sweep is not in the table")
    return bool((steps < 0).all() if target == "stereotypical" else (steps > 0).all())


def relative_perplexity(r, target, localization, strategy, alpha, sparsity) -> pd.Series:
    """Δperplexity in per cent of the target's, by seed."""
    rows = edit_rows(r, target, localization, strategy, alpha, sparsity, "perplexity")
    if rows.empty:
        raise ValueError("this edit is not in the table")
    return 100 * (rows["value"] / rows["target_value"] - 1)
