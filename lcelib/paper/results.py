"""Reading the results table: one value per seed, and the share of a gap that an edit closes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from lcelib.paper.edits import Edit, Where, label, strategy_of
from lcelib.paper.statistics import gap_closed
from lcelib.run.paths import Run, available
from lcelib.run.profiles import OPPOSITE, Profile

MEASURES = ("stereoset_margin", "crows_margin", "weat_d")
Cell = tuple[Where, str, float | None]  # localization, strategy, α


class NotInTableError(LookupError):
    """The results table lacks the requested rows."""


def read_results(path: Path) -> pd.DataFrame:
    """Read a results table; only empty cells are missing values."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def table(run: Run) -> pd.DataFrame:
    """Read the results table of a run, or the published one of its profile."""
    return read_results(available(run))


def full_grid(settings: Profile) -> bool:
    """Return whether the run has everything that the figures and checks need."""
    return settings.grid == "paper" and len(settings.seeds) > 1 and len(settings.sparsities) > 1


def select(results: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """Return the rows whose columns have the given values; None means empty."""
    for column, value in columns.items():
        cell = results[column]
        results = results[cell.isna() if value is None else cell == value]
    return results


def by_seed(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """Index rows by seed; raise NotInTableError where there are none."""
    if rows.empty:
        raise NotInTableError(f"the table does not hold {what}")
    return rows.set_index("seed")


def model_values(results: pd.DataFrame, name: str, measure: str, sparsity: float) -> pd.Series:
    """Return the value by seed of an unedited model: a condition, or "base"."""
    target = "base (stereotypical)" if name == "base" else name
    rows = select(results, target=target, reference=None, measure=measure, sparsity=sparsity)
    return by_seed(rows, f"{measure} of {target} at sparsity {sparsity:g}")["value"]


def model_gap(results: pd.DataFrame, measure: str, sparsity: float) -> pd.Series:
    """Return the stereotypical minus the anti-stereotypical model's value by seed."""
    values = [model_values(results, name, measure, sparsity) for name in OPPOSITE]
    return values[0] - values[1]


def edit_rows(results: pd.DataFrame, edit: Edit, measure: str) -> pd.DataFrame:
    """Return the rows of one edit by seed."""
    rows = select(results, **edit.columns(), measure=measure)
    return by_seed(rows, f"{measure} of {edit.columns()}")


def has(results: pd.DataFrame, edit: Edit) -> bool:
    """Return whether the table holds an edit."""
    return not select(results, **edit.columns()).empty


def to_opposite(target: str, cell: Cell, sparsity: float, reference: str | None = None) -> Edit:
    """Return an edit of `target` towards `reference`, by default the opposite condition."""
    return Edit(target, reference or OPPOSITE[target], *cell, sparsity)


def closed(results: pd.DataFrame, edit: Edit, measure: str) -> pd.Series:
    """Return, by seed, the percentage of the gap to the target's opposite that an edit closes.

    The denominator is always the gap between the stereotypical and the
    anti-stereotypical subnetwork of that seed, also for another reference.
    """
    rows = edit_rows(results, edit, measure)
    opposite = model_values(results, OPPOSITE[edit.target], measure, edit.sparsity)
    return 100 * gap_closed(rows["value"], rows["target_value"], opposite.reindex(rows.index))


def mean_closed(results: pd.DataFrame, cell: Cell, sparsity: float) -> pd.Series:
    """Return the percentage closed by seed, averaged over both directions and three measures."""
    edits = [to_opposite(target, cell, sparsity) for target in OPPOSITE]
    parts = [closed(results, edit, measure) for edit in edits for measure in MEASURES]
    return pd.concat(parts, axis=1).mean(axis=1)


def curve(
    results: pd.DataFrame,
    target: str,
    where: Where,
    sparsity: float,
    measure: str,
    alphas: Iterable[float],
) -> pd.DataFrame:
    """Return values by seed (rows) and α (columns); α = 0 is the unedited target."""
    columns = {}
    for alpha in alphas:
        if alpha == 0:
            columns[alpha] = model_values(results, target, measure, sparsity)
        else:
            edit = to_opposite(target, (where, strategy_of(alpha), alpha), sparsity)
            columns[alpha] = edit_rows(results, edit, measure)["value"]
    return pd.DataFrame(columns)


def mask_share(located: pd.DataFrame, sparsity: float, target: str, reference: str) -> pd.Series:
    """Return the share of prunable weights in exactly one of two masks, by seed."""
    rows = select(
        located, sparsity=sparsity, target=target, reference=reference, localization="mask"
    )
    if rows.empty:
        raise NotInTableError(f"no masks of {target} and {reference} at sparsity {sparsity:g}")
    sums = rows.groupby("seed")[["selected", "size"]].sum()
    return sums["selected"] / sums["size"]


def density(rows: pd.DataFrame, by: str) -> pd.Series:
    """Return the selected share per layer or component over that of the model, by (seed, group)."""
    sums = rows.groupby(["seed", by])[["selected", "size"]].sum()
    total = rows.groupby("seed")[["selected", "size"]].sum()
    overall = total["selected"] / total["size"]
    return (sums["selected"] / sums["size"]).div(overall, level="seed")


def closed_table(
    results: pd.DataFrame,
    cells: Sequence[Cell],
    sparsity: float,
    measures: Sequence[str] = MEASURES,
) -> pd.DataFrame:
    """Return the mean percentage of the gap closed: edits (rows) by target and measure (columns).

    An edit that is missing from the table is NaN.
    """

    def mean(edit: Edit, measure: str) -> float:
        held = has(results, edit)
        return closed(results, edit, measure).mean() if held else float("nan")

    rows = {
        label(*cell): {
            (t, m): mean(to_opposite(t, cell, sparsity), m) for t in OPPOSITE for m in measures
        }
        for cell in cells
    }
    return pd.DataFrame(rows).T


def model_table(
    results: pd.DataFrame, names: Sequence[str], measures: Sequence[str], sparsity: float = 0.0
) -> pd.DataFrame:
    """Return means over seeds of unedited models: measures (rows) by model (columns)."""
    return pd.DataFrame(
        {n: {m: model_values(results, n, m, sparsity).mean() for m in measures} for n in names}
    )


def edit_table(
    results: pd.DataFrame,
    target: str,
    cells: Sequence[Cell],
    sparsity: float,
    measure: str,
    reference: str | None = None,
) -> pd.DataFrame:
    """Return means over seeds of value, target, reference and Δperplexity of the edits it holds."""
    columns = ["target_value", "value", "reference_value", "perplexity_delta"]
    edits = {label(*cell): to_opposite(target, cell, sparsity, reference) for cell in cells}
    held = {name: edit for name, edit in edits.items() if has(results, edit)}
    rows = {n: edit_rows(results, edit, measure)[columns].mean() for n, edit in held.items()}
    return pd.DataFrame(rows).T
