"""Build a run with Snakemake; the dependency graph itself is in the Snakefile."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.files import lock
from lcelib.run.paths import ROOT, Run, results_folder
from lcelib.run.processes import child_process
from lcelib.run.profiles import Profile

Show = Callable[[int, int, str], None]  # is told jobs done, jobs in all, and the job that ended
NOISE = re.compile(r"\s+(jobid|input|output|reason|resources|benchmark|priority):|Select jobs")


def config_of(settings: Profile) -> list[str]:
    """Return a run's settings as the Snakefile reads them."""
    overrides = [f"set_{key}={value}" for key, value in settings.overrides.items()]
    return [f"profile={settings.name}", *overrides]


def build(
    runs: Sequence[Run],
    config: list[str],
    targets: list[str],
    show: Show,
    options: Sequence[str],
    folder: Path | None = None,
) -> int:
    """Let Snakemake build `targets` (files or rules) and return its exit status.

    `options` are Snakemake's: how many jobs at once, and where. Keeps the whole log in
    `folder` (by default the first run's) and prints the end of it on failure.
    """
    require("a run", "snakemake")
    folder = folder or runs[0].folder
    environment = os.environ | {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
    environment |= {"LCE_RESULTS": str(results_folder())}
    with ExitStack() as stack:
        # Snakemake's own lock would outlive a kill; these do not.
        locks = [
            stack.enter_context(lock(f / ".lock", f"waiting for another run in {f} …"))
            for f in sorted({run.folder for run in runs})
        ]
        process = stack.enter_context(
            child_process(
                _command(config, targets, options),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                env=environment,
                pass_fds=[descriptor for descriptor in locks if descriptor is not None],
            )
        )
        log = _follow(process, show)
    idle = any("Nothing to be done" in line for line in log)
    if not idle:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text("".join(log), encoding="utf-8")
    if process.returncode:
        print("".join(line for line in log[-60:] if not NOISE.match(line)), file=sys.stderr)
    elif idle:
        print(f"Nothing to be done: {folder} is up to date.")
    return process.returncode


def _command(config: list[str], targets: list[str], options: Sequence[str]) -> list[str]:
    # Snakemake works in an empty folder: there, a run's name cannot be mistaken for a file.
    work = results_folder() / ".graph"
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(work), "--rerun-incomplete", "--nolock", *options]
    command += ["--rerun-triggers", "mtime", "params", "input", "code", "--nocolor"]
    return [*command, "--config", *config, "--", *targets]


def _follow(process: subprocess.Popen[str], show: Show) -> list[str]:
    """Call `show` for each finished job until Snakemake ends; return the lines of its log."""
    log, job = [], ""
    for line in process.stdout or ():
        log.append(line)
        if finished := re.match(r"Finished jobid: \d+ \(Rule: (\w+)\)", line):
            job = finished[1]
        if steps := re.match(r"(\d+) of (\d+) steps", line):
            show(int(steps[1]), int(steps[2]), job)
    return log


def print_progress(start: float, names: Sequence[str] = ()) -> Show:
    """Return a `show` for `build` that prints one line per job; `names` are a grid's runs."""

    def show(done: int, total: int, job: str) -> None:
        minutes, seconds = divmod(round(time.time() - start), 60)
        if names and (numbered := re.fullmatch(r"(\w+)_(\d+)", job)):
            job = f"{numbered[1]} of {names[int(numbered[2]) - 1]}"
        print(f"[{done:3}/{total}] {minutes:2}:{seconds:02}  {job}", flush=True)

    return show


def ensure(settings: Profile, seed: int) -> Run:
    """Return a run that has its subnetworks of one seed; Snakemake builds those that are missing.

    A notebook that is opened alone makes this one call. Raises LceError if the build fails.
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
            raise LceError("the build", f"failed with exit status {status}", "See the log above.")
    return run
