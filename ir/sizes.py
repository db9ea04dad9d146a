"""Shapes as data: which dims an integer value is known to hold.

`K.shape(x)` is a `sizes` node; stacking, slicing, casting and arithmetic on it keep the dims known, so that a reshape,
tile or random shape computed from it stays symbolic. Used by the Keras backend; the ops walked here are in `ir/ops/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ir import dims
from ir.dims import Dim
from ir.graph import Node, Value
from ir.opdef import Array

Elements = tuple[Dim, ...]

_LIMIT = 64  # vectors of sizes are short; longer integer data is not looked at

_BINARY: Mapping[str, Callable[[Dim, Dim], Dim]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": dims.floordiv,
    "mod": dims.mod,
    "maximum": dims.dim_max,
    "minimum": dims.dim_min,
}


def known_scalar(value: Value) -> Dim | None:
    """The dim that `value`, an integer of rank 0 or a vector of one element, is known to hold, or None."""
    elements = known_elements(value)
    return elements[0] if elements is not None and len(elements) == 1 else None


def known_elements(value: Value) -> Elements | None:
    """The elements of `value` as dims, row-major; None unless it is an integer value computed from sizes alone."""
    return _elements(value, {})


def _elements(value: Value, seen: dict[Value, Elements | None]) -> Elements | None:
    if value not in seen:
        size = value.type.size
        fits = value.type.dtype.is_integer and isinstance(size, int) and size <= _LIMIT
        seen[value] = _of_node(value.node, seen) if fits and value.node is not None else None
    return seen[value]


def _of_node(node: Node, seen: dict[Value, Elements | None]) -> Elements | None:
    name, attrs = node.op.name, node.attrs
    if name == "constant":
        return tuple(attrs["value"])
    if name == "sizes":
        return tuple(attrs["dims"])
    if name == "iota":
        return tuple(range(attrs["size"]))
    if name not in _HANDLED:
        return None
    inputs = []
    for v in node.inputs:
        elements = _elements(v, seen)
        if elements is None:
            return None
        inputs.append(elements)
    if name in _BINARY:
        return _arithmetic(name, node, inputs)
    return _MOVES[name](node, inputs)


def _arithmetic(name: str, node: Node, inputs: list[Elements]) -> Elements | None:
    x, y = (_spread(e, v, node.output) for e, v in zip(inputs, node.inputs, strict=True))
    if name in ("floordiv", "mod") and 0 in y:
        return None
    return tuple(_BINARY[name](a, c) for a, c in zip(x, y, strict=True))


def _positions(shape: tuple[Dim, ...]) -> Array:
    """The row-major number of each element, in `shape` (which is known)."""
    sizes = [d for d in shape if isinstance(d, int)]
    return np.arange(dims.size_of(sizes)).reshape(sizes)


def _spread(elements: Elements, source: Value, target: Value) -> Elements:
    """`elements` of `source` broadcast to the shape of `target`."""
    moved = np.broadcast_to(_positions(source.shape), _positions(target.shape).shape)
    return tuple(elements[i] for i in moved.ravel().tolist())


def _by_reference(node: Node, inputs: list[Elements]) -> Elements | None:
    """Ops that only move elements: their reference, run on the numbers of the elements, says where each goes."""
    numbered, offset = [], 0
    for v in node.inputs:
        positions = _positions(v.shape)
        numbered.append(positions + offset)
        offset += positions.size
    if not all(isinstance(d, int) for key in ("starts", "stops", "shape") for d in node.attrs.get(key, ())):
        return None
    (moved,) = node.op.reference(numbered, node.attrs)
    every = [d for elements in inputs for d in elements]
    return tuple(every[i] for i in moved.ravel().tolist())


def _gather(node: Node, inputs: list[Elements]) -> Elements | None:
    if not all(isinstance(i, int) for i in inputs[1]):
        return None
    x, indices = node.inputs
    chosen = np.array(inputs[1], np.int64).reshape(_positions(indices.shape).shape)
    (moved,) = node.op.reference([_positions(x.shape), chosen], node.attrs)
    return tuple(inputs[0][i] for i in moved.ravel().tolist())


def _reduce(node: Node, inputs: list[Elements]) -> Elements | None:
    if len(node.attrs["axes"]) != node.inputs[0].rank:
        return None
    (elements,) = inputs
    if node.op.name == "reduce_prod":
        return (dims.product(elements),)
    total: Dim = 0
    for d in elements:
        total = total + d
    return (total,)


_MOVES: Mapping[str, Callable[[Node, list[Elements]], Elements | None]] = {
    **dict.fromkeys(("reshape", "transpose", "slice", "concatenate", "broadcast_to"), _by_reference),
    **dict.fromkeys(("cast", "identity", "stop_gradient"), lambda node, inputs: inputs[0]),
    "neg": lambda node, inputs: tuple(-d for d in inputs[0]),
    "square": lambda node, inputs: tuple(d * d for d in inputs[0]),
    "gather": _gather,
    "reduce_sum": _reduce,
    "reduce_prod": _reduce,
}
_HANDLED = frozenset(_BINARY) | frozenset(_MOVES)
