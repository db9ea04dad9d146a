"""join_slices: a sum of pieces that each fill their own part of zeros is the pieces side by side.

The gradients of the slices of one tensor (the gates of a recurrent layer) come back that way. It comes before fusion.
"""

from __future__ import annotations

from ir import builder as b
from ir.graph import Graph, Node, Value
from ir.rewrite import rebuild


def join_slices(graph: Graph) -> Graph:
    """`graph` with sums of `unslice`s that together fill one axis written as concatenations. Exact but for the sign of
    zero: -0.0 + 0.0 is 0.0."""
    if not any(n.op.name == "unslice" for n in graph.nodes):
        return graph

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        # The whole sum, not a part of it: its result is not itself an operand of a sum.
        if node.op.name != "add" or any(u.op.name == "add" for u in graph.users.get(node.output, ())):
            return None
        joined = _joined(node, inputs)
        return None if joined is None else (joined,)

    return rebuild(graph, transform)


def _joined(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    terms: list[Value] = []
    todo = list(inputs)
    while todo:
        v = todo.pop()
        if v.node is not None and v.node.op.name == "add" and v.type == node.output.type:
            todo.extend(v.node.inputs)
        else:
            terms.append(v)
    shape = node.output.shape
    pieces = [v.node for v in terms if v.node is not None and v.node.op.name == "unslice" and v.shape == shape]
    others = [v for v in terms if v.node not in pieces]
    axis = next((a for a in range(len(shape)) if any(p.attrs["starts"][a] != 0 for p in pieces)), None)
    if axis is None or len(pieces) < 2 or not all(_fills(p, axis) for p in pieces):
        return None
    if not all(isinstance(p.attrs["starts"][axis], int) for p in pieces):
        return None
    pieces.sort(key=lambda p: p.attrs["starts"][axis])
    ends = [0, *(p.attrs["stops"][axis] for p in pieces)]
    if [*(p.attrs["starts"][axis] for p in pieces), shape[axis]] != ends:
        return None
    total = b.concatenate([p.inputs[0] for p in pieces], axis)
    for v in others:
        total = b.add(total, v)
    return total


def _fills(piece: Node, axis: int) -> bool:
    """Whether `piece` is zero only before and behind its part of `axis`."""
    a, shape = piece.attrs, piece.output.shape
    whole = all(i == axis or (a["starts"][i] == 0 and a["stops"][i] == d) for i, d in enumerate(shape))
    return whole and set(a["steps"]) == {1}
