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
    assert {
        "located weights (figure 3)",
        "figure 5",
        "figure 7",
        "figures 4 and 6",
        "tables 1 and 4",
    } == {f.partition(": ")[0] for f in figures}


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


def test_rows_that_a_run_lacks_are_counted(run):
    table = read_results(run.results)
    table[table["localization"] != "value 0.6"].to_csv(run.results, index=False)
    located = pd.read_csv(run.folder / "located.csv")
    located[located["layer"] != 2].to_csv(run.folder / "located.csv", index=False)
    _, largest, _ = comparison.lines(run)
    assert "figure 5: 8 of " in largest  # two directions, four measures
    assert "shares missing" in largest


def test_a_pretrained_run_is_compared_by_its_own_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("LCE_RESULTS", str(tmp_path / "results"))
    run = Run(profile("smollm2"))
    run.folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / "figures/smollm2" / name, run.folder)
    verdicts, largest, _ = comparison.lines(run)
    assert verdicts == "Verdicts: 11 of 11 as published"
    assert "alpha: none; located" in largest
    assert "figure 5" not in largest


@pytest.mark.parametrize("folder", ["figures", "figures/smollm2"])
def test_every_row_that_a_figure_shows_is_compared(folder):
    table = read_results(ROOT / folder / "results.csv")
    shown = pd.concat(comparison.figures(table).values(), axis=1).any(axis=1)
    assert shown.all()


def test_an_overridden_profile_is_not_published():
    with pytest.raises(LceError, match="overridden"):
        stages.find("publish")(profile("toy", {"steps": 3}))


def test_an_incomplete_run_is_not_published(run):
    with pytest.raises(LceError, match="incomplete"):
        stages.find("publish")(run.settings)


def test_the_graph_publishes_nothing():
    """What `make paper` builds is below results/: no rule has the stage that writes elsewhere."""
    assert "publish" not in (ROOT / "Snakefile").read_text(encoding="utf-8")
