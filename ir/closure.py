"""Closures: from free-floating values to the body of a `scan` or `cond`.

What a function of Python computes from stand-ins becomes a Graph; values from outside that it reads are captured and
become operands. Used by the Keras backend (`K.rnn`, `K.switch`), by the gradients of `ops/control.py` and by passes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ir.graph import Graph, Node, Value
from ir.rewrite import assemble, copy_node
from ir.walk import nodes_of

_STATIC = frozenset({"constant", "broadcast_to", "reshape", "iota", "sizes"})


def static_values(nodes: Sequence[Node]) -> set[Value]:
    """The outputs of those of `nodes` (in topological order) that only spell out constants; bodies have their own."""
    static: set[Value] = set()
    for node in nodes:
        if node.op.name in _STATIC and all(v in static for v in node.inputs):
            static.update(node.outputs)
    return static


def captured(
    results: Sequence[Value], bound: Collection[Value], inside: Callable[[Node], bool] | None = None
) -> list[Value]:
    """The outside values that a body computing `results` from `bound` reads, in order of first use.

    Inside are the nodes that depend on `bound`, or those for which `inside` holds, and constants.
    """
    nodes = nodes_of(results, bound)
    own = set(bound)
    for node in nodes:
        if inside(node) if inside is not None else any(v in own for v in node.inputs):
            own.update(node.outputs)
    own |= static_values(nodes)
    read = [v for n in nodes if n.outputs and n.outputs[0] in own for v in n.inputs if v not in own]
    return list(dict.fromkeys([*read, *(v for v in results if v not in own)]))


def close(name: str, bound: Sequence[Value], results: Sequence[Value]) -> Graph:
    """The graph that computes `results` from fresh inputs standing for `bound` (each of them once).

    Raises ValueError where something else is needed.
    """
    new = {v: Value(v.type, None, 0, v.name) for v in bound}
    fresh = list(new.values())
    for node in nodes_of(results, bound):
        if node.op.host:
            raise ValueError(
                f"{node.op.name} gives as many elements as its operands' content says, so it cannot stand in a loop or "
                "in a branch (K.rnn, K.map_fn, K.foldl, K.switch); use it on their result"
            )
        copied = copy_node(node, tuple(new.get(v, v) for v in node.inputs))
        new.update(zip(node.outputs, copied.outputs, strict=True))
    return assemble(name, fresh, [new.get(v, v) for v in results])
