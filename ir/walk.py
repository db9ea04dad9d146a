"""Walking backwards over free-floating values, iteratively: deep models do not hit the recursion limit."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ir.graph import Node, Value, Variable


def nodes_of(values: Iterable[Value], stop: Collection[Value] = ()) -> list[Node]:
    """The nodes that `values` depend on, in topological order, not looking behind the values in `stop`."""
    halt = set(stop)
    seen: set[Node] = set()
    todo = [v for v in values if v not in halt]
    while todo:
        node = todo.pop().node
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(v for v in node.inputs if v not in halt)
    return sorted(seen, key=lambda n: n.serial)


def leaves_of(values: Iterable[Value], nodes: Iterable[Node]) -> tuple[list[Value], list[Variable]]:
    """The inputs and the variables that `nodes` read or that stand in `values`, each in order of first appearance."""
    inputs: dict[Value, None] = {}
    variables: dict[Variable, None] = {}
    for v in (*(v for n in nodes for v in n.inputs), *values):
        if isinstance(v.producer, Variable):
            variables.setdefault(v.producer)
        elif v.producer is None:
            inputs.setdefault(v)
    return list(inputs), list(variables)
