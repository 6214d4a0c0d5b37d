"""Figures 3 to 7, from the results table (and the table of located weights)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from lcelib.paper.edits import (
    MASK,
    UNINFORMED,
    UNINFORMED_AS_VALUE,
    VALUE_AS_MASK,
    Where,
    strategy_of,
)
from lcelib.paper.figures.style import ARROW, DIRECTIONS, LABELS, NEUTRAL, UNBIASED, WIDTH
from lcelib.paper.results import (
    Cell,
    NotInTableError,
    edit_rows,
    has,
    model_values,
    select,
    to_opposite,
)
from lcelib.run.profiles import OPPOSITE

BIAS = ("weat_d", "stereoset_ss", "crows")
STRATEGIES = (
    ("IP", 0.5, "IP α=½"),
    ("IP", 1.0, "IP α=1"),
    ("EP", 2.0, "EP α=2"),
    ("EP", -2.0, "EP α=−2"),
    ("PR", None, "PR"),
    ("SW", None, "SW"),
)

DOTS = {ARROW[t]: DIRECTIONS[t] for t in OPPOSITE}  # of the legend
TARGET = ("unedited target", {"color": "black", "lw": 0.8})


def _middle(results: pd.DataFrame) -> float:
    """Return the sparsity of the α sweep."""
    rows = select(results, localization=str(MASK), strategy="EP", alpha=3.0)
    if rows.empty:
        raise NotInTableError("no α sweep")
    return float(rows["sparsity"].iloc[0])


def edit_values(
    results: pd.DataFrame,
    target: str,
    cell: Cell,
    sparsity: float,
    measure: str,
    reference: str | None = None,
) -> pd.Series:
    """Return a measure, or perplexity_delta, of an edit by seed."""
    edit = to_opposite(target, cell, sparsity, reference)
    delta = measure == "perplexity_delta"
    rows = edit_rows(results, edit, "perplexity" if delta else measure)
    return rows["perplexity_delta" if delta else "value"]


def located_heatmap(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Draw Figure 3: share of weights selected per layer and component at the highest sparsity.

    Mean over seeds, both localizations, in per cent of the weights of each matrix.
    """
    top = located["sparsity"].max()
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.6), sharey=True)
    for axis, by in zip(axes, ("mask", "value"), strict=True):
        rows = select(
            located, sparsity=top, target="stereotypical", reference="anti", localization=by
        )
        rows = rows.assign(share=100 * rows["selected"] / rows["size"])
        order = list(dict.fromkeys(rows["component"]))
        grid = rows.pivot_table(index="component", columns="layer", values="share").loc[order]
        sns.heatmap(
            grid, ax=axis, annot=len(grid.columns) <= 12, fmt=".2g", cmap="cividis",
            linewidths=0.5, annot_kws={"fontsize": 7},
        )  # fmt: skip
        axis.set(title=f"{by}-based, % of the weights", xlabel="layer", ylabel="")
        axis.tick_params(axis="y", rotation=0)
    return figure


def strategies(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Draw Figure 4: every strategy in both directions, mean ± sd over seeds.

    Dashed lines: the unedited target of that colour; dotted: no bias. The white
    circles are edits of as many weights drawn at random.
    """
    sparsity = _middle(results)
    main = swept_value(results)
    panels = (*BIAS, "perplexity_delta")
    figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 4.2), sharey=True)
    rows = [(MASK, UNINFORMED, c) for c in STRATEGIES]
    rows += [(main, UNINFORMED_AS_VALUE, c) for c in STRATEGIES[:-1]]
    for axis, measure in zip(axes, panels, strict=True):
        for target, colour in DIRECTIONS.items():
            if measure in BIAS:
                level = model_values(results, target, measure, sparsity).mean()
                axis.axvline(level, color=colour, ls="--", lw=0.8)
            for i, (where, control, (strategy, alpha, _)) in enumerate(rows):
                shift = -0.14 if target == "stereotypical" else 0.14
                y = -i - (i >= len(STRATEGIES)) * 0.7 + shift
                for place, face in ((control, "white"), (where, colour)):
                    cell = (place, strategy, alpha)
                    if has(results, to_opposite(target, cell, sparsity)):
                        x = edit_values(results, target, cell, sparsity, measure)
                        axis.errorbar(
                            x.mean(), y, xerr=x.std(), fmt="o", ms=4, color=colour, mfc=face,
                            lw=0.8, mew=0.8, zorder=2 + (face != "white"),
                        )  # fmt: skip
        axis.axvline(UNBIASED[measure], color="black", ls=":", lw=0.8)
        axis.set_xlabel(LABELS[measure])
    ticks = [-i - (i >= len(STRATEGIES)) * 0.7 for i in range(len(rows))]
    axes[0].set_yticks(ticks, [f"{where.by}  {name}" for where, _, (*_, name) in rows])
    _legend(figure, DOTS, TARGET, uninformed=True)
    return figure


def share_sweep(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Draw Figure 5: value-based IP with α = ½ against the share k of shared weights."""
    sparsity = _middle(results)
    places = map(Where.parse, results["localization"].dropna().unique())
    shares = sorted(where.k for where in places if where.k is not None)
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.4))
    for axis, measure in zip(axes, BIAS, strict=True):
        for target, colour in DIRECTIONS.items():
            columns = [
                edit_values(results, target, (Where("value", k=k), "IP", 0.5), sparsity, measure)
                for k in shares
            ]
            mean = np.array([c.mean() for c in columns])
            sd = np.array([c.std() for c in columns])
            axis.errorbar(100 * np.array(shares), mean, yerr=sd, marker="o", ms=4, color=colour)
            level = model_values(results, target, measure, sparsity).mean()
            axis.axhline(level, color=colour, ls="--", lw=0.8)
        axis.axhline(UNBIASED[measure], color="black", ls=":", lw=0.8)
        axis.margins(y=0.12)
        axis.set(xlabel="k, % of shared weights", ylabel=LABELS[measure])
    _legend(figure, DOTS, TARGET)
    return figure


