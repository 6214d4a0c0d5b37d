"""A patch as an adapter of PEFT: read back by PEFT itself, as near as was said."""

import pytest
import torch
from test_kinds import SIZES
from test_patches import random_patch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from lcelib.errors import LceError
from lcelib.models import prunable
from lcelib.patches.patch import Patch
from lcelib.patches.peft import export_shira

peft = pytest.importorskip("peft", reason="the package peft is not installed")
IDS = torch.arange(12).view(1, -1)


def llama(dtype=torch.float32):
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, intermediate_size=48, vocab_size=60)
    return AutoModelForCausalLM.from_config(config).to(dtype).eval()


def saved(model, path, alpha, share=0.02):
    """A patch of some layer matrices, some of them untouched, as it is read from its file."""
    names = set(prunable(model)[1:])
    random_patch(model, 3, share, alpha, among=lambda name: name in names).save(path, model)
    return Patch.load(path)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_peft_reads_the_adapter_and_its_weights_are_as_near_as_was_said(tmp_path, alpha, dtype):
    model = llama(dtype)
    patch = saved(model, tmp_path / "p.lce.safetensors", alpha)
    said = export_shira(patch, tmp_path / "adapter")
    with patch.applied(model), torch.no_grad():
        wanted = {n: p.detach().clone() for n, p in model.named_parameters()}
        logits = model(IDS).logits
    adapted = peft.PeftModel.from_pretrained(llama(dtype), tmp_path / "adapter")
    with torch.no_grad():
        assert torch.allclose(adapted(IDS).logits, logits, atol=20 * torch.finfo(dtype).eps)
    merged = dict(adapted.merge_and_unload().named_parameters())
    off = {n: float((merged[n] - value).abs().max()) for n, value in wanted.items()}
    assert max(off.values()) == said
    assert said <= 4 * torch.finfo(dtype).eps
    assert [n for n, p in llama(dtype).named_parameters() if not torch.equal(p, wanted[n])] == [
        n for n, c in patch.changes.items() if len(c.index)
    ]


def test_what_no_adapter_can_hold_is_refused(tmp_path):
    model = llama()
    loose = random_patch(model, 3, 0.02, among=lambda name: "proj" in name)
    with pytest.raises(LceError, match="not known to be the weight of a linear layer"):
        export_shira(loose, tmp_path / "a")
    full = saved(model, tmp_path / "full.lce.safetensors", 1.0, share=0.99)
    with pytest.raises(LceError, match="fewer weights"):
        export_shira(full, tmp_path / "b")
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_layers_that_are_not_linear_are_refused_by_peft(tmp_path):
    config = GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=60)
    model = AutoModelForCausalLM.from_config(config)
    patch = saved(model, tmp_path / "p.lce.safetensors", 1.0)
    export_shira(patch, tmp_path / "adapter")
    with pytest.raises(TypeError, match="Linear"):
        peft.PeftModel.from_pretrained(
            AutoModelForCausalLM.from_config(config), tmp_path / "adapter"
        )
