"""fuse_conv: a convolution or matrix product takes the elementwise nodes that follow it as its epilogue: bias, folded
batch normalisation, activation, residual add. The result is stored once, finished.

It comes after fold_batch_norm and layout, before fuse_elementwise.
"""

from __future__ import annotations

from ir import builder
from ir.graph import Graph, Node, Value
from ir.passes.regions import body_of, is_elementwise, is_scalar_constant, origins
from ir.rewrite import rebuild

_FUSED = {"conv2d": "fused_conv2d", "matmul": "fused_matmul"}


def fuse_conv(graph: Graph) -> Graph:
    """`graph` with the chains that follow convolutions and matrix products fused into them."""
    chains = {chain[-1]: chain for node in graph.nodes if (chain := _chain(graph, node)) is not None}
    taken: set[Node] = set()
    for last, chain in list(chains.items()):
        # Two products added together: the one whose chain comes first takes the sum, the other is its operand.
        if any(n in taken for n in chain):
            del chains[last]
        else:
            taken.update(chain)

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        chain = chains.get(node)
        if chain is None:
            return None
        anchor = chain[0]
        extras = list(dict.fromkeys(v for v in _extras(chain)))
        acc = anchor.output
        epilogue = body_of("epilogue", chain[1:], [acc, *extras], [node.output])
        with builder.origin(origins(chain)):
            return builder.apply(
                _FUSED[anchor.op.name],
                *(mapped[v] if v in mapped else v for v in (*anchor.inputs, *extras)),
                **anchor.attrs,
                epilogue=epilogue,
            )

    mapped: dict[Value, Value] = {}

    def tracked(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        mapped.update(zip(node.inputs, inputs, strict=True))
        return transform(node, inputs)

    return rebuild(graph, tracked)


def _chain(graph: Graph, anchor: Node) -> list[Node] | None:
    """The anchor and the nodes that its epilogue takes, or None where there are none."""
    if anchor.op.name not in _FUSED or not anchor.output.type.dtype.is_float:
        return None
    # Only channels-last results have their channels along rows of the tile.
    if anchor.attrs.get("data_format", "channels_last") != "channels_last":
        return None
    chain = [anchor]
    acc = anchor.output
    while True:
        users = graph.users.get(acc, ())
        # The unfinished result must be read by one node only and not leave the graph: it will not exist in memory.
        if acc in graph.results or len(users) != 1:
            break
        (user,) = users
        if not _fits(user, acc):
            break
        chain.append(user)
        acc = user.output
    return chain if len(chain) > 1 else None


def _fits(node: Node, acc: Value) -> bool:
    """Whether an epilogue can take `node`: elementwise, of the result's type, its other operands numbers, vectors along
    the channels, or tensors of the result's shape."""
    if not is_elementwise(node) or node.output.type != acc.type:
        return False
    return all(v is acc or _operand_fits(v, acc) for v in node.inputs)


def _operand_fits(v: Value, acc: Value) -> bool:
    if is_scalar_constant(v) or v.shape == () or v.shape == acc.shape:
        return True
    # A vector along the last axis, with leading axes of size 1 or none.
    return v.shape[-1] == acc.shape[-1] and all(d == 1 for d in v.shape[:-1])


def _extras(chain: list[Node]) -> list[Value]:
    inside = {o for n in chain for o in n.outputs}
    return [v for n in chain[1:] for v in n.inputs if v not in inside and not is_scalar_constant(v)]
