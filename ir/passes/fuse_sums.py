"""fuse_sums: the gradient of a layer's weights and that of its bias read the same tensor, dy; where no loop that makes
dy took its sums over all axes but the last (`fuse_reduce`), the product with dy does, while it has dy in cache.

That is so where dy comes from a product with an epilogue, as in the layers before the last one of a perceptron: such a
product gives parts of columns in tiles, and would have to add up what each tile has. A loop of its own over dy would
read it from memory once more.
"""

from __future__ import annotations

from collections.abc import Mapping

from ir import builder
from ir.graph import Graph, Node, Value
from ir.passes.regions import origins
from ir.rewrite import rebuild

SUMMED = {"matmul": "matmul_sums", "conv2d_kernel_grad": "conv2d_kernel_grad_sums"}


def fuse_sums(graph: Graph) -> Graph:
    """`graph` with sums over the leading axes taken by the products that read the same tensor."""
    places = {node: i for i, node in enumerate(graph.nodes)}
    pairs: dict[Node, tuple[Node, Node]] = {}  # the first of both, the product and the sum
    for node in graph.nodes:
        total = _sum(graph, node, places) if _suits(node) else None
        if total is not None and total not in pairs:
            pairs[node] = pairs[total] = (node, total)
    made: dict[Value, Value] = {}
    mapped: dict[Value, Value] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        mapped.update(zip(node.inputs, inputs, strict=True))
        if node not in pairs:
            return None
        if node.output not in made:
            made.update(_joined(*pairs[node], mapped))
        return (made[node.output],)

    return rebuild(graph, transform)


def _suits(node: Node) -> bool:
    """A product whose right operand is summed over by rows."""
    if node.op.name not in SUMMED or node.output.type.dtype.name not in ("float32", "float64"):
        return False
    # The tiles of the first rows take the sums, so there must be some.
    if not all(isinstance(d, int) and d > 0 for d in node.output.shape):
        return False
    if node.op.name == "matmul":
        return node.attrs["transpose_a"] and not node.attrs["transpose_b"] and all(v.rank == 2 for v in node.inputs)
    return bool(node.attrs["data_format"] == "channels_last")


def _sum(graph: Graph, product: Node, places: Mapping[Node, int]) -> Node | None:
    """The sum that a product can take."""
    x, dy = product.inputs
    for user in graph.users[dy]:
        if user.op.name != "reduce_sum" or user.attrs["axes"] != tuple(range(dy.rank - 1)) or user.attrs["keepdims"]:
            continue
        # The product takes the place of the sum where that comes first: what it reads must have been read before.
        if any(places[reader] <= places[user] for reader in (product, *graph.users[x])):
            return user
    return None


def _joined(product: Node, total: Node, mapped: Mapping[Value, Value]) -> dict[Value, Value]:
    with builder.origin(origins([product, total])):
        out = builder.apply(
            SUMMED[product.op.name], *(mapped.get(v, v) for v in product.inputs), **product.attrs
        )
    return {product.output: out[0], total.output: out[1]}
