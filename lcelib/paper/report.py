"""The closing summary of `make paper`."""

import time

import pandas as pd

from lcelib.paper import comparison, pretrained
from lcelib.paper.ledger import summary_lines
from lcelib.paper.results import table
from lcelib.run import provenance
from lcelib.run.paths import Run
from lcelib.run.profiles import Profile


def closing(settings: Profile, start: float) -> str:
    """Return the results of a run, their comparison with the published ones, and the time spent."""
    run = Run(settings)
    lines = [f"Results: {run.folder}", "", *summary_lines(run), "", "Where the time went:"]
    if settings.grid == "pretrained":
        located = pd.read_csv(run.folder / "located.csv")
        lines[-1:-1] = [*pretrained.sentences(table(run), located, settings), ""]
    if (run.published / "claims.json").exists():
        lines[-1:-1] = [*comparison.lines(run), ""]
    groups: dict[str, list[dict]] = {}
    for record in provenance.jobs(run.folder):
        groups.setdefault(record["job"].split("-")[0], []).append(record)
    for name, jobs in groups.items():
        seconds, memory = (
            sum(j["wall_seconds"] for j in jobs),
            max(j["peak_megabytes"] for j in jobs),
        )
        lines.append(f"  {name:12} {seconds:6.0f} s in {len(jobs)} jobs, at most {memory} MB each")
    lines.append(f"This call took {(time.time() - start) / 60:.1f} minutes.")
    return "\n".join(lines)
