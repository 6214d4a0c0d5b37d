"""A patch: the whole difference that an edit makes, applied and taken back bit for bit."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from lcelib import kernels
from lcelib.errors import LceError


@dataclass(frozen=True)
class Change:
    """Sorted flat positions in one tensor, the values there, and those at α = 1."""

    index: np.ndarray  # int64
    old: np.ndarray  # in the tensor's dtype; bfloat16 as its bits, uint16
    new: np.ndarray

    def at(self, alpha: float) -> np.ndarray:
        """old + α (new − old) in the tensor's dtype; exactly `old` at 0 and `new` at 1."""
        return kernels.interpolate(self.old, self.new, alpha)


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
    info: dict[str, str] = field(default_factory=dict)

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
            raise LceError("model", reason, "Use the model that the patch was made for.")
        views = {name: parameters[name].detach().view(-1) for name in self.changes}
        for name, change in self.changes.items():
            if len(change.index) and change.index[-1] >= views[name].numel():
                reason = f"{name} has {views[name].numel()} weights, the patch needs more"
                raise LceError("model", reason, "Use the model that the patch was made for.")
            if views[name].dtype != (own := like(change.old, views[name]).dtype):
                reason = f"{name} is {views[name].dtype}, the patch {own}"
                raise LceError("model", reason, "Load the model in the patch's dtype.")
        return views

    def _positions(self, views: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: torch.from_numpy(c.index).to(views[n].device) for n, c in self.changes.items()}

    def _check(self, model: nn.Module, alpha: float, verb: str) -> None:
        """Refuse unless the model's listed weights are those of this patch at `alpha`."""
        views = self._views(model)
        found = kernels.read_at(views, self._positions(views))
        for name, change in self.changes.items():
            here, wanted = bits(found[name]), change.at(alpha)
            wrong = len(wanted) - int(np.count_nonzero(here == wanted.view(here.dtype)))
            if wrong:
                reason = f"cannot be {verb}: {wrong} weights of {name} are not what it expects"
                raise LceError("patch", reason, "Is this the right model, in the right state?")

    def _put(self, model: nn.Module, alpha: float) -> None:
        """Set the listed weights to their values at `alpha`, in place."""
        views = self._views(model)
        values = {n: like(c.at(alpha), views[n]) for n, c in self.changes.items()}
        kernels.write_at(views, self._positions(views), values)

    def apply(self, model: nn.Module) -> None:
        """Apply in place. Raises LceError, with the model untouched, unless all old values match."""
        self._check(model, 0, "applied")
        self._put(model, self.alpha)

    def revert(self, model: nn.Module) -> None:
        """Take the patch back in place, bit for bit; refused unless it is applied."""
        self._check(model, self.alpha, "reverted")
        self._put(model, 0)

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
        self.apply(model)
        try:
            yield model
        finally:
            self.revert(model)

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


def bits(values: torch.Tensor) -> np.ndarray:
    """The values' bits as unsigned integers, on the host: what is compared when bits must agree."""
    word = {2: torch.uint16, 4: torch.uint32, 8: torch.uint64}[values.element_size()]
    return values.cpu().view(word).numpy()


def like(values: np.ndarray, tensor: torch.Tensor) -> torch.Tensor:
    """Values of a patch as a tensor on a tensor's device; uint16 holds bfloat16."""
    found = torch.from_numpy(np.ascontiguousarray(values))
    return (found.view(torch.bfloat16) if values.dtype == np.uint16 else found).to(tensor.device)
