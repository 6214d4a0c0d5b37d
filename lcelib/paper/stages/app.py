"""The table behind the page of `make app`."""

from lcelib.files import atomic
from lcelib.paper.curves import curves
from lcelib.run.paths import Run, use_threads
from lcelib.run.profiles import Profile


def run(settings: Profile, seed: int) -> None:
    """Write what the page of `make app` shows along α."""
    use_threads(settings)
    run = Run(settings)
    with atomic(run.curves) as temporary:
        curves(run, seed).to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")
