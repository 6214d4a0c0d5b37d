"""Contexts of a causal model as trees: what sentences share at their beginning is computed once."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

TOKENS_PER_TREE = 128


def trees(contexts: Collection[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """The nodes of prefix trees that hold all contexts; a node is the tokens up to it.

    Every node stands after its parent. A tree ends where it has TOKENS_PER_TREE
    nodes; the next one then begins with the shared part again.
    """
    nodes: dict[tuple[int, ...], None] = {}
    for context in sorted(contexts):
        known = len(context)
        while known and context[:known] not in nodes:
            known -= 1
        if nodes and len(nodes) + len(context) - known > TOKENS_PER_TREE:
            yield list(nodes)
            nodes, known = {}, 0
        nodes.update((context[:n], None) for n in range(known + 1, len(context) + 1))
    if nodes:
        yield list(nodes)


def ancestors(nodes: list[tuple[int, ...]]) -> Tensor:
    """Whether node i looks at node j, shape (nodes, nodes): at itself and what leads to it."""
    place = {node: i for i, node in enumerate(nodes)}
    seen = torch.eye(len(nodes), dtype=torch.bool)
    for i, node in enumerate(nodes):
        if len(node) > 1:
            seen[i] |= seen[place[node[:-1]]]
    return seen


def batch(group: list[list[tuple[int, ...]]], fill: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention and position ids of several trees, filled up to the longest.

    The attention is additive, 0 or the lowest float32, shape (trees, 1, longest, longest).
    """
    longest = max(map(len, group))
    ids = torch.full((len(group), longest), fill)
    positions = torch.zeros_like(ids)
    seen = torch.eye(longest, dtype=torch.bool).repeat(len(group), 1, 1)
    for row, nodes in enumerate(group):
        n = len(nodes)
        ids[row, :n] = torch.tensor([node[-1] for node in nodes])
        positions[row, :n] = torch.tensor([len(node) - 1 for node in nodes])
        seen[row, :n, :n] = ancestors(nodes)
    hidden = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return ids, hidden[:, None], positions
