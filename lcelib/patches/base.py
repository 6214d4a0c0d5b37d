"""The base of a patch: hashes of the model, its tensors and its vocabulary."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lcelib.checkpoints.reading import Checkpoint, vocabulary
from lcelib.errors import MismatchError
from lcelib.models import prunable
from lcelib.tensors import bits


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
        raise MismatchError(what, "is of another architecture than the patch's base", remedy)
    known = tokenizer(vocabulary_)
    if None not in (known, wanted.get("tokenizer")) and known != wanted["tokenizer"]:
        raise MismatchError(what, "has another tokenizer than the patch's base", remedy)
    for name, entry in wanted.get("tensors", {}).items():
        if digests.get(name, entry["sha256"]) != entry["sha256"]:
            raise MismatchError(what, f"{name} is not that of the patch's base", remedy)
