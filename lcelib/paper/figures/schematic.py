"""Figures 1 and 2: the method on a pair of networks with sixteen weights.

The numbers in the pictures are computed by the library itself.
"""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lcelib import kernels
from lcelib.editing import edit
from lcelib.localization import locate
from lcelib.paper.figures.style import NEUTRAL, TOWARDS_ANTI, TOWARDS_STEREO, WIDTH
from lcelib.subnetworks import Subnetwork

NAME = "layer.0.dense.weight"
TARGET = [[3, -2, 1, 4], [-1, 5, 2, -3], [2, 1, -4, 2], [6, -2, 3, 1]]
REFERENCE = [[3, -2, 2, 1], [-1, 2, 2, -3], [3, 2, -4, -2], [6, 1, 3, 2]]
KEEP_TARGET = [[1, 1, 0, 1], [1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 0]]
KEEP_REFERENCE = [[1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 0]]


def toy_networks() -> tuple[Subnetwork, Subnetwork]:
    """Return a target and a reference of 4 × 4 weights whose masks differ in four places."""
    nets = []
    for theta, keep in ((TARGET, KEEP_TARGET), (REFERENCE, KEEP_REFERENCE)):
        theta_, bits = np.array(theta, np.float32), kernels.pack(np.array(keep, bool))
        nets.append(Subnetwork({NAME: theta_}, {NAME: bits}, "toy"))
    return nets[0], nets[1]


def _matrix(
    axis: plt.Axes,
    values: ArrayLike,
    title: str,
    edge: str = "black",
    chosen: Iterable[int] = (),
    pruned: ArrayLike | None = None,
    old: ArrayLike | None = None,
) -> None:
    """Draw a 4 × 4 matrix with its numbers; `chosen` cells are framed, pruned ones grey."""
    for i, value in enumerate(np.reshape(values, -1)):
        row, column = divmod(i, 4)
        grey = pruned is not None and not np.reshape(pruned, -1)[i]
        changed = old is not None and np.reshape(old, -1)[i] != value
        face = "#dddddd" if grey else "#fff1b8" if changed else "white"
        axis.add_patch(plt.Rectangle((column, 3 - row), 1, 1, fc=face, ec="#999999", lw=0.6))
        text = "0" if value == 0 else f"{value:g}".replace("-", "−")
        size = 8 if len(text) < 4 else 6.5
        axis.text(column + 0.5, 3.5 - row, text, ha="center", va="center", fontsize=size)
    for i in set(chosen):  # its order is that of the published PDFs
        row, column = divmod(i, 4)
        corner = (column + 0.05, 3.05 - row)
        axis.add_patch(plt.Rectangle(corner, 0.9, 0.9, fill=False, ec=edge, lw=1.8))
    axis.set(xlim=(-0.1, 4.1), ylim=(-0.1, 4.1), xticks=[], yticks=[], aspect="equal")
    axis.set_title(title, fontsize=8.5)
    axis.axis("off")


def two_steps(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Draw Figure 1: (1) locate the weights in which target and reference differ, (2) edit only those."""
    target, reference = toy_networks()
    found = locate(target, reference, by="mask")
    patch = edit(target, reference, found, "IP", 1.0)
    marks, w, other = found.positions[NAME], target.weights[NAME], reference.weights[NAME]
    edited = w.copy()
    edited.reshape(-1)[marks] = patch.changes[NAME].new
    figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.5))
    _matrix(axes[0], w, "target\n(stereotypical)", pruned=KEEP_TARGET)
    _matrix(axes[1], other, "reference\n(anti-stereotypical)", pruned=KEEP_REFERENCE)
    title = "1  locate: masks differ\nin four weights"
    _matrix(axes[2], w, title, TOWARDS_STEREO, marks, KEEP_TARGET)
    title = "2  edit only those\n(here IP with α = 1)"
    _matrix(axes[3], edited, title, TOWARDS_ANTI, marks, old=w)
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.96))
    figure.supxlabel("grey: pruned (counts as 0)    frame: located    yellow: changed", fontsize=8)
    return figure


def toy_pair(results: pd.DataFrame, located: pd.DataFrame) -> plt.Figure:
    """Draw Figure 2: both localizations, and the target edited by every strategy."""
    target, reference = toy_networks()
    by_mask = locate(target, reference, by="mask")
    by_value = locate(target, reference, by="value", k=3)
    figure, axes = plt.subplots(2, 6, figsize=(WIDTH, 3.1))
    pairs = ((by_mask, "mask-based"), (by_value, "value-based, k = 3"))
    for row, (found, label) in enumerate(pairs):
        marks, w = found.positions[NAME], target.weights[NAME]
        _matrix(axes[row, 0], w, f"target\n{label}", TOWARDS_STEREO, marks, KEEP_TARGET)
        cells = [("IP", 0.5), ("IP", 1.0), ("EP", 2.0), ("PR", 1.0), ("SW", 1.0)]
        for axis, (strategy, alpha) in zip(axes[row, 1:], cells, strict=True):
            if strategy == "SW" and row == 1:
                axis.axis("off")
                axis.text(
                    0.5, 0.5, "SW needs\nmasks that\ndiffer", ha="center", va="center",
                    fontsize=8, color=NEUTRAL, transform=axis.transAxes,
                )  # fmt: skip
                continue
            change = edit(target, reference, found, strategy, alpha).changes[NAME]
            edited = w.copy()
            strength = alpha if strategy in ("IP", "EP") else 1.0
            edited.reshape(-1)[marks] = change.at(strength)
            title = f"{strategy}, α = {alpha:g}" if strategy in ("IP", "EP") else strategy
            _matrix(axis, edited, title, TOWARDS_ANTI, marks, old=w)
    return figure
