"""Contexts of a causal model as prefix trees, so that shared beginnings are computed once."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

TOKENS_PER_TREE = 128
Node = tuple[int, ...]  # the tokens up to the node


def build_trees(contexts: Collection[Node]) -> Iterator[list[Node]]:
    """Yield the nodes of prefix trees that contain all contexts, every node after its parent.

    A tree ends at TOKENS_PER_TREE nodes; the next one then repeats the shared beginning.
    """
    nodes: dict[Node, None] = {}
    for context in sorted(contexts):
        shared = len(context)
        while shared and context[:shared] not in nodes:
            shared -= 1
        if nodes and len(nodes) + len(context) - shared > TOKENS_PER_TREE:
            yield list(nodes)
            nodes, shared = {}, 0
        nodes.update((context[:n], None) for n in range(shared + 1, len(context) + 1))
    if nodes:
        yield list(nodes)


def ancestors(nodes: list[Node]) -> Tensor:
    """Return whether node i attends to node j, itself or an ancestor, shape (nodes, nodes)."""
    rows = {node: i for i, node in enumerate(nodes)}
    seen = torch.eye(len(nodes), dtype=torch.bool)
    for i, node in enumerate(nodes):
        if len(node) > 1:
            seen[i] |= seen[rows[node[:-1]]]
    return seen


def batch(trees: list[list[Node]], fill: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, attention and position ids of several trees, padded to the longest.

    The attention is additive, 0 or the lowest float32, shape (trees, 1, longest, longest).
    """
    longest = max(map(len, trees))
    ids = torch.full((len(trees), longest), fill)
    positions = torch.zeros_like(ids)
    seen = torch.eye(longest, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, nodes in enumerate(trees):
        n = len(nodes)
        ids[row, :n] = torch.tensor([node[-1] for node in nodes])
        positions[row, :n] = torch.tensor([len(node) - 1 for node in nodes])
        seen[row, :n, :n] = ancestors(nodes)
    hidden = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return ids, hidden[:, None], positions
