"""The base of a patch: hashes of the model, its tensors and its vocabulary."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lcelib.checkpoints.reading import Checkpoint, parse_vocabulary, vocabulary
from lcelib.errors import MismatchError
from lcelib.tensors import Array, bits

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


def architecture(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return the SHA-256 of names and shapes of the matrices inside the layers."""
    text = json.dumps({name: list(shape) for name, shape in shapes.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def tokenizer(vocabulary_: Mapping[str, int]) -> str | None:
    """Return the SHA-256 of a vocabulary with its ids; None for an empty one."""
    text = json.dumps(dict(vocabulary_), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest() if vocabulary_ else None


def vocabulary_of(tokenizer_: "PreTrainedTokenizerBase | None") -> dict[str, int]:
    """Return token → id of a fast tokenizer, as its file has it; empty for None."""
    if tokenizer_ is None:
        return {}
    return parse_vocabulary(tokenizer_.backend_tokenizer.to_str())


def digest(parts: Iterable[Array]) -> str:
    """Return the SHA-256 of a tensor's bytes, from consecutive parts."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(np.ascontiguousarray(part).data)
    return sha256.hexdigest()


def describe(
    shapes: Mapping[str, Sequence[int]],
    matrices: Iterable[str],
    vocabulary_: Mapping[str, int],
    digests: Mapping[str, str],
) -> dict[str, Any]:
    """Return the "base" entry of a patch, with the digests of the tensors that it changes."""
    return {
        "architecture": architecture({n: shapes[n] for n in matrices}),
        "tokenizer": tokenizer(vocabulary_),
        "tensors": {n: {"shape": list(shapes[n]), "sha256": d} for n, d in digests.items()},
    }


def of_checkpoint(source: Checkpoint, touched: Iterable[str]) -> dict[str, Any]:
    """Return the "base" entry of a patch for a checkpoint folder."""
    shapes = {name: entry.shape for name, entry in source.entries.items()}
    digests = {name: digest([source.array(name)]) for name in touched}
    return describe(shapes, source.prunable(), vocabulary(source), digests)


def of_model(
    model: "nn.Module", touched: Iterable[str], tokenizer_: "PreTrainedTokenizerBase | None" = None
) -> dict[str, Any]:
    """Return the "base" entry of a patch for a model in memory and its fast tokenizer."""
    from lcelib.models import prunable  # loads torch and transformers

    parameters = dict(model.named_parameters())
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    digests = {name: digest([bits(parameters[name])]) for name in touched}
    return describe(shapes, prunable(model), vocabulary_of(tokenizer_), digests)


def check_base(
    what: str,
    wanted: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    vocabulary_: Mapping[str, int],
    digests: Mapping[str, str],
) -> None:
    """Raise MismatchError unless a model is the base `wanted`.

    Compared are the shapes of its matrices, its vocabulary if it has one, and the tensors
    that have `digests`. `what` names the model in the message.
    """
    remedy = f"Use {wanted.get('id') or 'the model that the patch was made for'}."
    if wanted.get("architecture") not in (None, architecture(shapes)):
        raise MismatchError(what, "is of another architecture than the patch's base", remedy)
    vocabulary_digest = tokenizer(vocabulary_)
    if vocabulary_digest and wanted.get("tokenizer") not in (None, vocabulary_digest):
        raise MismatchError(what, "has another tokenizer than the patch's base", remedy)
    for name, entry in wanted.get("tensors", {}).items():
        if digests.get(name, entry["sha256"]) != entry["sha256"]:
            raise MismatchError(what, f"{name} is not that of the patch's base", remedy)
