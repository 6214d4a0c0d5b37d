"""Shared pieces: the shipped toy, small random subnetworks, and optional real data."""

import json
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # the GPU kernels run here without a GPU

import numpy as np
import pytest
import torch

from lcelib import kernels
from lcelib.models import load
from lcelib.paper import preflight, stages
from lcelib.subnetworks import Subnetwork

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LCE_SHARED", ROOT.parent / "shared"))


def pytest_addoption(parser):
    parser.addoption("--outcome-of-faults", help="JSON file: fault → how its tests ended")


def pytest_collection_modifyitems(items):
    for item in items:
        numbers = [n for mark in item.iter_markers("faults") for n in mark.args]
        item.user_properties += [("fault", n) for n in numbers]


def pytest_terminal_summary(terminalreporter, config):
    if not (path := config.getoption("--outcome-of-faults")):
        return
    outcome: dict[int, Counter] = {}
    for kind in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(kind, []):
            if report.when == "call" or kind in ("error", "skipped"):
                for _, number in report.user_properties:
                    outcome.setdefault(number, Counter())[kind] += 1
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(json.dumps(outcome, indent=1), encoding="utf-8")


def shared(name: str) -> Path:
    """A file of the original benchmarks or a real model, where somebody put it beside the checkout."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout (set LCE_SHARED)")
    return path


@pytest.fixture(scope="session")
def toy():
    return load("toybert")


@pytest.fixture
def fresh_toy():
    return load("toybert")


def run_stages(settings) -> None:
    """The graph's stages from the texts to the results table, one after the other."""
    preflight.check_inputs(settings)
    for stage in ("corpus", "probes"):
        stages.find(stage)(settings)
    for seed in settings.seeds:
        for condition in settings.conditions:
            stages.find("subnetworks")(settings, seed, condition)
    for seed in settings.seeds:
        for target in settings.targets:
            stages.find("measure")(settings, seed, target)
    stages.find("results")(settings)


def random_subnetwork(rng, shapes=((3, 5), (4, 4), (1, 1)), sparsity=0.3, exact=True) -> Subnetwork:
    """Random weights, and a random mask with the same number of pruned weights each time."""
    theta, total = {}, sum(a * b for a, b in shapes)
    keep = np.ones(total, bool)
    keep[rng.permutation(total)[: round(sparsity * total)]] = False
    mask, start = {}, 0
    for i, shape in enumerate(shapes):
        name, size = f"m.layer.{i}.dense.weight", shape[0] * shape[1]
        theta[name] = rng.normal(size=shape).astype(np.float32)
        mask[name] = kernels.pack(keep[start : start + size])
        start += size
    theta["m.layer.0.bias"] = rng.normal(size=3).astype(np.float32)
    return Subnetwork(theta, mask, "same")


class Bag(torch.nn.Module):
    """A module whose named parameters are those of a subnetwork."""

    def __init__(self, network: Subnetwork):
        super().__init__()
        self._names = {}
        for name, value in network.theta.items():
            module = self
            *parents, last = name.split(".")
            for part in parents:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            data = network.weights.get(name, value)
            module.register_parameter(last, torch.nn.Parameter(torch.from_numpy(data.copy())))
