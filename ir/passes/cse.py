"""Common subexpressions: computes once what a graph computes several times. Runs after `simplify`, which makes equal
expressions look equal, and before fusion, which would tear them apart."""

from __future__ import annotations

from collections.abc import Hashable

from ir.graph import Graph, Node, Value
from ir.rewrite import rebuild


def cse(graph: Graph) -> Graph:
    """`graph` with nodes of equal op, operands and attributes merged into the first of them.

    Exact: ops are pure (random ones too: their state is an operand), so equal operands give equal bits. A merged node
    has the origins of all; a merged constant has none, for it belongs to no layer.
    """
    first = _first_of_each(graph)
    origins = _merged_origins(graph, first)
    made: dict[Node, tuple[Value, ...]] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        if first[node] is not node:
            return made[first[node]]
        types = tuple(o.type for o in node.outputs)
        new = Node(node.op, inputs, node.attrs, types, origins[node], node.constraints)
        for old, out in zip(node.outputs, new.outputs, strict=True):
            out.name = old.name
        made[node] = new.outputs
        return new.outputs

    return rebuild(graph, transform)


def _first_of_each(graph: Graph) -> dict[Node, Node]:
    """For each node the first one that computes the same."""
    seen: dict[Hashable, Node] = {}
    first: dict[Node, Node] = {}

    def representative(v: Value) -> Value:
        return first[v.node].outputs[v.index] if v.node is not None else v

    for node in graph.nodes:
        key = (node.op.name, tuple(representative(v) for v in node.inputs), node.attrs)
        first[node] = seen.setdefault(key, node)
    return first


def _merged_origins(graph: Graph, first: dict[Node, Node]) -> dict[Node, tuple[str, ...]]:
    names: dict[Node, dict[str, None]] = {}
    shared: set[Node] = set()
    for node in graph.nodes:
        kept = first[node]
        names.setdefault(kept, {}).update(dict.fromkeys(node.origin))
        if kept is not node and kept.origin != node.origin:
            shared.add(kept)
    return {n: () if n in shared and not n.inputs else tuple(names[n]) for n in names}
