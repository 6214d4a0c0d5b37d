"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
Names = Annotated[list[str] | None, typer.Argument(help="Names, as `lce data check` lists them.")]
