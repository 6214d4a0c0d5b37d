"""Patch files at BERT-base's and at a one-billion model's shape: size, apply, file to file."""

import os
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.kernels import BERT_BASE, SHARE, Weights
from benchmarks.measure import clock, extra_memory
from lcelib.patches.algebra import Change
from lcelib.patches.patch import Patch
from lcelib.streaming import patching
from lcelib.tensors import bits

MLP = [(8192, 2048)] * 2 + [(2048, 8192)]
ONE_BILLION = [s for _ in range(16) for s in [(2048, 2048)] * 2 + [(512, 2048)] * 2 + MLP]
EMBEDDING = (128_256, 2048)  # read and written with the others, and not edited
MODELS = {
    "BERT-base": (BERT_BASE, torch.float32, (30_522, 768)),
    "1.2B bf16": (ONE_BILLION, torch.bfloat16, EMBEDDING),
}


def random_patch(model: torch.nn.Module) -> Patch:
    """A patch of the share SHARE of all weights, drawn at random."""
    rng, changes = np.random.default_rng(0), {}
    for name, parameter in model.named_parameters():
        flat = bits(parameter.detach().view(-1))
        index = np.flatnonzero(rng.random(flat.size, dtype=np.float32) < SHARE)
        old = flat[index] if flat.itemsize == 2 else flat[index].view(np.float32)
        new = old ^ np.uint16(1) if flat.itemsize == 2 else old + np.float32(1e-3)
        changes[name] = Change(index, old, new)
    return Patch(changes)


def in_memory(model: torch.nn.Module, patch: Patch, repeats: int = 15) -> tuple[list, list]:
    """Seconds of applying (checked, as users call it) and of one copy of the weights, in turn."""
    weights = [p.detach() for p in model.parameters()]
    copies, times = [torch.empty_like(w) for w in weights], ([], [])
    for number in range(repeats + 1):
        found = (
            clock(lambda: patch.apply(model), "cpu"),
            clock(lambda: [c.copy_(w) for c, w in zip(copies, weights, strict=True)], "cpu"),
        )
        patch.revert(model)
        if number:  # the first warms up
            for own, seconds in zip(times, found, strict=True):
                own.append(seconds)
    return times


def copy_to_disk(source: Path, goal: Path) -> None:
    """The folder's files, copied and on the disk when it returns."""
    shutil.copytree(source, goal)
    for path in goal.iterdir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def file_to_file(folder: Path, file: Path, repeats: int = 5) -> tuple[list, list]:
    """Seconds of applying out of core, and of a copy of the checkpoint, in turn."""
    times = ([], [])
    for number in range(repeats + 1):
        for own, work in zip(
            times,
            (
                lambda goal: patching.apply(folder, file, goal),
                lambda goal: copy_to_disk(folder, goal),
            ),
            strict=True,
        ):
            goal = folder.with_name("goal")
            shutil.rmtree(goal, ignore_errors=True)
            start = time.perf_counter()
            work(goal)
            if number:
                own.append(time.perf_counter() - start)
    return times


def rows(build: Path):
    """Two rows and their floors for each shape; works in the folder `build`."""
    for name, (shapes, dtype, embedding) in MODELS.items():
        place = build.resolve() / "patches"
        shutil.rmtree(place, ignore_errors=True)
        (place / "model").mkdir(parents=True)
        model = Weights(shapes, dtype, "cpu")
        patch, file = random_patch(model), place / "p.lce.safetensors"
        tensors = {f"layers.{n}": p.detach() for n, p in model.named_parameters()}
        patch = Patch({f"layers.{n}": c for n, c in patch.changes.items()})
        patch.save(file)
        tensors["embeddings.weight"] = torch.randn(embedding).to(dtype)
        save_file(tensors, place / "model" / "model.safetensors")
        (place / "model" / "config.json").write_text("{}")
        del tensors
        loaded = Patch.load(file)
        own = Patch({n.removeprefix("layers."): c for n, c in loaded.changes.items()})
        weights = sum(p.numel() for p in model.parameters())
        measured = {
            f"patch, {name}: apply": (in_memory(model, own), extra_memory(
                lambda own=own, model=model: (own.apply(model), own.revert(model)), "cpu")),
            f"patch, {name}: file to file": (file_to_file(place / "model", file), float("nan")),
        }  # fmt: skip
        for operation, ((ours, floor), extra) in measured.items():
            medians = {"lcelib": statistics.median(ours), "floor": statistics.median(floor)}
            for variant, seconds in medians.items():
                yield {
                    "device": "cpu", "weights": weights, "dtype": str(dtype).removeprefix("torch."),
                    "operation": operation, "variant": variant, "seconds": seconds,
                    "repeats": len(ours), "ratio": seconds / medians["floor"],
                    "speedup": seconds / medians["lcelib"], "extra_mib": extra,
                    "megabytes": file.stat().st_size / 1e6,
                }  # fmt: skip
        shutil.rmtree(place)
