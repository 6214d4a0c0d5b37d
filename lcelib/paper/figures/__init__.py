"""The paper's figures and tables, one function each, drawn from the results table."""

from pathlib import Path

import pandas as pd

from lcelib.files import sha256, write_csv
from lcelib.paper.figures import pretrained as _pretrained
from lcelib.paper.figures import results as _results
from lcelib.paper.figures import schematic as _schematic
from lcelib.paper.figures import tables as _tables
from lcelib.paper.figures.style import save, style
from lcelib.paper.results import NotInTableError

__all__ = ["FIGURES", "TABLES", "draw_all", "manifest", "style"]

FIGURES = {
    "figure1": _schematic.two_steps,
    "figure2": _schematic.toy_pair,
    "figure3": _results.located_heatmap,
    "figure4": _results.strategies,
    "figure5": _results.share_sweep,
    "figure6": _results.alpha_sweep,
    "figure7": _results.neutral_target,
}
PRETRAINED = {
    "alpha": _pretrained.alpha_sweep,
    "original": _pretrained.original_target,
    "separation": _pretrained.what_separates,
}
TABLES = {
    "table1": _tables.bias_by_sparsity,
    "table4": _tables.language_by_sparsity,
    "table5": _tables.language_by_strategy,
    "table8": _tables.language_neutral,
}


def draw_all(
    results: pd.DataFrame, located: pd.DataFrame, folder: Path, grid: str = "paper"
) -> list[str]:
    """Draw what the table has data for into `folder` as PNG and PDF (tables also as CSV).

    Returns the names that are missing because the table lacks their data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    style()
    missing = []
    figures, tables = (PRETRAINED, {}) if grid == "pretrained" else (FIGURES, TABLES)
    for name, draw in figures.items():
        try:
            save(draw(results, located), folder / name)
        except NotInTableError:
            missing.append(name)
    for name, make in tables.items():
        try:
            table = make(results)
        except NotInTableError:
            missing.append(name)
            continue
        write_csv(folder / f"{name}.csv", table)
        save(_tables.render(table), folder / name)
    return missing


def draw_glue(glue: pd.DataFrame, folder: Path) -> None:
    """Draw Table 2 from the scores of the tasks."""
    table = _tables.understanding(glue)
    write_csv(folder / "table2.csv", table)
    save(_tables.render(table, "one seed"), folder / "table2")


def manifest(folder: Path, results: Path, located: Path) -> dict[str, dict]:
    """Map each file name to the function and rule that made it, and to the hashes of data and file.

    Figures 1 and 2 are computed from sixteen weights in the code and have no data.
    """
    glue = results.with_name("glue.csv")
    data = {"figure1": (), "figure2": (), "figure3": (located,), "table2": (glue,)}
    functions = {**FIGURES, **TABLES, **PRETRAINED, "table2": _tables.understanding}
    return {
        path.name: {
            "function": f"{functions[path.stem].__module__}.{functions[path.stem].__name__}",
            "rule": "figures",
            "data": {p.name: sha256(p) for p in data.get(path.stem, (results,))},
            "sha256": sha256(path),
        }
        for path in sorted(folder.iterdir())
        if path.stem in functions
    }
