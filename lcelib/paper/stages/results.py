"""Combine everything that was measured into one table."""

from lcelib.files import atomic
from lcelib.run.paths import Run
from lcelib.run.profiles import Profile


def run(settings: Profile) -> None:
    """Concatenate the tables of all seeds and targets."""
    run = Run(settings)
    paths = [run.measured(s, t) for s in settings.seeds for t in settings.targets]
    parts = [path.read_text(encoding="utf-8").splitlines() for path in paths]
    lines = [parts[0][0], *(line for part in parts for line in part[1:])]
    with atomic(run.results) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
