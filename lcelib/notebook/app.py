"""One page to play with: a sentence, an edit, its strength, and what they do (`make app`)."""

import base64
import io
from html import escape
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

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
    """Four measures along α, drawn once for each choice; moving α redraws only the marker."""

    def __init__(self, table: pd.DataFrame) -> None:
        style()
        self.table = table
        self.figure = Figure(figsize=(4.6, 3.6), dpi=100)
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes = dict(zip(SHOWN, self.figure.subplots(2, 2).flat, strict=True))
        self.chosen: tuple[str, ...] | None = None

    def _draw(self, *choice: str) -> None:
        control = (choice[0], str(UNINFORMED), choice[2])
        self.lines, self.marks = {}, {}
        for measure, axis in self.axes.items():
            axis.clear()
            rows = self.table[self.table["measure"] == measure]
            rows = rows.set_index(["direction", "localization", "components"]).sort_index()
            for key, color, label in ((control, "0.7", "random"), (choice, TOWARDS_ANTI, "chosen")):
                line = rows.loc[key].sort_values("alpha")
                axis.plot(
                    line["alpha"], line["value"], color=color, lw=1.5, marker=".", label=label
                )
            self.lines[measure] = (line["alpha"].to_numpy(), line["value"].to_numpy())
            (self.marks[measure],) = axis.plot([], [], "o", color=TOWARDS_STEREO, ms=8)
            if measure in UNBIASED:
                axis.axhline(UNBIASED[measure], color=NEUTRAL, ls=":", lw=0.8)
            low, high = rows.loc[choice[0]]["value"].agg(["min", "max"])
            axis.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
            axis.set_title(LABELS[measure], fontsize=9)
        self.axes[SHOWN[0]].legend(fontsize=7)
        self.figure.supxlabel("α (dotted: no bias)", fontsize=9)
        self.chosen = choice

    def at(self, alpha: float) -> dict[str, float]:
        """Return the values at α, interpolated linearly between the measured strengths."""
        return {m: float(np.interp(alpha, *line)) for m, line in self.lines.items()}

    def html(self, direction: str, where: str, part: str, alpha: float) -> str:
        """Return the chart as an image, with its values in words."""
        if (direction, where, part) != self.chosen:
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
    """Return the located weights per layer and component, darker where there are more."""
    counts: dict[tuple[int, str], tuple[int, int]] = {
        component(n): (len(located.positions.get(n, ())), size) for n, size in sizes.items()
    }
    layers, parts = (list(dict.fromkeys(key[i] for key in counts)) for i in (0, 1))
    top = max((found / size for found, size in counts.values()), default=0) or 1
    rows = ""
    for part in parts:
        cells = ""
        for layer in layers:
            found, size = counts[layer, part]
            shade = found / size / top
            color = "white" if shade > 0.5 else "black"
            cells += (
                f'<td style="background:rgba(0,76,120,{shade:.2f});color:{color};padding:.1em .5em;'
                f'text-align:right">{found}</td>'
            )
        short = part.removesuffix(".dense").replace("attention.self", "attention")
        rows += f'<tr><th scope="row" style="text-align:left;font-weight:normal">{short}</th>{cells}</tr>'
    head = "".join(f'<th scope="col" style="text-align:right">{layer}</th>' for layer in layers)
    return (
        f"{located.size:,} of {located.total:,} weights ({located.share:.2%}), by layer:"
        f'<table style="border-spacing:2px"><tr><th></th>{head}</tr>{rows}</table>'
    ).replace("%", " %")


def page(profile_name: str, seed: int) -> w.Box:
    """Return the controls and the three panes that follow them; build missing models first."""
    settings = profile(profile_name)
    session = Session(settings, check_seed(settings, seed))
    chart = Chart(pd.read_csv(available(session.run, "app")))
    edits, lm = Edits(session.networks, settings, session.seed), session.work
    sizes = {n: v.size for n, v in session.pair()[0].weights.items()}
    options = localizations(session.settings)
    label = {"description_width": "initial"}
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
    words, measures, places = (w.HTML() for _ in range(3))
    loaded = None

    def update(change: dict[str, Any] | None = None) -> None:
        nonlocal loaded
        v = {name: control.value for name, control in controls.items()}
        choice = (v["direction"], v["where"], v["part"])
        target = DIRECTIONS[v["direction"]][0]
        if loaded != target:
            session.pair(*DIRECTIONS[v["direction"]])[0].load_into(lm.model)
            loaded = target
        try:
            with edits.patch(*choice).scale(v["alpha"]).applied(lm.model):
                found = predict(lm, v["sentence"])
            words.value = bars(found, f"[MASK] at α = {v['alpha']:g}, {strategy_of(v['alpha'])}")
        except ValueError as error:  # no [MASK] in a half-typed sentence
            words.value = f"<i>{escape(str(error))}</i>"
        if change is None or change["owner"] is not controls["sentence"]:
            measures.value = chart.html(choice[0], str(choice[1]), choice[2], v["alpha"])
        if change is None or change["owner"] not in (controls["sentence"], controls["alpha"]):
            places.value = where_html(edits.located(*choice), sizes)

    for control in controls.values():
        control.observe(update, names="value")
    update()
    column = w.Layout(width="30rem", max_width="100%", margin="0 1rem 1rem 0")
    return w.Box(
        [
            w.VBox([*controls.values(), words], layout=column),
            w.VBox([measures], layout=column),
            w.VBox([places], layout=column),
        ],
        layout=w.Layout(flex_flow="row wrap"),
    )
