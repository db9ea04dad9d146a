"""Drops nodes, variables and updates that have no effect. It ends each pipeline."""

from __future__ import annotations

from ir.graph import Graph
from ir.rewrite import assemble


def dce(graph: Graph) -> Graph:
    """`graph` without nodes that no output or update needs, and without variables neither read nor updated.

    Inputs stay: they are the graph's signature. A node stays whole while any of its outputs is needed.
    """
    # Exact: an update that gives a variable its own old value changes nothing.
    updates = [u for u in graph.updates if u.value is not u.variable.value]
    # Exact: nodes have no effect but their results, so those that nothing reads can go; collecting the graph from its
    # outputs and updates finds the others.
    return assemble(
        graph.name, graph.inputs, graph.outputs, updates, graph.guards, graph.checks, graph.variables
    )
