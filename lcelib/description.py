"""What a patch file says of itself: the model it was made for, and the direction it leads in."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lcelib.checkpoint import Checkpoint, vocabulary
from lcelib.errors import Harmful, LceError, Unfit

AWAY, TOWARDS, UNKNOWN = "away from stereotype", "towards stereotype", "unknown"
DIRECTIONS = (AWAY, TOWARDS, UNKNOWN)


def architecture(shapes: Mapping[str, Sequence[int]]) -> str:
    """The SHA-256 of names and shapes of the matrices inside the layers."""
    text = json.dumps({name: list(shape) for name, shape in shapes.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def tokenizer(vocabulary_: Mapping[str, int]) -> str | None:
    """The SHA-256 of a vocabulary with its ids; None where there is none."""
    text = json.dumps(dict(vocabulary_), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest() if vocabulary_ else None


def vocabulary_of(tokenizer_) -> dict[str, int]:
    """Token → id of a fast tokenizer, as its file has it; empty for None."""
    if tokenizer_ is None:
        return {}
    known = json.loads(tokenizer_.backend_tokenizer.to_str())["model"]["vocab"]
    return {t: i for i, (t, _) in enumerate(known)} if isinstance(known, list) else dict(known)


def digest(parts: Iterable[np.ndarray]) -> str:
    """The SHA-256 of a tensor's bytes, from consecutive parts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part))
    return found.hexdigest()


def of_checkpoint(found: Checkpoint, touched: Iterable[str]) -> dict[str, object]:
    """The "base" entry of a patch for a checkpoint folder."""
    names = found.prunable()
    return {
        "architecture": architecture({n: found.entries[n].shape for n in names}),
        "tokenizer": tokenizer(vocabulary(found)),
        "tensors": {
            n: {"shape": list(found.entries[n].shape), "sha256": digest([found.array(n)])}
            for n in touched
        },
    }


def of_model(model, touched: Iterable[str], tokenizer_=None) -> dict[str, object]:
    """The same for a model in memory; `tokenizer_` is a fast tokenizer, or None."""
    from lcelib.models import prunable
    from lcelib.patch import bits

    parameters = dict(model.named_parameters())
    return {
        "architecture": architecture({n: parameters[n].shape for n in prunable(model)}),
        "tokenizer": tokenizer(vocabulary_of(tokenizer_)),
        "tensors": {
            n: {"shape": list(parameters[n].shape), "sha256": digest([bits(parameters[n])])}
            for n in touched
        },
    }


def check_base(
    what: str,
    wanted: Mapping,
    shapes: Mapping[str, Sequence[int]],
    vocabulary_: Mapping[str, int],
    digests: Mapping[str, str],
) -> None:
    """Refuse a model that is not the patch's base in matrices, vocabulary, or a tensor with a digest."""
    remedy = f"Use {wanted.get('id') or 'the model that the patch was made for'}."
    if wanted.get("architecture") not in (None, architecture(shapes)):
        raise Unfit(what, "is of another architecture than the patch's base", remedy)
    known = tokenizer(vocabulary_)
    if None not in (known, wanted.get("tokenizer")) and known != wanted["tokenizer"]:
        raise Unfit(what, "has another tokenizer than the patch's base", remedy)
    for name, entry in wanted.get("tensors", {}).items():
        if digests.get(name, entry["sha256"]) != entry["sha256"]:
            raise Unfit(what, f"{name} is not that of the patch's base", remedy)


