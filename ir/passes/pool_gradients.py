"""pool_gradients: what follows the gradient of a max pooling is done before it, on the smaller tensor.

A window passes its gradient to one element, which equals the window's maximum. So the mask of a relu before the pooling
can be taken of the maxima, and sums over images (a bias' gradient) are sums over windows. It comes before fusion, which
finds the mask and the sum beside the product or convolution that makes the gradient of the maxima.
"""

from __future__ import annotations

from ir import builder as b
from ir.graph import Graph, Node, Value
from ir.ops.window import window
from ir.passes.regions import is_scalar_constant
from ir.rewrite import rebuild

_POOLINGS = {"max_pool2d_grad": "max_pool2d", "max_pool3d_grad": "max_pool3d"}


def pool_gradients(graph: Graph) -> Graph:
    """`graph` with masks and sums moved before the gradients of max poolings."""
    if not any(n.op.name in _POOLINGS for n in graph.nodes):
        return graph

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.name == "select":
            # Otherwise the gradient without the mask would be computed as well.
            alone = len(graph.users.get(node.inputs[1], ())) == 1 and node.inputs[1] not in graph.results
            return _masked(inputs) if alone else None
        if node.op.name == "reduce_sum":
            return _summed(node, inputs[0])
        return None

    return rebuild(graph, transform)


def _gradient(v: Value) -> Node | None:
    """The node that makes `v`, if it is the gradient of a pooling whose maxima are known to be those of its operand."""
    node = v.node
    if node is None or node.op.name not in _POOLINGS:
        return None
    x, y, _ = node.inputs
    pooling = y.node
    if pooling is None or pooling.op.name != _POOLINGS[node.op.name] or pooling.inputs[0] is not x:
        return None
    return node if pooling.attrs == node.attrs else None


def _masked(inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Where x > 0 the gradient, elsewhere 0: the gradient of what is masked by y > 0. The element that gets something
    equals y. If y is NaN, no element gets anything, and the mask is false."""
    condition, value, otherwise = inputs
    node = _gradient(value)
    if node is None or not _is_zero(otherwise):
        return None
    x, y, dy = node.inputs
    if not _is_positive(condition, x):
        return None
    masked = b.select(b.compare("greater", y, 0), dy, 0)
    with b.origin(node.origin):
        return (b.apply1(node.op.name, x, y, masked, **node.attrs),)


def _summed(node: Node, value: Value) -> tuple[Value, ...] | None:
    """The sum of a masked gradient over whole images: that of dy, since every window gives all of its own to one
    element, or has nothing to give."""
    grad = _gradient(value)
    if grad is None:
        return None
    _, y, dy = grad.inputs
    mask = dy.node
    if mask is None or mask.op.name != "select" or not _is_positive(mask.inputs[0], y) or not _is_zero(mask.inputs[2]):
        return None
    *spatial, _ = window(grad.op.name, grad.attrs["pool_size"], grad.attrs, len(grad.attrs["pool_size"])).axes
    if not set(spatial) <= set(node.attrs["axes"]):
        return None
    return (b.apply1("reduce_sum", dy, **node.attrs),)


def _is_positive(condition: Value, x: Value) -> bool:
    """Whether `condition` is x > 0."""
    node = condition.node
    return node is not None and node.op.name == "greater" and node.inputs[0] is x and _is_zero(node.inputs[1])


def _is_zero(v: Value) -> bool:
    return is_scalar_constant(v) and v.node is not None and v.node.attrs["value"][0] == 0
