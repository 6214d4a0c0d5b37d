"""Figures 3 to 7, from the results table (and the table of located weights)."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from lcelib.paper.figures.style import ARROW, DIRECTIONS, LABELS, NEUTRAL, UNBIASED, WIDTH
from lcelib.paper.results import OPPOSITE, edit_rows, model_values, select, strategy_of

BIAS = ("weat_d", "stereoset_ss", "crows")
STRATEGIES = (
    ("IP", 0.5, "IP α=½"),
    ("IP", 1.0, "IP α=1"),
    ("EP", 2.0, "EP α=2"),
    ("EP", -2.0, "EP α=−2"),
    ("PR", None, "PR"),
    ("SW", None, "SW"),
)


def _middle(results) -> float:
    """The sparsity at which the α sweep was run."""
    rows = select(results, localization="mask", strategy="EP", alpha=3.0)
    return float(rows["sparsity"].iloc[0])


def _values(results, target, where, strategy, alpha, sparsity, measure, reference=None):
    column = measure
    if measure == "perplexity_delta":
        measure, column = "perplexity", "perplexity_delta"
    rows = edit_rows(results, target, where, strategy, alpha, sparsity, measure, reference)
    return rows[column if column == "perplexity_delta" else "value"]


def located_heatmap(results, located) -> plt.Figure:
    """Figure 3: share of weights selected per layer and component at the highest sparsity.

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


def strategies(results, located) -> plt.Figure:
    """Figure 4: every strategy in both directions, mean ± sd over seeds; white: uninformed.

    Dashed lines: the unedited target of that colour; dotted: no bias. The white
    circles are edits of as many weights drawn at random.
    """
    sparsity = _middle(results)
    main = _main_value(results)
    panels = (*BIAS, "perplexity_delta")
    figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 4.2), sharey=True)
    rows = [("mask", "mask", "uninformed =mask", c) for c in STRATEGIES]
    rows += [("value", main, "uninformed =value", c) for c in STRATEGIES[:-1]]
    for axis, measure in zip(axes, panels, strict=True):
        for target, colour in DIRECTIONS.items():
            if measure in BIAS:
                level = model_values(results, target, measure, sparsity).mean()
                axis.axvline(level, color=colour, ls="--", lw=0.8)
            for i, (_, where, control, (strategy, alpha, _name)) in enumerate(rows):
                shift = -0.14 if target == "stereotypical" else 0.14
                y = -i - (i >= len(STRATEGIES)) * 0.7 + shift
                for name, face in ((control, "white"), (where, colour)):
                    x = _values(results, target, name, strategy, alpha, sparsity, measure)
                    if len(x):
                        axis.errorbar(
                            x.mean(), y, xerr=x.std(), fmt="o", ms=4, color=colour, mfc=face,
                            lw=0.8, mew=0.8, zorder=2 + (face != "white"),
                        )  # fmt: skip
        axis.axvline(UNBIASED[measure], color="black", ls=":", lw=0.8)
        axis.set_xlabel(LABELS[measure])
    ticks = [-i - (i >= len(STRATEGIES)) * 0.7 for i in range(len(rows))]
    axes[0].set_yticks(ticks, [f"{r[0]}  {r[3][2]}" for r in rows])
    _direction_legend(figure, extra="uninformed")
    return figure


