"""Language models by folder or name: checked loading, prunable matrices, token prediction.

Everything that depends on the kind of model is a small function here; the
rest of the library deals in names, tensors and log-probabilities only.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from lcelib.errors import CorruptFileError, LceError, MismatchError

TOYBERT = Path(__file__).parent / "toybert" / "model"
END_OF_TEXT = "<|endoftext|>"
# Families whose logits are their head's output on the last hidden state, without scaling or caps.
_SIMPLE_HEADS = {
    "bert", "distilbert", "gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "opt", "qwen2",
    "qwen3", "roberta", "smollm3", "xlm-roberta",
}  # fmt: skip
# Causal families that accept a four-dimensional attention mask together with position ids.
_PACKING = {"gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "smollm3"}
# Heads of published checkpoints that masked language modelling does not use.
_UNUSED_HEADS = re.compile(r"(^|\.)(pooler|cls\.seq_relationship)\.|position_ids$")


@dataclass(frozen=True)
class LanguageModel:
    """A model with the tokenizer it was trained with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load(source: str | Path) -> LanguageModel:
    """Load a masked or causal language model in float32 and reject any mismatch.

    `source` is "toybert" (shipped), "smollm2" (fetched), a folder, or a hub id. Only
    safetensors are read and no code from the folder is run. Raises LceError for an unreadable
    model, MismatchError for tensors that are missing, extra or of another shape and for a
    tokenizer that does not fit, and CorruptFileError for NaN or Inf.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    path = TOYBERT if str(source) == "toybert" else source
    if str(source) == "smollm2":
        from lcelib.data.conversion import fetch_smollm2

        path = fetch_smollm2()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        config = AutoConfig.from_pretrained(path)
        kind = AutoModelForCausalLM if _is_causal_config(config) else AutoModelForMaskedLM
        loaded: Any = kind.from_pretrained(
            path,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # check_loading rejects them by name
            output_loading_info=True,
            dtype="auto",
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        if not Path(path).exists():
            reason = f"is not a folder here, and cannot be fetched from the hub ({reason})"
        remedy = "Give a folder of config.json, tokenizer.json and model.safetensors, or a hub id."
        raise LceError(f"model {str(source)!r}", reason, remedy) from error
    model, info = loaded
    check_loading(source, info)
    check_vocabulary(source, model, tokenizer)
    check_finite(source, dict(model.named_parameters()))
    return LanguageModel(model.float().eval(), tokenizer)


def _is_causal_config(config: PreTrainedConfig) -> bool:
    """Return whether a configuration was saved from a causal language model's class."""
    masked = MODEL_FOR_MASKED_LM_MAPPING_NAMES.get(config.model_type)
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    saved = config.architectures or []
    return causal is not None and (causal in saved or masked is None)


def check_loading(source: str | Path, info: dict[str, Any]) -> None:
    """Raise MismatchError for a checkpoint whose tensors are not those of its architecture.

    `info` is the loading info of transformers.
    """
    extra = [k for k in info["unexpected_keys"] if not _UNUSED_HEADS.search(k)]
    mismatched = [m[0] for m in info["mismatched_keys"]]
    for kind, names in (
        ("missing", sorted(info["missing_keys"])),
        ("extra", sorted(extra)),
        ("of another shape", sorted(mismatched)),
    ):
        if names:
            shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
            raise MismatchError(
                f"model {str(source)!r}",
                f"{len(names)} tensors are {kind}: {shown}",
                "Use the checkpoint with the config it was saved with.",
            )


