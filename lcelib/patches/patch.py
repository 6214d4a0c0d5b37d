"""A patch: the whole difference that an edit makes, applied and taken back bit for bit."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lcelib import kernels
from lcelib.errors import LceError, MismatchError
from lcelib.models import prunable
from lcelib.patches import algebra, reading
from lcelib.patches import base as base_model
from lcelib.patches import format as patchfile
from lcelib.patches.algebra import Change
from lcelib.patches.direction import check_direction, refuse_harm
from lcelib.tensors import bits, component, dtype_of, like


@dataclass(frozen=True)
class Report:
    """What an application did: weights listed in the patch, changed, and changed elsewhere."""

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

    changes: dict[str, Change]
    alpha: float = 1.0
    info: dict[str, object] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of listed weights."""
        return sum(len(c.index) for c in self.changes.values())

    def scale(self, alpha: float) -> "Patch":
        """The same patch at another strength."""
        return replace(self, alpha=alpha)

    def _views(self, model: nn.Module) -> dict[str, torch.Tensor]:
        parameters = dict(model.named_parameters())
        missing = sorted(set(self.changes) - set(parameters))
        if missing:
            reason = f"has no tensor {missing[0]} ({len(missing)} missing)"
            raise MismatchError("model", reason, "Use the model that the patch was made for.")
        views = {name: parameters[name].detach().view(-1) for name in self.changes}
        for name, change in self.changes.items():
            if len(change.index) and change.index[-1] >= views[name].numel():
                reason = f"{name} has {views[name].numel()} weights, the patch needs more"
                raise MismatchError("model", reason, "Use the model that the patch was made for.")
            if views[name].dtype != (own := like(change.old, views[name]).dtype):
                reason = f"{name} is {views[name].dtype}, the patch {own}"
                raise MismatchError("model", reason, "Load the model in the patch's dtype.")
        return views

    def _positions(self, views: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: torch.from_numpy(c.index).to(views[n].device) for n, c in self.changes.items()}

    def _values(self, views: dict[str, torch.Tensor], alpha: float) -> dict[str, torch.Tensor]:
        return {n: like(c.at(alpha), views[n]) for n, c in self.changes.items()}

    def _refuse(self, wrong: dict[str, int], verb: str) -> None:
        for name in (n for n in self.changes if wrong.get(n)):
            reason = f"cannot be {verb}: {wrong[name]} weights of {name} are not what it expects"
            raise MismatchError("patch", reason, "Is this the right model, in the right state?")

    def _check(self, model: nn.Module, alpha: float, verb: str) -> None:
        """Refuse unless the model's listed weights are those of this patch at `alpha`."""
        views = self._views(model)
        found = kernels.read_at(views, self._positions(views))
        pairs = {n: (bits(found[n]), c.at(alpha)) for n, c in self.changes.items()}
        self._refuse({n: int((a != b.view(a.dtype)).sum()) for n, (a, b) in pairs.items()}, verb)

    def _swap(self, model: nn.Module, before: float, after: float, verb: str) -> None:
        """Bring the listed weights from one strength to another; refused unless they are at the first."""
        views = self._views(model)
        values = (self._values(views, alpha) for alpha in (before, after))
        self._refuse(kernels.swap_at(views, self._positions(views), *values), verb)

    def _put(self, model: nn.Module, alpha: float) -> None:
        """Set the listed weights to their values at `alpha`, in place."""
        views = self._views(model)
        kernels.write_at(views, self._positions(views), self._values(views, alpha))

    def apply(self, model: nn.Module, towards_stereotype: bool = False) -> None:
        """Apply in place. Raises LceError, with the model untouched, unless all old values match.

        A patch whose file says that it raises stereotype scores must be asked for.
        """
        if not towards_stereotype:
            refuse_harm(self.info, self.alpha)
        self._swap(model, 0, self.alpha, "applied")

    def revert(self, model: nn.Module) -> None:
        """Take the patch back in place, bit for bit; refused unless it is applied."""
        self._swap(model, self.alpha, 0, "reverted")

    def sweep(self, model: nn.Module, alphas: Iterable[float]) -> Iterator[float]:
        """Set the model to each strength in turn; after the last, or an error, it is as before."""
        self._check(model, 0, "applied")
        try:
            for alpha in alphas:
                self._put(model, alpha)
                yield alpha
        finally:
            self._put(model, 0)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model with the patch inside the `with` block, and exactly as before after it."""
        self.apply(model, towards_stereotype=True)  # to be looked at, and taken back
        try:
            yield model
        finally:
            self.revert(model)

    def save(self, path: Path, base: nn.Module | None = None, tokenizer=None, **about) -> None:
        """Write a patch file; with the model it was made for, so that others are refused.

        `about` goes into the file's description (docs/patch_format.md): id, revision,
        derived_from, direction, bias, measures, licence, citation. Raises LceError for values that are
        not finite, and unless `base` has the old values.
        """

        names = {n: c for n, c in self.changes.items() if len(c.index)}
        info = {k: v for k, v in self.info.items() if k not in ("format", "digest")}
        own = {k: about.pop(k) for k in ("id", "revision", "derived_from") if k in about}
        info |= {"alpha": self.alpha} | about
        if base is not None:
            self._check(base, 0, "saved")
            info["base"] = base_model.of_model(base, names, tokenizer) | own
        check_direction(info)
        with patchfile.writing(Path(path), info, values=True) as writer:
            for name, change in names.items():
                for values in (change.old, change.new):
                    if not np.isfinite(like(values, torch.empty(0)).float().numpy()).all():
                        raise LceError(
                            f"patch {path}", f"{name} has NaN or Inf", "Use sound models."
                        )
                writer.add(name, dtype_of(change.old), change.index, change.old, change.new)

    @staticmethod
    def load(path: Path) -> "Patch":
        """Read a patch file, all of it checked; at the strength that it was saved with."""

        arrays, info = reading.read(Path(path))
        if any(len(a) != 3 for a in arrays.values()):
            raise LceError(
                f"{path}", "lists positions without values", "Give a file of `lce edit`."
            )
        changes = {n: Change(i.astype(np.int64), old, new) for n, (i, old, new) in arrays.items()}
        return Patch(changes, info.get("alpha", 1.0), info)

    def verify(self, model: nn.Module, tokenizer=None) -> str:
        """ "base" or "applied": which state the model is in, every touched tensor compared whole.

        Raises LceError for any other model or state. Without a description of the base in
        the file only the listed weights can be compared.
        """

        views = self._views(model)
        found = kernels.read_at(views, self._positions(views))
        here = {n: bits(v) for n, v in found.items()}

        def holds(alpha: float) -> bool:
            wanted = {n: c.at(alpha) for n, c in self.changes.items()}
            return all(np.array_equal(here[n], v.view(here[n].dtype)) for n, v in wanted.items())

        state = "base" if holds(0.0) else "applied" if holds(self.alpha) else None
        if state is None:
            reason = "is neither the patch's base nor has it the patch at this strength"
            raise MismatchError(
                "model", reason, "Give the strength it was applied at: scale(alpha)."
            )
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
        """Return the same change with its strength worked in: new values at α, and α = 1."""
        return Patch(algebra.settle(self.changes, self.alpha), 1.0, self.info)

    def invert(self) -> "Patch":
        """Return the patch that leads back, from the values at this strength to the old ones."""
        changes = algebra.invert(self.settled().changes)
        return Patch(changes, 1.0, algebra.derived_info("inverted", self.info))

    def restrict(self, keep: Callable[[int, str], bool]) -> "Patch":
        """Return the part of it in the components for which `keep(layer, component)` holds."""
        changes = {n: c for n, c in self.changes.items() if keep(*component(n))}
        return Patch(changes, self.alpha, algebra.derived_info("restricted", self.info))

    def compose(self, other: "Patch", overlap: str = "refuse") -> "Patch":
        """Return both in one, each at its strength, for a model that has neither.

        Where both list a weight, `overlap` decides: "refuse", or the new value of the
        "first" or of the "last". Raises LceError for patches of different models and
        for overlaps that nobody decided.
        """
        return self._with(other, f"composed, overlap: {overlap}", algebra.compose, overlap)

    def diff(self, other: "Patch") -> "Patch":
        """Return the patch that takes a model with this one to a model with the other."""
        return self._with(other, "difference", algebra.difference)

    def _with(self, other: "Patch", how: str, operation: Callable, *options: str) -> "Patch":
        algebra.check_same_base(self.info, other.info)
        changes = operation(self.settled().changes, other.settled().changes, *options)
        return Patch(changes, 1.0, algebra.derived_info(how, self.info, other.info))

    def report(self, model: nn.Module) -> Report:
        """Apply, compare every parameter bit by bit with its state before, and revert."""
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