def share_sweep(results, located) -> plt.Figure:
    """Figure 5: value-based IP with α = ½ against the share k of shared weights."""
    sparsity = _middle(results)
    names = results["localization"].dropna().unique()
    shares = sorted(float(n.split()[1]) for n in names if n.startswith("value 0") or n == "value 1")
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.4))
    for axis, measure in zip(axes, BIAS, strict=True):
        for target, colour in DIRECTIONS.items():
            columns = [
                _values(results, target, f"value {k:g}", "IP", 0.5, sparsity, measure)
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
    _direction_legend(figure)
    return figure


def alpha_sweep(results, located) -> plt.Figure:
    """Figure 6: bias and Δ perplexity against α, three localizations with equally many weights."""
    sparsity = _middle(results)
    alphas = sorted({0.0, *select(results, localization="value =mask")["alpha"].dropna()})
    looks = {"mask": ("o", "-"), "value =mask": ("s", "--"), "uninformed =mask": ("o", ":")}
    figure, axes = plt.subplots(2, 4, figsize=(WIDTH, 4), sharex=True)
    for row, (target, colour) in enumerate(DIRECTIONS.items()):
        for axis, measure in zip(axes[row], (*BIAS, "perplexity_delta"), strict=True):
            for where, (marker, line) in looks.items():
                columns = [
                    _at_alpha(results, target, where, alpha, sparsity, measure) for alpha in alphas
                ]
                face = "white" if where.startswith("uninformed") else colour
                axis.errorbar(
                    alphas, [c.mean() for c in columns], yerr=[c.std() for c in columns],
                    marker=marker, ms=3.5, mfc=face, color=colour, ls=line, lw=1,
                )  # fmt: skip
            axis.axhline(UNBIASED[measure], color="black", ls=":", lw=0.8)
            axis.set_title(LABELS[measure] if row == 0 else "", fontsize=9)
        axes[row, 0].set_ylabel(ARROW[target], color=colour)
    figure.supxlabel("α", fontsize=9)
    names = {"value =mask": "value, as many", "uninformed =mask": "uninformed, as many"}
    handles = [
        plt.Line2D(
            [], [], color="black", marker=marker, ls=line, label=names.get(where, where),
            mfc="white" if where.startswith("uninformed") else "black",
        )
        for where, (marker, line) in looks.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _at_alpha(results, target, where, alpha, sparsity, measure):
    if alpha == 0:
        if measure == "perplexity_delta":
            return 0 * model_values(results, target, "perplexity", sparsity)
        return model_values(results, target, measure, sparsity)
    return _values(results, target, where, strategy_of(alpha), alpha, sparsity, measure)


def neutral_target(results, located) -> plt.Figure:
    """Figure 7: the neutral model as target, with each of the two references."""
    rows = select(results, target="neutral", localization="mask", strategy="SW")
    sparsity, main = float(rows["sparsity"].max()), _main_value(results)
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.4), sharey=True)
    cells = [(w, w.split()[0], c) for w in ("mask", main) for c in STRATEGIES[:-1]]
    for axis, measure in zip(axes, BIAS, strict=True):
        for reference, colour in (
            ("stereotypical", DIRECTIONS["anti"]),
            ("anti", DIRECTIONS["stereotypical"]),
        ):
            for i, (where, _label, (strategy, alpha, _name)) in enumerate(cells):
                y = -i - (i >= 5) * 0.7 + (0.14 if reference == "stereotypical" else -0.14)
                names = [(where, colour)]
                if where == "mask" and strategy == "EP":
                    names.insert(0, ("uninformed =mask", "white"))
                for name, face in names:
                    x = _values(
                        results, "neutral", name, strategy, alpha, sparsity, measure, reference
                    )
                    axis.errorbar(
                        x.mean(), y, xerr=x.std(), fmt="o", ms=4, color=colour, mfc=face,
                        lw=0.8, mew=0.8,
                    )  # fmt: skip
        level = model_values(results, "neutral", measure, sparsity).mean()
        axis.axvline(level, color=NEUTRAL, ls="--", lw=0.8)
        axis.axvline(UNBIASED[measure], color="black", ls=":", lw=0.8)
        axis.set_xlabel(LABELS[measure])
    ticks = [-i - (i >= 5) * 0.7 for i in range(len(cells))]
    axes[0].set_yticks(ticks, [f"{c[1]}  {c[2][2]}" for c in cells])
    handles = [
        plt.Line2D([], [], marker="o", ls="", color=c, label=f"reference: {n}")
        for n, c in (("stereotypical", DIRECTIONS["anti"]), ("anti", DIRECTIONS["stereotypical"]))
    ]
    handles.append(plt.Line2D([], [], ls="--", color=NEUTRAL, label="unedited neutral model"))
    handles.append(
        plt.Line2D([], [], marker="o", mfc="white", ls="", color="black", label="uninformed")
    )
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _main_value(results) -> str:
    """The value-based localization that has a PR edit: the profile's k."""
    names = select(results, strategy="PR")["localization"].unique()
    found = [name for name in names if name.startswith("value ")]
    if not found:
        raise ValueError("this grid has no value-based pruning")
    return found[0]


def _direction_legend(figure, extra: str | None = None) -> None:
    handles = [
        plt.Line2D([], [], marker="o", ls="", color=DIRECTIONS[t], label=ARROW[t]) for t in OPPOSITE
    ]
    handles.append(plt.Line2D([], [], ls="--", color="black", lw=0.8, label="unedited target"))
    if extra:
        handles.append(
            plt.Line2D([], [], marker="o", mfc="white", ls="", color="black", label=extra)
        )
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