def check_structure(info: Mapping) -> Mapping:
    """The "base" entry; ValueError where a description has not the form of docs/patch_format.md."""
    base, texts = info.get("base", {}), ("direction", "bias", "licence", "citation", "limits")

    def demand(fine: bool, what: str) -> None:
        if not fine:
            raise ValueError(f"its description has a wrong {what}")

    def number(x: object) -> bool:
        return type(x) in (int, float) and abs(x) < 1e300

    demand(number(info.get("alpha", 1)), "alpha")
    demand(all(isinstance(info.get(k, ""), str) for k in texts), "text")
    demand(isinstance(info.get("method", {}), dict), "method")
    demand(isinstance(base, dict) and isinstance(base.get("tensors", {}), dict), "base")
    for key in ("id", "revision", "derived_from", "architecture", "tokenizer"):
        demand(isinstance(base.get(key) or "", str), f"base {key}")
    for name, entry in base.get("tensors", {}).items():
        demand(isinstance(entry, dict) and isinstance(entry.get("sha256"), str), f"hash of {name}")
        shape = entry.get("shape")
        fine = isinstance(shape, list) and all(type(x) is int and 0 <= x < 2**40 for x in shape)
        demand(fine and math.prod(shape) < 2**62, f"shape of {name}")
    measures = info.get("measures", [])
    demand(isinstance(measures, list), "list of measures")
    for m in measures:
        demand(
            isinstance(m, dict) and all(map(number, map(m.get, ("before", "after", "n")))),
            "measure",
        )
        demand(all(isinstance(m.get(k), str) for k in ("measure", "variant")), "measure's name")
        for key in ("neutral", "change_se"):
            demand(m.get(key) is None or number(m[key]), f"{key} of a measure")
    return base


def votes(info: Mapping) -> int:
    """Count the measures that moved away from their neutral value, minus those that moved towards it.

    A change within 1.96 of its standard errors, where they are given, does not count.
    """
    found = 0
    for m in info.get("measures", []):
        noise = 1.96 * (m.get("change_se") or 0.0)
        if m.get("neutral") is not None and abs(m["after"] - m["before"]) > noise:
            before, after = (abs(m[when] - m["neutral"]) for when in ("before", "after"))
            found += (after > before) - (after < before)
    return found


def check_direction(info: dict) -> None:
    """Refuse a direction that is none, and one that the patch's own measures contradict."""
    direction = info.setdefault("direction", UNKNOWN)
    if direction not in DIRECTIONS:
        raise LceError(f"direction {direction!r}", "is unknown", f"Use {' or '.join(DIRECTIONS)}.")
    if votes(info) > 0 and direction != TOWARDS:
        reason = f"is {direction!r}, but by its measures the patch raises stereotype scores"
        raise LceError("direction", reason, f"Label it {TOWARDS!r}.")


def refuse_harm(info: Mapping, alpha: float) -> None:
    """Refuse a strength at which the patch raises stereotype scores; its sign turns the direction.

    The patch's own measures override its label where they rise, and replace it where it is unknown.
    """
    meant, moved = info.get("alpha", 1.0), votes(info)
    direction = TOWARDS if moved > 0 else info.get("direction", UNKNOWN)
    if direction == UNKNOWN and moved < 0:
        direction = AWAY
    same = (alpha < 0) == (meant < 0)
    if alpha and direction == (TOWARDS if same else AWAY):
        label = info.get("direction", UNKNOWN)
        reason = (
            f"at α = {alpha:g} raises stereotype scores (made for {meant:g}, labelled {label!r})"
        )
        raise Harmful("patch", reason, "If you want that, say so: towards_stereotype.")


def lines(info: Mapping, counts: Mapping[str, int]) -> list[str]:
    """A patch's description for people: base, method, direction, measures, components."""
    from lcelib.card import components

    base, method = info.get("base", {}), info.get("method", {})
    found = [f"direction   {info.get('direction', UNKNOWN)} (α = {info.get('alpha', 1):g})"]
    named = " ".join(base[k] for k in ("id", "revision") if base.get(k))
    named += f" ({base['derived_from']})" if base.get("derived_from") else ""
    found.append(
        f"base        {named or 'unnamed'}, architecture {base.get('architecture', '–')[:12]}"
    )
    found.append(
        "method      " + ", ".join(f"{k} {v}" for k, v in method.items() if v not in (None, []))
    )
    found += [
        f"{key:12}{info[key]}" for key in ("bias", "limits", "licence", "citation") if key in info
    ]
    for m in info.get("measures", []):
        change = f"{m['before']:.4g} → {m['after']:.4g}"
        found.append(f"measured    {m['measure']}: {change}, n = {m['n']} ({m['variant']})")
    found += [f"weights     {part}: {n:,}" for part, n in components(counts).items()]
    return [*found, f"weights     all: {sum(counts.values()):,} in {len(counts)} tensors"]
