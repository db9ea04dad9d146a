"""pool_places: a max pooling whose gradient is wanted says where its maxima were, a byte each. The gradient reads these
instead of the operand and the maxima, and the operand need not be kept until then.

It comes after pool_gradients, which looks for the gradient as it was written.
"""

from __future__ import annotations

import math

from ir import builder as b
from ir.graph import Graph, Node, Value
from ir.rewrite import rebuild

_MOST = 255  # elements of a window that a byte can tell apart


def pool_places(graph: Graph) -> Graph:
    """`graph` with the gradients of max poolings computed from places."""
    pooled = {node: p for node in graph.nodes if (p := _pooling(node)) is not None}
    places: dict[Node, Value] = {}
    poolings = set(pooled.values())

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node in poolings:
            y, places[node] = b.apply("max_pool2d_places", inputs[0], **node.attrs)
            return (y,)
        if node in pooled:
            shape = node.output.shape
            return (b.apply1("max_pool2d_places_grad", places[pooled[node]], inputs[2], **node.attrs, shape=shape),)
        return None

    return rebuild(graph, transform) if pooled else graph


def _pooling(node: Node) -> Node | None:
    """The pooling whose gradient `node` is; None where it is something else."""
    if node.op.name != "max_pool2d_grad" or math.prod(node.attrs["pool_size"]) > _MOST:
        return None
    x, y, _ = node.inputs
    pooling = y.node
    # The maxima must be those of the operand, by the same windows: then the places are what the gradient would find.
    if pooling is None or pooling.op.name != "max_pool2d" or pooling.inputs[0] is not x or pooling.attrs != node.attrs:
        return None
    return pooling