def check_vocabulary(
    source: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raise MismatchError for a tokenizer with ids beyond the embedding, or without a mask token.

    A causal model's tokenizer loses its mask token, if any; it needs a start token.
    """
    what, remedy = f"model {str(source)!r}", "Use the tokenizer that belongs to this checkpoint."
    rows = embedding(model).num_embeddings
    if len(tokenizer) > rows:
        reason = f"the tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows"
        raise MismatchError(what, reason, remedy)
    if _is_causal_config(model.config):
        tokenizer.mask_token = None  # predicts the next token, not a masked one
        start_id(tokenizer)
    elif tokenizer.mask_token_id is None:
        reason = "is a masked language model, but its tokenizer has no mask token"
        raise MismatchError(what, reason, remedy)


def embedding(model: nn.Module) -> nn.Embedding:
    """Return the input embedding of a language model."""
    return cast("nn.Embedding", cast("PreTrainedModel", model).get_input_embeddings())


def check_finite(source: str | Path, tensors: dict[str, Tensor]) -> None:
    """Raise CorruptFileError for NaN and Inf, with the tensor's name and their number."""
    for name, tensor in tensors.items():
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if bad:
            reason = f"{bad} weights of {name} are NaN or Inf"
            raise CorruptFileError(f"{source}", reason, "Use an intact checkpoint.")


def prunable(model: nn.Module) -> list[str]:
    """Return the names of the weight matrices that pruning and editing may touch.

    They are the linear weights inside the stack of layers: no embeddings, biases,
    normalisation, pooler or task head (paper §4.2; 72 matrices with 84,934,656
    weights in BERT-base). The order is the model's own. `tensors.in_a_layer` is
    the same rule for the tensors of a file, by name and shape.
    """
    stacks = [name for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and any(name.startswith(f"{stack}.") for stack in stacks)
    ]


def is_causal(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer belongs to a causal model: one without mask token."""
    return tokenizer.mask_token_id is None


def start_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token before a causal model's sentence: <|endoftext|>, BOS or EOS."""
    end: Any = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    if end is not None and tokenizer.convert_ids_to_tokens(end) != END_OF_TEXT:
        end = None  # it was the unknown token
    for candidate in (end, tokenizer.bos_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return cast("int", candidate)
    reason = "has no token that can start a sentence"
    raise LceError("tokenizer", reason, "Set its bos_token or eos_token.")


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that pads batches, which attention ignores."""
    padding = tokenizer.pad_token_id
    return start_id(tokenizer) if padding is None else cast("int", padding)


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of one sentence, truncated to the model's maximal length.

    For a masked model with its special tokens at both ends; for a causal one after the
    start token, which is not predicted itself.
    """
    longest = min(tokenizer.model_max_length, 512)
    if is_causal(tokenizer):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return [start_id(tokenizer), *ids][:longest]
    return list(tokenizer(text, truncation=True, max_length=longest)["input_ids"])


def inner_positions(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> range:
    """Return the positions of a sentence's tokens without the special ones at the ends."""
    return range(1, len(ids) if is_causal(tokenizer) else len(ids) - 1)


def add_space(tokenizer: PreTrainedTokenizerBase, word: str) -> str:
    """Return a word as written inside a sentence: after a space where that changes its tokens."""
    alone, inside = (
        tokenizer.encode(text, add_special_tokens=False) for text in (word, f" {word}")
    )
    return word if alone == inside else f" {word}"


def unknown_words(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> list[str]:
    """Return the words with a token that is the unknown token."""
    unknown = []
    for word in words:
        ids = token_ids(tokenizer, add_space(tokenizer, word))
        if tokenizer.unk_token_id in [ids[i] for i in inner_positions(tokenizer, ids)]:
            unknown.append(word)
    return unknown


def pad(sequences: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """Return right-padded ids and their attention mask, both int64, (sequences, longest)."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), fill, dtype=torch.long)
    attention = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        attention[row, : len(sequence)] = 1
    return ids, attention


def supports_packing(model: nn.Module) -> bool:
    """Return whether sentences with a common prefix can run as one tree."""
    return _model_type(model) in _PACKING


def _model_type(model: nn.Module) -> str:
    return cast("PreTrainedModel", model).config.model_type


def logits_at(
    model: nn.Module, ids: Tensor, attention: Tensor, where: Tensor, positions: Tensor | None = None
) -> Tensor:
    """Return the logits at the positions `where` only, shape (where.sum(), vocabulary).

    The head costs as much as the encoder when the vocabulary is large, so it
    runs on these positions only; models whose head is unknown compute all.
    `attention` is 1 for tokens and 0 for padding, or additive with four dimensions;
    then `positions` are the tokens' position ids.
    """
    inputs = {"input_ids": ids, "attention_mask": attention}
    if positions is not None:
        inputs["position_ids"] = positions
    logits: Tensor
    if head := _head(model):
        logits = head(base_model(model)(**inputs).last_hidden_state[where])
    else:
        logits = model(**inputs).logits[where]
    return logits


def base_model(model: nn.Module) -> nn.Module:
    """Return a language model without its head."""
    return cast("PreTrainedModel", model).base_model


def _head(model: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the function from hidden states to logits where it is the head alone, else None.

    Other architectures may scale or cap their logits afterwards.
    """
    if _model_type(model) not in _SIMPLE_HEADS:
        return None
    if hasattr(model, "vocab_projector"):  # DistilBERT
        return lambda hidden: model.vocab_projector(
            model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))
        )
    return getattr(model, "cls", None) or getattr(model, "lm_head", None)


def hidden_states(model: nn.Module, ids: Tensor, attention: Tensor) -> Tensor:
    """Return all hidden states, (layers + 1, sequences, length, width); 0 is the embedding."""
    inputs = {"input_ids": ids, "attention_mask": attention}
    return torch.stack(base_model(model)(**inputs, output_hidden_states=True).hidden_states)
