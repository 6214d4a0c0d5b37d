"""The paths of a run's files; no other module builds them."""

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
    """Return the checkout or, of an installed package, the folder that holds the same files."""
    checkout = DATA.parent.parent.resolve()
    if (checkout / "Snakefile").exists():
        return checkout
    (snakefile,) = (f for f in metadata.files("lcelib") or () if f.name == "Snakefile")
    return Path(str(snakefile.locate())).resolve().parent


ROOT = _root()
CHECKOUT = (ROOT / "pyproject.toml").exists()
PUBLISHED = ROOT / "figures"


def results_folder() -> Path:
    """Return LCE_RESULTS, or results/ in the checkout, or without one in the working folder."""
    home = ROOT if CHECKOUT else Path.cwd()
    return Path(os.environ.get("LCE_RESULTS", home / "results")).resolve()


@dataclass(frozen=True)
class Run:
    """The paths of one run."""

    settings: Profile

    @property
    def folder(self) -> Path:
        """Return results/<profile>, with a digest appended if the profile was overridden."""
        return results_folder() / self.settings.run_name

    @property
    def published(self) -> Path:
        """Return the folder of the repository with the profile's published results."""
        return PUBLISHED if self.settings.run_name == "toy" else PUBLISHED / self.settings.run_name

    @property
    def corpus(self) -> Path:
        """Return the path of the three training sets and their held-out tenths."""
        return self.folder / "corpus.json"

    @property
    def probe(self) -> dict[str, Path]:
        """Return the file with the items of each measure that the profile asks for, by its name."""
        return {n: self.folder / "probes" / file for n, (_, file) in self.settings.items.items()}

    @property
    def probes(self) -> list[Path]:
        """Return the files of all measures that the profile asks for."""
        return list(self.probe.values())

    def subnetwork(self, seed: int, condition: str, number: int) -> Path:
        """Return the path of a round: 0 is the dense model, i the i-th sparsity."""
        return self.folder / "subnetworks" / f"seed{seed}" / f"{condition}-{number}.safetensors"

    def subnetworks(self, seed: int, condition: str) -> list[Path]:
        """Return the paths of all rounds of one condition."""
        rounds = range(len(self.settings.sparsities) + 1)
        return [self.subnetwork(seed, condition, i) for i in rounds]

    def measured(self, seed: int, target: str) -> Path:
        """Return the path of the measured values of all edits of one target."""
        return self.folder / "measured" / f"seed{seed}-{target}.csv"

    @property
    def results(self) -> Path:
        """Return the path of the results table."""
        return self.folder / "results.csv"

    @property
    def glue(self) -> Path:
        """Return the path of MNLI and STS-B after the edits of one model (Table 2)."""
        return self.folder / "glue.csv"

    def candidates(self, contrast: str) -> Path:
        """Return the path of the candidates for a pretrained model's patch, measured on held-out text."""
        return self.folder / "patch" / f"candidates-{contrast}.csv"

    @property
    def patch(self) -> Path:
        """Return the path of a pretrained model's patch; its card and controls are beside it."""
        name = f"{Path(self.settings.model).name}-{self.settings.bias_type}"
        return self.folder / "patch" / f"{name}.lce.safetensors"

    @property
    def card(self) -> Path:
        """Return the path of the patch's model card."""
        return self.patch.with_name(self.patch.name.replace(".lce.safetensors", ".md"))

    @property
    def patch_table(self) -> Path:
        """Return the path of the test results of the patch, of single seeds' and of its controls."""
        return self.folder / "patch" / "patch.csv"

    @property
    def curves(self) -> Path:
        """Return the path of the first seed's scores along α, which `make app` shows."""
        return self.folder / "app.csv"

    @property
    def claims(self) -> Path:
        """Return the path of the claims ledger."""
        return self.folder / "claims.json"

    @property
    def figures(self) -> Path:
        """Return the folder of figures and tables."""
        return self.folder / "figures"

    def scratch(self, job: str, inputs: Iterable[Path]) -> Path:
        """Return a folder where a job keeps finished parts until it ends, so that it can resume.

        Its name is a digest of settings, code and inputs; folders of other digests are removed.
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
        """Return the path of an executed notebook."""
        return self.folder / "notebooks" / f"seed{seed}" / f"{name}.ipynb"


def use_threads(settings: Profile) -> None:
    """Set torch's number of threads, which changes the order of sums and so their bits."""
    import torch

    torch.set_num_threads(settings.threads)


def notebooks(settings: Profile) -> list[str]:
    """Return the notebooks that the profile's grid has data for (their metadata: lcelib.grid).

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
    """Return the path of a table of the run or, if it is not built, of the published one."""
    places = [folder / f"{name}.csv" for folder in (run.folder, run.published)]
    for place in places:
        if place.exists():
            return place
    remedy = "Build it with: " + ("make paper" if name == "results" else f"lce run --until {name}")
    raise LceError(f"table {name}", f"{places[0]} is missing", remedy)
