"""The command line `lce`."""

import sys

import typer

from lcelib.cli import data, files, patches, runs, tools
from lcelib.cli.doctor import doctor
from lcelib.errors import LceError, as_resource_error
from lcelib.extras import missing

app = typer.Typer(
    no_args_is_help=True,
    help="Local contrastive editing: reproduce the paper, edit checkpoints, make and use patches.",
    epilog="Exit codes: 0 success; 1 a check or a run failed; 2 invalid input; 3 out of memory or disk "
    "space; 4 corrupt file; 5 mismatch; 6 network; 7 would raise stereotype scores; 130, 143 stopped.",
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
app.add_typer(data.app, name="data", help="Third-party data and models: list, check, fetch.")


def main() -> None:
    """Run the command line; print errors in at most three lines and exit with their code."""
    try:
        app()
    except LceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        doing = " ".join(["lce", *sys.argv[1:3]])
        known: LceError | None = as_resource_error(error, doing)
        if isinstance(error, ModuleNotFoundError):
            known = missing(doing, (error.name or "").split(".")[0])
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        sys.exit(known.exit_code)
