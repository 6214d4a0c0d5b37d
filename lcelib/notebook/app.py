"""The page of `make app`: how an edit and its strength change predictions and measures."""

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.lines import Line2D

from lcelib.localization import Located
from lcelib.notebook.session import Session
from lcelib.notebook.widgets import bars, predict
from lcelib.paper.curves import DIRECTIONS, PARTS, SHOWN, Edits, localizations
from lcelib.paper.edits import UNINFORMED, strategy_of
from lcelib.paper.figures.style import (
    LABELS,
    NEUTRAL,
    TOWARDS_ANTI,
    TOWARDS_STEREO,
    UNBIASED,
    style,
)
from lcelib.run.paths import available
from lcelib.run.profiles import check_seed, profile
from lcelib.tensors import component

EXAMPLE = "my [MASK] is an engineer ."


class Chart:
    """Four measures along α, drawn once for each choice; then only the marker moves."""

    def __init__(self, table: pd.DataFrame) -> None:
        style()
        self.table = table
        self.figure = Figure(figsize=(4.6, 3.6), dpi=100)
        self.canvas: Any = FigureCanvasAgg(self.figure)
        self.axes: dict[str, Axes] = dict(zip(SHOWN, self.figure.subplots(2, 2).flat, strict=True))
        self.lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.marks: dict[str, Line2D] = {}
        self.choice: tuple[str, ...] = ()

    def _draw(self, *choice: str) -> None:
        control = (choice[0], str(UNINFORMED), choice[2])
        for measure, axis in self.axes.items():
            axis.clear()
            rows = self.table[self.table["measure"] == measure]
            rows = rows.set_index(["direction", "localization", "components"]).sort_index()
            for key, color, label in ((control, "0.7", "random"), (choice, TOWARDS_ANTI, "chosen")):
                line = pd.DataFrame(rows.loc[[key]]).sort_values("alpha")
                alphas, values = line["alpha"].to_numpy(), line["value"].to_numpy()
                axis.plot(alphas, values, color=color, lw=1.5, marker=".", label=label)
            self.lines[measure] = (alphas, values)
            (self.marks[measure],) = axis.plot([], [], "o", color=TOWARDS_STEREO, ms=8)
            if measure in UNBIASED:
                axis.axhline(UNBIASED[measure], color=NEUTRAL, ls=":", lw=0.8)
            low, high = rows.loc[choice[0]]["value"].agg(["min", "max"])
            axis.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
            axis.set_title(LABELS[measure], fontsize=9)
        self.axes[SHOWN[0]].legend(fontsize=7)
        self.figure.supxlabel("α (dotted: no bias)", fontsize=9)
        self.choice = choice

    def at(self, alpha: float) -> dict[str, float]:
        """Return the values at α, interpolated linearly between those that were measured."""
        return {m: float(np.interp(alpha, *line)) for m, line in self.lines.items()}

    def html(self, direction: str, where: str, part: str, alpha: float) -> str:
        """Return the chart as an HTML image, with its values in words."""
        if (direction, where, part) != self.choice:
            self._draw(direction, where, part)
            self.canvas.draw()
            self.background = self.canvas.copy_from_bbox(self.figure.bbox)
        self.canvas.restore_region(self.background)
        values = self.at(alpha)
        for measure, mark in self.marks.items():
            mark.set_data([alpha], [values[measure]])
            self.axes[measure].draw_artist(mark)
        buffer = io.BytesIO()
        imsave(buffer, self.canvas.buffer_rgba(), format="png")
        words = ", ".join(f"{LABELS[m]} {v:.2f}" for m, v in values.items())
        image = base64.b64encode(buffer.getvalue()).decode()
        return (
            f'<img style="max-width:100%" src="data:image/png;base64,{image}" '
            f'alt="Measures along α; at α = {alpha:g}: {words}"><br>At α = {alpha:g}: {words}.'
        )


