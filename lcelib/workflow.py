"""Where everything lies, the stages of the graph, and the call to Snakemake that builds them.

The dependency graph itself stands in the Snakefile; this module knows the
paths and what each stage does.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lcelib.digests import code
from lcelib.errors import LceError
from lcelib.files import lock
from lcelib.profiles import Profile


def _root() -> Path:
    """The checkout; of an installed package, the folder that has the same files."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "Snakefile").exists():
        return checkout
    (snakefile,) = (f for f in metadata.files("lcelib") if f.name == "Snakefile")
    return Path(snakefile.locate()).resolve().parent


ROOT = _root()
CHECKOUT = (ROOT / "pyproject.toml").exists()
PUBLISHED = ROOT / "figures"
PROBES = {
    "stereoset.json": "stereoset",
    "crows.csv": "crows",
    "agreement.csv": "agreement",
    "weat.json": "weat",
    "weat_unseen.json": "weat_unseen",
    "weat_names.json": "weat_names",
    "winobias.json": "winobias",
}
GRACE = 5  # seconds that a child has to end by itself


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

    def probe(self, name: str) -> Path:
        """A file of PROBES."""
        return self.folder / "probes" / name

    @property
    def probes(self) -> list[Path]:
        """The files of all measures that the profile asks for."""
        return [self.probe(n) for n, field in PROBES.items() if getattr(self.settings, field)]

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
        state = [repr(self.settings), code(".")]
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


def config_of(settings: Profile) -> list[str]:
    """A run's settings as the Snakefile reads them."""
    overrides = [f"set_{key}={value}" for key, value in settings.overrides.items()]
    return [f"profile={settings.name}", *overrides]


@contextmanager
def attended(command: Sequence[str], **options) -> Iterator[subprocess.Popen]:
    """A process, in a group of its own, that does not outlive an end of this one that can be seen.

    On Ctrl-C, SIGTERM, SIGHUP or an error inside the block it and all of its group are
    asked to stop (Snakemake then cancels the jobs of a cluster), and killed after GRACE seconds.
    """

    def terminated(number, frame):
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # others may not handle signals
        before = {n: signal.signal(n, terminated) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with subprocess.Popen(command, process_group=0, **options) as process:
            try:
                yield process
            except BaseException:
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, signal.SIGINT)
                    process.wait(GRACE)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def build(
    runs: Sequence[Run],
    config: list[str],
    targets: list[str],
    show: Callable[[int, int, str], None],
    options: Sequence[str],
    folder: Path | None = None,
) -> int:
    """Let Snakemake build `targets` (files or rules) and return its exit status.

    `show(done, total, job)` is called for every finished job. `options` say how many
    jobs at once and where. The whole log is kept in `folder`, the first run's where
    none is given; on failure its telling part is printed.
    """
    folder = folder or runs[0].folder
    # Snakemake works in a folder where nothing lies: a run's name must not look like a file there.
    work = results_folder() / ".graph"
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(work), "--rerun-incomplete", "--nolock", *options]
    command += ["--rerun-triggers", "mtime", "params", "input", "code", "--nocolor"]
    command += ["--config", *config, "--", *targets]
    log, job = [], ""
    with ExitStack() as stack:
        # Snakemake's own lock would outlive a kill; these do not.
        held = [
            stack.enter_context(lock(f / ".lock", f"waiting for another run in {f} …"))
            for f in sorted({run.folder for run in runs})
        ]
        process = stack.enter_context(
            attended(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {"LC_ALL": "C.UTF-8", "LCE_RESULTS": str(results_folder())},
                pass_fds=held,
            )
        )
        for line in process.stdout:
            log.append(line)
            if found := re.match(r"Finished jobid: \d+ \(Rule: (\w+)\)", line):
                job = found[1]
            if found := re.match(r"(\d+) of (\d+) steps", line):
                show(int(found[1]), int(found[2]), job)
    idle = any("Nothing to be done" in line for line in log)
    if not idle:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text("".join(log), encoding="utf-8")
    if process.returncode:
        noise = re.compile(
            r"\s+(jobid|input|output|reason|resources|benchmark|priority):|Select jobs"
        )
        print("".join(x for x in log[-60:] if not noise.match(x)), file=sys.stderr)
    elif idle:
        print(f"Nothing to be done: {folder} is up to date.")
    return process.returncode


def print_progress(start: float, names: Sequence[str] = ()):
    """A `show` for `build` that prints one line per job; `names` are those of a grid's runs."""

    def show(done: int, total: int, job: str) -> None:
        minutes, seconds = divmod(round(time.time() - start), 60)
        if names and (found := re.fullmatch(r"(\w+)_(\d+)", job)):
            job = f"{found[1]} of {names[int(found[2]) - 1]}"
        print(f"[{done:3}/{total}] {minutes:2}:{seconds:02}  {job}", flush=True)

    return show


def ensure(settings: Profile, seed: int) -> Run:
    """The run with its subnetworks of one seed, built by Snakemake where they are missing.

    This is the one call of a notebook that is opened alone. Raises LceError when
    the build fails.
    """
    from tqdm.auto import tqdm

    run = Run(settings)
    wanted = [run.corpus, *run.probes]
    wanted += [p for c in settings.conditions for p in run.subnetworks(seed, c)]
    missing = [str(p) for p in wanted if not p.exists()]
    if missing:
        with tqdm(total=len(missing), unit="job", desc="building what is missing") as bar:

            def show(done: int, total: int, job: str) -> None:
                bar.total, bar.n = total, done
                bar.refresh()

            cores = ["--cores", str(os.cpu_count() or 1)]
            status = build([run], config_of(settings), missing, show, cores)
        if status:
            raise LceError("the build", f"ended with status {status}", "See the log above.")
    return run
