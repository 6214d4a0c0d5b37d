"""Language models by folder or name: checked loading, prunable matrices, masked prediction.

Everything that depends on the kind of model is a small function here; the
rest of the library knows names, tensors and log-probabilities only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from lcelib.errors import CorruptFileError, LceError, MismatchError

TOYBERT = Path(__file__).parent / "toybert" / "model"
END_OF_TEXT = "<|endoftext|>"
# Families whose logits are what their head makes of the last hidden state, and no more.
_SIMPLE_HEADS = {
    "bert", "distilbert", "gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "opt", "qwen2",
    "qwen3", "roberta", "smollm3", "xlm-roberta",
}  # fmt: skip
# Causal families that take a mask of what each token sees together with its position.
_PACKS = {"gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "smollm3"}
# Heads that published checkpoints carry and masked language modelling has no use for.
_UNUSED_HEADS = re.compile(r"(^|\.)(pooler|cls\.seq_relationship)\.|position_ids$")


@dataclass(frozen=True)
class LanguageModel:
    """A model with the tokenizer it was trained with."""

    model: nn.Module
    tokenizer: object


def load(source: str | Path) -> LanguageModel:
    """Load a masked or causal language model and refuse whatever does not fit exactly.

    `source` is "toybert" (shipped), "smollm2" (fetched), a folder, or a hub id. Only safetensors are
    read and no code from the folder is run. Raises LceError for tensors that
    are missing, extra or of another shape, for NaN or Inf, and for a tokenizer
    larger than the embedding.
    """
    logging.disable_progress_bar()
    place = TOYBERT if str(source) == "toybert" else source
    if str(source) == "smollm2":
        from lcelib.data.conversion import smollm2

        place = smollm2()
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        config = AutoConfig.from_pretrained(place)
        kind = AutoModelForCausalLM if is_causal(config) else AutoModelForMaskedLM
        model, info = kind.from_pretrained(
            place,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are refused by name below
            output_loading_info=True,
            dtype="auto",
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        if not Path(place).exists():
            reason = f"is no folder here, and not to be had from the hub ({reason})"
        remedy = (
            "Give a folder with config.json, tokenizer.json and model.safetensors, or a hub id."
        )
        raise LceError(f"model {str(source)!r}", reason, remedy) from error
    check_loading(source, info)
    check_vocabulary(source, model, tokenizer)
    check_finite(source, dict(model.named_parameters()))
    return LanguageModel(model.float().eval(), tokenizer)


def is_causal(config) -> bool:
    """Whether a configuration is a causal language model's, by the class it was saved from."""
    masked = MODEL_FOR_MASKED_LM_MAPPING_NAMES.get(config.model_type)
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    saved = config.architectures or []
    return causal is not None and (causal in saved or masked is None)


def check_loading(source: str | Path, info: dict) -> None:
    """Refuse a checkpoint whose tensors are not those of its architecture."""
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


def check_vocabulary(source: str | Path, model: nn.Module, tokenizer) -> None:
    """Refuse a tokenizer that can produce ids without an embedding, or without the tokens it needs."""
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise MismatchError(
            f"model {str(source)!r}",
            f"the tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows",
            "Use the tokenizer that belongs to this checkpoint.",
        )
    if is_causal(model.config):
        tokenizer.mask_token = None  # predicts the next token, not a masked one
        start_id(tokenizer)
    elif tokenizer.mask_token_id is None:
        reason = "is a masked language model, but its tokenizer has no mask token"
        raise MismatchError(
            f"model {str(source)!r}", reason, "Use the tokenizer that belongs to it."
        )


def check_finite(source: str | Path, tensors: dict[str, Tensor]) -> None:
    """Refuse NaN and Inf by tensor name and count."""
    for name, tensor in tensors.items():
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if bad:
            raise CorruptFileError(
                f"{source}", f"{bad} weights of {name} are NaN or Inf", "Use a sound checkpoint."
            )


def prunable(model: nn.Module) -> list[str]:
    """The names of the weight matrices that pruning and editing may touch.

    They are the linear weights inside the stack of layers: no embeddings, biases,
    normalisation, pooler or task head (paper §4.2; 72 matrices with 84,934,656
    weights in BERT-base). The order is the model's own. `components.in_a_layer` is
    the same rule for tensors of a file, by their names.
    """
    stacks = [name for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and any(name.startswith(f"{stack}.") for stack in stacks)
    ]


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The prunable tensors of a model by name; the same storage, not a copy."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach() for name in prunable(model)}


