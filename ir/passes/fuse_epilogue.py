"""fuse_epilogue: a convolution or matrix product takes the fused region that alone reads its result. The region may
have several results: in an update by gradient descent that also keeps the gradient's square, the gradient itself is
never stored.

It comes after fuse_elementwise, which makes the regions; chains of single nodes were taken by fuse_conv before.
"""

from __future__ import annotations

from collections.abc import Mapping

from ir import builder, dims
from ir.graph import Graph, Node, Value
from ir.passes.fuse_conv import FUSED, operand_fits
from ir.passes.regions import origins
from ir.rewrite import assemble, inline, rebuild

_SMALL = 65536  # elements
_MOST_TENSORS = 1  # of the result's size that are read


def fuse_epilogue(graph: Graph) -> Graph:
    """`graph` with regions that follow convolutions and matrix products fused into them."""
    products: dict[Node, Node] = {}
    for node in graph.nodes:
        region = _region(graph, node)
        # Of two products that a region reads the first takes it; the result of the other is an operand.
        if region is not None and region not in products:
            products[region] = node
    mapped: dict[Value, Value] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        mapped.update(zip(node.inputs, inputs, strict=True))
        return _fused(products[node], node, mapped) if node in products else None

    return rebuild(graph, transform)


def _region(graph: Graph, product: Node) -> Node | None:
    """The region that a product can take as its epilogue."""
    name = product.op.name
    if name not in FUSED and name not in FUSED.values():
        return None
    if len(product.outputs) != 1 or product.attrs.get("data_format", "channels_last") != "channels_last":
        return None
    acc = product.output
    users = graph.users.get(acc, ())
    if not acc.type.dtype.is_float or acc in graph.results or len(users) != 1:
        return None
    (region,) = users
    # A small result of known size may be a long sum, which is better split than finished in place.
    size = dims.product(acc.shape)
    if name in FUSED and isinstance(size, int) and size < _SMALL:
        return None
    if region.op.name != "fused" or any(o.type != acc.type for o in region.outputs):
        return None
    # An epilogue reads its operands in short pieces. Several large ones, such as an optimizer's moments, are streamed
    # faster by a loop of their own.
    if sum(v.shape == acc.shape for v in (*product.inputs[2:], *region.inputs)) - 1 > _MOST_TENSORS:
        return None
    return region if all(v is acc or operand_fits(v, acc) for v in region.inputs) else None


def _fused(product: Node, region: Node, mapped: Mapping[Value, Value]) -> tuple[Value, ...]:
    acc = product.output
    inner: Graph | None = product.attrs.get("epilogue")
    extras = dict.fromkeys((*product.inputs[2:], *(v for v in region.inputs if v is not acc)))
    names = {v: Value(v.type, None, 0, v.name if v.node is None else None) for v in extras}
    first = Value(acc.type if inner is None else inner.inputs[0].type)
    finished = first if inner is None else inline(inner, (first, *(names[v] for v in product.inputs[2:])))[0]
    outputs = inline(region.attrs["body"], [finished if v is acc else names[v] for v in region.inputs])
    attrs = {k: v for k, v in product.attrs.items() if k != "epilogue"}
    with builder.origin(origins([product, region])):
        return builder.apply(
            FUSED.get(product.op.name, product.op.name),
            *(mapped[v] for v in (*product.inputs[:2], *extras)),
            **attrs,
            epilogue=assemble("epilogue", [first, *names.values()], outputs),
        )
