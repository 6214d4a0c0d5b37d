"""Times that can be compared on a noisy machine: interleaved, medians, ratios within one run."""

import ctypes
import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Timed:
    """A median of `repeats` runs, in seconds, and the extra memory of one more run, in MiB."""

    seconds: float
    repeats: int
    extra: float


def clock(function: Callable[[], object], device: str) -> float:
    """Seconds of one call; on a GPU between two events of its stream."""
    if device == "cpu":
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000


def compare(functions: dict[str, Callable], repeats: dict[str, int], device: str) -> dict:
    """Time functions in turn, again and again, so that noise meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for name, function in functions.items():
        if repeats[name] > 1:
            function()  # warm up
    for number in range(max(repeats.values())):
        for name, function in functions.items():
            if number < repeats[name]:
                times[name].append(clock(function, device))
    return {
        name: Timed(statistics.median(t), len(t), extra_memory(functions[name], device))
        for name, t in times.items()
    }


def extra_memory(function: Callable[[], object], device: str) -> float:
    """Peak private memory of a call above what was held before it, in MiB."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if sys.platform != "linux":
        return float("nan")
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before, done, peaks = private_memory(), threading.Event(), [0.0]

    def watch() -> None:
        while not done.is_set():
            peaks.append(private_memory())
            done.wait(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = function()
    peaks.append(private_memory())
    done.set()
    watcher.join()
    del result
    return max(peaks) - before


def private_memory(process: int | str = "self") -> float:
    """Anonymous memory of a process in MiB; pages of mapped files belong to the system's cache."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return sum(int(x.split()[1]) for x in status.splitlines() if x.startswith("RssAnon")) / 1024
