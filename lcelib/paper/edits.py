"""Edits as keys: one type to write the results table and to read it."""

from dataclasses import dataclass, replace

from lcelib.errors import LceError
from lcelib.run.profiles import Profile

OTHER_SEED = " (other seed)"


@dataclass(frozen=True)
class Where:
    """How the weights of an edit are located (paper §3.1).

    "mask": in exactly one of the two masks (Eq. 1). "value": the share `k` of the shared
    weights with the largest difference (Eq. 2), or as many of them as `as_many_as` "mask"
    selects. "uninformed": drawn at random, as many as "mask" or "value" selects; `matched`
    by "component", or by "magnitude" within it. As text: "mask", "value 0.1", "value =mask",
    "uninformed =mask by component".
    """

    by: str
    k: float | None = None
    as_many_as: str | None = None
    matched: str | None = None

    def __post_init__(self) -> None:
        sized = {"mask": (None, None), "uninformed": (None, self.as_many_as)}
        wanted = sized.get(self.by, (self.k, None) if self.k else (None, "mask"))
        known = self.by in ("mask", "value", "uninformed")
        fits = (self.k, self.as_many_as) == wanted and (self.by == "uninformed" or not self.matched)
        counted = self.by != "uninformed" or self.as_many_as in ("mask", "value")
        if not (known and fits and counted and self.matched in (None, "component", "magnitude")):
            remedy = 'Write "mask", "value 0.1", "value =mask" or "uninformed =mask by component".'
            raise LceError(f"localization {self}", "is not defined", remedy)

    def __str__(self) -> str:
        size = f" {self.k:g}" if self.k is not None else ""
        size += f" ={self.as_many_as}" if self.as_many_as else ""
        return f"{self.by}{size}" + (f" by {self.matched}" if self.matched else "")

    @classmethod
    def parse(cls, text: str) -> "Where":
        """Parse the text that `str` returns."""
        head, _, matched = text.partition(" by ")
        by, _, size = head.partition(" ")
        try:
            k = float(size) if size and not size.startswith("=") else None
        except ValueError:
            k, size = None, f"={size}"
        return cls(by, k, size[1:] if size.startswith("=") else None, matched or None)


MASK = Where("mask")
VALUE_AS_MASK = Where("value", as_many_as="mask")
UNINFORMED = Where("uninformed", as_many_as="mask")
UNINFORMED_AS_VALUE = Where("uninformed", as_many_as="value")
MATCHED = tuple(replace(UNINFORMED, matched=by) for by in ("component", "magnitude"))


@dataclass(frozen=True)
class Edit:
    """One edit: of `target`, towards or away from `reference`, at the weights of `where`.

    `reference` is a condition, or "X - Y": then what X has more than Y is added to the
    target. `alpha` is None for strategies without a strength; `brief` leaves out the
    costly measures.
    """

    target: str
    reference: str
    where: Where
    strategy: str
    alpha: float | None
    sparsity: float
    brief: bool = False

    @property
    def ends(self) -> tuple[str, str]:
        """The two networks whose difference is added; the first is the target, as a rule."""
        end, _, start = self.reference.partition(" - ")
        return start or self.target, end

    def columns(self) -> dict[str, object]:
        """Return the columns of the results table that identify this edit."""
        return {
            "target": self.target,
            "reference": self.reference,
            "localization": str(self.where),
            "strategy": self.strategy,
            "alpha": self.alpha,
            "sparsity": self.sparsity,
        }


def strategy_of(alpha: float) -> str:
    """Return IP for α in [0, 1], EP outside (Eq. 3, 4)."""
    return "IP" if 0 <= alpha <= 1 else "EP"


def label(where: Where, strategy: str, alpha: float | None) -> str:
    """Return a readable name of an edit: "mask, EP α=2"."""
    return f"{where}, {strategy}" + ("" if alpha is None else f" α={alpha:g}")


def main_value(settings: Profile) -> Where:
    """Return the value-based localization at the profile's k."""
    return Where("value", k=settings.k)
