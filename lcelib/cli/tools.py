"""`lce measure`, `lce train` and `lce doctor`."""

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from lcelib.errors import LceError, MismatchError
from lcelib.run.profiles import CONDITIONS, parse_overrides, profile

MODEL = "Folder, hub id, toybert or smollm2."
FILES = ("winobias", "stereoset", "crows", "agreement", "weat", "weat_unseen", "weat_names")


def measure(
    model: Annotated[str, typer.Argument(help=MODEL)],
    on: Annotated[
        list[str], typer.Option(help=f"MEASURE=FILE or a source's name; {', '.join(FILES)}, texts.")
    ],
    against: Annotated[str | None, typer.Option(help="A second model, measured beside it.")] = None,
    patch: Annotated[
        Path | None, typer.Option(help="The second model is this one patched.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Strength of the patch.")] = None,
    bias_type: Annotated[str, typer.Option(help="Items of StereoSet and CrowS-Pairs.")] = "gender",
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a model, or two side by side; the JSON is what `lce patch make --about` takes.

    Example: lce measure smollm2 --on winobias=winobias_test --on weat=weat.json --patch less.lce.safetensors
    """
    from lcelib.corpus.texts import split_sentences
    from lcelib.data import sources
    from lcelib.measures.registry import NEUTRAL, suite
    from lcelib.models import load
    from lcelib.patches.patch import Patch

    places = parse_overrides(on)
    if unknown := sorted(set(places) - {*FILES, "texts"}):
        raise LceError(
            f"measure {unknown[0]!r}", "is unknown", f"Known: {', '.join(FILES)}, texts."
        )
    if against and patch:
        raise LceError("--against and --patch", "exclude each other", "Give one of them.")
    paths = {n: sources.resolve(p) for n, p in places.items()}
    for name, path in paths.items():
        if not Path(path).exists():
            raise LceError(f"{name} {path!r}", "is no file", "Check the path, or `lce data check`.")
    text = Path(paths.pop("texts")).read_text(encoding="utf-8") if "texts" in paths else ""
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
    if json_:
        print(json.dumps({"measures": rows}, indent=1))
        return
    for row in rows:
        change_ = f" → {row['after']:9.3f}" if "after" in row else ""
        neutral = "" if row["neutral"] is None else f"  (without bias {row['neutral']:g})"
        print(f"{row['measure']:22}{row['before']:9.3f}{change_}  n = {row['n']}{neutral}")


def train(
    of: Annotated[str, typer.Option(help=f"{', '.join(CONDITIONS)}.")],
    output: Annotated[Path, typer.Option(help="New folder for the model.")],
    profile_name: Annotated[str, typer.Option("--profile", help="Named settings.")] = "toy",
    set_: Annotated[list[str], typer.Option("--set", help="FIELD=VALUE; repeatable.")] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Order, masking and dropout.")] = 0,
) -> None:
    """Fine-tune one model on counterfactual text and save it as a folder; no pruning.

    Every `checkpoint_every` steps the state is kept beside it, and taken up by the same call.
    Example: lce train --of anti --output anti/ --set model=bert/ --set texts=wiki.txt
    """
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


def doctor(json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Look at this machine: versions, memory, disk, GPU, network folders; exit code 1 for a problem.

    Example: lce doctor
    """
    from lcelib.data import sources
    from lcelib.run import paths

    rows = [("python", platform.python_version(), sys.version_info >= (3, 11))]
    for requirement in metadata.requires("lcelib") or []:
        name = requirement.split(";")[0].split(">")[0].strip()
        if "extra ==" in requirement:
            continue
        try:
            rows.append((name, metadata.version(name), True))
        except metadata.PackageNotFoundError:
            rows.append((name, "is missing: pip install " + name, False))
    for command in ("git", "make"):
        rows.append((command, shutil.which(command) or "not found", bool(shutil.which(command))))
    for what, place in (("results", paths.results_folder()), ("cache", sources.cache())):
        inside = next(p for p in (place, *place.parents) if p.exists())
        free = shutil.disk_usage(inside).free / 1e9
        rows.append(
            (
                f"{what} folder",
                f"{place}, {free:.0f} GB free",
                free > 1 and os.access(inside, os.W_OK),
            )
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    rows.append(("memory", f"{memory:.0f} GB, {os.cpu_count()} cores", memory > 2))
    command = [
        sys.executable,
        "-c",
        "import torch; print(torch.cuda.is_available() and torch.cuda.get_device_name())",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    gpu = said.stdout.strip() or said.stderr.strip().splitlines()[-1]
    rows.append(("GPU", "none, and none is needed" if gpu == "False" else gpu, not said.returncode))
    if json_:
        print(json.dumps([dict(zip(("what", "found", "fine"), row, strict=True)) for row in rows]))
    else:
        print(
            "\n".join(f"{'ok' if fine else '!!'}  {what:16}{found}" for what, found, fine in rows)
        )
    raise typer.Exit(int(not all(row[2] for row in rows)))


COMMANDS = (measure, train, doctor)
