"""The classroom's way, through nbgrader itself: release, submit, autograde, feedback."""

import html
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

COURSE = ROOT / "notebooks/exercises"
ASSIGNMENTS = sorted(p.name for p in (COURSE / "source").iterdir())
MISTAKES = tomllib.loads((COURSE / "common_mistakes.toml").read_text(encoding="utf-8"))


def read(folder, name):
    return nbformat.read(next(folder.glob("*.ipynb")), 4)


def cell_of(notebook, grade_id):
    return next(
        c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )


def test_every_assignment_says_what_it_teaches_and_asks_for_words():
    assert len(ASSIGNMENTS) >= 5
    assert set(MISTAKES) == set(ASSIGNMENTS)
    for name in ASSIGNMENTS:
        notebook = read(COURSE / "source" / name, name)
        text = "\n".join(c.source for c in notebook.cells)
        for part in ("**You will learn**", "**Time:** about", "**Rubric**", "HIDDEN TESTS"):
            assert part in text, (name, part)
        assert "Content note" in text
        free = [c for c in notebook.cells if c.cell_type == "markdown" and "nbgrader" in c.metadata]
        assert free
        assert len(MISTAKES[name]) >= 2


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course in a folder of its own, through nbgrader's programming interface."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    commands = Path(sys.executable).parent  # nbgrader calls its database's command by name
    os.environ["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(COURSE / "source", root / "source")
    config = Config()
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.course_id = "lcelib"
    config.CourseDirectory.db_url = f"sqlite:///{root}/gradebook.db"
    return root, NbGraderAPI(config=config)


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_four_submissions_get_what_they_deserve(course, name):
    """The model solution all points, the empty one none, each mistake a part and its name."""
    root, api = course
    assert api.generate_assignment(name, force=True, create=True)["success"]
    released = read(root / "release" / name, name)
    text = "\n".join(c.source for c in released.cells)
    for secret in ("BEGIN SOLUTION", "BEGIN HIDDEN", "Rubric", "A good answer"):
        assert secret not in text
    source = read(root / "source" / name, name)
    solved = {
        c.metadata.nbgrader.grade_id: re.sub(r" *### (BEGIN|END) SOLUTION\n?", "", c.source)
        for c in source.cells
        if c.metadata.get("nbgrader", {}).get("solution") and c.cell_type == "code"
    }
    answers = {"solution": solved, "empty": {}}
    for number, mistake in enumerate(MISTAKES[name]):
        answers[f"mistake{number}"] = solved | {mistake["cell"]: mistake["code"]}
    points = {}
    for student, cells in answers.items():
        notebook = read(root / "release" / name, name)
        for grade_id, code in cells.items():
            cell_of(notebook, grade_id).source = code
        place = root / "submitted" / student / name
        place.mkdir(parents=True)
        nbformat.write(notebook, place / f"{name}.ipynb")
        assert api.autograde(name, student, create=True)["success"]
        assert api.generate_feedback(name, student)["success"]
        with api.gradebook as gradebook:
            found = gradebook.find_submission_notebook(name, name, student)
            points[student] = {g.name: (g.auto_score, g.max_score) for g in found.grades}
    graded = {c: best for c, (_, best) in points["solution"].items() if c.startswith("test_")}
    assert {c: points["solution"][c][0] for c in graded} == graded
    assert sum(points["empty"][c][0] for c in graded) == 0
    for number, mistake in enumerate(MISTAKES[name]):
        own = points[f"mistake{number}"]
        assert [c for c in graded if own[c][0] < own[c][1]] == mistake["fails"]
        assert 0 < sum(own[c][0] for c in graded) < sum(graded.values())
        feedback = root / "feedback" / f"mistake{number}" / name / f"{name}.html"
        text = html.unescape(feedback.read_text(encoding="utf-8"))
        assert re.search(mistake["says"], text), mistake["name"]
