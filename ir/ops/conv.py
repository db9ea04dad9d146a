"""Convolutions of images and volumes, dense and depthwise, and their two derivatives.

The three ops of a kind are cross-correlations over the same window (`window.py`), each linear in each operand, so every
gradient is one of the three again and derivatives of any order stay within this file. Keras' transposed convolution is
`conv2d_input_grad`. Before it comes `window.py`; `codegen/*/conv.py` and `depthwise.py` say how these ops run.

Kernels are [height, width, input channels, output channels], or with depth before, in either data format. The last axis
of a depthwise kernel counts the output channels that each input channel has of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, overload

import numpy as np

from ir import builder as b
from ir.dims import Dim
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops.base import SingleOutput, operands
from ir.ops.window import SCHEMA, Window, check_images, window
from ir.types import TensorType

_SCHEMA = {**SCHEMA, "dilation": "ints"}


class _Kind(ABC):
    """What a kind of convolution does at one element of its window: `x` and `y` are the pixels that this element pairs
    (channels last), `w` is its slice of the kernel."""

    def __init__(self, name: str, rank: int) -> None:
        self.name, self.rank = name, rank

    @overload
    def channels(self, kernel: tuple[int, ...]) -> int: ...
    @overload
    def channels(self, kernel: tuple[Dim, ...]) -> Dim: ...
    @abstractmethod
    def channels(self, kernel: tuple[Dim, ...]) -> Dim:
        """Output channels."""

    @abstractmethod
    def forward(self, x: Array, w: Array) -> Array:
        """What is added to y."""

    @abstractmethod
    def to_input(self, y: Array, w: Array) -> Array:
        """What is added to x."""

    @abstractmethod
    def to_kernel(self, x: Array, y: Array) -> Array:
        """What w is."""

    def window(self, op: str, kernel: TensorType, attrs: Attrs) -> Window:
        if not all(isinstance(d, int) for d in kernel.shape):
            raise TypeRuleError(f"{op}: the kernel's sizes must be known when the model is built, got {kernel}")
        return self.window_of(op, tuple(d for d in kernel.shape if isinstance(d, int)), attrs)

    def window_of(self, op: str, kernel: tuple[int, ...], attrs: Attrs) -> Window:
        return window(op, kernel[: self.rank], attrs, self.rank)

    def check_channels(self, op: str, w: Window, x: TensorType, kernel: TensorType, meet: Meet) -> None:
        axis = w.axes[-1]
        found, expected = x.shape[axis], kernel.shape[-2]
        if isinstance(found, int) and isinstance(expected, int) and found != expected:
            raise TypeRuleError(
                f"{op}: the input has {found} channels (axis {axis} of {x}, {w.data_format}) "
                f"but the kernel takes {expected} (axis {self.rank} of {kernel})"
            )
        meet.same(found, expected, f"{op}: channels of the input and of the kernel")

    def check_output(
        self, op: str, dy: TensorType, w: Window, x: TensorType, kernel: TensorType, meet: Meet
    ) -> None:
        """`dy` must have the shape of the convolution of `x` with `kernel`."""
        expected = w.output(x.shape, self.channels(kernel.shape), op)
        for axis, (d, e) in enumerate(zip(dy.shape, expected, strict=True)):
            meet.same(d, e, f"{op}: axis {axis} of dy and of the convolution's output")


class _Dense(_Kind):
    """Every output channel sees every input channel."""

    def channels(self, kernel: tuple[Any, ...]) -> Any:
        return kernel[-1]

    def forward(self, x: Array, w: Array) -> Array:
        return np.asarray(np.tensordot(x, w, 1))

    def to_input(self, y: Array, w: Array) -> Array:
        return np.asarray(np.tensordot(y, w.T, 1))

    def to_kernel(self, x: Array, y: Array) -> Array:
        pixels = tuple(range(self.rank + 1))
        return np.asarray(np.tensordot(x, y, (pixels, pixels)))


class _Depthwise(_Kind):
    """Output channels c * m, ..., c * m + m - 1 see input channel c only."""

    def channels(self, kernel: tuple[Any, ...]) -> Any:
        return kernel[-2] * kernel[-1]

    def forward(self, x: Array, w: Array) -> Array:
        return np.asarray(x[..., None] * w).reshape(*x.shape[:-1], w.size)

    def to_input(self, y: Array, w: Array) -> Array:
        return np.asarray(np.einsum("...cm,cm->...c", y.reshape(*y.shape[:-1], *w.shape), w))

    def to_kernel(self, x: Array, y: Array) -> Array:
        pixels, channels = x.size // max(1, x.shape[-1]), x.shape[-1]
        grouped = y.reshape(pixels, channels, y.shape[-1] // max(1, channels))
        return np.asarray(np.einsum("pc,pcm->cm", x.reshape(pixels, channels), grouped))


class _Forward(SingleOutput):
    """op(x, kernel): y[n, p, q, o] = sum over i, j, c of x[n, p*s + i*d - before, q*s + j*d - before, c] *
    kernel[i, j, c, o], with zeros outside of x; the same with one more axis for volumes."""

    schema = _SCHEMA
    kind: ClassVar[_Kind]

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        x, kernel = types
        check_images(self.name, self.kind.rank, x=x, kernel=kernel)
        w = self.kind.window(self.name, kernel, attrs)
        self.kind.check_channels(self.name, w, x, kernel, meet)
        return (TensorType(x.dtype, w.output(x.shape, self.kind.channels(kernel.shape), self.name)),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, kernel = inputs
        w = self.kind.window_of(self.name, kernel.shape, attrs)
        weights, wide = kernel.astype(np.float64), w.padded(x, 0.0)
        channels = self.kind.channels(kernel.shape)
        out = w.to_last(np.zeros(w.output(x.shape, channels, self.name)))
        for element, at in w.taps(x.shape):
            out += self.kind.forward(wide[at], weights[element])
        return (w.from_last(out).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, kernel = node.inputs
        return _input_grad(self.kind, g, kernel, x, node.attrs), _kernel_grad(self.kind, x, g, kernel, node.attrs)


class _InputGrad(SingleOutput):
    """op(dy, kernel): the gradient of a convolution's input, of shape `shape`, given that of its output."""

    schema = {**_SCHEMA, "shape": "dims"}
    kind: ClassVar[_Kind]

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        dy, kernel = types
        x = TensorType(dy.dtype, attrs["shape"])
        check_images(self.name, self.kind.rank, dy=dy, kernel=kernel, result=x)
        w = self.kind.window(self.name, kernel, attrs)
        self.kind.check_channels(self.name, w, x, kernel, meet)
        self.kind.check_output(self.name, dy, w, x, kernel, meet)
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        dy, kernel = inputs
        w = self.kind.window_of(self.name, kernel.shape, attrs)
        weights, out_grad = kernel.astype(np.float64), w.to_last(dy).astype(np.float64)
        dx = w.padded_zeros(attrs["shape"])
        for element, at in w.taps(attrs["shape"]):
            dx[at] += self.kind.to_input(out_grad, weights[element])
        return (w.cropped(dx, attrs["shape"]).astype(dy.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        dy, kernel = node.inputs
        return _forward(self.kind, g, kernel, node.attrs), _kernel_grad(self.kind, g, dy, kernel, node.attrs)


class _KernelGrad(SingleOutput):
    """op(x, dy): the gradient of a convolution's kernel, of shape `shape`, given that of its output."""

    schema = {**_SCHEMA, "shape": "ints"}
    kind: ClassVar[_Kind]

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        x, dy = types
        kernel = TensorType(x.dtype, attrs["shape"])
        check_images(self.name, self.kind.rank, x=x, dy=dy, result=kernel)
        w = self.kind.window(self.name, kernel, attrs)
        self.kind.check_channels(self.name, w, x, kernel, meet)
        self.kind.check_output(self.name, dy, w, x, kernel, meet)
        return (kernel,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, dy = inputs
        w = self.kind.window_of(self.name, attrs["shape"], attrs)
        out_grad, wide = w.to_last(dy).astype(np.float64), w.padded(x, 0.0)
        dkernel = np.zeros(attrs["shape"])
        for element, at in w.taps(x.shape):
            dkernel[element] = self.kind.to_kernel(wide[at], out_grad)
        return (dkernel.astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, dy = node.inputs
        return _input_grad(self.kind, dy, g, x, node.attrs), _forward(self.kind, x, g, node.attrs)


def _geometry(attrs: Attrs) -> Attrs:
    """The attributes that the three ops share."""
    return Attrs({key: attrs[key] for key in _SCHEMA})


def _forward(kind: _Kind, x: Value, kernel: Value, attrs: Attrs) -> Value:
    return b.apply1(kind.name, x, kernel, **_geometry(attrs))


def _input_grad(kind: _Kind, dy: Value, kernel: Value, x: Value, attrs: Attrs) -> Value:
    return b.apply1(f"{kind.name}_input_grad", dy, kernel, shape=x.shape, **_geometry(attrs))


def _kernel_grad(kind: _Kind, x: Value, dy: Value, kernel: Value, attrs: Attrs) -> Value:
    return b.apply1(f"{kind.name}_kernel_grad", x, dy, shape=kernel.shape, **_geometry(attrs))


_CONV2D, _CONV3D, _DEPTHWISE = _Dense("conv2d", 2), _Dense("conv3d", 3), _Depthwise("depthwise_conv2d", 2)


class Conv2D(_Forward):
    name = "conv2d"
    kind = _CONV2D


class Conv2DInputGrad(_InputGrad):
    name = "conv2d_input_grad"
    kind = _CONV2D


class Conv2DKernelGrad(_KernelGrad):
    name = "conv2d_kernel_grad"
    kind = _CONV2D


class Conv3D(_Forward):
    name = "conv3d"
    kind = _CONV3D


class Conv3DInputGrad(_InputGrad):
    name = "conv3d_input_grad"
    kind = _CONV3D


class Conv3DKernelGrad(_KernelGrad):
    name = "conv3d_kernel_grad"
    kind = _CONV3D


class DepthwiseConv2D(_Forward):
    name = "depthwise_conv2d"
    kind = _DEPTHWISE


class DepthwiseConv2DInputGrad(_InputGrad):
    name = "depthwise_conv2d_input_grad"
    kind = _DEPTHWISE


class DepthwiseConv2DKernelGrad(_KernelGrad):
    name = "depthwise_conv2d_kernel_grad"
    kind = _DEPTHWISE


OPS: tuple[Op, ...] = (
    Conv2D(), Conv2DInputGrad(), Conv2DKernelGrad(),
    Conv3D(), Conv3DInputGrad(), Conv3DKernelGrad(),
    DepthwiseConv2D(), DepthwiseConv2DInputGrad(), DepthwiseConv2DKernelGrad(),
)  # fmt: skip
