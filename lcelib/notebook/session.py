"""The start of every notebook: checked parameters, versions, and the data of its run."""

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

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
    """The run that a notebook examines; everything is loaded on first use."""

    settings: Profile
    seed: int

    @cached_property
    def run(self) -> paths.Run:
        """The paths of the run."""
        return paths.Run(self.settings)

    @cached_property
    def results(self) -> pd.DataFrame:
        """The results table: this run's, or the published one of the toy profile."""
        return results.table(self.run)

    @cached_property
    def located(self) -> pd.DataFrame:
        """How many weights each localization selects per matrix."""
        return pd.read_csv(paths.available(self.run).with_name("located.csv"))

    @cached_property
    def lm(self) -> LanguageModel:
        """The base model with its tokenizer."""
        return load(self.settings.model)

    @cached_property
    def work(self) -> LanguageModel:
        """A second copy of the model, for loading subnetworks while `lm` stays the base."""
        return load(self.settings.model)

    @cached_property
    def ledger(self) -> list[dict]:
        """The claims ledger."""
        return read_ledger(self.run)[0]

    @cached_property
    def checks(self) -> list[dict]:
        """The checks of a run, with their thresholds."""
        return read_ledger(self.run)[1]

    @cached_property
    def networks(self) -> dict[tuple[str, float], Subnetwork]:
        """(condition, sparsity) → subnetwork of this seed; missing ones are built first."""
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
    """Check the three parameters and print what this notebook runs on.

    `overrides` is "key=value;key=value". Raises LceError before any work for
    any parameter that is unknown or has the wrong type.
    """
    refuse_unknown_parameters()
    if not isinstance(overrides, str):
        raise LceError(f"overrides {overrides!r}", "is not text", 'Write "steps=10;grid=short".')
    changes = profiles.parse_overrides([x for x in overrides.split(";") if x])
    settings = profiles.profile(profile, changes)
    session = Session(settings, profiles.check_seed(settings, seed))
    names = ("lcelib", "torch", "transformers", "numpy")
    packages = ", ".join(f"{n} {version(n)}" for n in names)
    print(f"profile {settings.name}, seed {seed}; Python {platform.python_version()}, {packages}")
    return session


def refuse_unknown_parameters() -> None:
    """Reject a parameter that no notebook has; papermill would only warn and set it.

    Only the first cells are checked: later on the reader has variables of their own.
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
