"""The figures of an edited pretrained model: WinoBias against α, and the original model."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lcelib.paper.edits import MASK, UNINFORMED, VALUE_AS_MASK, Where, strategy_of
from lcelib.paper.figures.style import ARROW, DIRECTIONS, NEUTRAL, TOWARDS_ANTI, WIDTH
from lcelib.paper.pretrained_tables import MARGIN, SEPARATION, needed, separation
from lcelib.paper.results import edit_rows, model_values, select, to_opposite
from lcelib.run.profiles import OPPOSITE, ORIGINAL

LOOKS = {
    MASK: ("o", "-", "by mask"),
    VALUE_AS_MASK: ("s", "--", "by value, as many"),
    UNINFORMED: ("o", ":", "uninformed, as many"),
}
NAMES = {
    "winobias_margin": "WinoBias",
    "agreement_margin": "gender agreement",
    "stereoset_margin": "StereoSet",
    "crows_margin": "CrowS-Pairs",
}


def _sparsity(results: pd.DataFrame) -> float:
    return float(results.loc[results["k"].notna(), "sparsity"].iloc[0])


def _sweep(
    results: pd.DataFrame, target: str, where: Where, measure: str
) -> dict[float, pd.Series]:
    """Return values by seed for each α, with the unedited target at 0."""
    at = _sparsity(results)
    cells = select(results, target=target, reference=OPPOSITE[target], localization=str(where))
    found = {0.0: model_values(results, target, measure, at)}
    for alpha in sorted(cells["alpha"].dropna().unique()):
        edit = to_opposite(target, (where, strategy_of(alpha), alpha), at)
        found[alpha] = edit_rows(results, edit, measure)["value"]
    return dict(sorted(found.items()))


def alpha_sweep(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Plot WinoBias margin and perplexity against α, equally many weights; thin lines are seeds."""
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.4), sharex=True, height_ratios=(3, 2))
    for column, (target, colour) in zip(axes.T, DIRECTIONS.items(), strict=True):
        for where, (marker, line, _) in LOOKS.items():
            face = "white" if where == UNINFORMED else colour
            for axis, measure in zip(column, (MARGIN, "perplexity"), strict=True):
                sweep = pd.DataFrame(_sweep(results, target, where, measure)).T
                if measure == "perplexity":
                    sweep = 100 * (sweep / sweep.loc[0.0] - 1)
                axis.plot(sweep, lw=0.4, color=colour, ls=line)
                axis.plot(sweep.mean(axis=1), marker=marker, ms=4, mfc=face, color=colour, ls=line)
        level = model_values(results, OPPOSITE[target], MARGIN, _sparsity(results)).mean()
        column[0].axhline(level, color=DIRECTIONS[OPPOSITE[target]], ls="-.", lw=0.8)
        column[0].axhline(0, color="black", ls=":", lw=0.8)
        column[0].set_title(f"{ARROW[target]} (dash-dotted: the reference)", color=colour)
        column[1].set_xlabel("α")
        for bound in (-2, 2):
            column[1].axhline(bound, color="black", ls=":", lw=0.8)
    axes[0, 0].set_ylabel("WinoBias margin, nats")
    axes[1, 0].set_ylabel("Δ perplexity, %")
    handles = [
        plt.Line2D(
            [], [], color="black", marker=marker, ls=line, label=label,
            mfc="white" if label.startswith("uninformed") else "black",
        )
        for marker, line, label in LOOKS.values()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def original_target(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Plot the original model's margin after every edit, with its change's 95 % interval over pairs."""
    at = _sparsity(results)
    cells = select(results, measure=MARGIN, target=ORIGINAL)
    edits = cells[cells["k"].notna()]
    base = model_values(results, ORIGINAL, MARGIN, at).mean()
    keys = ["reference", "localization", "alpha"]
    order = list(dict.fromkeys(zip(edits["reference"], edits["localization"], strict=True)))
    groups = sorted(edits.groupby(keys), key=lambda g: (order.index(g[0][:2]), g[0][2]))
    figure, axis = plt.subplots(figsize=(WIDTH, 0.26 * len(groups) + 1.2))
    names = []
    for y, ((reference, where, alpha), group) in enumerate(groups):
        random = Where.parse(where).by == "uninformed"
        half = 1.96 * float(group["item_se"].mean())
        axis.errorbar(
            group["value"].mean(), -y, xerr=half, fmt="o", ms=5, color=TOWARDS_ANTI, lw=1,
            mfc="white" if random else TOWARDS_ANTI,
        )  # fmt: skip
        axis.plot(group["value"], [-y] * len(group), "|", color=TOWARDS_ANTI, ms=7)
        share = 100 * group["k_share"].mean()
        names.append(
            f"{_short(reference)}: {where}, α = {alpha:g} ({share:.2g} %)".replace("-", "−")
        )
    axis.set_yticks([-y for y in range(len(names))], names)
    axis.axvline(base, color=NEUTRAL, ls="--", lw=0.8)
    axis.axvline(0, color="black", ls=":", lw=0.8)
    axis.set_xlabel(
        "WinoBias margin of the edited original, nats\n(dashed: unedited; dotted: no bias)"
    )
    return figure


def _short(reference: str) -> str:
    """Abbreviate a reference: "anti - stereotypical" is "A − S"."""
    letters = {"anti": "A", "stereotypical": "S", "stereotypical (other seed)": "S′"}
    parts = [letters[x] for x in reference.split(" - ")]
    return " − ".join(parts) if len(parts) > 1 else f"away from {parts[0]}"


def what_separates(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Plot S − A per measure in standard deviations of an item, with the items needed to detect it."""
    table = separation(results)
    figure, axis = plt.subplots(figsize=(WIDTH, 2.4))
    for y, measure in enumerate(SEPARATION):
        for row in table[table["measure"] == measure].itertuples():
            unit = row.se * row.n**0.5
            axis.errorbar(
                row.difference / unit, -y + 0.12 * (row.seed % 3 - 1), xerr=1.96 * row.se / unit,
                fmt="o", ms=4, color=NEUTRAL if row.difference < 1.96 * row.se else TOWARDS_ANTI,
            )  # fmt: skip
    axis.axvline(0, color="black", ls=":", lw=0.8)
    at = needed(results)
    axis.set_yticks(
        [-y for y in range(len(SEPARATION))],
        [f"{NAMES[m]}\n{_items(at.loc[m])}" for m in SEPARATION],
    )
    axis.set_xlabel(
        "S − A in standard deviations of an item, a point per seed\n(95 % interval over items; grey: reaches 0)"
    )
    return figure


def _items(row: pd.Series) -> str:
    """Return how many items a measure has, and how many it needs."""
    enough = "S not above A" if np.isinf(row["needed"]) else f"needs {row['needed']:,.0f}"
    return f"{row['n']:,.0f} items, {enough}"
