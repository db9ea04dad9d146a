"""Two-dimensional convolution and its two derivatives.

All three are cross-correlations over the same window (`window.py`), each linear in each operand, so every gradient is
one of the three again and derivatives of any order stay within this file. Keras' transposed convolution is
`conv2d_input_grad`. Before it comes `window.py`; `codegen/*/conv.py` say how these ops run.

The kernel is [height, width, input channels, output channels] in either data format.
"""

from __future__ import annotations

import numpy as np

from ir import builder as b
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops.base import SingleOutput, operands
from ir.ops.window import SCHEMA, Window, check_images, window
from ir.types import TensorType

_SCHEMA = {**SCHEMA, "dilation": "ints"}


def _geometry(attrs: Attrs) -> Attrs:
    """The attributes that the three ops share."""
    return Attrs({key: attrs[key] for key in _SCHEMA})


def _kernel_window(op: str, kernel: TensorType, attrs: Attrs) -> Window:
    if not all(isinstance(d, int) for d in kernel.shape):
        raise TypeRuleError(f"{op}: the kernel's sizes must be known when the model is built, got {kernel}")
    return window(op, tuple(d for d in kernel.shape[:2] if isinstance(d, int)), attrs)


def _check_channels(op: str, w: Window, x: TensorType, kernel: TensorType, meet: Meet) -> None:
    found, expected = x.shape[w.axes[2]], kernel.shape[2]
    if isinstance(found, int) and isinstance(expected, int) and found != expected:
        raise TypeRuleError(
            f"{op}: the input has {found} channels (axis {w.axes[2]} of {x}, {w.data_format}) "
            f"but the kernel takes {expected} (axis 2 of {kernel})"
        )
    meet.same(found, expected, f"{op}: channels of the input and of the kernel")


def _check_output(op: str, dy: TensorType, w: Window, x: TensorType, kernel: TensorType, meet: Meet) -> None:
    """`dy` must have the shape of the convolution of `x` with `kernel`."""
    for axis, (found, expected) in enumerate(zip(dy.shape, w.output(x.shape, kernel.shape[3], op), strict=True)):
        meet.same(found, expected, f"{op}: axis {axis} of dy and of the convolution's output")


class Conv2D(SingleOutput):
    """conv2d(x, kernel): y[n, p, q, o] = sum over i, j, c of x[n, p*s + i*d - before, q*s + j*d - before, c] *
    kernel[i, j, c, o], with zeros outside of x."""

    name = "conv2d"
    schema = _SCHEMA

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        x, kernel = types
        check_images(self.name, x=x, kernel=kernel)
        w = _kernel_window(self.name, kernel, attrs)
        _check_channels(self.name, w, x, kernel, meet)
        return (TensorType(x.dtype, w.output(x.shape, kernel.shape[3], self.name)),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, kernel = inputs
        w = window(self.name, kernel.shape[:2], attrs)
        weights, wide = kernel.astype(np.float64), w.padded(x, 0.0)
        out = w.to_last(np.zeros(w.output(x.shape, kernel.shape[3], self.name)))
        for i, j, at in w.taps(x.shape):
            out += np.tensordot(wide[at], weights[i, j], 1)
        return (w.from_last(out).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, kernel = node.inputs
        return _input_grad(g, kernel, x, node.attrs), _kernel_grad(x, g, kernel, node.attrs)


class Conv2DInputGrad(SingleOutput):
    """conv2d_input_grad(dy, kernel): the gradient of conv2d's input, of shape `shape`, given that of its output."""

    name = "conv2d_input_grad"
    schema = {**_SCHEMA, "shape": "dims"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        dy, kernel = types
        x = TensorType(dy.dtype, attrs["shape"])
        check_images(self.name, dy=dy, kernel=kernel, result=x)
        w = _kernel_window(self.name, kernel, attrs)
        _check_channels(self.name, w, x, kernel, meet)
        _check_output(self.name, dy, w, x, kernel, meet)
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        dy, kernel = inputs
        w = window(self.name, kernel.shape[:2], attrs)
        weights, out_grad = kernel.astype(np.float64), w.to_last(dy).astype(np.float64)
        dx = w.padded_zeros(attrs["shape"])
        for i, j, at in w.taps(attrs["shape"]):
            dx[at] += np.tensordot(out_grad, weights[i, j].T, 1)
        return (w.cropped(dx, attrs["shape"]).astype(dy.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        dy, kernel = node.inputs
        return b.apply1("conv2d", g, kernel, **_geometry(node.attrs)), _kernel_grad(g, dy, kernel, node.attrs)


class Conv2DKernelGrad(SingleOutput):
    """conv2d_kernel_grad(x, dy): the gradient of conv2d's kernel, of shape `shape`, given that of its output."""

    name = "conv2d_kernel_grad"
    schema = {**_SCHEMA, "shape": "ints"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        x, dy = types
        kernel = TensorType(x.dtype, attrs["shape"])
        check_images(self.name, x=x, dy=dy, result=kernel)
        w = _kernel_window(self.name, kernel, attrs)
        _check_channels(self.name, w, x, kernel, meet)
        _check_output(self.name, dy, w, x, kernel, meet)
        return (kernel,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, dy = inputs
        w = window(self.name, attrs["shape"][:2], attrs)
        out_grad, wide = w.to_last(dy).astype(np.float64), w.padded(x, 0.0)
        dkernel = np.zeros(attrs["shape"])
        for i, j, at in w.taps(x.shape):
            dkernel[i, j] = np.tensordot(wide[at], out_grad, ((0, 1, 2), (0, 1, 2)))
        return (dkernel.astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, dy = node.inputs
        return _input_grad(dy, g, x, node.attrs), b.apply1("conv2d", x, g, **_geometry(node.attrs))


def _input_grad(dy: Value, kernel: Value, x: Value, attrs: Attrs) -> Value:
    return b.apply1("conv2d_input_grad", dy, kernel, shape=x.shape, **_geometry(attrs))


def _kernel_grad(x: Value, dy: Value, kernel: Value, attrs: Attrs) -> Value:
    return b.apply1("conv2d_kernel_grad", x, dy, shape=kernel.shape, **_geometry(attrs))


OPS: tuple[Op, ...] = (Conv2D(), Conv2DInputGrad(), Conv2DKernelGrad())
