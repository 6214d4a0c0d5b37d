"""Every kernel at the size of BERT-base (84.9 million weights in 72 matrices), or of a 7B model."""

import functools

import numpy as np
import torch
from torch.nn.utils import prune

from benchmarks.measure import compare
from lcelib import kernels
from lcelib.patches.algebra import Change
from lcelib.patches.patch import Patch

BERT_BASE = [s for _ in range(12) for s in [(768, 768)] * 4 + [(3072, 768), (768, 3072)]]
LLAMA_7B = [s for _ in range(32) for s in [(4096, 4096)] * 4 + [(11008, 4096)] * 3]
SHARE, SPARSITY = 0.005, 0.3
ALPHAS = np.linspace(-2, 3, 11).tolist()


class Weights(torch.nn.Module):
    """A module with nothing but matrices of the given shapes."""

    def __init__(self, shapes, dtype, device):
        super().__init__()
        for i, shape in enumerate(shapes):
            layer = torch.nn.Linear(shape[1], shape[0], bias=False, dtype=dtype, device=device)
            torch.nn.init.normal_(layer.weight, std=0.04)
            self.add_module(f"layer{i}", layer.requires_grad_(False))


def flat(tensors: dict) -> torch.Tensor:
    """All tensors in one."""
    return torch.cat([t.view(-1) for t in tensors.values()])


