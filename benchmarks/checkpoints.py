"""File to file: lce against mergekit's TIES, and a checkpoint of more than two gigabytes."""

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.measure import private_memory
from lcelib.checkpoints import reading as checkpoint

MERGEKIT = "mergekit==0.1.5"
SHARE = 0.005
TIES = {
    "merge_method": "ties", "dtype": "float32", "base_model": "a",
    "models": [{"model": "b", "parameters": {"density": SHARE, "weight": 1.0}}],
    "parameters": {"normalize": False},
}  # fmt: skip


def llama_pair(folder: Path) -> None:
    """Two Llama-shaped random checkpoints, a and b, with 134.5 million float32 weights."""
    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder / "a")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.002 * torch.randn_like(parameter))
    model.save_pretrained(folder / "b")


def sharded_pair(folder: Path, gigabytes: float = 2.1, shards: int = 2) -> None:
    """Two random checkpoints in shards, a and b, made matrix by matrix."""
    rng = np.random.default_rng(0)
    rows = int(gigabytes * 1e9 / (4 * 4096 * 16 * shards))
    for name in "ab":
        goal, where = folder / name, {}
        goal.mkdir(parents=True)
        (goal / "config.json").write_text("{}")
        for shard in range(1, shards + 1):
            file = f"model-{shard:05}-of-{shards:05}.safetensors"
            made = {
                f"model.layers.{shard}.{i}.up_proj.weight": torch.from_numpy(
                    rng.standard_normal((rows, 4096), dtype=np.float32)
                )
                for i in range(16)
            }
            save_file(made, goal / file)
            where |= dict.fromkeys(made, file)
        (goal / checkpoint.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


def command(arguments: list, folder: Path) -> tuple[float, float]:
    """Run a whole command; its seconds and its peak private memory in MiB."""
    start, peak = time.perf_counter(), 0.0
    with open(folder / "log.txt", "w") as log:
        process = subprocess.Popen(list(map(str, arguments)), cwd=folder, stdout=log, stderr=log)
        while process.poll() is None:
            peak = max(peak, private_memory(process.pid))
            time.sleep(0.005)
    if process.returncode:
        raise RuntimeError(f"{arguments[0]} failed:\n{(folder / 'log.txt').read_text()[-2000:]}")
    return time.perf_counter() - start, peak


def install_mergekit(folder: Path) -> Path | None:
    """mergekit's command in an environment of its own, or None where it cannot be installed."""
    program = folder / "bin" / "mergekit-yaml"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        torch_pin = f"torch=={torch.__version__.split('+')[0]}"
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", torch_pin, MERGEKIT]
        if subprocess.run(pip, check=False, capture_output=True).returncode:
            return None
    return program


LCE = [sys.executable, "-m", "lcelib.cli"]


def against_mergekit(build: Path, repeats: int = 3):
    """The same edit by both programs: the share 0.005 of every tensor, α = 1."""
    program, folder = install_mergekit(build / "mergekit"), build / "llama"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    llama_pair(folder)
    (folder / "ties.yml").write_text(json.dumps(TIES))  # JSON is YAML
    ours = [
        *LCE,
        "edit",
        "a",
        "b",
        "--per-tensor",
        "--k",
        SHARE,
        "--tensors",
        "*",
        "--output",
        "lce",
    ]
    theirs = [program, "ties.yml", "ties", "--lazy-unpickle", "--no-write-model-card",
              "--no-copy-tokenizer"]  # fmt: skip
    found: dict[str, list] = {"lcelib": [], "mergekit ties": []}
    for number in range(repeats):
        for variant, arguments, goal in (
            ("lcelib", ours, "lce"),
            ("mergekit ties", theirs, "ties"),
        ):
            if program is None and variant != "lcelib":
                continue
            if variant != "lcelib" and number == repeats - 1 and repeats > 2:
                continue  # the slow one runs one time less
            shutil.rmtree(folder / goal, ignore_errors=True)
            found[variant].append(command(arguments, folder))
    note = ""
    if program is not None:
        both = [checkpoint.read(folder / goal) for goal in ("lce", "ties")]
        differ = sum(checkpoint.differing(*both).values())
        note = f"{differ} of the outputs' values differ"
    median = {v: statistics.median(s for s, _ in runs) for v, runs in found.items() if runs}
    for variant, runs in found.items():
        if runs:
            yield {
                "operation": "file to file", "variant": variant, "weights": 134_515_008,
                "seconds": median[variant], "repeats": len(runs), "note": note,
                "extra_mib": max(m for _, m in runs), "speedup": median[variant] / median["lcelib"],
            }  # fmt: skip
    shutil.rmtree(folder)


def two_gigabytes(build: Path):
    """Locate and edit in a checkpoint of two shards and 2.1 GB, by value, by mask, and per patch."""
    folder = build / "sharded"
    shutil.rmtree(folder, ignore_errors=True)
    sharded_pair(folder)
    yield from commands(folder, {
        "2.1 GB: locate by value": ["locate", "a", "b", "--k", SHARE],
        "2.1 GB: locate by mask": ["locate", "a", "b", "--by", "mask", "--sparsity", 0.1],
        "2.1 GB: edit": ["edit", "a", "b", "--k", SHARE, "--output", "out"],
        "2.1 GB: edit, k = 10 %": ["edit", "a", "b", "--k", 0.1, "--patch", "patch"],
    })  # fmt: skip
    shutil.rmtree(folder)


def commands(folder: Path, runs: dict[str, list]):
    """One row for each whole command, run once."""
    weights = sum(e.size for e in checkpoint.read(folder / "a").entries.values())
    for operation, arguments in runs.items():
        seconds, peak = command([*LCE, *arguments], folder)
        yield {"operation": operation, "variant": "lcelib", "weights": weights, "repeats": 1,
               "seconds": seconds, "extra_mib": peak, "speedup": 1.0}  # fmt: skip


def seven_billion(build: Path):
    """Locate and make a patch in a checkpoint of 6.5 billion bfloat16 weights (13 GB) in 8 shards.

    The pair takes 26 GB of disk; its weights are one random block, shifted from
    matrix to matrix, since speed and memory do not depend on more.
    """
    folder, generator = build / "7b", torch.Generator().manual_seed(0)
    shutil.rmtree(folder, ignore_errors=True)
    block = torch.randn(1 << 26, generator=generator) * 0.04
    noise = torch.randn(1 << 26, generator=generator) * 0.002
    for name, values in (("a", block), ("b", block + noise)):
        goal, where, values = folder / name, {}, values.bfloat16()
        goal.mkdir(parents=True)
        (goal / "config.json").write_text("{}")
        for shard in range(1, 9):
            file, made = f"model-{shard:05}-of-00008.safetensors", {}
            for layer in range(4 * (shard - 1), 4 * shard):
                for i, shape in enumerate([(4096, 4096)] * 4 + [(11008, 4096)] * 3):
                    part = values.roll(9973 * (7 * layer + i))[: shape[0] * shape[1]]
                    made[f"model.layers.{layer}.matrix{i}.weight"] = part.view(shape).contiguous()
            save_file(made, goal / file)
            where |= dict.fromkeys(made, file)
        (goal / checkpoint.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    yield from commands(folder, {
        "7B bf16, 13 GB: locate by value": ["locate", "a", "b", "--k", SHARE],
        "7B bf16, 13 GB: locate by mask": ["locate", "a", "b", "--by", "mask", "--sparsity", 0.3],
        "7B bf16, 13 GB: patch": ["edit", "a", "b", "--k", SHARE, "--patch", "patch"],
    })  # fmt: skip
    shutil.rmtree(folder)


def rows(build: Path, large: bool):
    """All rows of this file; works in the folder `build`."""
    build = build.resolve()
    if large:
        yield from ({"device": "cpu", "dtype": "bfloat16"} | row for row in seven_billion(build))
        return
    for row in (*against_mergekit(build), *two_gigabytes(build)):
        yield {"device": "cpu", "dtype": "float32"} | row
