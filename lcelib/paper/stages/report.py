"""The report page of a grid: claims, main effects and costs of every run, side by side."""

import base64
import io
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from lcelib.files import atomic
from lcelib.paper.edits import MASK, UNINFORMED, label, main_value, strategy_of
from lcelib.paper.figures.style import NEUTRAL, TOWARDS_ANTI, WIDTH, style
from lcelib.paper.findings import relative_perplexity
from lcelib.paper.ledger import read as read_ledger
from lcelib.paper.results import (
    MEASURES,
    NotInTableError,
    closed,
    has,
    model_values,
    table,
    to_opposite,
)
from lcelib.paper.statistics import Summary, summary
from lcelib.run import provenance
from lcelib.run.batch import Grid
from lcelib.run.paths import notebooks
from lcelib.run.profiles import OPPOSITE

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .2rem .7rem; border-bottom: 1px solid #ccc; text-align: left; vertical-align: top; }
img { max-width: 100%; }
"""
SIGN = {"shows": "●", "shows in part": "◐", "does not show": "○"}


def effects(grid: Grid) -> pd.DataFrame:
    """Return the share of the gap closed at the measured sparsity, and the perplexity it costs.

    One row per run and edit, both in per cent: means over directions and those of the three
    measures that the run has, then over seeds with a 95 % t-interval.
    """
    rows = []
    for cell, run in zip(grid.cells, grid.runs, strict=True):
        results, settings = table(run), cell.settings
        held = set(results["measure"]) & {*MEASURES, "winobias_margin"}
        held = {"winobias_margin"} if "winobias_margin" in held else held
        for where in (MASK, main_value(settings), UNINFORMED):
            for alpha in (1.0, 2.0):
                kind = (where, strategy_of(alpha), alpha)
                edits = [to_opposite(t, kind, settings.measured_sparsity) for t in OPPOSITE]
                if not all(has(results, edit) for edit in edits):
                    continue
                shares = [closed(results, edit, m) for edit in edits for m in sorted(held)]
                cost = [relative_perplexity(results, edit) for edit in edits]
                rows.append(
                    {
                        "run": cell.name,
                        "edit": label(*kind),
                        "closed": summary(pd.concat(shares, axis=1).mean(axis=1)),
                        "perplexity": summary(pd.concat(cost, axis=1).mean(axis=1)),
                    }
                )
    return pd.DataFrame(rows, columns=["run", "edit", "closed", "perplexity"])


def models(grid: Grid) -> pd.DataFrame:
    """Return mean scores of the unedited models at the measured sparsity (the base: dense).

    Where the stereotypical model is not above the other, there is no gap to close, and a
    share of it is meaningless.
    """
    rows = []
    for cell, run in zip(grid.cells, grid.runs, strict=True):
        results, at = table(run), cell.settings.measured_sparsity
        for measure in (*MEASURES, "winobias_margin", "perplexity"):
            names = {"base": 0.0, "stereotypical": at, "anti": at}
            try:
                means = {n: model_values(results, n, measure, s).mean() for n, s in names.items()}
            except NotInTableError:
                continue
            rows.append({"run": cell.name, "measure": measure} | means)
    return pd.DataFrame(rows)


def claims(grid: Grid) -> pd.DataFrame:
    """Return the verdicts: claims (rows) by run (columns)."""
    columns = {}
    for cell, run in zip(grid.cells, grid.runs, strict=True):
        found = read_ledger(run)[0]
        columns[cell.name] = {
            f"{c['id']} {c['claim']}": f"{SIGN[v]} {v}" if (v := c["verdict"]) in SIGN else "–"
            for c in found
        }
    return pd.DataFrame(columns).fillna("")


def figure(found: pd.DataFrame) -> str:
    """Return a plot of the shares closed, run by run, as an HTML image."""
    style()
    edits = list(dict.fromkeys(found["edit"]))
    fig, axes = plt.subplots(
        1, len(edits), sharex=True, sharey=True, squeeze=False,
        figsize=(WIDTH, 0.3 * found["run"].nunique() + 1),
    )  # fmt: skip
    names = list(dict.fromkeys(found["run"]))
    for axis, edit in zip(axes[0], edits, strict=True):
        for row in found[found["edit"] == edit].itertuples():
            s, y = row.closed, -names.index(row.run)
            half = 0 if s.n < 2 else s.high - s.mean
            axis.errorbar(s.mean, y, xerr=half, fmt="o", ms=4, lw=1, color=TOWARDS_ANTI)
        axis.axvline(0, color=NEUTRAL, ls=":", lw=0.8)
        axis.set_title(edit.replace(" =mask", "").replace(", ", "\n"), fontsize=8)
    axes[0][0].set_yticks([-i for i in range(len(names))], names)
    fig.supxlabel("gap closed, % (95 % interval over seeds)", fontsize=9)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=150)
    plt.close(fig)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="Share of the gap closed by every edit in every run" src="data:image/png;base64,{encoded}">'


def _text(value: object) -> str:
    return "–" if isinstance(value, Summary) and pd.isna(value.mean) else str(value)


def _list(grid: Grid) -> str:
    """List every run with its changed settings, its cost, and links to its figures and notebooks."""
    items = []
    for cell, run in zip(grid.cells, grid.runs, strict=True):
        record = provenance.summary(run.folder)
        base = Path("..") / run.folder.name
        pages = [
            f"of seed {s} "
            + " ".join(
                f'<a href="{base / "notebooks" / f"seed{s}" / f"{n}.ipynb"}">{n[:2]}</a>'
                for n in notebooks(cell.settings)
            )
            for s in cell.settings.seeds
        ]
        own = cell.settings.overrides.items()
        changes = ", ".join(f"{k} = {v or 'nothing'}" for k, v in own) or "none"
        commits = ", ".join(c[:8] + c[40:] for c in record["commits"])
        hosts = "; ".join(
            f"{m['gpu'] or m['processor']}, {m['cores']} cores" for m in record["machines"]
        )
        items.append(
            f"<li><b>{escape(cell.name)}</b> ({run.folder.name}). Changes: {escape(changes)}. "
            f"{record['jobs']} jobs, {record['wall_seconds'] / 60:.1f} minutes in all, "
            f"{record['cpu_seconds'] / 60:.1f} of a processor, at most "
            f"{record['peak_megabytes']} MB; commit {commits}; {escape(hosts)}. "
            f'<a href="{base}/figures">Figures</a>; notebooks {", ".join(pages)}.</li>'
        )
    return "<ul>" + "\n".join(items) + "</ul>"


def run(grid: Grid) -> None:
    """Write the report page of a grid."""
    found = effects(grid)
    effect_table = found.rename(columns={"closed": "gap closed, %", "perplexity": "perplexity, %"})
    effect_table = effect_table.to_html(index=False, border=0, formatters=[str, str, _text, _text])
    body = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(grid.path.stem)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style>
<h1>{escape(grid.path.stem)}: {len(grid.cells)} runs</h1>
<p>All values: <a href="results.csv">results.csv</a>. Texts and scores contain stereotypes, because they
measure them. The toy was built so that there is a bias to find; only real models show that real models
behave so.</p>
<h2>Claims</h2>
<p>● shows, ◐ shows in part, ○ does not show, by thresholds that stand in the code; – needs edits or
sparsities that the run does not have (<code>grid = "paper"</code> has all). Judged on the sparsities
of each run.</p>
{claims(grid).to_html(border=0)}
<h2>Models</h2>
<p>Means over seeds of the unedited models. Where the stereotypical one is not clearly above the other
there is no gap to close, and a share of it says nothing.</p>
{models(grid).to_html(index=False, border=0, na_rep="–", float_format="{:.3f}".format)}
<h2>Effects</h2>
<p>Per cent of the gap between the two models that an edit closes, mean over both directions and the
measures that a run has, and what it adds to perplexity; mean over seeds [95 % interval].</p>
{figure(found) if len(found) else ""}
{effect_table}
<h2>Runs</h2>
{_list(grid)}
"""
    with atomic(grid.report) as temporary:
        temporary.write_text(body, encoding="utf-8")
