"""Subnetworks: weights with a mask, found by iterative magnitude pruning (paper §4.2)."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import nn

from lcelib import kernels
from lcelib.errors import CorruptFileError, MismatchError
from lcelib.files import atomic
from lcelib.models import prunable
from lcelib.tensors import Arrays

WINNING_TICKET = 0.05  # perplexity within 5 % of the full model's (paper §4.2)
Key = TypeVar("Key")


@dataclass(frozen=True)
class Subnetwork:
    """A model's parameters θ and the packed mask m of the weights that are present.

    `theta` has every parameter (float arrays by name). A pruned weight has the value from
    the end of the round in which it was pruned, so that a mask switch can restore it; the
    subnetwork itself computes with m ⊙ θ. `initial` is the hash of θ0: only subnetworks
    with the same one may be compared. Raises MismatchError for a mask of another size.
    """

    theta: Arrays
    mask: Arrays
    initial: str
    info: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, bits in self.mask.items():
            if name not in self.theta or len(bits) != -(-self.theta[name].size // 8):
                reason = "does not fit its weights"
                raise MismatchError(f"mask of {name}", reason, "Rebuild the file.")

    @cached_property
    def weights(self) -> Arrays:
        """The prunable tensors w = m ⊙ θ: pruned weights are exactly 0."""
        return {n: np.where(self.keep(n), self.theta[n], 0) for n in self.mask}

    def keep(self, name: str) -> np.ndarray:
        """Return the mask of one tensor as booleans in its shape."""
        return kernels.unpack(self.mask[name], self.theta[name].shape)

    @property
    def total(self) -> int:
        """The number of prunable weights."""
        return sum(self.theta[n].size for n in self.mask)

    @property
    def present(self) -> int:
        """The number of weights present."""
        return sum(map(kernels.popcount, self.mask.values()))

    @property
    def sparsity(self) -> float:
        """The share of prunable weights that are pruned."""
        return 1 - self.present / self.total

    def load_into(self, model: nn.Module) -> None:
        """Copy m ⊙ θ into a model of the same architecture, in place."""
        parameters = dict(model.named_parameters())
        check_names(set(parameters), set(self.theta))
        with torch.no_grad():
            for name, value in self.theta.items():
                parameters[name].copy_(torch.from_numpy(self.weights.get(name, value)))

    def save(self, path: Path) -> None:
        """Write one safetensors file: θ by name, masks as "mask/<name>"."""
        tensors = dict(self.theta) | {f"mask/{n}": bits for n, bits in self.mask.items()}
        with atomic(path) as temporary:
            # One entry: safetensors writes several in random order.
            meta = {"initial": self.initial, "info": self.info}
            meta |= {"sha256": _digest(tensors, meta)}
            save_file(tensors, temporary, {"subnetwork": json.dumps(meta, sort_keys=True)})


def _digest(tensors: Arrays, meta: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a file's content: names, dtypes, shapes, values, description."""
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def load(path: Path) -> Subnetwork:
    """Read a subnetwork file; raise CorruptFileError if a single bit has changed."""
    try:
        with safe_open(path, "numpy") as file:
            meta = json.loads(file.metadata()["subnetwork"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        if meta.pop("sha256") != _digest(tensors, meta):
            raise ValueError("its content is not what was written")
        mask = {k.removeprefix("mask/"): tensors.pop(k) for k in list(tensors) if "mask/" in k}
        return Subnetwork(tensors, mask, meta["initial"], meta["info"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        remedy = "Delete it and run the command again: it will be rebuilt."
        raise CorruptFileError(f"subnetwork {path}", f"cannot be read ({error})", remedy) from error


class SubnetworkFiles(Mapping[Key, Subnetwork]):
    """Subnetworks by key, read from their files on use; the last `kept` stay in memory."""

    def __init__(self, paths: dict[Key, Path], kept: int = 3) -> None:
        self.paths = paths
        self._load = lru_cache(kept)(load)

    def __getitem__(self, key: Key) -> Subnetwork:
        return self._load(self.paths[key])

    def __iter__(self) -> Iterator[Key]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def check_names(expected: set[str], actual: set[str]) -> None:
    """Raise MismatchError with the first names that differ between two architectures."""
    differ = sorted(expected ^ actual)
    if differ:
        reason = f"{len(differ)} tensor names differ: {', '.join(differ[:3])}"
        raise MismatchError("architecture", reason, "Use models of one architecture.")


def full_mask(theta: Arrays, names: list[str]) -> Arrays:
    """Return the mask of a dense model: all ones."""
    return {n: kernels.pack(np.ones(theta[n].size, bool)) for n in names}


def parameters(model: nn.Module) -> Arrays:
    """Return a copy of all parameters as arrays, tied tensors once."""
    return {n: p.detach().cpu().numpy().copy() for n, p in model.named_parameters()}


def dense(model: nn.Module) -> Subnetwork:
    """Return a model as the subnetwork that has all of its weights, and itself as θ0."""
    theta = parameters(model)
    return Subnetwork(theta, full_mask(theta, prunable(model)), theta_hash(model))


def theta_hash(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters, names and values."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode() + parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def iterative_magnitude_pruning(
    model: nn.Module,
    initial: str,
    sparsities: list[float],
    train: Callable[[nn.Module, Arrays | None, int], None],
    finished: Callable[[int], Subnetwork | None] = lambda _: None,
) -> Iterator[Subnetwork]:
    """Train, prune globally, rewind to θ0, repeat: yield the dense model and one per sparsity.

    Each entry of `sparsities` is a share of the **original** number of weights, so
    steps of 10 % give 10, 20, 30, 40 % (10 % of the rest would give 10, 19,
    27.1, 34.4 %). `train(model, mask, round)` trains in place and keeps pruned
    weights at 0. `finished(round)` may return the subnetwork of a finished round, so that
    a stopped run resumes there. `initial` is the hash of θ0.
    """
    theta_0, names = parameters(model), prunable(model)
    total = sum(theta_0[n].size for n in names)
    mask, before = full_mask(theta_0, names), {n: theta_0[n].copy() for n in names}
    for number, sparsity in enumerate([0.0, *sparsities]):
        subnetwork = finished(number)
        if subnetwork is None:
            rewind(model, theta_0, mask)
            train(model, mask if number else None, number)
            trained = parameters(model)
            theta = trained | {
                n: np.where(kernels.unpack(mask[n], trained[n].shape), trained[n], before[n])
                for n in names
            }
            subnetwork = Subnetwork(theta, mask, initial, {"sparsity": f"{sparsity:.4f}"})
        yield subnetwork
        if number < len(sparsities):
            before = {n: subnetwork.theta[n] for n in names}
            mask = kernels.prune_masks(subnetwork.weights, round(sparsities[number] * total))


def rewind(model: nn.Module, theta_0: Arrays, mask: Arrays) -> None:
    """Set the model to m ⊙ θ0, in place."""
    Subnetwork(theta_0, mask, "").load_into(model)
