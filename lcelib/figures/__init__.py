"""The paper's figures and tables, one function each, drawn from the results table."""

from pathlib import Path

import pandas as pd

from lcelib.figures import results as _results
from lcelib.figures import schematic as _schematic
from lcelib.figures import tables as _tables
from lcelib.figures.style import save, style

__all__ = ["FIGURES", "TABLES", "draw_all", "style"]

FIGURES = {
    "figure1": _schematic.two_steps,
    "figure2": _schematic.toy_pair,
    "figure3": _results.located_heatmap,
    "figure4": _results.strategies,
    "figure5": _results.share_sweep,
    "figure6": _results.alpha_sweep,
    "figure7": _results.neutral_target,
}
TABLES = {
    "table1": _tables.bias_by_sparsity,
    "table4": _tables.language_by_sparsity,
    "table5": _tables.language_by_strategy,
    "table8": _tables.language_neutral,
}


def draw_all(results: pd.DataFrame, located: pd.DataFrame, folder: Path) -> list[str]:
    """Draw whatever the table holds into `folder` as PNG and PDF (tables also as CSV).

    Returns the names that were left out because the profile's grid lacks their data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    style()
    missing = []
    for name, draw in FIGURES.items():
        try:
            save(draw(results, located), folder / name)
        except (KeyError, ValueError, IndexError):
            missing.append(name)
    for name, make in TABLES.items():
        try:
            table = make(results)
            table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
            save(_tables.render(table), folder / name)
        except (KeyError, ValueError, IndexError):
            missing.append(name)
    if missing:
        print(f"not in this profile's grid: {', '.join(missing)}")
    return missing
