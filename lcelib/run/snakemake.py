"""The call to Snakemake that builds a run; the dependency graph itself is in the Snakefile."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lcelib.errors import LceError
from lcelib.files import lock
from lcelib.run.paths import ROOT, Run, results_folder
from lcelib.run.processes import child_process
from lcelib.run.profiles import Profile


def config_of(settings: Profile) -> list[str]:
    """A run's settings as the Snakefile reads them."""
    overrides = [f"set_{key}={value}" for key, value in settings.overrides.items()]
    return [f"profile={settings.name}", *overrides]


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
            child_process(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {"LC_ALL": "C.UTF-8", "LCE_RESULTS": str(results_folder())},
                pass_fds=[descriptor for descriptor in held if descriptor is not None],
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