def alpha_sweep(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Draw Figure 6: bias and Δ perplexity against α, three localizations of equally many weights."""
    sparsity = _middle(results)
    alphas = sorted({0.0, *select(results, localization=str(VALUE_AS_MASK))["alpha"].dropna()})
    looks = {MASK: ("o", "-"), VALUE_AS_MASK: ("s", "--"), UNINFORMED: ("o", ":")}
    figure, axes = plt.subplots(2, 4, figsize=(WIDTH, 4), sharex=True)
    for row, (target, colour) in enumerate(DIRECTIONS.items()):
        for axis, measure in zip(axes[row], (*BIAS, "perplexity_delta"), strict=True):
            for where, (marker, line) in looks.items():
                columns = [
                    _at_alpha(results, target, where, alpha, sparsity, measure) for alpha in alphas
                ]
                face = "white" if where == UNINFORMED else colour
                axis.errorbar(
                    alphas, [c.mean() for c in columns], yerr=[c.std() for c in columns],
                    marker=marker, ms=3.5, mfc=face, color=colour, ls=line, lw=1,
                )  # fmt: skip
            axis.axhline(UNBIASED[measure], color="black", ls=":", lw=0.8)
            axis.set_title(LABELS[measure] if row == 0 else "", fontsize=9)
        axes[row, 0].set_ylabel(ARROW[target], color=colour)
    figure.supxlabel("α", fontsize=9)
    handles = [
        plt.Line2D(
            [], [], color="black", marker=marker, ls=line, 
            label=f"{where.by}, as many" if where.as_many_as else where.by,
            mfc="white" if where == UNINFORMED else "black",
        )
        for where, (marker, line) in looks.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _at_alpha(
    results: pd.DataFrame, target: str, where: Where, alpha: float, sparsity: float, measure: str
) -> pd.Series:
    if alpha == 0:
        if measure == "perplexity_delta":
            return 0 * model_values(results, target, "perplexity", sparsity)
        return model_values(results, target, measure, sparsity)
    return edit_values(results, target, (where, strategy_of(alpha), alpha), sparsity, measure)


def neutral_target(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Draw Figure 7: the neutral model as target, with each of the two references."""
    rows = select(results, target="neutral", localization=str(MASK), strategy="SW")
    if rows.empty:
        raise NotInTableError("no edits of the neutral model")
    sparsity, main = float(rows["sparsity"].max()), swept_value(results)
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.4), sharey=True)
    cells = [(where, c) for where in (MASK, main) for c in STRATEGIES[:-1]]
    for axis, measure in zip(axes, BIAS, strict=True):
        for reference in OPPOSITE:
            colour = DIRECTIONS[OPPOSITE[reference]]
            for i, (where, (strategy, alpha, _)) in enumerate(cells):
                y = -i - (i >= 5) * 0.7 + (0.14 if reference == "stereotypical" else -0.14)
                places = [(where, colour)]
                if where == MASK and strategy == "EP":
                    places.insert(0, (UNINFORMED, "white"))
                for place, face in places:
                    cell = (place, strategy, alpha)
                    x = edit_values(results, "neutral", cell, sparsity, measure, reference)
                    axis.errorbar(
                        x.mean(), y, xerr=x.std(), fmt="o", ms=4, color=colour, mfc=face,
                        lw=0.8, mew=0.8,
                    )  # fmt: skip
        level = model_values(results, "neutral", measure, sparsity).mean()
        axis.axvline(level, color=NEUTRAL, ls="--", lw=0.8)
        axis.axvline(UNBIASED[measure], color="black", ls=":", lw=0.8)
        axis.set_xlabel(LABELS[measure])
    ticks = [-i - (i >= 5) * 0.7 for i in range(len(cells))]
    axes[0].set_yticks(ticks, [f"{where.by}  {name}" for where, (*_, name) in cells])
    dots = {f"reference: {n}": DIRECTIONS[OPPOSITE[n]] for n in OPPOSITE}
    _legend(figure, dots, ("unedited neutral model", {"color": NEUTRAL}), uninformed=True)
    return figure


def swept_value(results: pd.DataFrame) -> Where:
    """Return the value-based localization that has a PR edit: the profile's k."""
    names = select(results, strategy="PR")["localization"].unique()
    for where in map(Where.parse, names):
        if where.by == "value":
            return where
    raise NotInTableError("no value-based pruning")


def _legend(
    figure: plt.Figure, dots: dict[str, str], dashed: tuple[str, dict], uninformed: bool = False
) -> None:
    """Explain the coloured dots, the dashed line, and the white dots of uninformed edits."""
    handles = [
        plt.Line2D([], [], marker="o", ls="", color=colour, label=label)
        for label, colour in dots.items()
    ]
    handles.append(plt.Line2D([], [], ls="--", label=dashed[0], **dashed[1]))
    if uninformed:
        looks = {"marker": "o", "mfc": "white", "ls": "", "color": "black"}
        handles.append(plt.Line2D([], [], label="uninformed", **looks))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
