"""Choose the patch of a pretrained model, measure it on the test pairs, and write it."""

from pathlib import Path

import pandas as pd

from lcelib.corpus.specification import read_spec
from lcelib.data.sources import catalog
from lcelib.files import atomic, write_csv
from lcelib.models import load
from lcelib.paper.release import (
    CITATION,
    COLUMNS,
    LICENCE,
    at_setting,
    changes,
    choose,
    limits,
)
from lcelib.paper.stages.measure import suite
from lcelib.patches import card
from lcelib.patches.direction import UNKNOWN
from lcelib.run.paths import Run, use_threads
from lcelib.run.profiles import Profile
from lcelib.subnetworks import dense


def run(settings: Profile) -> None:
    """Choose a setting; measure its patch and controls on the test pairs; write patch, card, table."""
    use_threads(settings)
    run, lm = Run(settings), load(settings.model)
    parts = [
        pd.read_csv(run.candidates(c), keep_default_na=False, dtype={"contrast": str})
        for c in settings.contrasts
    ]
    if (chosen := choose(pd.concat(parts))) is None:
        print("No setting meets the rule of lcelib/paper/release.py: no patch is made.")
        write_csv(run.patch_table, pd.DataFrame(columns=COLUMNS))
        return
    how, alpha, everywhere = chosen
    ready = suite(run, lm.tokenizer, "neutral")
    before, rows = ready(lm.model), []
    for name, patch in at_setting(run, dense(lm.model), how, alpha):
        with patch.applied(lm.model):
            measures = changes(before, ready(lm.model, brief=name != "A - S, mean"))
        rows += [{"edit": name, "weights": patch.size, "alpha": alpha} | m for m in measures]
    origin = catalog().get(settings.model)
    about = {
        "id": "" if Path(settings.model).exists() else settings.model,
        "revision": origin.wheel if origin else "",
        "derived_from": origin.derived_from if origin else "",
        "direction": UNKNOWN,
        "bias": f"{read_spec(settings.bias_spec).name} (binary), of pronouns and occupations, in English",
        "method": {
            "strategy": "α (A - S) added to the pretrained model",
            "by": how,
            "alpha": f"{alpha:g}, worked in: here 1 is that strength",
            "models": f"means over the seeds {', '.join(map(str, settings.seeds))}",
            "chosen": "on held-out training pairs by the rule of lcelib/paper/release.py, met by "
            + ("every seed and the mean" if everywhere else "the mean alone"),
        },
        "measures": [m for m in measures if not m["measure"].endswith(("_association", "_p"))],
        "limits": limits(settings.model),
        "licence": LICENCE,
        "citation": CITATION,
    }
    patch.settled().save(run.patch, lm.model, lm.tokenizer, **about)
    with atomic(run.card) as temporary:
        temporary.write_text(card.text(run.patch), encoding="utf-8")
    write_csv(run.patch_table, pd.DataFrame(rows, columns=COLUMNS))
