"""A run beside what is published of its profile; only publishing writes into the checkout."""

import json
import shutil

import pandas as pd
import pytest
from conftest import ROOT

from lcelib.errors import LceError
from lcelib.paper import comparison, stages
from lcelib.paper.results import read_results
from lcelib.run.paths import Run
from lcelib.run.profiles import profile

FILES = ("results.csv", "claims.json", "located.csv")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose results are the published ones."""
    monkeypatch.setenv("LCE_RESULTS", str(tmp_path / "results"))
    found = Run(profile("toy"))
    found.folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / "figures" / name, found.folder)
    return found


def test_equal_results_are_said_to_be_equal(run):
    verdicts, largest, _ = comparison.lines(run)
    assert verdicts == "Verdicts: 10 of 10 as published"
    figures = largest.partition(": ")[2].split("; ")
    assert [f.partition(": ")[2] for f in figures] == ["none"] * len(figures)
    assert {"figure 3", "figure 5", "figure 7", "figures 4 and 6", "tables 1 and 4"} == {
        f.partition(": ")[0] for f in figures
    }


def test_differences_are_named_by_verdict_figure_and_measure(run):
    claims = json.loads(run.claims.read_text(encoding="utf-8"))
    claims[0]["verdict"] = "does not show"
    run.claims.write_text(json.dumps(claims), encoding="utf-8")
    table = read_results(run.results)
    moved = (table["target"] == "neutral") & (table["measure"] == "weat_d")
    moved &= table["reference"].notna()
    table.loc[moved & (table["seed"] == 0), "value"] += 0.4  # of four seeds
    table.to_csv(run.results, index=False)
    verdicts, largest, _ = comparison.lines(run)
    assert verdicts == "Verdicts: 9 of 10 as published; 1 shows → does not show"
    assert "figure 7: WEAT d 0.1" in largest
    assert "figures 4 and 6: none" in largest


def test_every_row_that_a_figure_shows_is_compared():
    table = read_results(ROOT / "figures/results.csv")
    shown = pd.concat(comparison.figures(table).values(), axis=1).any(axis=1)
    assert shown.all()


def test_an_overridden_profile_is_not_published():
    with pytest.raises(LceError, match="overridden"):
        stages.find("publish")(profile("toy", {"steps": 3}))


def test_the_graph_publishes_nothing():
    """What `make paper` builds is below results/: no rule has the stage that writes elsewhere."""
    assert "publish" not in (ROOT / "Snakefile").read_text(encoding="utf-8")
