"""Measure every candidate for the patch of a pretrained model on held-out pairs."""

import pandas as pd

from lcelib.editing import transfer
from lcelib.files import cached_json, write_csv
from lcelib.models import load
from lcelib.paper.release import STRENGTHS, contrast, locations, seeds_of, validation
from lcelib.run.paths import Run, use_threads
from lcelib.run.profiles import Profile
from lcelib.subnetworks import dense


def run(settings: Profile, name: str) -> None:
    """Measure every setting of one contrast on the held-out tenth → patch/candidates-NAME.csv."""
    use_threads(settings)
    run, lm = Run(settings), load(settings.model)
    base, suite = dense(lm.model), validation(run, lm.tokenizer)
    pair = contrast(run, name)
    parts = [run.subnetwork(s, c, 0) for s in seeds_of(settings, name) for c in settings.conditions]
    scratch = run.scratch(f"candidates-{name}", [run.corpus, *parts])

    def values() -> dict[str, float]:
        return {s.measure: s.value for s in suite(lm.model)}

    rows: list[dict] = [{"contrast": name, "localization": "", "alpha": 0.0, "weights": 0}]
    rows[0] |= cached_json(scratch / "base.json", values)
    for how, start, end, located in locations(*pair, settings.measured_sparsity):
        patch = transfer(base, start, end, located)
        for alpha in STRENGTHS:
            with patch.scale(alpha).applied(lm.model):
                found = cached_json(scratch / f"{how}-{alpha:g}.json", values)
            about = {"contrast": name, "localization": how, "alpha": alpha, "weights": located.size}
            rows.append(about | found)
    write_csv(run.candidates(name), pd.DataFrame(rows))
