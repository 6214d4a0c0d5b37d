"""`lce run`, `lce runs` and `lce stage`: reproduce the paper."""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lcelib.cli.options import Json, Overrides, ProfileName
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.run.profiles import PROFILES, Profile, check_seed, parse_overrides, profile

UNTIL = ("all", "corpus", "probes", "first_seed", "results", "glue", "claims", "figures", "app")


def run(
    context: typer.Context,
    profile_name: ProfileName = "toy",
    set_: Overrides = [],  # noqa: B006 - typer copies it
    grid: Annotated[
        Path | None, typer.Option(help="Grid file: profiles × bias specifications × changes.")
    ] = None,
    cores: Annotated[int, typer.Option(help="Jobs at once.")] = os.cpu_count() or 1,
    executor: Annotated[
        str | None, typer.Option(help="slurm, slurm-no-accounting, or a Snakemake profile folder.")
    ] = None,
    until: Annotated[str, typer.Option(help="Rule to stop after.")] = "all",
) -> None:
    """Run the whole paper: corpus, models, edits, measures, figures, claims, notebooks.

    With --grid: all runs of a grid file, with one table and one report. Finished parts are
    skipped. Arguments after -- go to Snakemake.
    Example: lce run --profile toy --set seeds=0,1 --set steps=50
    """
    require("lce run", "snakemake")
    from lcelib.paper import report
    from lcelib.run import batch, paths, snakemake

    if grid and (set_ or profile_name != "toy"):
        raise LceError("--grid", "excludes --profile and --set", "Write them in the file.")
    plan = batch.read(grid) if grid else None
    all_settings = [run.settings for run in plan.runs] if plan else None
    all_settings = all_settings or [profile(profile_name, parse_overrides(set_))]
    options = ["--cores", str(cores)] if executor is None else _executor(executor)
    known = ("all", "combine", "report") if plan else UNTIL
    if until not in known and "/" not in until:
        raise LceError(f"--until {until!r}", "is unknown", f"Use {', '.join(known)}, or a file.")
    start = time.time()
    for settings in all_settings:
        check(settings)
    try:
        status = snakemake.build(
            [paths.Run(settings) for settings in all_settings],
            [f"grid={plan.path}"] if plan else snakemake.config_of(settings),
            [until],
            snakemake.print_progress(start, [c.name for c in plan.cells] if plan else ()),
            [*options, *context.args],
            plan.folder if plan else None,
        )
    except (KeyboardInterrupt, SystemExit):
        print("Stopped. Finished parts are kept; the same command resumes.", file=sys.stderr)
        raise
    if status == 0 and plan:
        for what, place in (("Table", plan.results), ("Report", plan.report)):
            if place.exists():
                print(f"{what}: {place}")
    elif status == 0 and until == "all" and paths.Run(settings).claims.exists():
        print(report.closing(settings, start))
    raise typer.Exit(status)


def _executor(name: str) -> list[str]:
    """Return Snakemake's options for a cluster: a folder in clusters/, or the user's."""
    from lcelib.run.paths import ROOT

    for folder in (ROOT / "clusters" / name, Path(name).resolve()):
        if (folder / "config.yaml").exists():
            if "executor: slurm" in (folder / "config.yaml").read_text(encoding="utf-8"):
                require(f"--executor {name}", "snakemake-executor-plugin-slurm")
            return ["--workflow-profile", str(folder)]
    known = ", ".join(sorted(p.name for p in (ROOT / "clusters").iterdir()))
    raise LceError(f"executor {name!r}", "has no config.yaml", f"Known: {known}; or a folder.")


def runs(json_: Json = False) -> None:
    """List all runs: seeds, state, time, commit and machine.

    Example: lce runs --json
    """
    from lcelib.run import paths, provenance

    found = provenance.runs(paths.results_folder())
    print(json.dumps(found, indent=1) if json_ else provenance.format_table(found))


def check(settings: Profile) -> None:
    """Raise LceError for whatever can be rejected before any work."""
    from lcelib.paper.preflight import check_inputs, check_prediction, check_words

    corpus = check_inputs(settings)
    words = ("model", "bias_spec", "weat", "weat_unseen", "weat_names")
    if any(getattr(settings, f) != getattr(PROFILES["toy"], f) for f in words):
        from lcelib.models import load

        lm = load(settings.model)
        check_words(settings, lm.tokenizer)
        check_prediction(settings, lm, corpus.held_out_neutral[:20])


def stage(
    name: Annotated[str, typer.Argument(help="Stage of the graph.")],
    profile_name: ProfileName = "toy",
    set_: Overrides = [],  # noqa: B006
    seed: Annotated[int | None, typer.Option(help="Seed of the profile.")] = None,
    of: Annotated[str | None, typer.Option(help="Condition, target or notebook.")] = None,
    grid: Annotated[Path | None, typer.Option(help="Grid file, for combine and report.")] = None,
) -> None:
    """Run one stage of the graph, as the Snakefile does.

    Example: lce stage subnetworks --seed 0 --of anti
    """
    if (name in ("combine", "report")) != (grid is not None):
        raise LceError("--grid", "goes with the stages combine and report", "Give both or neither.")
    if grid:
        from lcelib.paper import stages
        from lcelib.run import batch

        stages.find(name)(batch.read(grid))
        return
    settings = profile(profile_name, parse_overrides(set_))
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(settings.threads)  # before numpy and torch are there
    os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from lcelib.files import lock, write_json
    from lcelib.paper import stages
    from lcelib.run import paths, provenance

    arguments: list[int | str] = [] if seed is None else [check_seed(settings, seed)]
    arguments += [] if of is None else [of]
    function = stages.find(name)
    folder, job = paths.Run(settings).folder, "-".join([name, *map(str, arguments)])
    with (
        lock(folder / "locks" / job, f"waiting for another process at {name} …"),
        provenance.recorded(folder / "jobs" / f"{job}.json", seed),
    ):
        write_json(folder / "settings.json", asdict(settings))
        function(settings, *arguments)
