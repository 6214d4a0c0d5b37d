"""The command line `lce`."""

import sys

import typer

from lcelib.cli import data, files, patches, runs, tools
from lcelib.cli.doctor import doctor
from lcelib.errors import LceError, as_resource_error
from lcelib.extras import missing

app = typer.Typer(
    no_args_is_help=True,
    help="Local contrastive editing: build the paper, edit checkpoints, make and use patches.",
    epilog="Exit codes: 0 done; 1 a check found something, or a run failed; 2 refused; 3 memory or "
    "disk is used up; 4 a file is damaged; 5 things do not belong together; 6 network; 7 would "
    "raise stereotype scores; 130, 143 stopped.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
passed_on = {"allow_extra_args": True, "ignore_unknown_options": True}  # to Snakemake
app.command(context_settings=passed_on)(runs.run)
for command in (
    runs.runs,
    runs.stage,
    files.locate,
    files.edit,
    tools.measure,
    tools.train,
    doctor,
):
    app.command()(command)
app.add_typer(patches.app, name="patch", help="Patch files: make, verify, apply, revert.")
app.add_typer(data.app, name="data", help="Data and models of others: list, check, fetch.")


def main() -> None:
    """Entry point: errors in at most three lines; the exit codes are those of `lcelib.errors`."""
    try:
        app()
    except LceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        doing = " ".join(["lce", *sys.argv[1:3]])
        known = as_resource_error(error, doing)
        if isinstance(error, ModuleNotFoundError):
            known = missing(doing, (error.name or "").split(".")[0])
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        sys.exit(known.exit_code)
