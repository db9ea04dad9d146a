"""fuse_conv: a convolution or matrix product takes the elementwise nodes that follow it as its epilogue: bias, folded
batch normalisation, activation, residual add, and what makes their operands, such as the mask of an activation's
derivative. The result is stored once, finished.

It comes after fold_batch_norm and layout, before fuse_elementwise.
"""

from __future__ import annotations

from collections.abc import Collection

from ir import builder
from ir.graph import Graph, Node, Value
from ir.passes.regions import body_of, is_elementwise, is_scalar_constant, origins
from ir.rewrite import rebuild

FUSED = {
    op: f"fused_{op}" for op in ("conv2d", "conv2d_input_grad", "conv3d", "depthwise_conv2d", "matmul")
}


def fuse_conv(graph: Graph) -> Graph:
    """`graph` with the chains that follow convolutions and matrix products fused into them."""
    chains: dict[Node, list[Node]] = {}
    taken: set[Node] = set()
    for node in graph.nodes:
        chain = _chain(graph, node, taken)
        if len(chain) > 1:
            chains[chain[-1]] = chain
            taken.update(chain)
    # Only now is it known which elementwise nodes belong to another product's chain.
    for last, chain in chains.items():
        chains[last] = _with_producers(graph, chain, taken)
        taken.update(chains[last])
    mapped: dict[Value, Value] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        mapped.update(zip(node.inputs, inputs, strict=True))
        chain = chains.get(node)
        if chain is None:
            return None
        anchor = chain[0]
        extras = _extras(chain)
        epilogue = body_of("epilogue", chain[1:], [anchor.output, *extras], [node.output])
        with builder.origin(origins(chain)):
            return builder.apply(
                FUSED[anchor.op.name],
                *(mapped[v] for v in (*anchor.inputs, *extras)),
                **anchor.attrs,
                epilogue=epilogue,
            )

    return rebuild(graph, transform)


def _chain(graph: Graph, anchor: Node, taken: Collection[Node]) -> list[Node]:
    """The anchor and the nodes that its epilogue takes."""
    chain = [anchor]
    if anchor.op.name not in FUSED or not anchor.output.type.dtype.is_float:
        return chain
    # Only channels-last results have their channels along rows of the tile.
    if anchor.attrs.get("data_format", "channels_last") != "channels_last":
        return chain
    acc = anchor.output
    while True:
        users = graph.users.get(acc, ())
        # The unfinished result must be read by one node only and not leave the graph: it will not exist in memory.
        if acc in graph.results or len(users) != 1:
            return chain
        (user,) = users
        # Of two products added together the first takes the sum, and the result of the other is its operand.
        if user in taken or not _fits(user, acc):
            return chain
        chain.append(user)
        acc = user.output


def _fits(node: Node, acc: Value) -> bool:
    """Whether an epilogue can take `node`: elementwise, of the result's type, its other operands numbers, vectors along
    the channels, or tensors of the result's shape."""
    if not is_elementwise(node) or node.output.type != acc.type:
        return False
    return all(v is acc or operand_fits(v, acc) for v in node.inputs)


def operand_fits(v: Value, acc: Value) -> bool:
    """Whether an epilogue of `acc` can read `v`."""
    if is_scalar_constant(v) or all(d == 1 for d in v.shape) or v.shape == acc.shape:
        return True
    # A vector along the last axis, with leading axes of size 1 or none.
    return v.shape[-1] == acc.shape[-1] and all(d == 1 for d in v.shape[:-1])


def _with_producers(graph: Graph, chain: list[Node], taken: Collection[Node]) -> list[Node]:
    """The chain and the elementwise nodes that only it uses, such as the mask of an activation's derivative: the
    epilogue computes them instead of reading their results.
    """
    inside = dict.fromkeys(chain)
    todo = _extras(chain)
    while todo:
        v = todo.pop()
        node = v.node
        if node is None or node in taken or v in graph.results or not _may_move(node, chain[0].output):
            continue
        if all(u in inside for u in graph.users[v]):
            inside[node] = None
            todo.extend(node.inputs)
    anchor, *others = inside
    return [anchor, *sorted(others, key=lambda n: n.serial)]


def _may_move(node: Node, acc: Value) -> bool:
    """Whether an epilogue can compute `node` and reads no more than one tensor for it, in place of its result."""
    if not is_elementwise(node) or node.output.shape != acc.shape:
        return False
    operands = set(node.inputs)
    return all(operand_fits(v, acc) for v in operands) and sum(v.shape == acc.shape for v in operands) <= 1


def _extras(chain: list[Node]) -> list[Value]:
    """The operands of the epilogue besides the product, each once."""
    inside = {o for n in chain for o in n.outputs}
    outside = (v for n in chain[1:] for v in n.inputs if v not in inside and not is_scalar_constant(v))
    return list(dict.fromkeys(outside))
