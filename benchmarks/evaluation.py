"""StereoSet and CrowS-Pairs of one model: batched, against one question at a time."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForMaskedLM, BertConfig

from benchmarks import originals
from lcelib.measures import CrowsPairs, Plan, StereoSet, crows, stereoset
from lcelib.models import LanguageModel, load

ITEMS = 60  # of StereoSet, and as many of CrowS-Pairs: the originals take minutes for them


def random_model() -> tuple[LanguageModel, Path, Path]:
    """A model of MiniLM's shape with random weights, and the toy's items, where none is given."""
    from lcelib.toybert.probes import write

    torch.manual_seed(0)
    config = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)
    model = AutoModelForMaskedLM.from_config(config).eval()
    folder = Path(tempfile.mkdtemp(prefix="lcelib-probes-"))
    write(folder)
    return (
        LanguageModel(model, load("toybert").tokenizer),
        folder / "stereoset.json",
        folder / "crows.csv",
    )


def spread(items: list, number: int = ITEMS) -> list:
    """So many items from all over a file."""
    return items[:: max(len(items) // number, 1)][:number]


def ours(lm, items, pairs) -> tuple[dict, np.ndarray]:
    """Scores of all sentences."""
    tests = [StereoSet(items, lm.tokenizer), CrowsPairs(pairs, lm.tokenizer, "differing")]
    log_p = Plan([q for t in tests for q in t.queries], lm.tokenizer)(lm.model)
    cut = len(tests[0].queries)
    return tests[0].sentence_scores(log_p[:cut]), tests[1].pair_scores(log_p[cut:])


def rows(given: list[str] | None):
    """CPU seconds for one model, one thread; the two agree item by item or nothing is reported."""
    if given:
        lm, files = load(given[0]), given[1:]
    else:
        lm, *files = random_model()
    items, pairs = spread(stereoset.read(files[0])), spread(crows.read(files[1]))
    torch.set_num_threads(1)
    start = time.process_time()
    sentences, scores = ours(lm, items, pairs)
    middle = time.process_time()
    known = originals.stereoset(lm, items), originals.crows_pairs(lm, pairs, "differing")
    end = time.process_time()
    far = max(abs(np.log(sentences[k]) - np.log(known[0][k])) for k in sentences)
    far = max(far, float(np.abs(scores - np.array(known[1])).max()))
    if far > 1e-4:
        raise RuntimeError(f"scores differ from one question at a time by {far:.1e}")
    model = Path(given[0]).name if given else "random weights, MiniLM's shape"
    about = {"device": "cpu", "dtype": "float32", "operation": "evaluation", "extra_mib": np.nan}
    about |= {"weights": sum(p.numel() for p in lm.model.parameters())}
    about |= {"repeats": 1, "note": f"{model}; {len(items)} items, {len(pairs)} pairs; CPU seconds"}
    for variant, seconds in (("lcelib", middle - start), ("one at a time", end - middle)):
        speedup = seconds / (middle - start)
        yield about | {"variant": variant, "seconds": seconds, "speedup": speedup}
