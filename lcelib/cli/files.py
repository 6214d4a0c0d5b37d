"""`lce locate` and `lce edit`: the method on checkpoints."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from lcelib.cli.options import By, Folder, Json, K, PerTensor, Seed, Sparsity, Tensors


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
    from lcelib.cli import output as show
    from lcelib.kernels.selection import parse_k
    from lcelib.streaming import localization

    chosen = tuple(tensors or ())
    how = localization.Localization(by, parse_k(k), per_tensor, sparsity, seed, chosen)
    with show.bar(not json_) as progress:
        tally = localization.locate(target, reference, how, output, progress)
    print(json.dumps(show.summary(tally)) if json_ else show.format_table(tally))


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
    from lcelib.cli import output as show
    from lcelib.kernels.selection import parse_k
    from lcelib.streaming import editing
    from lcelib.streaming.localization import Localization

    by, chosen = "file" if located else by, tuple(tensors or ())
    how = Localization(by, parse_k(k), per_tensor, sparsity, seed, chosen, located)
    start = time.time()
    with show.bar(not json_) as progress:
        tally = editing.edit(target, reference, how, strategy, alpha, output, patch, base, progress)
    print(json.dumps(show.summary(tally)) if json_ else show.format_table(tally))
    if not json_:
        print(show.format_written(tally, output, patch, time.time() - start))
