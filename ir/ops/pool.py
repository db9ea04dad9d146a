"""Pooling of images and volumes and its derivatives. Before it comes `window.py`; `codegen/*/pool.py` say how the ops
on images run. Windows are boxes, so those on volumes decompose into pooling each plane and then the lines across planes
(`pool_planes.py`).

Padding never counts: it wins no maximum and stands in no average.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ir import builder as b
from ir import dtypes
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops import pool_planes
from ir.ops.base import SingleOutput, operands
from ir.ops.window import SCHEMA, Index, Window, check_images, window
from ir.types import TensorType

_SCHEMA = {**SCHEMA, "pool_size": "ints"}


class _Pooling(SingleOutput):
    """What the ops share: `rank` spatial axes."""

    schema = _SCHEMA
    rank: ClassVar[int]

    def window(self, attrs: Attrs) -> Window:
        return window(self.name, attrs["pool_size"], attrs, self.rank)

    def result(self, x: TensorType, attrs: Attrs) -> TensorType:
        w = self.window(attrs)
        return TensorType(x.dtype, w.output(x.shape, x.shape[w.axes[-1]], self.name))

    def check_shape(self, name: str, found: TensorType, expected: TensorType, meet: Meet) -> None:
        for axis, (p, q) in enumerate(zip(found.shape, expected.shape, strict=True)):
            meet.same(p, q, f"{self.name}: axis {axis} of {name}")


class _Max(_Pooling):
    """op(x): the maximum of each window; NaN if the window holds one."""

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        check_images(self.name, self.rank, x=x)
        return (self.result(x, attrs),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,) = inputs
        w = self.window(attrs)
        wide = w.padded(x, -np.inf)
        out = w.to_last(np.full(w.output(x.shape, x.shape[w.axes[-1]], self.name), -np.inf))
        for _, at in w.taps(x.shape):
            np.maximum(out, wide[at], out=out)
        return (w.from_last(out).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.apply1(f"max_pool{self.rank}d_grad", node.inputs[0], node.output, g, **node.attrs),)


def _winners(w: Window, x: Array, y: Array) -> Iterator[tuple[Index, Array]]:
    """For each element of the window its index into the padded array, and where it is the one that gave y."""
    wide, result = w.padded(x, 0.0), w.to_last(y)
    inside = w.padded(np.ones_like(x), 0.0) > 0
    taken = np.zeros(result.shape, bool)
    for _, at in w.taps(x.shape):
        hit = (wide[at] == result) & inside[at] & ~taken
        taken |= hit
        yield at, hit


class _MaxGrad(_Pooling):
    """op(x, y, dy), with y the maxima of x: the gradient of x.

    Each dy goes to the first element of its window, row by row, that equals y. A window whose result is NaN passes
    nothing on. It is linear in dy; the choice of elements is constant almost everywhere, so x and y have no gradient.
    """

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 3)
        x, y, dy = types
        check_images(self.name, self.rank, x=x, y=y, dy=dy)
        expected = self.result(x, attrs)
        self.check_shape("y", y, expected, meet)
        self.check_shape("dy", dy, expected, meet)
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, y, dy = inputs
        w = self.window(attrs)
        out_grad, dx = w.to_last(dy), w.padded_zeros(x.shape)
        for at, hit in _winners(w, x, y):
            dx[at] += np.where(hit, out_grad, 0)
        return (w.cropped(dx, x.shape).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, y, _ = node.inputs
        return None, None, b.apply1(f"max_pool{self.rank}d_grad_grad", x, y, g, **node.attrs)


class _MaxGradGrad(_Pooling):
    """op(x, y, ddx), with y the maxima of x: from each window the ddx at the element that gave y (zero where that is
    NaN). The transpose of the op before."""

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 3)
        x, y, ddx = types
        check_images(self.name, self.rank, x=x, y=y, ddx=ddx)
        self.check_shape("y", y, self.result(x, attrs), meet)
        self.check_shape("ddx", ddx, x, meet)
        return (y,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, y, ddx = inputs
        w = self.window(attrs)
        wide = w.padded(ddx, 0.0)
        ddy = w.to_last(np.zeros(y.shape))
        for at, hit in _winners(w, x, y):
            ddy += np.where(hit, wide[at], 0)
        return (w.from_last(ddy).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, y, _ = node.inputs
        return None, None, b.apply1(f"max_pool{self.rank}d_grad", x, y, g, **node.attrs)


def _counts(w: Window, shape: tuple[int, ...]) -> Array:
    """How many elements of the input each window holds: 1 sample, the windows, 1 channel."""
    plane = tuple(d if a in w.axes[:-1] else 1 for a, d in enumerate(shape))
    ones, out = w.padded(np.ones(plane), 0.0), w.to_last(np.zeros(w.output(plane, 1)))
    for _, at in w.taps(plane):
        out += ones[at]
    return out


class _Avg(_Pooling):
    """op(x): the mean over the elements of x in each window."""

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        check_images(self.name, self.rank, x=x)
        return (self.result(x, attrs),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,) = inputs
        w = self.window(attrs)
        wide = w.padded(x, 0.0)
        out = w.to_last(np.zeros(w.output(x.shape, x.shape[w.axes[-1]], self.name)))
        for _, at in w.taps(x.shape):
            out += wide[at]
        return (w.from_last(out / _counts(w, x.shape)).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.apply1(f"avg_pool{self.rank}d_grad", g, shape=node.inputs[0].shape, **node.attrs),)


class _AvgGrad(_Pooling):
    """op(dy): the gradient of the averages' input, of shape `shape`: each dy, divided by the number of elements in its
    window, goes to all of them."""

    schema = {**_SCHEMA, "shape": "dims"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (dy,) = types
        x = TensorType(dy.dtype, attrs["shape"])
        check_images(self.name, self.rank, dy=dy, result=x)
        self.check_shape("dy", dy, self.result(x, attrs), meet)
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (dy,) = inputs
        w = self.window(attrs)
        share = w.to_last(dy) / _counts(w, attrs["shape"])
        dx = w.padded_zeros(attrs["shape"])
        for _, at in w.taps(attrs["shape"]):
            dx[at] += share
        return (w.cropped(dx, attrs["shape"]).astype(dy.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.apply1(f"avg_pool{self.rank}d", g, **{key: node.attrs[key] for key in _SCHEMA}),)


class MaxPool2D(_Max):
    name, rank = "max_pool2d", 2


_NOWHERE = 255


class MaxPool2DPlaces(_Max):
    """op(x): the maximum of each window, and as a byte which element of the window it is, counted row by row; 255 if it
    is NaN. What a pass makes of `max_pool2d`, so that the gradient needs neither x nor the maxima."""

    name, rank = "max_pool2d_places", 2
    no_gradient = "it takes the place of max_pool2d when gradients are known"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        (y,) = super().infer(types, attrs, meet)
        if math.prod(attrs["pool_size"]) > _NOWHERE:
            raise TypeRuleError(f"{self.name}: a window may have up to {_NOWHERE} elements, got {attrs['pool_size']}")
        return y, y.with_dtype(dtypes.u8)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (y,) = super().reference(inputs, attrs)
        w = self.window(attrs)
        places = w.to_last(np.full(y.shape, _NOWHERE, np.uint8))
        for number, (_, hit) in enumerate(_winners(w, inputs[0], y)):
            places[hit] = number
        return y, w.from_last(places)


class MaxPool2DPlacesGrad(_Pooling):
    """op(places, dy): the gradient of what was pooled, of shape `shape`. Each dy goes to the element of its window that
    `places` says."""

    name, rank = "max_pool2d_places_grad", 2
    schema = {**_SCHEMA, "shape": "dims"}
    no_gradient = "it takes the place of max_pool2d_grad when gradients are known"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        places, dy = types
        x = TensorType(dy.dtype, attrs["shape"])
        check_images(self.name, self.rank, dy=dy, result=x)
        if places.dtype != dtypes.u8:
            raise TypeRuleError(f"{self.name}: places must be uint8, got {places.dtype.name}")
        for name, found in (("places", places), ("dy", dy)):
            self.check_shape(name, found, self.result(x, attrs), meet)
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        places, dy = inputs
        w = self.window(attrs)
        where, out_grad, dx = w.to_last(places), w.to_last(dy), w.padded_zeros(attrs["shape"])
        for number, (_, at) in enumerate(w.taps(attrs["shape"])):
            dx[at] += np.where(where == number, out_grad, 0)
        return (w.cropped(dx, attrs["shape"]).astype(dy.dtype),)


class MaxPool2DGrad(_MaxGrad):
    name, rank = "max_pool2d_grad", 2


class MaxPool2DGradGrad(_MaxGradGrad):
    name, rank = "max_pool2d_grad_grad", 2


class AvgPool2D(_Avg):
    name, rank = "avg_pool2d", 2


class AvgPool2DGrad(_AvgGrad):
    name, rank = "avg_pool2d_grad", 2


class MaxPool3D(_Max):
    name, rank = "max_pool3d", 3

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        return pool_planes.pool("max_pool2d", inputs, attrs)


class MaxPool3DGrad(_MaxGrad):
    name, rank = "max_pool3d_grad", 3

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        return pool_planes.max_grad(inputs, attrs)


class MaxPool3DGradGrad(_MaxGradGrad):
    name, rank = "max_pool3d_grad_grad", 3

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        return pool_planes.max_grad_grad(inputs, attrs)


class AvgPool3D(_Avg):
    name, rank = "avg_pool3d", 3

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        return pool_planes.pool("avg_pool2d", inputs, attrs)


class AvgPool3DGrad(_AvgGrad):
    name, rank = "avg_pool3d_grad", 3

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        return pool_planes.avg_grad(inputs, attrs)


OPS: tuple[Op, ...] = (
    MaxPool2D(), MaxPool2DGrad(), MaxPool2DGradGrad(), MaxPool2DPlaces(), MaxPool2DPlacesGrad(),
    AvgPool2D(), AvgPool2DGrad(),
    MaxPool3D(), MaxPool3DGrad(), MaxPool3DGradGrad(), AvgPool3D(), AvgPool3DGrad(),
)  # fmt: skip