def where_html(located: Located, sizes: dict[str, int]) -> str:
    """Format the number of located weights by layer and component, darker for larger shares."""
    counts: dict[tuple[int, str], tuple[int, int]] = {
        component(n): (len(located.positions.get(n, ())), size) for n, size in sizes.items()
    }
    layers = list(dict.fromkeys(layer for layer, _ in counts))
    top = max((count / size for count, size in counts.values()), default=0) or 1
    rows = ""
    for part in dict.fromkeys(part for _, part in counts):
        cells = ""
        for layer in layers:
            count, size = counts[layer, part]
            shade = count / size / top
            color = "white" if shade > 0.5 else "black"
            cells += (
                f'<td style="background:rgba(0,76,120,{shade:.2f});color:{color};padding:.1em .5em;'
                f'text-align:right">{count}</td>'
            )
        short = part.removesuffix(".dense").replace("attention.self", "attention")
        rows += f'<tr><th scope="row" style="text-align:left;font-weight:normal">{short}</th>{cells}</tr>'
    head = "".join(f'<th scope="col" style="text-align:right">{layer}</th>' for layer in layers)
    return (
        f"{located.size:,} of {located.total:,} weights ({located.share:.2%}), by layer:"
        f'<table style="border-spacing:2px"><tr><th></th>{head}</tr>{rows}</table>'
    ).replace("%", " %")


class Page:
    """The controls, and three panes that follow them: predictions, measures, located weights."""

    def __init__(self, session: Session) -> None:
        self.session, self.lm = session, session.work
        self.chart = Chart(pd.read_csv(available(session.run, "app")))
        self.edits = Edits(session.networks, session.settings, session.seed)
        self.sizes = {n: v.size for n, v in session.pair()[0].weights.items()}
        self.target = ""  # the model that is loaded
        self.words, self.measures, self.places = (w.HTML() for _ in range(3))
        self.controls = _controls(session)
        for control in self.controls.values():
            control.observe(self.update, names="value")
        self.update()

    def update(self, change: Mapping[str, Any] | None = None) -> None:
        """Update the panes that depend on the control that changed, or all of them."""
        changed = None if change is None else change["owner"]
        sentence, direction, where, part, alpha = (c.value for c in self.controls.values())
        if self.target != (target := DIRECTIONS[direction][0]):
            self.session.pair(*DIRECTIONS[direction])[0].load_into(self.lm.model)
            self.target = target
        try:
            with self.edits.patch(direction, where, part).scale(alpha).applied(self.lm.model):
                words = predict(self.lm, sentence)
            self.words.value = bars(words, f"[MASK] at α = {alpha:g}, {strategy_of(alpha)}")
        except ValueError as error:  # no [MASK] in a half-typed sentence
            self.words.value = f"<i>{escape(str(error))}</i>"
        if changed is not self.controls["sentence"]:
            self.measures.value = self.chart.html(direction, str(where), part, alpha)
        if changed not in (self.controls["sentence"], self.controls["alpha"]):
            located = self.edits.located(direction, where, part)
            self.places.value = where_html(located, self.sizes)

    def box(self) -> w.Box:
        """Lay out the controls and panes."""
        column = w.Layout(width="30rem", max_width="100%", margin="0 1rem 1rem 0")
        columns = ([*self.controls.values(), self.words], [self.measures], [self.places])
        boxes = [w.VBox(widgets, layout=column) for widgets in columns]
        return w.Box(boxes, layout=w.Layout(flex_flow="row wrap"))


def _controls(session: Session) -> dict[str, w.Widget]:
    label = {"description_width": "initial"}
    options = localizations(session.settings)
    controls = {
        "sentence": w.Text(EXAMPLE, description="Sentence with [MASK]", style=label),
        "direction": w.Dropdown(options=list(DIRECTIONS), description="Direction", style=label),
        "where": w.Dropdown(options=options, description="Located", style=label),
        "part": w.Dropdown(options=list(PARTS), description="Components", style=label),
        "alpha": w.FloatSlider(
            0, min=-2, max=3, step=0.25, description="Strength α", style=label, readout_format=".2f"
        ),
    }
    for control in controls.values():
        control.layout = w.Layout(width="100%", max_width="30rem")
    return controls


def page(profile_name: str, seed: int) -> w.Box:
    """Return the page for one seed of a profile, building the models that are missing."""
    settings = profile(profile_name)
    return Page(Session(settings, check_seed(settings, seed))).box()
