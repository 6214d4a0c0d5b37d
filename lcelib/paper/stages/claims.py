"""Count the located weights, and judge the claims."""

from lcelib.files import write_csv, write_json
from lcelib.paper.checks import checks
from lcelib.paper.ledger import judge, located_table
from lcelib.paper.results import full_grid, table
from lcelib.run.paths import Run
from lcelib.run.profiles import Profile


def run(settings: Profile) -> None:
    """Count the located weights, judge the claims, and run the checks of the full grid."""
    run = Run(settings)
    located, results = located_table(run), table(run)
    write_csv(run.folder / "located.csv", located)
    met = checks(results, located, settings) if full_grid(settings) else []
    write_json(run.folder / "checks.json", met)
    write_json(run.claims, judge(results, located, settings))
