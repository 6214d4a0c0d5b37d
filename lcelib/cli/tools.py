"""`lce measure` and `lce train`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lcelib.cli.options import Json, Overrides, ProfileName
from lcelib.errors import LceError, MismatchError
from lcelib.extras import require
from lcelib.run.profiles import CONDITIONS, parse_overrides, profile

MODEL = "Folder, hub id, toybert or smollm2."


def measure(
    model: Annotated[str, typer.Argument(help=MODEL)],
    on: Annotated[
        list[str],
        typer.Option(
            help="MEASURE=FILE: stereoset, crows, weat, …; FILE may be a name of `lce data check`."
        ),
    ],
    against: Annotated[str | None, typer.Option(help="A second model, measured beside it.")] = None,
    patch: Annotated[
        Path | None, typer.Option(help="The second model is this one patched.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Strength of the patch.")] = None,
    bias_type: Annotated[str, typer.Option(help="Items of StereoSet and CrowS-Pairs.")] = "gender",
    json_: Json = False,
) -> None:
    """Measure a model, or two side by side; `lce patch make --about` takes the JSON.

    Measures are those of lcelib/measures/registry.py; texts=FILE adds perplexity.
    Example: lce measure smollm2 --on winobias=winobias_test --on weat=weat.json --patch less.lce.safetensors
    """
    from lcelib.corpus.texts import split_sentences
    from lcelib.data import sources
    from lcelib.measures.registry import NEUTRAL, check_names, suite
    from lcelib.models import load
    from lcelib.patches.patch import Patch

    places = parse_overrides(on)
    check_names([name for name in places if name != "texts"])
    if against and patch:
        raise LceError("--against and --patch", "exclude each other", "Give one of them.")
    paths = {n: Path(sources.resolve(p)) for n, p in places.items()}
    for name, path in paths.items():
        if not path.exists():
            raise LceError(
                f"{name} {path}", "is missing", "Check the path, or see `lce data check`."
            )
    text = paths.pop("texts").read_text(encoding="utf-8") if "texts" in paths else ""
    change = Patch.load(patch) if patch else None
    lm = load(model)
    ready = suite(paths, lm.tokenizer, bias_type, split_sentences(text) if text else ())
    before, after = ready(lm.model), None
    if change is not None:
        with (change if alpha is None else change.scale(alpha)).applied(lm.model):
            after = ready(lm.model)
    elif against:
        other = load(against)
        if other.tokenizer.get_vocab() != lm.tokenizer.get_vocab():
            raise MismatchError(
                against, "has another tokenizer", "Compare models with one tokenizer."
            )
        after = ready(other.model)
    rows = [
        {"measure": s.measure, "variant": s.variant, "n": s.n, "before": s.value}
        | ({} if after is None else {"after": after[i].value})
        | {"neutral": NEUTRAL.get(s.measure)}
        for i, s in enumerate(before)
    ]
    print(json.dumps({"measures": rows}, indent=1) if json_ else _side_by_side(rows))


def _side_by_side(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        change_ = f" → {row['after']:9.3f}" if "after" in row else ""
        neutral = "" if row["neutral"] is None else f"  (without bias {row['neutral']:g})"
        lines.append(f"{row['measure']:22}{row['before']:9.3f}{change_}  n = {row['n']}{neutral}")
    return "\n".join(lines)


def train(
    of: Annotated[str, typer.Option(help=f"{', '.join(CONDITIONS)}.")],
    output: Annotated[Path, typer.Option(help="New folder for the model.")],
    profile_name: ProfileName = "toy",
    set_: Overrides = [],  # noqa: B006 - typer copies it
    seed: Annotated[int, typer.Option(help="Order, masking and dropout.")] = 0,
) -> None:
    """Fine-tune one model on counterfactual text and save it as a folder; no pruning.

    The state is saved beside it every `checkpoint_every` steps; the same command resumes.
    Example: lce train --of anti --output anti/ --set model=bert/ --set texts=wiki.txt
    """
    require("lce train", "accelerate")
    from lcelib.batches import encode
    from lcelib.checkpoints.writing import folder
    from lcelib.corpus.specification import read_spec
    from lcelib.models import load
    from lcelib.paper.inputs import mask_rates
    from lcelib.paper.preflight import check_inputs, check_words
    from lcelib.run import paths
    from lcelib.training import Recipe, fine_tune

    if of not in CONDITIONS:
        raise LceError(f"--of {of!r}", "is unknown", f"Use {', '.join(CONDITIONS)}.")
    settings = profile(profile_name, parse_overrides(set_))
    paths.use_threads(settings)
    corpus, lm = check_inputs(settings), load(settings.model)
    check_words(settings, lm.tokenizer)
    rates = mask_rates(settings, read_spec(settings.bias_spec), of)
    text = encode(lm.tokenizer, corpus.training(of), *rates)
    state = output.with_name(f".{output.name}-{settings.run_name}-{of}.checkpoint")
    with folder(output) as made:
        losses = fine_tune(
            lm.model, lm.tokenizer, text, Recipe.of(settings), seed, checkpoint=state
        )
        lm.model.save_pretrained(made)
        lm.tokenizer.save_pretrained(made)
    print(f"{output}: {len(losses)} steps, loss {losses[0]:.3f} → {losses[-1]:.3f}")
