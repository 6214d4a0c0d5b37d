"""MNLI and STS-B from local files in the hub's columns: what is learnt, and what is scored."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from lcelib.errors import LceError
from lcelib.measures import glue
from lcelib.models import load
from lcelib.paper import stages
from lcelib.paper.figures import tables
from lcelib.run.paths import Run
from lcelib.run.profiles import OPPOSITE, profile
from lcelib.training import Recipe

NOUNS = ("nurse", "lawyer", "cook", "engineer", "clerk", "officer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sentences of the toy language; the label says whether, or how well, the two agree."""
    place = tmp_path_factory.mktemp("glue")

    def write(split, rows):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (place / f"{split}.jsonl").write_text(lines, encoding="utf-8")

    def rows(task, number, shift):
        for i in range(number):
            first = NOUNS[i % 6]
            second = NOUNS[(i + (i + shift) % 3) % 6]
            texts = [f"she is a {first} .", f"she is a {second} ."]
            label = (i + shift) % 3 if task == "mnli" else 5.0 * (first == second)
            yield dict(zip(glue.TASKS[task].fields, texts, strict=True)) | {
                "label": label,
                "idx": i,
            }

    for task in glue.TASKS:
        (place / task).mkdir()
    for task, split in (
        ("mnli", "train"),
        ("mnli", "validation_matched"),
        ("mnli", "validation_mismatched"),
        ("stsb", "train"),
        ("stsb", "validation"),
    ):
        write(f"{task}/{split}", rows(task, 180 if split == "train" else 60, 0))
    return place


@pytest.mark.parametrize("task", ["mnli", "stsb"])
def test_a_task_that_can_be_learnt_is_learnt(folder, task):
    recipe = Recipe(steps=60, batch_size=16, learning_rate=1e-3, warmup=0.1)
    scores = glue.evaluate(load("toybert"), task, recipe, folder=folder / task)
    names = ["mnli_m", "mnli_mm"] if task == "mnli" else ["stsb_pearson", "stsb_spearman"]
    assert [s.measure for s in scores] == names
    assert all(s.value > 80 and s.n == 60 for s in scores)
    none = glue.evaluate(load("toybert"), task, Recipe(1, 2, 1e-9), folder=folder / task)
    assert all(s.value < 60 for s in none)


def test_the_same_seed_gives_the_same_score_and_the_scores_are_the_definitions(folder):
    recipe = Recipe(steps=5, batch_size=8, learning_rate=1e-3)
    both = [glue.evaluate(load("toybert"), "stsb", recipe, 3, folder / "stsb") for _ in range(2)]
    assert both[0] == both[1]


def test_the_correlations_are_pearsons_and_spearmans(folder):
    lm = load("toybert")
    task = glue.TASKS["stsb"]
    data = glue.PairCollator(lm.tokenizer, task, glue.read(task, "validation", folder / "stsb"))
    model = glue.Classifier(lm, task)
    with torch.inference_mode():
        one_by_one = [float(model.predict(**_only(data([i])))[0, 0]) for i in range(len(data.ids))]
    pearson, spearman = (s.value for s in glue._score(model, task, "validation", data))
    assert pearson == pytest.approx(100 * np.corrcoef(one_by_one, data.labels)[0, 1], abs=1e-3)
    assert spearman == pytest.approx(100 * spearmanr(one_by_one, data.labels).statistic, abs=1e-6)


def _only(batch):
    return {k: v for k, v in batch.items() if k != "labels"}


def test_what_cannot_be_read_is_refused(folder, tmp_path):
    recipe = Recipe(steps=1)
    with pytest.raises(LceError, match="is unknown"):
        glue.evaluate(load("toybert"), "cola", recipe)
    with pytest.raises(LceError, match="GLUE mnli train: cannot be read"):
        glue.evaluate(load("toybert"), "mnli", recipe, folder=tmp_path)


def test_table_2_has_a_row_for_every_edit_and_the_papers_number_only_at_its_sparsity(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("LCE_RESULTS", str(tmp_path))
    given = {"steps": 4, "seeds": (0,), "sparsities": (0.3,), "grid": "short", "max_pairs": 100}
    settings = profile("toy", given | {"glue": str(folder), "glue_steps": 2})
    stages.find("corpus")(settings)
    for condition in OPPOSITE:
        stages.find("subnetworks")(settings, 0, condition)
    stages.find("glue")(settings)
    table = pd.read_csv(Run(settings).glue)
    assert len(table) == 4 * 5  # four scores of the base, and of α = 1, 2 by mask and by value
    shown = tables.understanding(table)
    assert list(shown["edit"])[:2] == ["base", "mask IP α = 1"]
    assert shown["MNLI-m"].str.endswith(("(84.4)", "(83.9)", "(83.8)", "(84.0)")).all()
    elsewhere = tables.understanding(table.assign(sparsity=0.1))
    assert list(elsewhere["MNLI-m"].str.endswith("(–)")) == [False] + [True] * 4
