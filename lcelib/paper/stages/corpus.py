"""Counterfactual augmentation: corpus.json."""

from lcelib.files import write_json
from lcelib.paper.inputs import make_corpus
from lcelib.run.paths import Run
from lcelib.run.profiles import Profile


def run(settings: Profile) -> None:
    """Augment the texts with counterfactuals → corpus.json."""
    made = make_corpus(settings)
    content = {k: v for k, v in vars(made).items() if "pairs" not in k}
    for key in ("pairs", "held_out_pairs"):
        content[key] = [vars(p) for p in getattr(made, key)]
    write_json(Run(settings).corpus, content)