def cases(shapes=BERT_BASE, dtype=torch.float32, device="cpu") -> dict[str, tuple[str, dict]]:
    """Operation → (its floor, name → function); "lcelib" is ours, "floor" the floor's."""
    model = Weights(shapes, dtype, device)
    target = {n: p.detach() for n, p in model.named_parameters()}
    reference = {n: t + 0.001 * torch.randn_like(t) for n, t in target.items()}
    n = sum(t.numel() for t in target.values())
    k, pruned = round(SHARE * n), round(SPARSITY * n)
    [cut] = kernels.kth_magnitude(target, [pruned])
    masks, others = kernels.prune_masks(target, pruned), kernels.prune_masks(reference, pruned)
    found = kernels.top_k_difference(target, reference, k)
    old, new = kernels.read_at(target, found), kernels.read_at(reference, found)
    half = {m: ((old[m].float() + new[m].float()) / 2).to(dtype) for m in old}
    held = {m: t.clone() for m, t in target.items()}
    out = {m: torch.empty_like(t) for m, t in target.items()}
    t, r, o = flat(target), flat(reference), flat(out)
    word = np.uint16 if dtype == torch.bfloat16 else None
    arrays = [{m: (v.view(torch.uint16) if word else v).cpu().numpy() for m, v in x.items()}
              for x in (found, old, new)]  # fmt: skip
    patch = Patch({m: Change(arrays[0][m], arrays[1][m], arrays[2][m]) for m in found})
    keep = [torch.from_numpy(kernels.unpack(m.cpu().numpy(), target[x].shape)).to(device)
            for x, m in masks.items()]  # fmt: skip
    sizes = {m: v.numel() for m, v in target.items()}

    def at_half() -> None:
        values = {m: kernels.interpolate(*(a[m] for a in arrays[1:]), 0.5) for m in found}
        kernels.write_at(held, found, {m: torch.from_numpy(v) for m, v in values.items()})

    def global_unstructured() -> None:
        copy = [(torch.nn.Linear(1, 1, bias=False), "weight") for _ in target]
        for (layer, _), weight in zip(copy, target.values(), strict=True):
            layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        prune.global_unstructured(copy, pruning_method=prune.L1Unstructured, amount=pruned)

    def fill() -> None:
        for weight, kept in zip(held.values(), keep, strict=True):
            weight.masked_fill_(~kept, 0)

    one_read, two_reads, copy = (lambda: t.sum()), (lambda: torch.dot(t, r)), (lambda: o.copy_(t))
    found_in = functools.partial(kernels.top_k_difference, target, reference)
    return {
        "threshold": (one_read, {
            "lcelib": lambda: kernels.kth_magnitude(target, [pruned]),
            "torch.kthvalue": lambda: torch.kthvalue(t.abs(), pruned),
            "numpy.partition": lambda: np.partition(t.abs().float().cpu().numpy(), pruned - 1),
        }),
        "four thresholds in one pass": (one_read, {
            "lcelib": lambda: kernels.kth_magnitude(target, [round(s * n) for s in (0.1, 0.2, 0.3, 0.4)]),
        }),
        "threshold and masks": (one_read, {
            "lcelib": lambda: kernels.prune_masks(target, pruned),
            "global_unstructured": global_unstructured,
        }),
        "masks": (one_read, {"lcelib": lambda: kernels.prune_masks(target, cut)}),
        "top-k difference": (two_reads, {
            "lcelib": lambda: found_in(k),
            "torch.topk": lambda: torch.topk((r - t).abs(), k),
            "numpy.argpartition": lambda: np.argpartition((r - t).abs().float().cpu().numpy(), n - k),
        }),
        "top-k difference among masks": (two_reads, {"lcelib": lambda: found_in(k, masks)}),
        "top-k difference per tensor": (two_reads, {
            "lcelib": lambda: found_in({m: int(SHARE * s) for m, s in sizes.items()}),
        }),
        "XOR count": (one_read, {"lcelib": lambda: kernels.xor_count(masks, others)}),
        "apply": (copy, {"lcelib": at_half if device == "cpu" else
                         lambda: kernels.write_at(held, found, half)}),
        "revert": (copy, {"lcelib": lambda: kernels.write_at(held, found, old)}),
        "Patch: apply and revert, checked": (copy, {
            "lcelib": lambda: (patch.apply(model), patch.revert(model)),
        }),
        "Patch: 11 values of α": (copy, {"lcelib": lambda: list(patch.sweep(model, ALPHAS))}),
        "dense edit in place": (copy, {
            "lcelib": lambda: kernels.dense_edit(held, reference, 0.5, held),
            "torch.lerp": lambda: t.lerp_(r, 0.5),
        }),
        "dense edit into new tensors": (copy, {
            "lcelib": lambda: kernels.dense_edit(target, reference, 0.5, out),
            "torch.lerp": lambda: torch.lerp(t, r, 0.5, out=o),
        }),
        "hold pruned weights at 0": (copy, {
            "lcelib": lambda: kernels.hold_at_zero(held, masks),
            "masked_fill_": fill,
        }),
        "uninformed sample": (one_read, {
            "lcelib": lambda: kernels.sample_positions(sizes, k, np.random.default_rng(0)),
            "numpy.permutation": lambda: np.random.default_rng(0).permutation(n)[:k],
        }),
    }  # fmt: skip


SLOW = {"global_unstructured": 1, "torch.topk": 2, "torch.kthvalue": 2, "numpy.argpartition": 2}


def rows(shapes=BERT_BASE, dtype=torch.float32, device="cpu", peers=True):
    """One row for each operation and variant: seconds, ratio to the floor, extra memory."""
    size = sum(a * b for a, b in shapes)
    for operation, (floor, functions) in cases(shapes, dtype, device).items():
        chosen = {"floor": floor} | {v: f for v, f in functions.items() if peers or v == "lcelib"}
        repeats = {name: SLOW.get(name, 15) if device == "cpu" else 15 for name in chosen}
        timed = compare(chosen, repeats, device)
        for variant, found in timed.items():
            yield {
                "device": device, "weights": size, "dtype": str(dtype).removeprefix("torch."),
                "operation": operation, "variant": variant, "seconds": found.seconds,
                "repeats": found.repeats, "extra_mib": found.extra,
                "ratio": found.seconds / timed["floor"].seconds,
                "speedup": found.seconds / timed["lcelib"].seconds,
            }  # fmt: skip
