"""One page to play with: a sentence, an edit, its strength, and what they do (`make app`)."""

import base64
import io
import shutil
from collections.abc import Callable
from functools import lru_cache, partial
from html import escape
from itertools import product

import ipywidgets as w
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from lcelib.editing import edit
from lcelib.experiments import Bench, find
from lcelib.figures.style import LABELS, NEUTRAL, TOWARDS_ANTI, TOWARDS_STEREO, UNBIASED, style
from lcelib.files import atomic, kept
from lcelib.gaps import main_value, strategy_of
from lcelib.grid import Edit
from lcelib.localization import Located
from lcelib.notebook import Session
from lcelib.patches.patch import Patch
from lcelib.profiles import Profile, check_seed, profile
from lcelib.tensors import component
from lcelib.widgets import bars, predict
from lcelib.workflow import available, use_threads

DIRECTIONS = {
    "stereotypical → anti-stereotypical": ("stereotypical", "anti"),
    "anti-stereotypical → stereotypical": ("anti", "stereotypical"),
    "neutral → stereotypical (α < 0: away from it)": ("neutral", "stereotypical"),
}
PARTS: dict[str, Callable[[int, str], bool]] = {
    "all": lambda layer, part: True,
    "attention": lambda layer, part: "attention" in part,
    "feed-forward": lambda layer, part: "attention" not in part,
}
ALPHAS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
SHOWN = ("weat_d", "stereoset_ss", "crows", "perplexity")
EXAMPLE = "my [MASK] is an engineer ."


def localizations(settings: Profile) -> dict[str, str]:
    """What the reader chooses from, and its name in the grid."""
    k = f"{settings.k:.0%}".replace("%", " %")
    return {
        "by mask": "mask",
        f"by value, {k}": main_value(settings),
        "by value, as many as by mask": "value =mask",
        "uninformed: random, as many as by mask": "uninformed =mask",
    }


class Edits:
    """The edits of one session: located weights and patches, each made once."""

    def __init__(self, session: Session):
        self.session = session
        self.located = lru_cache(self._located)
        self.patch = lru_cache(self._patch)

    def _located(self, direction: str, where: str, part: str) -> Located:
        target, reference = DIRECTIONS[direction]
        settings = self.session.settings
        cell = Edit(target, reference, where, "EP", 2.0, settings.measured_sparsity)
        pair = self.session.pair(target, reference)
        return find(cell, *pair, settings.k, self.session.seed).restrict(PARTS[part])

    def _patch(self, direction: str, where: str, part: str) -> Patch:
        pair = self.session.pair(*DIRECTIONS[direction])
        return edit(*pair, self.located(direction, where, part), "EP", 2.0)


def curves(session: Session) -> pd.DataFrame:
    """Every measure along α for every choice of the page, on this seed's models.

    Columns: direction, localization, components, alpha, measure, value, n, variant.
    A call that was stopped goes on where it was.
    """
    from lcelib.stages import suite

    run, rows = session.run, []
    models = [p for c in session.settings.conditions for p in run.subnetworks(session.seed, c)]
    scratch = run.scratch(f"app-seed{session.seed}", [run.corpus, *run.probes, *models])
    edits, where_names = Edits(session), localizations(session.settings).values()
    for direction, (target, _) in DIRECTIONS.items():
        key = (target, session.settings.measured_sparsity)
        bench = Bench(session.networks, session.lm.model, suite(run, session.lm.tokenizer, target))
        for where, part, alpha in product(where_names, PARTS, ALPHAS):
            patch = edits.patch(direction, where, part).scale(alpha)
            measure = partial(_shown, bench, key, patch)
            for values in kept(scratch / f"{target}-{where}-{part}-{alpha:g}.json", measure):
                rows.append((direction, where, part, alpha, *values))
    shutil.rmtree(scratch)
    columns = "direction localization components alpha measure value n variant"
    return pd.DataFrame(rows, columns=columns.split())


def _shown(bench: Bench, key: tuple[str, float], patch: Patch) -> list[tuple]:
    scores = bench.edited(key, patch, brief=False) if patch.alpha else bench.scores(key)
    return [(m, scores[m].value, scores[m].n, scores[m].variant) for m in SHOWN]


def write_curves(settings: Profile, seed: int) -> None:
    """A stage of the graph: `curves` as a table."""
    use_threads(settings)
    session = Session(settings, seed)
    with atomic(session.run.curves) as temporary:
        curves(session).to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")


class Chart:
    """Four measures along α, drawn once for a choice; then only the marker moves."""

    def __init__(self, table: pd.DataFrame):
        style()
        self.table = table
        self.figure = Figure(figsize=(4.6, 3.6), dpi=100)
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes = dict(zip(SHOWN, self.figure.subplots(2, 2).flat, strict=True))
        self.chosen = None

    def _draw(self, *choice: str) -> None:
        control = (choice[0], "uninformed =mask", choice[2])
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
        """The values at α, on straight lines between those that were measured."""
        return {m: float(np.interp(alpha, *line)) for m, line in self.lines.items()}

    def html(self, direction: str, where: str, part: str, alpha: float) -> str:
        """The chart as an image, with its values in words."""
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
    """Located weights per layer and component, darker where there are more."""
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
    """The controls, and three panes that follow them; what is missing of the models is built first."""
    settings = profile(profile_name)
    session = Session(settings, check_seed(settings, seed))
    chart = Chart(pd.read_csv(available(session.run, "app")))
    edits, lm = Edits(session), session.work
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

    def update(change=None):
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
            measures.value = chart.html(*choice, v["alpha"])
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
