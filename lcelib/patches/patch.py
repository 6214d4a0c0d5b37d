"""A patch: all changes that an edit makes to a model, applied and reverted bit for bit."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from lcelib import kernels
from lcelib.errors import LceError, MismatchError
from lcelib.models import prunable
from lcelib.patches import algebra, reading
from lcelib.patches import base as base_model
from lcelib.patches import format as patchfile
from lcelib.patches.algebra import Changes
from lcelib.patches.direction import check_direction, check_harm
from lcelib.tensors import all_finite, bits, component, dtype_name, to_array, to_tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Views = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Report:
    """The effect of applying a patch: numbers of weights listed, changed, and changed elsewhere."""

    listed: int
    changed: int
    others_changed: int
    total: int


@dataclass(frozen=True)
class Patch:
    """An edit θ' = θ + α (new − old) at listed weights (paper Eq. 3–6), at strength `alpha`.

    `changes` maps a parameter name to its Change; tensors that are tied in the
    model appear once, under the parameter's own name.
    """

    changes: Changes
    alpha: float = 1.0
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return the number of listed weights."""
        return sum(len(c.index) for c in self.changes.values())

    def scale(self, alpha: float) -> "Patch":
        """Return the same patch at another strength."""
        return replace(self, alpha=alpha)

    def _views(self, model: nn.Module) -> Views:
        """Return flat views of the changed tensors; raise MismatchError unless all of them fit."""
        parameters = dict(model.named_parameters())
        kinds = {n: (p.numel(), dtype_name(p)) for n, p in parameters.items()}
        algebra.check_fit("model", kinds, self.changes)
        return {name: parameters[name].detach().view(-1) for name in self.changes}

    def _positions(self, views: Views) -> Views:
        return {n: to_tensor(c.index, views[n].device) for n, c in self.changes.items()}

    def _values(self, views: Views, alpha: float) -> Views:
        return {n: to_tensor(c.at(alpha), views[n].device) for n, c in self.changes.items()}

    def _read(self, views: Views) -> dict[str, np.ndarray[Any, Any]]:
        """Return a model's values at the listed positions, on the host."""
        values = kernels.read_at(views, self._positions(views))
        return {name: to_array(value) for name, value in values.items()}

    def _reject(self, mismatches: dict[str, int], verb: str) -> None:
        for name in (n for n in self.changes if mismatches.get(n)):
            reason = (
                f"cannot be {verb}: {mismatches[name]} weights of {name} are not what it expects"
            )
            raise MismatchError("patch", reason, "Is this the right model, in the right state?")

    def _check(self, model: nn.Module, verb: str) -> None:
        """Raise MismatchError unless the model's listed weights are the old ones."""
        found = self._read(self._views(model))
        self._reject(algebra.count_mismatches(found, self.changes, 0), verb)

    def _swap(self, model: nn.Module, before: float, after: float, verb: str) -> None:
        """Move the listed weights from one strength to another, if all are at the first."""
        views = self._views(model)
        values = (self._values(views, alpha) for alpha in (before, after))
        self._reject(kernels.swap_at(views, self._positions(views), *values), verb)

    def _put(self, model: nn.Module, alpha: float) -> None:
        """Set the listed weights to their values at `alpha`, in place."""
        views = self._views(model)
        kernels.write_at(views, self._positions(views), self._values(views, alpha))

    def apply(self, model: nn.Module, towards_stereotype: bool = False) -> None:
        """Apply the patch in place.

        Raises MismatchError, with the model untouched, unless all old values match, and
        HarmfulError for a patch that raises stereotype scores, without `towards_stereotype`.
        """
        if not towards_stereotype:
            check_harm(self.info, self.alpha)
        self._swap(model, 0, self.alpha, "applied")

    def revert(self, model: nn.Module) -> None:
        """Revert the patch in place, bit for bit; raise MismatchError unless it is applied."""
        self._swap(model, self.alpha, 0, "reverted")

    def sweep(self, model: nn.Module, alphas: Iterable[float]) -> Iterator[float]:
        """Set the model to each strength in turn; revert after the last one, or an error."""
        self._check(model, "applied")
        try:
            for alpha in alphas:
                self._put(model, alpha)
                yield alpha
        finally:
            self._put(model, 0)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[nn.Module]:
        """Apply the patch for the duration of a `with` block, then revert it."""
        self.apply(model, towards_stereotype=True)  # for a look, until the block ends
        try:
            yield model
        finally:
            self.revert(model)

    def save(
        self,
        path: Path,
        base: nn.Module | None = None,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        **about: Any,
    ) -> None:
        """Write a patch file; with the model it was made for, so that others are rejected.

        `about` goes into the file's description (docs/patch_format.md): id, revision,
        derived_from, direction, bias, measures, licence, citation. Raises LceError for NaN and
        Inf, for a direction that the measures contradict, and unless `base` has the old values.
        """
        names = {n: c for n, c in self.changes.items() if len(c.index)}
        info = {k: v for k, v in self.info.items() if k not in ("format", "digest")}
        origin = {k: about.pop(k) for k in ("id", "revision", "derived_from") if k in about}
        info |= {"alpha": self.alpha} | about
        if base is not None:
            self._check(base, "saved")
            info["base"] = base_model.of_model(base, names, tokenizer) | origin
        check_direction(info)
        with patchfile.open_writer(Path(path), info, values=True) as writer:
            for name, change in names.items():
                if not (all_finite(change.old) and all_finite(change.new)):
                    raise LceError(f"patch {path}", f"{name} has NaN or Inf", "Use sound models.")
                writer.add(name, dtype_name(change.old), change.index, change.old, change.new)

    @staticmethod
    def load(path: Path) -> "Patch":
        """Read a patch file and check all of it; its strength is that it was saved with.

        Raises LceError for a file that is missing, corrupt, or without values.
        """
        changes, info = reading.read_changes(Path(path))
        changes = {n: replace(c, index=c.index.astype(np.int64)) for n, c in changes.items()}
        return Patch(changes, info.get("alpha", 1.0), info)

    def verify(self, model: nn.Module, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
        """Return the state of a model: "base", or "applied" at this strength.

        Every changed tensor is compared whole; without a description of the base in the file
        the listed weights alone. Raises MismatchError for any other model or state.
        """
        views = self._views(model)
        state = algebra.state("model", self._read(views), self.changes, self.alpha)
        if "base" in self.info:
            digests = {}
            for name, change in self.changes.items():
                whole = bits(views[name]).copy()
                whole[change.index] = change.old.view(whole.dtype)
                digests[name] = base_model.digest([whole])
            parameters = dict(model.named_parameters())
            shapes = {n: parameters[n].shape for n in prunable(model)}
            vocabulary = base_model.vocabulary_of(tokenizer)
            base_model.check_base("model", self.info["base"], shapes, vocabulary, digests)
        return state

    def settled(self) -> "Patch":
        """Return the same patch with its strength worked in, so that it is at α = 1."""
        return Patch(algebra.settle(self.changes, self.alpha), 1.0, self.info)

    def invert(self) -> "Patch":
        """Return the patch that takes a model with this one to the base."""
        changes = algebra.invert(self.settled().changes)
        return Patch(changes, 1.0, algebra.derive_info("inverted", self.info))

    def restrict(self, keep: Callable[[int, str], bool]) -> "Patch":
        """Return its part in the components for which `keep(layer, component)` is true."""
        changes = {n: c for n, c in self.changes.items() if keep(*component(n))}
        return Patch(changes, self.alpha, algebra.derive_info("restricted", self.info))

    def compose(self, other: "Patch", overlap: str = "refuse") -> "Patch":
        """Return the union of two patches, each at its strength, for a model that has neither.

        Where both list a weight, `overlap` decides: "refuse" raises LceError, "first" and
        "last" take that patch's new value. Raises MismatchError for patches of different models.
        """
        return self._combine(other, f"composed, overlap: {overlap}", algebra.compose, overlap)

    def diff(self, other: "Patch") -> "Patch":
        """Return the patch that takes a model with this one to a model with the other."""
        return self._combine(other, "difference", algebra.difference)

    def _combine(
        self, other: "Patch", how: str, operation: Callable[..., Changes], *options: str
    ) -> "Patch":
        algebra.check_same_base(self.info, other.info)
        changes = operation(self.settled().changes, other.settled().changes, *options)
        return Patch(changes, 1.0, algebra.derive_info(how, self.info, other.info))

    def report(self, model: nn.Module) -> Report:
        """Apply the patch, compare every parameter with its value before, and revert it."""
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        changed = others = 0
        with self.applied(model):
            for name, parameter in model.named_parameters():
                differ = (parameter.detach() != before[name]).view(-1).cpu().numpy()
                listed = np.zeros(differ.size, bool)
                if name in self.changes:
                    listed[self.changes[name].index] = True
                changed += int((differ & listed).sum())
                others += int((differ & ~listed).sum())
        return Report(self.size, changed, others, sum(p.numel() for p in before.values()))
