"""Write the table behind the page of `make app`."""

from lcelib.files import write_csv
from lcelib.paper.curves import curves
from lcelib.run.paths import Run, use_threads
from lcelib.run.profiles import Profile


def run(settings: Profile, seed: int) -> None:
    """Measure along α what the page of `make app` shows."""
    use_threads(settings)
    run = Run(settings)
    write_csv(run.curves, curves(run, seed))
