"""Two-dimensional pooling and its derivatives. Before it comes `window.py`; `codegen/*/pool.py` say how these ops run.

Padding never counts: it wins no maximum and stands in no average.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ir import builder as b
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op
from ir.ops.base import SingleOutput, operands
from ir.ops.window import SCHEMA, Index, Window, check_images, window
from ir.types import TensorType

_SCHEMA = {**SCHEMA, "pool_size": "ints"}


def _window(op: str, attrs: Attrs) -> Window:
    return window(op, attrs["pool_size"], attrs)


def _result(op: str, x: TensorType, attrs: Attrs) -> TensorType:
    w = _window(op, attrs)
    return TensorType(x.dtype, w.output(x.shape, x.shape[w.axes[2]], op))


def _check_shape(op: str, name: str, found: TensorType, expected: TensorType, meet: Meet) -> None:
    for axis, (p, q) in enumerate(zip(found.shape, expected.shape, strict=True)):
        meet.same(p, q, f"{op}: axis {axis} of {name}")


class MaxPool2D(SingleOutput):
    """max_pool2d(x): the maximum of each window; NaN if the window holds one."""

    name = "max_pool2d"
    schema = _SCHEMA

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        check_images(self.name, x=x)
        return (_result(self.name, x, attrs),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,) = inputs
        w = _window(self.name, attrs)
        wide = w.padded(x, -np.inf)
        out = w.to_last(np.full(w.output(x.shape, x.shape[w.axes[2]], self.name), -np.inf))
        for _, _, at in w.taps(x.shape):
            np.maximum(out, wide[at], out=out)
        return (w.from_last(out).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.apply1("max_pool2d_grad", node.inputs[0], node.output, g, **node.attrs),)


def _winners(w: Window, x: Array, y: Array) -> Iterator[tuple[Index, Array]]:
    """For each element of the window its index into the padded array, and where it is the one that gave y."""
    wide, result = w.padded(x, 0.0), w.to_last(y)
    inside = w.padded(np.ones_like(x), 0.0) > 0
    taken = np.zeros(result.shape, bool)
    for _, _, at in w.taps(x.shape):
        hit = (wide[at] == result) & inside[at] & ~taken
        taken |= hit
        yield at, hit


class MaxPool2DGrad(SingleOutput):
    """max_pool2d_grad(x, y, dy), with y = max_pool2d(x): the gradient of x.

    Each dy goes to the first element of its window, row by row, that equals y. A window whose result is NaN passes
    nothing on. It is linear in dy; the choice of elements is constant almost everywhere, so x and y have no gradient.
    """

    name = "max_pool2d_grad"
    schema = _SCHEMA

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 3)
        x, y, dy = types
        check_images(self.name, x=x, y=y, dy=dy)
        expected = _result(self.name, x, attrs)
        _check_shape(self.name, "y", y, expected, meet)
        _check_shape(self.name, "dy", dy, expected, meet)
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, y, dy = inputs
        w = _window(self.name, attrs)
        out_grad, dx = w.to_last(dy), w.padded_zeros(x.shape)
        for at, hit in _winners(w, x, y):
            dx[at] += np.where(hit, out_grad, 0)
        return (w.cropped(dx, x.shape).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, y, _ = node.inputs
        return None, None, b.apply1("max_pool2d_grad_grad", x, y, g, **node.attrs)


class MaxPool2DGradGrad(SingleOutput):
    """max_pool2d_grad_grad(x, y, ddx), with y = max_pool2d(x): from each window the ddx at the element that gave y
    (zero where that is NaN). The transpose of max_pool2d_grad."""

    name = "max_pool2d_grad_grad"
    schema = _SCHEMA

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 3)
        x, y, ddx = types
        check_images(self.name, x=x, y=y, ddx=ddx)
        _check_shape(self.name, "y", y, _result(self.name, x, attrs), meet)
        _check_shape(self.name, "ddx", ddx, x, meet)
        return (y,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, y, ddx = inputs
        w = _window(self.name, attrs)
        wide = w.padded(ddx, 0.0)
        ddy = w.to_last(np.zeros(y.shape))
        for at, hit in _winners(w, x, y):
            ddy += np.where(hit, wide[at], 0)
        return (w.from_last(ddy).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, y, _ = node.inputs
        return None, None, b.apply1("max_pool2d_grad", x, y, g, **node.attrs)


def _counts(w: Window, shape: tuple[int, ...]) -> Array:
    """How many elements of the input each window holds: [1, height, width, 1]."""
    plane = tuple(shape[a] if a in w.axes[:2] else 1 for a in range(4))
    ones, out = w.padded(np.ones(plane), 0.0), w.to_last(np.zeros(w.output(plane, 1)))
    for _, _, at in w.taps(plane):
        out += ones[at]
    return out


class AvgPool2D(SingleOutput):
    """avg_pool2d(x): the mean over the elements of x in each window."""

    name = "avg_pool2d"
    schema = _SCHEMA

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        check_images(self.name, x=x)
        return (_result(self.name, x, attrs),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,) = inputs
        w = _window(self.name, attrs)
        wide = w.padded(x, 0.0)
        out = w.to_last(np.zeros(w.output(x.shape, x.shape[w.axes[2]], self.name)))
        for _, _, at in w.taps(x.shape):
            out += wide[at]
        return (w.from_last(out / _counts(w, x.shape)).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.apply1("avg_pool2d_grad", g, shape=node.inputs[0].shape, **node.attrs),)


class AvgPool2DGrad(SingleOutput):
    """avg_pool2d_grad(dy): the gradient of avg_pool2d's input, of shape `shape`: each dy, divided by the number of
    elements in its window, goes to all of them."""

    name = "avg_pool2d_grad"
    schema = {**_SCHEMA, "shape": "dims"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (dy,) = types
        x = TensorType(dy.dtype, attrs["shape"])
        check_images(self.name, dy=dy, result=x)
        _check_shape(self.name, "dy", dy, _result(self.name, x, attrs), meet)
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (dy,) = inputs
        w = _window(self.name, attrs)
        share = w.to_last(dy) / _counts(w, attrs["shape"])
        dx = w.padded_zeros(attrs["shape"])
        for _, _, at in w.taps(attrs["shape"]):
            dx[at] += share
        return (w.cropped(dx, attrs["shape"]).astype(dy.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.apply1("avg_pool2d", g, **{key: node.attrs[key] for key in _SCHEMA}),)


OPS: tuple[Op, ...] = (MaxPool2D(), MaxPool2DGrad(), MaxPool2DGradGrad(), AvgPool2D(), AvgPool2DGrad())
