"""What `lce locate` and `lce edit` read from the command line and print."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lcelib.kernels.selection import parse_k
from lcelib.streaming.localization import Localization, no_progress
from lcelib.streaming.tally import Tally
from lcelib.tensors import component_or_name


def localization(by, k, per_tensor, sparsity, seed, tensors, file=None) -> Localization:
    """The options of both commands as a Localization."""
    chosen = tuple(tensors or ())
    return Localization(by, parse_k(k), per_tensor, sparsity, seed, chosen, file)


@contextmanager
def bar(wanted: bool) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not wanted or not sys.stderr.isatty():
        yield no_progress
        return
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, desc="read and written", leave=False) as shown:
        yield shown.update


def summary(found: Tally) -> dict:
    """The result for programs."""
    return {
        "matrices": len(found.sizes),
        "weights": found.total,
        "located": found.count,
        "changed": found.changed,
        "by_tensor": found.located,
    }


def table(found: Tally) -> str:
    """Where the located weights are: one row for each component, over all layers."""
    rows: dict[str, list[int]] = {}
    for name, size in found.sizes.items():
        row = rows.setdefault(component_or_name(name), [0, 0, 0])
        for i, value in enumerate((1, size, found.located.get(name, 0))):
            row[i] += value
    mean = found.count / found.total
    width = max(map(len, rows)) + 2
    lines = [
        f"{len(found.sizes)} matrices with {found.total:,} weights, {found.count:,} located "
        f"({mean:.3%})",
        f"{'component':{width}}{'matrices':>8}{'weights':>15}{'located':>13}{'share':>9}{'× mean':>8}",
    ]
    for name, (matrices, weights, located) in rows.items():
        share = located / weights if weights else 0
        times = f"{share / mean:8.2f}" if mean else f"{'–':>8}"
        lines.append(f"{name:{width}}{matrices:8}{weights:15,}{located:13,}{share:9.3%}{times}")
    return "\n".join(lines)


def written(found: Tally, output: Path | None, patch: Path | None, seconds: float) -> str:
    """What was written, and that nothing else changed."""
    lines = []
    if output is not None:
        lines.append(
            f"{output}: {found.changed:,} weights have other bits than the target, "
            "all of them located; every other byte is the same"
        )
    if patch is not None:
        lines.append(f"{patch}: {patch.stat().st_size / 1e6:,.2f} MB")
    return "\n".join([*lines, f"{seconds:.1f} s"])
