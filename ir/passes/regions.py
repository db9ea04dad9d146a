"""Regions: sets of nodes that a pass turns into one node with a body. Shared by the fusion passes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ir.graph import Graph, Node, Value
from ir.opdef import Elementwise
from ir.rewrite import assemble, copy_node


def is_scalar_constant(v: Value) -> bool:
    """A constant of one element: it moves into bodies, where it becomes a parameter of the kernel."""
    return v.node is not None and v.node.op.name == "constant" and len(v.node.attrs["value"]) == 1


def is_elementwise(node: Node) -> bool:
    return isinstance(node.op, Elementwise)


def region_inputs(nodes: Collection[Node]) -> list[Value]:
    """The values that the region reads from outside, scalar constants left out, in order of first use."""
    inside = {o for n in nodes for o in n.outputs}
    return list(dict.fromkeys(v for n in nodes for v in n.inputs if v not in inside and not is_scalar_constant(v)))


def body_of(name: str, nodes: Sequence[Node], inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
    """A graph that computes `outputs` by `nodes` from fresh inputs standing for `inputs`."""
    new = {v: Value(v.type, None, 0, v.name if v.node is None else None) for v in inputs}
    fresh = list(new.values())
    for node in nodes:
        for v in node.inputs:
            if v not in new and is_scalar_constant(v):
                assert v.node is not None
                new[v] = copy_node(v.node, ()).output
        copied = copy_node(node, tuple(new[v] for v in node.inputs))
        new.update(zip(node.outputs, copied.outputs, strict=True))
    return assemble(name, fresh, [new[v] for v in outputs])


def origins(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The layers of all nodes, each once."""
    return tuple(dict.fromkeys(o for n in nodes for o in n.origin))
