"""Provenance of each job: commit, package versions, machine, time and memory."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lcelib.files import write_json
from lcelib.run.paths import ROOT, notebooks
from lcelib.run.profiles import Profile

Record = dict[str, Any]
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pandas")


@contextmanager
def recorded(path: Path, seed: int | None) -> Iterator[None]:
    """Write a record of the job in the block to `path` when it ends without error."""
    started, wall = datetime.now(UTC), time.perf_counter()
    yield
    cpu_seconds, peak_bytes = usage()
    write_json(
        path,
        {
            "started": started.isoformat(timespec="seconds"),
            "seed": seed,
            "wall_seconds": round(time.perf_counter() - wall, 2),
            "cpu_seconds": round(cpu_seconds, 2),
            "peak_megabytes": peak_bytes // 2**20,
            "commit": commit(),
            "machine": machine(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
        },
    )


def usage() -> tuple[float, int]:
    """Return the CPU seconds of this process and its children, and the peak bytes of one of them."""
    if sys.platform == "win32":  # which does not count children
        import psutil

        process = psutil.Process()
        times = process.cpu_times()
        return times.user + times.system, process.memory_info().peak_wset
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 1 if sys.platform == "darwin" else 1024
    return sum(u.ru_utime + u.ru_stime for u in used), unit * max(u.ru_maxrss for u in used)


def total_memory() -> int:
    """Return the bytes of this machine's memory; 0 where they cannot be told."""
    if sys.platform != "win32":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(ImportError):
        import psutil

        return int(psutil.virtual_memory().total)
    return 0


def commit() -> str:
    """Return the checkout's commit, with + if files differ from it; else "unknown"."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    if not (ROOT / ".git").exists():
        return "unknown"
    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> Record:
    """Return name, processor, cores, memory and GPU of this machine."""
    torch = sys.modules.get("torch")  # a job that does without it need not load it for this
    try:
        information = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        processor = information.split("model name")[1].split(":")[1].split("\n")[0].strip()
    except (OSError, IndexError):
        processor = platform.processor() or platform.machine()
    return {
        "name": platform.node(),
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_gigabytes": round(total_memory() / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
    }


def jobs(folder: Path) -> list[Record]:
    """Return the records of a run, each with the name of its job."""
    paths = sorted((folder / "jobs").glob("*.json"))
    return [{"job": p.stem} | json.loads(p.read_text(encoding="utf-8")) for p in paths]


def _distinct(values: Iterable[Record]) -> list[Record]:
    """Return the distinct values in order of appearance."""
    return [json.loads(x) for x in dict.fromkeys(json.dumps(v, sort_keys=True) for v in values)]


def summary(folder: Path) -> Record:
    """Return one record of a run: its settings and the totals of its jobs."""
    records = jobs(folder)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    values: Record = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    built = Profile(**values)
    return {
        "run": folder.name,
        "complete": complete(folder, built),
        "profile": settings["name"],
        "seeds": settings["seeds"],
        "started": min((j["started"] for j in records), default=None),
        "jobs": len(records),
        "wall_seconds": round(sum(j["wall_seconds"] for j in records), 1),
        "cpu_seconds": round(sum(j["cpu_seconds"] for j in records), 1),
        "peak_megabytes": max((j["peak_megabytes"] for j in records), default=0),
        "commits": sorted({j["commit"] for j in records}),
        "machines": _distinct(j["machine"] for j in records),
        "packages": _distinct(j["packages"] for j in records),
        "changes": built.overrides,
        "settings": settings,
    }


def complete(folder: Path, settings: Profile) -> bool:
    """Return whether claims, figures and the first seed's notebooks exist."""
    made = [folder / "claims.json", folder / "figures" / "manifest.json"]
    seed = settings.seeds[0]
    made += [folder / "notebooks" / f"seed{seed}" / f"{n}.ipynb" for n in notebooks(settings)]
    return all(path.exists() for path in made)


def runs(results: Path) -> list[Record]:
    """Return the summary of every run in the results folder."""
    return [summary(p.parent) for p in sorted(results.glob("*/settings.json"))]


def format_table(summaries: list[Record]) -> str:
    """Format the runs as plain text."""
    lines = [
        f"{'run':20} {'seeds':10} {'state':8} {'jobs':>4} {'their time':>10} {'CPU':>9}  commit, machine; changes"
    ]
    for r in summaries:
        seeds = ",".join(map(str, r["seeds"]))
        state = "complete" if r["complete"] else "partial"
        commits = ", ".join(c[:8] + c[40:] for c in r["commits"])
        machines = "; ".join(
            f"{m['name']} ({m['gpu'] or m['processor']}, {m['cores']} cores)" for m in r["machines"]
        )
        changes = ", ".join(f"{k} = {v}" for k, v in r["changes"].items() if k != "seeds")
        lines.append(
            f"{r['run']:20} {seeds:10} {state:8} {r['jobs']:4} {r['wall_seconds']:8.0f} s "
            f"{r['cpu_seconds']:7.0f} s  {commits}, {machines}; {changes or 'none'}"
        )
    return "\n".join(lines)
