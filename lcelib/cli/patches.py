"""`lce patch`: make, read, check, apply and revert patch files."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lcelib.cli.options import Folder, Json
from lcelib.errors import HarmfulError, LceError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
File = Annotated[Path, typer.Argument(help="Patch file, NAME.lce.safetensors.")]
Output = Annotated[Path, typer.Option(help="What to write; it must not exist.")]
Alpha = Annotated[float | None, typer.Option(help="Strength; by default the patch's own.")]
Towards = Annotated[
    bool, typer.Option("--towards-stereotype", help="Allow a patch that raises stereotype scores.")
]


@app.command()
def make(
    base: Folder,
    changed: Annotated[Path, typer.Argument(help="The same model with the change.")],
    output: Output,
    id_: Annotated[str, typer.Option("--id", help="The base's name on the hub.")] = "",
    revision: Annotated[str, typer.Option(help="The base's revision there.")] = "",
    direction: Annotated[
        str, typer.Option(help="away from stereotype, towards stereotype, or unknown.")
    ] = "unknown",
    about: Annotated[
        Path | None, typer.Option(help="JSON with measures, bias, licence, citation.")
    ] = None,
    towards_stereotype: Towards = False,
    json_: Json = False,
) -> None:
    """Write the patch that turns BASE into CHANGED: all weights that differ.

    Example: lce patch make bert/ edited/ --output less.lce.safetensors --direction "away from stereotype"
    """
    from lcelib.cli import output as show
    from lcelib.patches import direction as directions
    from lcelib.streaming import editing

    describe = {"direction": direction} | (_about(about) if about else {})
    describe["base"] = {k: v for k, v in (("id", id_), ("revision", revision)) if v}
    if describe["direction"] == directions.TOWARDS and not towards_stereotype:
        reason = "raises stereotype scores"
        raise HarmfulError("patch", reason, "To write it all the same, add --towards-stereotype.")
    if output.exists():
        raise LceError(f"{output}", "exists already", "Give a new name, or remove it.")
    with show.bar(not json_) as progress:
        found = editing.difference(base, changed, output, describe, progress)
    result = {"changed": found.count, "bytes": output.stat().st_size, "file": str(output)}
    print(json.dumps(result) if json_ else f"{output}: {found.count:,} weights, {_size(output)}")


def _about(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LceError(f"{path}", f"cannot be read ({error})", "Give a JSON file.") from error
    known = {"measures", "bias", "licence", "citation", "direction", "method"}
    if not isinstance(content, dict) or set(content) - known:
        raise LceError(f"{path}", "has other entries", f"Known: {', '.join(sorted(known))}.")
    return content


def _size(path: Path) -> str:
    from lcelib.patches.reading import resolve

    return f"{resolve(path).stat().st_size / 1e6:,.2f} MB"


@app.command()
def info(file: File, json_: Json = False) -> None:
    """Check a patch file and print its description and where its weights are.

    Example: lce patch info less.lce.safetensors
    """
    from lcelib.patches import card, reading

    arrays, about = reading.read(file)
    counts = {name: len(a[0]) for name, a in arrays.items()}
    if json_:
        print(json.dumps(about | {"weights": counts}))
    else:
        print("\n".join([*card.lines(about, counts), f"{file}: {_size(file)}, sound"]))


@app.command()
def verify(
    file: File,
    model: Annotated[Path | None, typer.Argument(help="Folder with a model.")] = None,
    alpha: Alpha = None,
    json_: Json = False,
) -> None:
    """Check a patch file and, with MODEL, whether that is its base or has it applied.

    Example: lce patch verify less.lce.safetensors bert/
    """
    from lcelib.patches import reading
    from lcelib.streaming import patching

    if model:
        _check_order(model, file)
        state = patching.verify(model, file, alpha)
    else:
        reading.read(file)
        state = "sound"
    said = {"sound": f"{file} is sound", "base": f"{model} is its base, without it"}
    said["applied"] = f"{model} is its base with the patch applied"
    print(json.dumps({"state": state}) if json_ else said[state])


@app.command()
def apply(
    model: Folder,
    file: File,
    output: Output,
    alpha: Alpha = None,
    towards_stereotype: Towards = False,
    json_: Json = False,
) -> None:
    """Write MODEL with the patch applied; MODEL must be the patch's base.

    Example: lce patch apply bert/ less.lce.safetensors --output edited/ --alpha 0.5
    """
    _rewrite(model, file, output, alpha, False, towards_stereotype, json_)


@app.command()
def revert(
    model: Folder, file: File, output: Output, alpha: Alpha = None, json_: Json = False
) -> None:
    """Write MODEL with the patch reverted: bit for bit its base.

    Example: lce patch revert edited/ less.lce.safetensors --output bert-again/ --alpha 0.5
    """
    _rewrite(model, file, output, alpha, True, True, json_)


def _check_order(model: Path, file: Path) -> None:
    if model.is_file() and file.is_dir():
        reason = f"is a file, and {file} a folder: MODEL and FILE look swapped"
        raise LceError(f"{model}", reason, "See the example in the command's --help.")


def _rewrite(
    model: Path, file: Path, output: Path, alpha: float | None, back: bool, harm: bool, json_: bool
) -> None:
    from lcelib.cli import output as show
    from lcelib.streaming import patching

    _check_order(model, file)
    with show.bar(not json_) as progress:
        found = patching.apply(model, file, output, alpha, back, progress, harm)
    result = {"listed": found.count, "changed": found.changed, "output": str(output)}
    text = f"{output}: {found.changed:,} weights changed, every other byte is {model}'s"
    print(json.dumps(result) if json_ else text)


@app.command()
def diff(first: File, second: File, json_: Json = False) -> None:
    """Compare two patches: the weights they share, and in how many they differ when applied.

    Example: lce patch diff one.lce.safetensors two.lce.safetensors
    """
    from lcelib.patches.patch import Patch

    one, two = Patch.load(first), Patch.load(second)
    between = one.diff(two)
    counts = [p.size for p in (one, two)]
    common = sum(counts) - one.compose(two, "last").size
    jaccard = common / (sum(counts) - common) if sum(counts) else 1.0
    names, values = (
        ("first", "second", "both", "differ", "jaccard"),
        (*counts, common, between.size),
    )
    result = dict(zip(names, (*values, jaccard), strict=True))
    text = f"{counts[0]:,} and {counts[1]:,} weights, {common:,} in both (Jaccard {jaccard:.3f}); "
    print(json.dumps(result) if json_ else text + f"applied, {between.size:,} weights differ")


@app.command()
def compose(
    first: File,
    second: File,
    output: Output,
    overlap: Annotated[str, typer.Option(help="refuse, or whose value: first, last.")] = "refuse",
    json_: Json = False,
) -> None:
    """Combine two patches of one base in one file.

    Example: lce patch compose gender.lce.safetensors age.lce.safetensors --output both.lce.safetensors
    """
    from lcelib.patches.patch import Patch

    if output.exists():
        raise LceError(f"{output}", "exists already", "Give a new name, or remove it.")
    both = Patch.load(first).compose(Patch.load(second), overlap)
    both.save(output)
    result = {"weights": both.size, "file": str(output)}
    print(json.dumps(result) if json_ else f"{output}: {both.size:,} weights, {_size(output)}")


@app.command()
def push(
    file: File,
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the hub, or a folder.")],
    private: Annotated[bool, typer.Option(help="Make a new repository private.")] = False,
    towards_stereotype: Towards = False,
    json_: Json = False,
) -> None:
    """Publish a patch with its card on the Hugging Face hub; HF_ENDPOINT names another hub.

    Example: lce patch push less.lce.safetensors me/less-stereotype
    """
    from lcelib.patches import hub

    place = hub.push(file, repository, private, towards_stereotype)
    print(json.dumps({"url": place}) if json_ else f"published: {place}")


@app.command()
def pull(
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the hub, or a folder.")],
    output: Annotated[Path, typer.Option(help="New file, or a folder.")] = Path("."),
    name: Annotated[str, typer.Option(help="Which patch, where there are several.")] = "",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    json_: Json = False,
) -> None:
    """Fetch a patch from the hub and check it before it is saved.

    Example: lce patch pull me/less-stereotype --revision 1f2e3d4
    """
    from lcelib.patches import hub

    place = hub.pull(repository, output, name, revision)
    print(json.dumps({"file": str(place)}) if json_ else f"{place}: {_size(place)}, sound")


@app.command()
def export(
    file: File,
    output: Output,
    to: Annotated[str, typer.Option(help="peft-shira, an adapter of PEFT.")] = "peft-shira",
    alpha: Alpha = None,
    towards_stereotype: Towards = False,
    json_: Json = False,
) -> None:
    """Write a patch as an adapter for other tools and print its largest rounding error.

    Example: lce patch export less.lce.safetensors --to peft-shira --output adapter/
    """
    from lcelib.patches import direction as directions
    from lcelib.patches import peft as peft_adapter
    from lcelib.patches.patch import Patch

    if to != "peft-shira":
        raise LceError(f"--to {to}", "is unknown", "Use peft-shira.")
    patch = Patch.load(file)
    patch = patch if alpha is None else patch.scale(alpha)
    if not towards_stereotype:
        directions.check_harm(patch.info, patch.alpha)
    error = peft_adapter.export_shira(patch, output)
    result = {"output": str(output), "weights": patch.size, "largest_error": error}
    text = (
        f"{output}: {patch.size:,} weights; with the adapter a weight is off by at most {error:.3g}"
    )
    print(json.dumps(result) if json_ else text)


@app.command()
def card(file: File) -> None:
    """Print the model card that `push` publishes.

    Example: lce patch card less.lce.safetensors
    """
    from lcelib.patches import card as cards

    print(cards.text(file), end="")
