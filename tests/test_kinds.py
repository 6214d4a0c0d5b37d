"""Masked and causal models of several families through loading, training and every measure."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from tokenizers import decoders as decoding
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    GPT2Config,
    GPT2TokenizerFast,
    LlamaConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizerFast,
)

from lcelib import kernels, measures
from lcelib import models as models_module
from lcelib.batches import NextToken, encode
from lcelib.errors import LceError
from lcelib.measures import prefixes, scoring, weat
from lcelib.measures.crows import aligned_positions
from lcelib.measures.scoring import Plan
from lcelib.models import add_space, inner_positions, load, logits_at, prunable, start_id, token_ids
from lcelib.toybert.corpus import sentences
from lcelib.training import Recipe, fine_tune

TEXT = [s.replace(" .", ".").capitalize() for s in sentences(400, seed=3)]
SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}
KINDS = ("roberta", "gpt2", "llama")


def byte_level_bpe(special):
    """A real byte-level BPE tokenizer, trained on local text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoding.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet)
    )
    return made


@pytest.fixture(scope="session", params=KINDS)
def kind(request, tmp_path_factory):
    """A small random model of a family, saved with its own kind of tokenizer."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    if name == "roberta":
        base = byte_level_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
        base.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        tokenizer = RobertaTokenizerFast(tokenizer_object=base, model_max_length=64)
        config = RobertaConfig(
            **SIZES, intermediate_size=48, vocab_size=len(tokenizer), max_position_embeddings=70,
            pad_token_id=1, bos_token_id=0, eos_token_id=2,
        )  # fmt: skip
        model = AutoModelForMaskedLM.from_config(config)
    else:
        base = byte_level_bpe(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        if name == "gpt2":
            tokenizer = GPT2TokenizerFast(tokenizer_object=base, model_max_length=64)
            config = GPT2Config(
                n_embd=32, n_head=4, n_layer=2, vocab_size=len(tokenizer), n_positions=64
            )
        else:  # as SmolLM2: begins with another token than the one that separates texts
            tokenizer = PreTrainedTokenizerFast(
                tokenizer_object=base, bos_token="<|im_start|>", eos_token="<|im_end|>",
                unk_token="<|endoftext|>", model_max_length=64,
            )  # fmt: skip
            config = LlamaConfig(
                **SIZES, num_key_value_heads=2, intermediate_size=48, vocab_size=len(tokenizer),
                tie_word_embeddings=True,
            )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # far from uniform, so that mistakes are seen
            parameter.mul_(4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return name, folder, load(folder)


def log_p(lm, ids, place):
    """ln p of one token through the whole model: masked alone, or given those before it."""
    row = torch.tensor([ids])
    at = place - 1
    if lm.tokenizer.mask_token_id is not None:
        row[0, place], at = lm.tokenizer.mask_token_id, place
    with torch.inference_mode():
        logits = lm.model(input_ids=row).logits[0, at]
    return float(logits.double().log_softmax(-1)[ids[place]])


def test_the_head_alone_gives_the_models_logits(kind):
    _, _, lm = kind
    ids = torch.tensor([token_ids(lm.tokenizer, TEXT[0])])
    where = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode():
        found = logits_at(lm.model, ids, torch.ones_like(ids), where)
        wanted = lm.model(input_ids=ids).logits[0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9).map(tuple), min_size=1))
def test_trees_hold_every_context_once_and_its_tokens_see_their_own_beginning(contexts):
    trees = list(prefixes.build_trees(contexts))
    nodes = [node for tree in trees for node in tree]
    wanted = {context[:n] for context in contexts for n in range(1, len(context) + 1)}
    assert set(nodes) == wanted
    assert len(nodes) == len(wanted) or len(trees) > 1
    for tree in trees:
        seen = prefixes.ancestors(tree).numpy()
        for node, row in zip(tree, seen, strict=True):
            assert [tree[i] for i in np.flatnonzero(row)] == [
                node[:n] for n in range(1, len(node) + 1)
            ]


@pytest.mark.parametrize("family", sorted(models_module._PACKING))
def test_packed_contexts_give_the_answers_of_whole_sentences(family, monkeypatch):
    base = byte_level_bpe(["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, eos_token="<|endoftext|>")
    torch.manual_seed(1)
    sizes = SIZES | {"intermediate_size": 48, "vocab_size": len(tokenizer)}
    if family not in ("gpt2", "gpt_neox"):
        sizes |= {"num_key_value_heads": 2, "pad_token_id": 0}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    monkeypatch.setattr(prefixes, "TOKENS_PER_TREE", 40)
    pairs = [(s, s.replace(" the ", " a ", 1)) for s in TEXT[:40]]
    plan = Plan(measures.CrowsPairs(pairs, tokenizer).queries, tokenizer)
    packed = plan(model)
    tokens = [sum(inputs[0].numel() for inputs, *_ in b) for b in (plan.packed, plan.padded)]
    assert tokens[0] < 0.8 * tokens[1]
    monkeypatch.setattr(scoring, "supports_packing", lambda model: False)
    np.testing.assert_allclose(packed, plan(model), atol=2e-5)


def test_causal_sentences_begin_with_the_separator_of_texts(kind):
    name, _, lm = kind
    ids = token_ids(lm.tokenizer, "She is a nurse.")
    if name == "roberta":
        assert (ids[0], ids[-1]) == (lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id)
        assert list(inner_positions(lm.tokenizer, ids)) == list(range(1, len(ids) - 1))
    else:
        assert ids[0] == start_id(lm.tokenizer) == lm.tokenizer.get_vocab()["<|endoftext|>"]
        assert lm.tokenizer.decode(ids[1:]) == "She is a nurse."
        assert list(inner_positions(lm.tokenizer, ids)) == list(range(1, len(ids)))


def test_pairs_are_scored_one_token_at_a_time(kind):
    name, _, lm = kind
    pairs = list(pairwise(TEXT[:6]))
    variants = ["differing", "shared"] if name == "roberta" else ["sentence"]
    for variant in variants:
        prepared = measures.CrowsPairs(pairs, lm.tokenizer, variant)
        found = prepared.pair_scores(Plan(prepared.queries, lm.tokenizer)(lm.model))
        reduce, wanted = (np.mean if variant == "differing" else np.sum), []
        for pair in pairs:
            ids = [token_ids(lm.tokenizer, s) for s in pair]
            places = aligned_positions(*ids, shared=variant != "differing")
            if variant == "shared":
                places = tuple(p[1:-1] for p in places)
            if variant == "sentence":
                places = tuple(range(1, len(x)) for x in ids)
            each = zip(ids, places, strict=True)
            wanted.append([reduce([log_p(lm, x, i) for i in own]) for x, own in each])
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    wrong = "sentence" if name == "roberta" else "differing"
    with pytest.raises(LceError, match="not one for this kind of model"):
        measures.CrowsPairs(pairs, lm.tokenizer, wrong)
    default = measures.CrowsPairs(pairs, lm.tokenizer, variants[0]).variant
    assert measures.CrowsPairs(pairs, lm.tokenizer).variant == default


def stereoset_item(context, words):
    labels = ("stereotype", "anti-stereotype", "unrelated")
    made = [
        {"id": w, "gold_label": g, "sentence": context.replace("BLANK", w)}
        for w, g in zip(words, labels, strict=True)
    ]
    return {"context": context, "target": "x", "sentences": made}


@pytest.mark.parametrize("context", ["The nurse is BLANK today.", "BLANK is at work."])
def test_stereoset_follows_the_rule_of_the_models_kind(kind, context):
    name, _, lm = kind
    items = [stereoset_item(context, ("intelligent", "kind", "zebra"))]
    measure = measures.StereoSet(items, lm.tokenizer)
    found = measure.sentence_scores(Plan(measure.queries, lm.tokenizer)(lm.model))
    for sentence in items[0]["sentences"]:
        if name != "roberta":  # the mean over all tokens of the sentence
            ids = token_ids(lm.tokenizer, sentence["sentence"])
            logs = [log_p(lm, ids, i) for i in range(1, len(ids))]
            assert found[sentence["id"]] == pytest.approx(math.exp(np.mean(logs)), rel=1e-4)
            continue
        # the word's pieces stand in the whole sentence as they do in the queries
        whole = lm.tokenizer(sentence["sentence"])["input_ids"]
        asked = [q for q in measure.queries if q.ids[0] == whole[0]]
        word = sentence["id"] if context.startswith("BLANK") else " " + sentence["id"]
        pieces = lm.tokenizer.encode(word, add_special_tokens=False)
        at = next(i for i in range(len(whole)) if whole[i : i + len(pieces)] == pieces)
        chances = []
        for i, piece in enumerate(pieces):
            revealed = (*whole[: at + i], lm.tokenizer.mask_token_id, *whole[at + len(pieces) :])
            assert any(q.ids == revealed and q.target == piece for q in asked)
            row = list(revealed)
            row[at + i] = piece
            chances.append(math.exp(log_p(lm, row, at + i)))
        assert found[sentence["id"]] == pytest.approx(np.mean(chances), rel=1e-4)


def test_causal_perplexity_is_that_of_the_models_own_loss(kind):
    name, _, lm = kind
    measure = measures.Perplexity(TEXT[:5], lm.tokenizer)
    value = measure.score(Plan(measure.queries, lm.tokenizer)(lm.model))[0].value
    if name == "roberta":
        assert "paired" in measure.variant
        return
    total = tokens = 0
    for sentence in TEXT[:5]:
        ids = torch.tensor([token_ids(lm.tokenizer, sentence)])
        with torch.inference_mode():
            loss = lm.model(input_ids=ids, labels=ids).loss.double()
        total, tokens = total + float(loss) * (ids.numel() - 1), tokens + ids.numel() - 1
    assert value == pytest.approx(math.exp(total / tokens), rel=1e-4)
    assert "causal" in measure.variant


@pytest.mark.parametrize("pooling", ["pieces", "first", "last", "all"])
def test_weat_vectors_are_those_of_the_word_with_its_space(kind, pooling):
    _, _, lm = kind
    test = weat.WeatTest("t", ("nurse", "doctor"), ("poetry", "science"), ("she",), ("he",))
    measure = measures.Weat(test, lm.tokenizer, pooling)
    vectors = measure.vectors(lm.model)
    for row, word in enumerate(test.words):
        assert add_space(lm.tokenizer, word) == f" {word}"
        ids = token_ids(lm.tokenizer, f" {word}")
        own = list(inner_positions(lm.tokenizer, ids))
        chosen = {"pieces": own, "first": own[:1], "last": own[-1:], "all": range(len(ids))}
        with torch.inference_mode():
            out = lm.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        wanted = torch.stack(out.hidden_states)[1:, 0, list(chosen[pooling])].mean(1)
        np.testing.assert_allclose(vectors[:, row], wanted, atol=1e-4)


def test_a_causal_batch_predicts_every_token_but_the_first(kind):
    name, _, lm = kind
    if name == "roberta":
        return
    text = encode(lm.tokenizer, TEXT[:3], {}, 0.15)
    batch = NextToken(lm.tokenizer, text)([0, 1, 2], torch.Generator())
    assert batch["labels"].tolist() == [t for ids in text.ids for t in ids[1:]]
    assert batch["where"].sum(1).tolist() == [len(ids) - 1 for ids in text.ids]


def test_every_kind_learns_and_keeps_pruned_weights_at_zero(kind):
    _, folder, _ = kind
    lm = load(folder)
    weights = {n: dict(lm.model.named_parameters())[n].detach() for n in prunable(lm.model)}
    mask = {n: m.numpy() for n, m in kernels.prune_masks(weights, 2000).items()}
    text = encode(lm.tokenizer, TEXT[:64], {}, 0.15)
    losses = fine_tune(lm.model, lm.tokenizer, text, Recipe(30, 16, 3e-3), 0, mask)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    parameters = dict(lm.model.named_parameters())
    gone = sum(
        int((parameters[n][~torch.from_numpy(kernels.unpack(m, parameters[n].shape))] != 0).sum())
        for n, m in mask.items()
    )
    assert gone == 0


def test_a_masked_model_without_mask_token_is_refused(kind, tmp_path):
    name, folder, _ = kind
    if name != "roberta":
        return
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    GPT2TokenizerFast(tokenizer_object=byte_level_bpe(["<|endoftext|>"])).save_pretrained(tmp_path)
    with pytest.raises(LceError, match="no mask token"):
        load(tmp_path)
