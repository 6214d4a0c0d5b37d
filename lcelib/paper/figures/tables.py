"""Tables 1, 4, 5 and 8, with the paper's own numbers beside ours."""

import json
import re

import matplotlib.pyplot as plt
import pandas as pd

from lcelib.files import DATA
from lcelib.paper.edits import MASK, Where
from lcelib.paper.figures.results import STRATEGIES, edit_values, swept_value
from lcelib.paper.results import Cell, model_values
from lcelib.run.profiles import OPPOSITE

PAPER_SPARSITIES = (0.1, 0.2, 0.3, 0.4)
PAPER_VALUE = Where("value", k=0.1)
PAPER = json.loads((DATA / "paper_tables.json").read_text(encoding="utf-8"))


def _cell(values: pd.Series, paper: float | None, digits: int = 2) -> str:
    """Format "ours ± sd (paper)"; a missing paper number is a dash."""
    beside = "–" if paper is None else f"{paper + 0.0:.{digits}f}"
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    text = f"{values.mean():.{digits}f}{spread} ({beside})"
    return re.sub(r"-(0\.0+\b)", r"\1", text).replace("-", "−")


def _sparsities(results: pd.DataFrame) -> list[float]:
    return sorted(results.loc[results["target"] == "anti", "sparsity"].unique())


def _by_sparsity(results: pd.DataFrame, table: str, measures: dict[str, str]) -> pd.DataFrame:
    levels, rows = _sparsities(results), []
    for condition in ("stereotypical", "anti"):
        for label, measure in measures.items():
            paper = dict(zip((0.0, *PAPER_SPARSITIES), PAPER[table][condition][label], strict=True))
            cells = {
                ("full" if s == 0 else f"{100 * s:g} %"): _cell(
                    model_values(results, condition, measure, s), paper.get(s)
                )
                for s in levels
            }
            rows.append({"model": condition, "measure": label.replace("_", " "), **cells})
    return pd.DataFrame(rows)


def bias_by_sparsity(results: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1: bias of the subnetworks, ours at this profile with the paper's in brackets."""
    measures = {"WEAT": "weat_d", "StereoSet_SS": "stereoset_ss", "CrowS": "crows"}
    return _by_sparsity(results, "table1", measures)


def language_by_sparsity(results: pd.DataFrame) -> pd.DataFrame:
    """Return Table 4: perplexity and LM score of the subnetworks."""
    return _by_sparsity(results, "table4", {"PPL": "perplexity", "LM": "stereoset_lm"})


def _by_strategy(
    results: pd.DataFrame, paper_table: str, pairs: list[tuple[str, str]]
) -> pd.DataFrame:
    """Return Δperplexity and ΔLM per strategy and sparsity, averaged over (target, reference) pairs."""
    rows, levels = [], [s for s in _sparsities(results) if s > 0]
    for kind, where in (("mask", MASK), ("value_k10", swept_value(results))):
        for strategy, alpha, name in STRATEGIES[: 6 if kind == "mask" else 5]:
            row = {"localization": where.by, "strategy": name}
            printed = PAPER[paper_table][kind][strategy + ("" if alpha is None else f"{alpha:g}")]
            if where not in (MASK, PAPER_VALUE):  # the paper's k is 10 %
                printed = [None] * 2 * len(PAPER_SPARSITIES)
            for label, measure, digits in (
                ("ΔPPL", "perplexity_delta", 3),
                ("ΔLM", "stereoset_lm", 2),
            ):
                numbers = printed[:4] if label == "ΔPPL" else printed[4:]
                paper = dict(zip(PAPER_SPARSITIES, numbers, strict=True))
                for s in levels:
                    cell = (where, strategy, alpha)
                    change = [_change(results, t, cell, s, measure, r) for t, r in pairs]
                    mean = pd.concat(change, axis=1).mean(axis=1)
                    row[f"{label} {100 * s:g} %"] = _cell(mean, paper.get(s), digits)
            rows.append(row)
    return pd.DataFrame(rows)


def _change(
    results: pd.DataFrame, target: str, cell: Cell, sparsity: float, measure: str, reference: str
) -> pd.Series:
    x = edit_values(results, target, cell, sparsity, measure, reference)
    if measure == "perplexity_delta":
        return x
    return x - model_values(results, target, measure, sparsity).reindex(x.index)


def language_by_strategy(results: pd.DataFrame) -> pd.DataFrame:
    """Return Table 5: Δperplexity and ΔLM per strategy, mean over both directions."""
    return _by_strategy(results, "table5_delta", [(t, OPPOSITE[t]) for t in OPPOSITE])


def language_neutral(results: pd.DataFrame) -> pd.DataFrame:
    """Return Table 8: the same for the neutral target with the stereotypical reference."""
    return _by_strategy(results, "table8_neutral_delta", [("neutral", "stereotypical")])


def understanding(glue: pd.DataFrame) -> pd.DataFrame:
    """Return Table 2: MNLI and STS-B after an edit of the stereotypical model, one seed."""
    paper, columns = (
        PAPER["table2_stereo_30pct_1seed"],
        ("mnli_m", "mnli_mm", "stsb_pearson", "stsb_spearman"),
    )
    rows = []
    keys = ["localization", "strategy", "alpha", "sparsity"]
    for (where, strategy, alpha, sparsity), found in glue.groupby(keys, sort=False, dropna=False):
        edited = isinstance(where, str)
        with_alpha = strategy in ("IP", "EP")
        name = (
            f"{where} {strategy}" + (f" α = {alpha:g}" if with_alpha else "") if edited else "base"
        )
        known = None if edited else paper["base"]
        kind = {str(MASK): "mask", str(PAPER_VALUE): "value_k10"}.get(where)
        if kind and sparsity == 0.3:  # the only one that the paper has
            known = paper[kind][strategy + (f"{alpha:g}" if with_alpha else "")]
        values = found.set_index("measure")["value"]
        beside = [f"{x:.1f}" for x in known] if known else ["–"] * len(columns)
        cells = [f"{values[c]:.1f} ({p})" for c, p in zip(columns, beside, strict=True)]
        labels = ("MNLI-m", "MNLI-mm", "STS-B Pearson", "STS-B Spearman")
        rows.append({"edit": name} | dict(zip(labels, cells, strict=True)))
    return pd.DataFrame(rows)


def render(table: pd.DataFrame, what: str = "mean ± sd over seeds") -> plt.Figure:
    """Draw a table: header, rows, and what the brackets mean."""
    width = 1.3 * len(table.columns) + 1
    figure, axis = plt.subplots(figsize=(width, 0.26 * (len(table) + 2)))
    axis.axis("off")
    drawn = axis.table(
        cellText=table.to_numpy(), colLabels=list(table.columns), loc="center", cellLoc="center"
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7.5)
    drawn.auto_set_column_width(list(range(len(table.columns))))
    for (row, _), cell in drawn.get_celld().items():
        cell.set_linewidth(0)
        cell.set_facecolor("#e8e8e8" if row == 0 else "#f7f7f7" if row % 2 == 0 else "white")
    figure.supxlabel(f"{what} at this profile (the paper's number, BERT-base)", fontsize=7)
    return figure
