"""Where the files of a run are; every path of the project is made here."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lcelib.errors import LceError
from lcelib.files import DATA
from lcelib.run.digests import code
from lcelib.run.profiles import Profile


def _root() -> Path:
    """The checkout; of an installed package, the folder that has the same files."""
    checkout = DATA.parent.parent.resolve()
    if (checkout / "Snakefile").exists():
        return checkout
    (snakefile,) = (f for f in metadata.files("lcelib") if f.name == "Snakefile")
    return Path(snakefile.locate()).resolve().parent


ROOT = _root()
CHECKOUT = (ROOT / "pyproject.toml").exists()
PUBLISHED = ROOT / "figures"


def results_folder() -> Path:
    """Where all runs lie: results/ in the checkout or, without one, here; or LCE_RESULTS."""
    home = ROOT if CHECKOUT else Path.cwd()
    return Path(os.environ.get("LCE_RESULTS", home / "results")).resolve()


@dataclass(frozen=True)
class Run:
    """The files of one run: every path of the project is made here."""

    settings: Profile

    @property
    def folder(self) -> Path:
        """results/<profile>, or with a digest where the profile was overridden."""
        return results_folder() / self.settings.run_name

    @property
    def published(self) -> Path:
        """Where the results of a profile stand in the repository."""
        return PUBLISHED if self.settings.run_name == "toy" else PUBLISHED / self.settings.run_name

    @property
    def corpus(self) -> Path:
        """The three training sets and their held-out tenths."""
        return self.folder / "corpus.json"

    @property
    def probe(self) -> dict[str, Path]:
        """The items of each measure that the profile asks for, by its name."""
        return {n: self.folder / "probes" / file for n, (_, file) in self.settings.items.items()}

    @property
    def probes(self) -> list[Path]:
        """The files of all measures that the profile asks for."""
        return list(self.probe.values())

    def subnetwork(self, seed: int, condition: str, number: int) -> Path:
        """Round 0 is the dense model, round i the i-th sparsity."""
        return self.folder / "subnetworks" / f"seed{seed}" / f"{condition}-{number}.safetensors"

    def subnetworks(self, seed: int, condition: str) -> list[Path]:
        """All rounds of one condition."""
        rounds = range(len(self.settings.sparsities) + 1)
        return [self.subnetwork(seed, condition, i) for i in rounds]

    def measured(self, seed: int, target: str) -> Path:
        """The measured values of all edits of one target."""
        return self.folder / "measured" / f"seed{seed}-{target}.csv"

    @property
    def results(self) -> Path:
        """The results table."""
        return self.folder / "results.csv"

    @property
    def glue(self) -> Path:
        """What MNLI and STS-B lose by the edits of one model (Table 2)."""
        return self.folder / "glue.csv"

    def candidates(self, contrast: str) -> Path:
        """The settings that were tried for the patch of a pretrained model, measured on held-out text."""
        return self.folder / "patch" / f"candidates-{contrast}.csv"

    @property
    def patch(self) -> Path:
        """The patch of a pretrained model; its card and its controls lie beside it."""
        name = f"{Path(self.settings.model).name}-{self.settings.bias_type}"
        return self.folder / "patch" / f"{name}.lce.safetensors"

    @property
    def card(self) -> Path:
        """The patch's model card."""
        return self.patch.with_name(self.patch.name.replace(".lce.safetensors", ".md"))

    @property
    def patch_table(self) -> Path:
        """The patch, those of single seeds and its controls, measured on the test."""
        return self.folder / "patch" / "patch.csv"

    @property
    def curves(self) -> Path:
        """What the page of `make app` shows along α, for the first seed."""
        return self.folder / "app.csv"

    @property
    def claims(self) -> Path:
        """The claims ledger."""
        return self.folder / "claims.json"

    @property
    def figures(self) -> Path:
        """The folder of figures and tables."""
        return self.folder / "figures"

    def scratch(self, job: str, inputs: Iterable[Path]) -> Path:
        """Where a job keeps what it has finished, until it ends.

        The name tells settings, code and inputs: what others left is removed, not taken up.
        """
        state = [repr(self.settings), code()]
        state += [f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in inputs]
        digest = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
        folder = self.folder / "scratch" / f"{job}-{digest}"
        for old in folder.parent.glob(f"{job}-*"):
            if old != folder:
                shutil.rmtree(old)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def notebook(self, name: str, seed: int) -> Path:
        """An executed notebook."""
        return self.folder / "notebooks" / f"seed{seed}" / f"{name}.ipynb"


def use_threads(settings: Profile) -> None:
    """One number of threads everywhere: sums are reordered with it, and bits change."""
    import torch

    torch.set_num_threads(settings.threads)


def notebooks(settings: Profile) -> list[str]:
    """The notebooks that this profile's grid has the data for (metadata: lcelib.grid).

    Those without that entry need the three models of any grid but "pretrained".
    """
    names, grid = [], settings.grid
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        needs = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("lcelib", {})
        fits = "grid" not in needs and grid != "pretrained"
        if fits or needs.get("grid") == grid:
            names.append(path.stem)
    return names


def available(run: Run, name: str = "results") -> Path:
    """A table of the run, or the published one of the profile where it is not built."""
    places = [folder / f"{name}.csv" for folder in (run.folder, run.published)]
    for place in places:
        if place.exists():
            return place
    remedy = "Build it with: " + ("make paper" if name == "results" else f"lce run --until {name}")
    raise LceError(f"table {name}", f"{places[0]} is not there", remedy)
