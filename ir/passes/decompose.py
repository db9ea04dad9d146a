"""decompose: replaces composite ops that the target does not run itself by simpler ones.

It comes late, after fusion has seen the composites whole.
"""

from __future__ import annotations

from collections.abc import Callable

from ir.graph import Graph, Node, Value
from ir.rewrite import rebuild


def decompose(graph: Graph, supports: Callable[[str], bool]) -> Graph:
    """`graph` in ops for which `supports` holds. Raises ValueError for an op that has no decomposition either."""

    def expand(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if supports(node.op.name):
            return None
        simpler = node.op.decompose(inputs, node.attrs)
        if simpler is None:
            where = f" ({'/'.join(node.origin)})" if node.origin else ""
            raise ValueError(f"the target runs neither {node.op.name}{where} nor a decomposition of it")
        return simpler

    while not all(supports(node.op.name) for node in graph.nodes):
        graph = rebuild(graph, expand)
    return graph
