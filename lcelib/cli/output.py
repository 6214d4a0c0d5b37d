"""The options and the output of `lce locate` and `lce edit`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lcelib.streaming.localization import no_progress
from lcelib.streaming.tally import Tally
from lcelib.tensors import component_or_name


@contextmanager
def bar(wanted: bool) -> Iterator[Callable[[int], object]]:
    """Show a progress bar on a terminal, and nothing elsewhere."""
    if not wanted or not sys.stderr.isatty():
        yield no_progress
        return
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, desc="read and written", leave=False) as shown:
        yield shown.update


def summary(tally: Tally) -> dict[str, Any]:
    """Return the result as JSON holds it."""
    return {
        "matrices": len(tally.sizes),
        "weights": tally.total,
        "located": tally.count,
        "changed": tally.changed,
        "by_tensor": tally.located,
    }


def format_table(tally: Tally) -> str:
    """Format the number of located weights, one row for each component over all layers."""
    rows: dict[str, list[int]] = {}
    for name, size in tally.sizes.items():
        row = rows.setdefault(component_or_name(name), [0, 0, 0])
        for i, value in enumerate((1, size, tally.located.get(name, 0))):
            row[i] += value
    mean = tally.count / tally.total
    width = max(map(len, rows)) + 2
    lines = [
        f"{len(tally.sizes)} matrices with {tally.total:,} weights, {tally.count:,} located "
        f"({mean:.3%})",
        f"{'component':{width}}{'matrices':>8}{'weights':>15}{'located':>13}{'share':>9}{'× mean':>8}",
    ]
    for name, (matrices, weights, located) in rows.items():
        share = located / weights if weights else 0
        times = f"{share / mean:8.2f}" if mean else f"{'–':>8}"
        lines.append(f"{name:{width}}{matrices:8}{weights:15,}{located:13,}{share:9.3%}{times}")
    return "\n".join(lines)


def format_written(tally: Tally, output: Path | None, patch: Path | None, seconds: float) -> str:
    """Say what was written, and that nothing else changed."""
    lines = []
    if output is not None:
        lines.append(
            f"{output}: {tally.changed:,} weights have other bits than the target, "
            "all of them located; every other byte is the same"
        )
    if patch is not None:
        lines.append(f"{patch}: {patch.stat().st_size / 1e6:,.2f} MB")
    return "\n".join([*lines, f"{seconds:.1f} s"])
