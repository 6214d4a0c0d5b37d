"""`make bench`: measure, write the CSV, the plot and the table of docs/performance.md, print the verdicts."""

import argparse
import datetime
import os
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks import checkpoints, evaluation, kernels, patches, report, training

FLUSH = {"flush": True}
PARTS = ["kernels", "files", "patches", "training", "evaluation", "large"]


def main() -> None:
    """Measure on this machine; rows of the other device in the CSV are kept."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--build", type=Path, default=Path("build"), help="where to work")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS[:-1], help="large: 7B, 26 GB of disk"
    )
    parser.add_argument(
        "--evaluate", nargs=3, metavar=("MODEL", "STEREOSET", "CROWS"),
        help="what to evaluate; else random weights on the toy's items",
    )  # fmt: skip
    chosen = parser.parse_args()
    about = {
        "machine": report.machine() if chosen.device == "cpu" else torch.cuda.get_device_name(),
        "cores": os.cpu_count(), "date": datetime.date.today().isoformat(),
        "torch": torch.__version__, "numpy": np.__version__,
    }  # fmt: skip
    found = []
    for row in chain(*(measured(part, chosen) for part in chosen.parts)):
        found.append(about | row)
        ratio = f"{row['ratio']:9.2f} × floor" if "ratio" in row else " " * 17
        print(f"{row['operation']:34}{row['variant']:22}{row['seconds'] * 1e3:10.1f} ms{ratio}"
              f"{row['extra_mib']:9.1f} MiB", **FLUSH)  # fmt: skip
    results = pd.DataFrame(found, columns=report.COLUMNS)
    if report.CSV.exists():
        old = pd.read_csv(report.CSV)
        key = ["device", "operation", "weights"]
        again = old.set_index(key).index.isin(results.set_index(key).index)
        results = pd.concat([old[~again], results])
    results.to_csv(report.CSV, index=False, float_format="%.6g")
    report.plot(results)
    report.update_page(results)
    print(report.text(results), **FLUSH)


def measured(part: str, chosen: argparse.Namespace):
    """The rows of one part."""
    device, build = chosen.device, chosen.build
    if part == "evaluation":
        yield from evaluation.rows(chosen.evaluate) if device == "cpu" else ()
    elif part == "training":
        yield from training.rows(device, build / "trainer")
    elif part == "kernels":
        yield from kernels.rows(device=device)
        if device == "cuda":
            torch.cuda.empty_cache()
            yield from kernels.rows(kernels.LLAMA_7B, torch.bfloat16, device, peers=False)
    elif part == "patches":
        yield from patches.rows(build) if device == "cpu" else ()
    elif device == "cpu":
        yield from checkpoints.rows(build, large=part == "large")


if __name__ == "__main__":
    main()
