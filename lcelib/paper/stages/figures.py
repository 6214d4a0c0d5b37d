"""Draw every figure and table of the paper."""

import pandas as pd

from lcelib.errors import LceError
from lcelib.files import write_json
from lcelib.paper.figures import draw_all, draw_glue, manifest
from lcelib.paper.results import full_grid, table
from lcelib.run.paths import Run
from lcelib.run.profiles import Profile


def run(settings: Profile) -> None:
    """Draw every figure and write every table of the paper from the results table.

    Raises LceError if one is missing on a full grid or on "pretrained", which hold the data
    of all of them. Other grids draw what they have.
    """
    run = Run(settings)
    located = run.folder / "located.csv"
    missing = draw_all(table(run), pd.read_csv(located), run.figures, settings.grid)
    if missing and (full_grid(settings) or settings.grid == "pretrained"):
        raise LceError("figures", f"could not be drawn: {', '.join(missing)}", "See results.csv.")
    if settings.glue:
        draw_glue(pd.read_csv(run.glue), run.figures)
    write_json(run.figures / "manifest.json", manifest(run.figures, run.results, located))
