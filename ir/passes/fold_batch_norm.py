"""fold_batch_norm: with constant statistics, batch normalisation is a scale and a shift per channel. The scale goes
into the weights of the convolution or matrix product before it, the shift becomes its bias; both are computed once, in
the program's prologue.

It comes early, while `batch_norm` is still one node; a normalisation that cannot fold becomes scale and shift as well,
but on the activations, where the fusions take them.
"""

from __future__ import annotations

from ir import builder as b
from ir.graph import Graph, Node, Value
from ir.passes.regions import origins
from ir.rewrite import rebuild

_CONVOLUTIONS = ("conv2d", "conv3d", "depthwise_conv2d")


def fold_batch_norm(graph: Graph) -> Graph:
    """`graph` with batch normalisations of constant statistics folded."""
    constant = constant_values(graph)
    mapped: dict[Value, Value] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        mapped.update(zip(node.inputs, inputs, strict=True))
        # Statistics, gamma and beta must be provably constant during a run: made of variables that this graph does not
        # update, and of constants. In training they are not, and nothing is folded.
        if node.op.name != "batch_norm" or not all(v in constant for v in node.inputs[1:]):
            return None
        x, mean, variance, gamma, beta = inputs
        scale = b.mul(gamma, b.unary("rsqrt", b.add(variance, node.attrs["epsilon"])))
        shift = b.sub(beta, b.mul(mean, scale))
        product, bias = _product_before(node)
        axis, rank = node.attrs["axis"], node.inputs[0].rank
        if product is None or not _folds(graph, node, product, constant):
            return (b.add(b.mul(x, _along(scale, axis, rank)), _along(shift, axis, rank)),)
        data, weights = (mapped[v] for v in product.inputs)
        if bias is not None:
            vector = b.reshape(mapped[bias], scale.shape)
            shift = b.add(shift, b.mul(vector, scale))
        scaled = b.mul(weights, _of_weights(product, scale))
        with b.origin(origins([product, node])):
            out = b.apply1(product.op.name, data, scaled, **product.attrs)
            return (b.add(out, _along(shift, axis, rank)),)

    return rebuild(graph, transform)


def constant_values(graph: Graph) -> set[Value]:
    """The values that are the same in every run until someone writes a variable from outside."""
    updated = {u.variable for u in graph.updates}
    known: set[Value] = {x.value for x in graph.variables if x not in updated}
    for node in graph.nodes:
        if all(v in known for v in node.inputs):
            known.update(node.outputs)
    return known


def _of_weights(product: Node, scale: Value) -> Value:
    """`scale` shaped for the weights: their last axis makes the channels, of a depthwise kernel the last two do."""
    if product.op.name != "depthwise_conv2d":
        return scale
    return b.reshape(scale, product.inputs[1].shape[2:])


def _along(vector: Value, axis: int, rank: int) -> Value:
    """`vector` shaped to broadcast along `axis` of a tensor of `rank` axes."""
    trailing = rank - 1 - axis
    return b.reshape(vector, (*vector.shape, *(1,) * trailing)) if trailing else vector


def _product_before(node: Node) -> tuple[Node | None, Value | None]:
    """The convolution or matrix product that feeds `node`, directly or through one bias add, and that bias."""
    x = node.inputs[0]
    bias: Value | None = None
    if x.node is not None and x.node.op.name == "add":
        first, second = x.node.inputs
        size = node.inputs[1].type.size
        axis = node.attrs["axis"]
        # A bias is constant along every axis but the normalised one, so it commutes with the scale; and the sum has the
        # shape of the product alone.
        if first.type == x.type and _is_vector_along(second, x, axis) and second.type.size == size:
            x, bias = first, second
    producer = x.node
    if producer is None or producer.op.name not in (*_CONVOLUTIONS, "matmul"):
        return None, None
    return producer, bias


def _is_vector_along(v: Value, x: Value, axis: int) -> bool:
    """Whether `v` varies along `axis` of `x` only."""
    padded = (1,) * (x.rank - v.rank) + v.shape
    return all(d == 1 or a == axis for a, d in enumerate(padded)) and padded[axis] == x.shape[axis]


def _folds(graph: Graph, node: Node, product: Node, constant: set[Value]) -> bool:
    x = node.inputs[0]
    path = [product.output] + ([x] if x is not product.output else [])
    # The unnormalised result must not be used by anything else (a shared convolution, a second branch), nor leave the
    # graph: it will not exist any more.
    if any(v in graph.results or len(graph.users.get(v, ())) != 1 for v in path):
        return False
    # The bias, if any, must be constant as well.
    if x is not product.output and x.node is not None and x.node.inputs[1] not in constant:
        return False
    # Scaling the weights pays only if it happens once: they must be constant, too.
    if product.inputs[1] not in constant:
        return False
    # The normalised axis must be the one that the weights make.
    if product.op.name in _CONVOLUTIONS:
        channel = x.rank - 1 if product.attrs["data_format"] == "channels_last" else 1
        return bool(node.attrs["axis"] == channel)
    last = node.inputs[0].rank - 1
    return bool(node.attrs["axis"] == last and not product.attrs["transpose_b"] and product.inputs[1].rank == 2)
