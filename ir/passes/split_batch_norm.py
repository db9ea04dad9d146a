"""split_batch_norm: batch normalisation becomes a pass over memory that takes its statistics and an elementwise part,
which fuses with its neighbours: in training with the activation after it, backwards with the activation's derivative.

It comes after fold_batch_norm and layout, which want to see it whole, and before fuse_conv and fuse_elementwise.
"""

from __future__ import annotations

from ir.graph import Graph
from ir.passes.decompose import decompose

_WHOLE = frozenset({"batch_norm", "batch_norm_train", "batch_norm_grad"})


def split_batch_norm(graph: Graph) -> Graph:
    """`graph` without whole batch normalisations."""
    return decompose(graph, lambda op: op not in _WHOLE)
