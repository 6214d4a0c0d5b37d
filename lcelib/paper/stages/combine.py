"""One table of all runs of a grid."""

from lcelib.files import atomic
from lcelib.run.batch import Grid


def run(grid: Grid) -> None:
    """Combine the results tables of all runs; delete an outdated report."""
    grid.report.unlink(missing_ok=True)
    lines: list[str] = []
    for cell, run in zip(grid.cells, grid.runs, strict=True):
        head, *rows = run.results.read_text(encoding="utf-8").splitlines()
        lines = lines or [f"run,folder,bias,change,{head}"]
        own = [cell.name, run.folder.name, cell.bias or "default", cell.change or "default"]
        lines += [f"{','.join(own)},{row}" for row in rows]
    with atomic(grid.results) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
