"""A patch: the whole difference that an edit makes, applied and taken back bit for bit."""

from collections.abc import Iterator
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
    old: np.ndarray
    new: np.ndarray

    def at(self, alpha: float) -> np.ndarray:
        """old + α (new − old), in the tensor's dtype; exactly `old` at 0 and `new` at 1."""
        if alpha == 0:
            return self.old
        if alpha == 1:
            return self.new
        return (self.old + alpha * (self.new - self.old)).astype(self.old.dtype)


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
        return views

    def _write(self, model: nn.Module, expected: float, alpha: float, verb: str) -> None:
        """Replace the values at strength `expected` by those at `alpha`, or refuse and do nothing."""
        views = self._views(model)
        for name, change in self.changes.items():
            found = views[name][torch.from_numpy(change.index)].cpu().numpy()
            if found.tobytes() != change.at(expected).astype(found.dtype).tobytes():
                wrong = int((found != change.at(expected)).sum())
                reason = f"cannot be {verb}: {wrong} weights of {name} are not what it expects"
                raise LceError("patch", reason, "Is this the right model, in the right state?")
        for name, change in self.changes.items():
            values = torch.from_numpy(np.ascontiguousarray(change.at(alpha)))
            view = views[name]
            view[torch.from_numpy(change.index)] = values.to(view.device, view.dtype)

    def apply(self, model: nn.Module) -> None:
        """Apply in place. Raises LceError, with the model untouched, unless all old values match."""
        self._write(model, 0, self.alpha, "applied")

    def revert(self, model: nn.Module) -> None:
        """Take the patch back in place, bit for bit; refused unless it is applied."""
        self._write(model, self.alpha, 0, "reverted")

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
                    kernels.write_at(listed, self.changes[name].index, True)
                changed += int((differ & listed).sum())
                others += int((differ & ~listed).sum())
        return Report(self.size, changed, others, sum(p.numel() for p in before.values()))
