"""The book: controls become text, and a link that leads nowhere is found."""

import json
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import badges
import book
import links


def test_a_control_becomes_what_its_pane_shows():
    """The values of slider and list, and the pane's HTML, stand in place of the widget."""
    from lcelib.notebook import widgets as w

    box = w.explore(
        lambda alpha, by: f"<b>{by} at {alpha}</b>",
        alpha=w.slider(-2, 3, 0.5, 0.5, "α"),
        by=w.choice(["mask", "value"], "located by", "value"),
    )
    state = {
        m.model_id: {"state": m.get_state()} for m in (box, *box.children)
    }  # as the front end has it
    state[box.model_id]["state"]["children"] = [f"IPY_MODEL_{c.model_id}" for c in box.children]
    output = {"output_type": "display_data", "data": {book.VIEW: {"model_id": box.model_id}}}
    cells = [
        {"metadata": {}, "outputs": [output]},
        {"metadata": {"tags": ["injected-parameters"]}, "outputs": []},
    ]
    made = book.static({"metadata": {"widgets": {book.STATE: {"state": state}}}, "cells": cells})
    assert len(made["cells"]) == 1
    html = made["cells"][0]["outputs"][0]["data"]
    assert list(html) == ["text/html"]
    for part in ("α: 0.5", "located by: value", "<b>value at 0.5</b>"):
        assert part in html["text/html"]


def test_every_notebook_has_its_own_badges_once(monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/companion")
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for repository in ("another/one", badges.repository()):
            badges.put(notebook, repository, path.name)
        text = json.dumps(notebook)
        assert text.count(badges.MARK) == 1
        assert f"github/someone/companion/blob/main/notebooks/{path.name})" in text
        assert f"gh/someone/companion/HEAD?urlpath=lab/tree/notebooks/{path.name})" in text
        assert "another/one" not in text
    monkeypatch.delenv("GITHUB_REPOSITORY")


def test_every_figure_has_the_cell_and_the_data_that_made_it():
    page = book.figures_page()
    for manifest in (ROOT / "figures").rglob("manifest.json"):
        pngs = [n for n in json.loads(manifest.read_text()) if n.endswith(".png")]
        folder = manifest.parent.relative_to(ROOT)
        assert all(f"](../{folder}/{n})" in page for n in pngs)
    sections = page.split("\n## ")[1:]
    assert len(sections) >= 11
    figures = [s for s in sections if "/figure" in s.splitlines()[0]]
    assert len(figures) == 7
    assert all("- shown in [" in s and "- data: " in s for s in figures)


@pytest.mark.parametrize(
    ("link", "fine"),
    [
        ("b.html", True),
        ("b.html#here", True),
        ("#top", True),
        ("b.html#there", False),
        ("c.html", False),
        ("https://example.org/x", True),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path, link, fine):
    (tmp_path / "a.html").write_text(f'<h1 id="top"></h1><a href="{link}">x</a>')
    (tmp_path / "b.html").write_text('<h1 id="here"></h1>')
    assert (links.broken(tmp_path)[0] == []) is fine
