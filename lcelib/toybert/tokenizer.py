"""The toy's tokenizer: one token per word, built from the lexicon and the templates."""

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from lcelib.toybert.corpus import sentences

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def vocabulary() -> list[str]:
    """Return the special tokens, then every word of the language in alphabetical order."""
    words = {word for sentence in sentences(60_000) for word in sentence.split()}
    return [*SPECIALS, *sorted(words | set(".,?!"))]


def build_tokenizer(words: list[str] | None = None) -> PreTrainedTokenizerFast:
    """Build a lower-casing word tokenizer that keeps "child-care" whole, but not punctuation.

    `words`, the special tokens first, replace those of the toy language.
    """
    ids = {word: i for i, word in enumerate(words or vocabulary())}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r'[.,!?;:"]'), "isolated"),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # untyped in transformers
        tokenizer_object=tokenizer,
        model_max_length=64,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
