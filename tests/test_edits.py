"""Edits as keys of the results table, and what is judged where it lacks them."""

import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from lcelib.errors import LceError
from lcelib.paper import claims, figures, ledger
from lcelib.paper.edits import Edit, Where, main_value
from lcelib.paper.grid import grid
from lcelib.paper.results import NotInTableError, edit_rows, has, read_results
from lcelib.run.profiles import PROFILES

TOY = PROFILES["toy"]
SIZES = st.sampled_from(["mask", "value"])
WHERE = st.one_of(
    st.just(Where("mask")),
    st.floats(0.001, 1).map(lambda k: Where("value", k=float(f"{k:g}"))),
    st.just(Where("value", as_many_as="mask")),
    st.builds(
        lambda size, by: Where("uninformed", as_many_as=size, matched=by),
        SIZES,
        st.sampled_from([None, "component", "magnitude"]),
    ),
)


@pytest.fixture(scope="module")
def published():
    results = read_results(ROOT / "figures/results.csv")
    return results, pd.read_csv(ROOT / "figures/located.csv")


@given(WHERE)
def test_a_localization_is_read_from_its_text(where):
    assert Where.parse(str(where)) == where


@pytest.mark.parametrize(
    "text",
    ["", "masks", "mask 0.1", "value", "value =value", "value x", "uninformed", "mask by component",
     "uninformed =mask by size", "uninformed 0.1"],
)  # fmt: skip
def test_another_text_is_rejected(text):
    with pytest.raises(LceError, match="not defined"):
        Where.parse(text)


def test_the_table_holds_each_edit_of_the_grid_once_a_seed_and_measure(published):
    results, _ = published
    written = {tuple(edit.columns().values()) for t in TOY.targets for edit in grid(t, TOY)}
    held = results[results["reference"].notna()]
    keys = ["target", "reference", "localization", "strategy", "alpha", "sparsity"]
    read = {
        Edit(t, r, Where.parse(w), s, None if pd.isna(a) else a, x)
        for t, r, w, s, a, x in held[keys].drop_duplicates().itertuples(index=False)
    }
    assert {tuple(edit.columns().values()) for edit in read} == written
    for edit in read:
        assert list(edit_rows(results, edit, "weat_d").index) == list(TOY.seeds)


def test_what_the_table_lacks_has_a_named_error(published):
    results, _ = published
    edit = Edit("anti", "stereotypical", Where("value", k=0.37), "IP", 1.0, 0.3)
    assert not has(results, edit)
    with pytest.raises(NotInTableError, match=r"value 0\.37"):
        edit_rows(results, edit, "weat_d")


@pytest.mark.parametrize("error", [KeyError, ValueError, IndexError, ZeroDivisionError])
def test_a_bug_in_a_judge_is_no_verdict(published, monkeypatch, error):
    def broken(*_):
        raise error("a bug")

    first = claims.CLAIMS[0]
    broken_claim = claims.Claim(first.id, first.claim, first.paper, first.threshold, broken)
    monkeypatch.setattr(ledger, "CLAIMS", (broken_claim,))
    with pytest.raises(error, match="a bug"):
        ledger.judge(*published, TOY)


def test_a_bug_in_a_figure_is_no_missing_figure(published, monkeypatch, tmp_path):
    def broken(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(figures, "FIGURES", {"figure3": broken})
    with pytest.raises(ValueError, match="a bug"):
        figures.draw_all(*published, tmp_path)


def test_figures_without_their_data_are_named(published, tmp_path):
    results, located = published
    few = results[results["target"].isin(["stereotypical", "anti", "base (stereotypical)"])]
    assert figures.draw_all(few, located, tmp_path) == ["figure7", "table8"]


def test_the_text_of_the_table_is_that_of_its_profile(published):
    results, _ = published
    assert str(main_value(TOY)) in set(results["localization"])
    assert str(Where("value", k=0.1)) == str(main_value(TOY))
