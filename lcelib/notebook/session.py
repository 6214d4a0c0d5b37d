"""The session of a notebook: checked parameters, package versions, and the data of its run."""

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import pandas as pd
from IPython import get_ipython

from lcelib.errors import LceError
from lcelib.models import LanguageModel, load
from lcelib.paper import results
from lcelib.paper.ledger import read as read_ledger
from lcelib.run import paths, profiles, snakemake
from lcelib.run.profiles import Profile
from lcelib.subnetworks import Subnetwork
from lcelib.subnetworks import load as load_subnetwork

FIRST_CELLS = 4  # IPython's counter in the third: parameters, papermill's own, `start`


@dataclass(frozen=True)
class Session:
    """The run that a notebook shows; everything is loaded on first use."""

    settings: Profile
    seed: int

    @cached_property
    def run(self) -> paths.Run:
        """Return the paths of the run."""
        return paths.Run(self.settings)

    @cached_property
    def results(self) -> pd.DataFrame:
        """Return the results table of this run or, if it is not built, the published one."""
        return results.table(self.run)

    @cached_property
    def located(self) -> pd.DataFrame:
        """Return how many weights each localization selects per matrix."""
        return pd.read_csv(paths.available(self.run).with_name("located.csv"))

    @cached_property
    def lm(self) -> LanguageModel:
        """Return the base model with its tokenizer."""
        return load(self.settings.model)

    @cached_property
    def work(self) -> LanguageModel:
        """Return a second copy of the model, to load subnetworks into."""
        return load(self.settings.model)

    @cached_property
    def ledger(self) -> list[dict[str, Any]]:
        """Return the claims ledger."""
        return read_ledger(self.run)[0]

    @cached_property
    def checks(self) -> list[dict[str, Any]]:
        """Return the checks that a valid run passes."""
        return read_ledger(self.run)[1]

    @cached_property
    def networks(self) -> dict[tuple[str, float], Subnetwork]:
        """Return (condition, sparsity) → subnetwork of this seed, building those that are missing."""
        run = snakemake.ensure(self.settings, self.seed)
        return {
            (c, s): load_subnetwork(run.subnetwork(self.seed, c, i))
            for c in self.settings.conditions
            for i, s in enumerate((0.0, *self.settings.sparsities))
        }

    def pair(
        self, target: str = "stereotypical", reference: str = "anti"
    ) -> tuple[Subnetwork, Subnetwork]:
        """Return target and reference at the sparsity of the grid."""
        at = self.settings.measured_sparsity
        return self.networks[target, at], self.networks[reference, at]


def start(profile: str, seed: int, overrides: str = "") -> Session:
    """Check the three parameters, print the versions this notebook runs on, return its session.

    `overrides` is "key=value;key=value". Raises LceError before any work for an unknown name
    or a value of another type.
    """
    check_parameters()
    if not isinstance(overrides, str):
        raise LceError(
            f"overrides {overrides!r}", "is not a string", 'Write "steps=10;grid=short".'
        )
    changes = profiles.parse_overrides([x for x in overrides.split(";") if x])
    settings = profiles.profile(profile, changes)
    session = Session(settings, profiles.check_seed(settings, seed))
    names = ("lcelib", "torch", "transformers", "numpy")
    packages = ", ".join(f"{n} {version(n)}" for n in names)
    print(f"profile {settings.name}, seed {seed}; Python {platform.python_version()}, {packages}")
    return session


def check_parameters() -> None:
    """Raise LceError for a parameter that no notebook has: papermill only warns and sets it.

    Only the first cells are checked; later the reader may have variables of their own.
    """
    shell = get_ipython()
    if shell is None or shell.execution_count > FIRST_CELLS:
        return
    known = {"profile", "seed", "overrides", "start", *shell.user_ns_hidden}
    unknown = [n for n in shell.user_ns if n not in known and not n.startswith("_")]
    if unknown:
        raise LceError(
            f"parameter {unknown[0]!r}", "is unknown", "Use profile, seed and overrides."
        )
