"""Reverse-mode differentiation: one walk over the IR that calls the ops' gradient rules and sums contributions.

Gradients are ordinary free-floating values, so gradients of gradients work. Follows the rules of reverse accumulation
as in Griewank and Walther, Evaluating Derivatives (2008).
"""

from __future__ import annotations

from collections.abc import Sequence

from ir import builder as b
from ir.graph import Node, Value
from ir.walk import nodes_of


def gradients(
    outputs: Sequence[Value],
    wrt: Sequence[Value],
    grad_outputs: Sequence[Value | None] | None = None,
    stop_at_wrt: bool = False,
) -> list[Value | None]:
    """d sum(outputs) / d each of `wrt`, each of the shape of its value; None where nothing depends on it.

    `grad_outputs` are the gradients to start from (default: ones). With `stop_at_wrt` the values in `wrt` are taken as
    independent of each other.
    """
    nodes = nodes_of(outputs, wrt if stop_at_wrt else ())
    active = set(wrt)
    for node in nodes:
        if any(v in active for v in node.inputs):
            active.update(o for o in node.outputs if o.type.dtype.is_float)
    grads: dict[Value, Value] = {}
    for i, out in enumerate(outputs):
        start = b.ones_like(out) if grad_outputs is None else grad_outputs[i]
        if start is not None:
            _accumulate(grads, out, start)
    for node in reversed(nodes):
        outs = tuple(grads.get(o) for o in node.outputs)
        if all(g is None for g in outs) or not any(v in active for v in node.inputs):
            continue
        if node.op.no_gradient is not None:
            continue
        with b.origin(node.origin):
            for v, g in zip(node.inputs, node.op.gradient(node, outs), strict=True):
                if g is not None and v in active:
                    _accumulate(grads, v, g)
    return [grads.get(v) for v in wrt]


def _accumulate(grads: dict[Value, Value], v: Value, g: Value) -> None:
    if g.type != v.type:
        g = b.sum_to(g, v.shape)
    grads[v] = b.add(grads[v], g) if v in grads else g


def unbroadcast(grad: Value, like: Value) -> Value:
    """The gradient of `like` given the gradient of a result that it was broadcast into."""
    return b.sum_to(grad, like.shape)


def gradient_by_decomposition(node: Node, grads: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
    """The gradients of `node` by differentiating its decomposition into simpler ops."""
    simpler = node.op.decompose(node.inputs, node.attrs)
    if simpler is None:
        raise TypeError(f"op {node.op.name} has neither a gradient nor a decomposition")
    wanted = tuple(dict.fromkeys(node.inputs))
    found = dict(zip(wanted, gradients(simpler, wanted, grads, stop_at_wrt=True), strict=True))
    result: list[Value | None] = []
    for v in node.inputs:  # an input that stands twice gets its whole gradient once
        result.append(found.pop(v, None))
    return tuple(result)
