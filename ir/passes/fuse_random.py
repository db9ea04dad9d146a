"""fuse_random: uniform random numbers that one region alone reads are made inside it: dropout's random numbers are
never stored.

It comes after fuse_elementwise, which makes the regions.
"""

from __future__ import annotations

from collections.abc import Mapping

from ir import builder
from ir.graph import Graph, Node, Value
from ir.passes.regions import body_of, is_elementwise, origins, region_inputs
from ir.rewrite import assemble, copy_node, inline, rebuild


def fuse_random(graph: Graph) -> Graph:
    """`graph` with random numbers moved into the regions that read them."""
    draws: dict[Node, Node] = {}
    for node in graph.nodes:
        user = _user(graph, node)
        # A region draws once: where two draws meet, the second one is an operand.
        if user is not None and user not in draws:
            draws[user] = node
    mapped: dict[Value, Value] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        mapped.update(zip(node.inputs, inputs, strict=True))
        return _fused(draws[node], node, mapped) if node in draws else None

    return rebuild(graph, transform)


def _user(graph: Graph, draw: Node) -> Node | None:
    """The only reader of random numbers, if it can make them."""
    # Numbers of 64 bits take two words each.
    if draw.op.name != "random_uniform" or draw.output.type.dtype.itemsize > 4 or draw.output in graph.results:
        return None
    users = graph.users.get(draw.output, ())
    if len(users) != 1:
        return None
    (user,) = users
    shape = draw.output.shape
    if not (user.op.name == "fused" or is_elementwise(user)) or user.outputs[0].shape != shape:
        return None
    # The region must be one loop, in which an element's number is its place in memory.
    if any(v.shape != shape and any(d != 1 for d in v.shape) for v in user.inputs):
        return None
    return user


def _fused(draw: Node, user: Node, mapped: Mapping[Value, Value]) -> tuple[Value, ...]:
    if user.op.name != "fused":
        inputs = region_inputs([draw, user])
        body = body_of("body", [draw, user], inputs, user.outputs)
    else:
        inputs = list(dict.fromkeys((*draw.inputs, *(v for v in user.inputs if v is not draw.output))))
        names = {v: Value(v.type, None, 0, v.name if v.node is None else None) for v in inputs}
        drawn = copy_node(draw, (names[draw.inputs[0]],)).output
        outputs = inline(user.attrs["body"], [drawn if v is draw.output else names[v] for v in user.inputs])
        body = assemble("body", list(names.values()), outputs)
    with builder.origin(origins([draw, user])):
        return builder.apply("fused", *(mapped[v] for v in inputs), body=body)
