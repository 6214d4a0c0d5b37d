"""The command line: `lce run` builds a whole run, `lce stage` is what its rules call."""

import os
import sys
import time
from typing import Annotated

import typer

from lcelib.errors import LceError
from lcelib.profiles import check_seed, parse_overrides, profile

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
ProfileName = Annotated[str, typer.Option("--profile", help="Name of the profile.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Replace a field of the profile.")
]


@app.command()
def run(
    profile_name: ProfileName = "toy",
    set_: Overrides = [],  # noqa: B006 - typer copies it
    cores: Annotated[int, typer.Option(help="Jobs at once.")] = os.cpu_count() or 1,
    until: Annotated[str, typer.Option(help="Rule to stop after.")] = "all",
) -> None:
    """Run the whole paper: corpus, models, edits, measures, figures, claims, notebooks.

    Example: lce run --profile toy --set seeds=0,1 --set steps=50
    """
    from lcelib import report, workflow

    settings = profile(profile_name, parse_overrides(set_))
    start = time.time()
    check(settings)
    status = workflow.build(settings, [until], cores, workflow.print_progress(start))
    if status == 0 and until == "all":
        print(report.closing(settings, start))
    raise typer.Exit(status)


def check(settings) -> None:
    """Everything that can be refused before any work."""
    from lcelib.stages import check_inputs

    check_inputs(settings)
    if settings.model != "toybert":
        from lcelib.models import load

        load(settings.model)


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="Stage of the graph.")],
    profile_name: ProfileName = "toy",
    set_: Overrides = [],  # noqa: B006
    seed: Annotated[int | None, typer.Option(help="Seed of the profile.")] = None,
    of: Annotated[str | None, typer.Option(help="Condition, target or notebook.")] = None,
) -> None:
    """Run one stage of the graph, as the Snakefile does.

    Example: lce stage subnetworks --seed 0 --of anti
    """
    from lcelib import report, stages, workflow
    from lcelib.files import lock

    settings = profile(profile_name, parse_overrides(set_))
    arguments = [] if seed is None else [check_seed(settings, seed)]
    arguments += [] if of is None else [of]
    functions = {
        f.__name__: f
        for f in (stages.corpus, stages.probes, stages.subnetworks, stages.measure, stages.results)
    } | {f.__name__: f for f in (report.figures, report.claims, report.notebook, report.publish)}
    if name not in functions:
        raise LceError(f"stage {name!r}", "is unknown", f"Known: {', '.join(functions)}.")
    path = workflow.Run(settings).folder / "locks" / "-".join([name, *map(str, arguments)])
    with lock(path, f"waiting for another process at {name} …"):
        functions[name](settings, *arguments)


def main() -> None:
    """Entry point: errors in at most three lines, exit code 2."""
    try:
        app()
    except LceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