def causal(tokenizer) -> bool:
    """Whether a tokenizer serves a causal model: one without mask token."""
    return tokenizer.mask_token_id is None


def start_id(tokenizer) -> int:
    """The token from which a causal model's sentences are scored: <|endoftext|>, or BOS, or EOS."""
    known = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    if known is not None and tokenizer.convert_ids_to_tokens(known) != END_OF_TEXT:
        known = None  # it was the unknown token
    for found in (known, tokenizer.bos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return found
    reason = "has no token that can start a sentence"
    raise LceError("tokenizer", reason, "Set its bos_token or eos_token.")


def pad_id(tokenizer) -> int:
    """The token that fills up batches; attention leaves it out."""
    known = tokenizer.pad_token_id
    return start_id(tokenizer) if known is None else known


def token_ids(tokenizer, text: str) -> list[int]:
    """Ids of one sentence, cut at the model's maximal length.

    For a masked model with its special tokens at both ends; for a causal one after the
    start token, which is not predicted itself.
    """
    longest = min(tokenizer.model_max_length, 512)
    if not causal(tokenizer):
        return tokenizer(text, truncation=True, max_length=longest)["input_ids"]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [start_id(tokenizer), *ids][:longest]


def inner(tokenizer, ids: Sequence[int]) -> range:
    """The positions of the sentence's own tokens, without the special ones at the ends."""
    return range(1, len(ids) if causal(tokenizer) else len(ids) - 1)


def spaced(tokenizer, word: str) -> str:
    """A word as it stands within a sentence: with a leading space where that makes other pieces."""
    plain, within = (
        tokenizer.encode(text, add_special_tokens=False) for text in (word, f" {word}")
    )
    return word if plain == within else f" {word}"


def unknown(tokenizer, words: Sequence[str]) -> list[str]:
    """The words that the vocabulary cannot write: some of their tokens are the unknown one."""
    found = []
    for word in words:
        ids = token_ids(tokenizer, spaced(tokenizer, word))
        if tokenizer.unk_token_id in [ids[i] for i in inner(tokenizer, ids)]:
            found.append(word)
    return found


def pad(sequences: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids and the attention mask, both of shape (sequences, longest), int64."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), fill, dtype=torch.long)
    attention = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        attention[row, : len(sequence)] = 1
    return ids, attention


def packs(model: nn.Module) -> bool:
    """Whether several sentences with a common beginning can run as one tree."""
    return model.config.model_type in _PACKS


def logits_at(
    model: nn.Module, ids: Tensor, attention: Tensor, where: Tensor, positions: Tensor | None = None
) -> Tensor:
    """Logits at the chosen positions only, shape (where.sum(), vocabulary).

    The head costs as much as the encoder when the vocabulary is large, so it
    runs on the positions asked for; models whose head is unknown compute all.
    `attention` is 1 for tokens and 0 for padding, or additive with four dimensions;
    then `positions` has each token's place in its sentence.
    """
    inputs = {"input_ids": ids, "attention_mask": attention}
    if positions is not None:
        inputs["position_ids"] = positions
    head = _head(model)
    if head is None:
        return model(**inputs).logits[where]
    return head(model.base_model(**inputs).last_hidden_state[where])


def _head(model: nn.Module):
    """The function from hidden states to logits, for the architectures where it is one module.

    Others may scale or cap their logits afterwards.
    """
    if model.config.model_type not in _SIMPLE_HEADS:
        return None
    if hasattr(model, "vocab_projector"):  # DistilBERT
        return lambda h: model.vocab_projector(
            model.vocab_layer_norm(model.activation(model.vocab_transform(h)))
        )
    return getattr(model, "cls", None) or getattr(model, "lm_head", None)


def hidden_states(model: nn.Module, ids: Tensor, attention: Tensor) -> Tensor:
    """Hidden states of all layers, shape (layers + 1, sequences, length, width); 0 = embeddings."""
    out = model.base_model(input_ids=ids, attention_mask=attention, output_hidden_states=True)
    return torch.stack(out.hidden_states)
