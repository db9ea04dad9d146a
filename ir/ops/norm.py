"""Batch normalization and softmax. They stay whole until fusion has seen them; `decompose` gives the simpler ops.

Statistics and sums are computed in float64 in the references. Before it comes `opdef.py`; `losses.py` builds on
softmax.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ir import builder as b
from ir import dims
from ir.dims import Dim
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops.base import SingleOutput, operands
from ir.types import TensorType


def _check(op: str, x: TensorType, axis: int) -> None:
    if not x.dtype.is_float:
        raise TypeRuleError(f"{op} takes float tensors, got {x}")
    if not 0 <= axis < x.rank:
        raise TypeRuleError(f"{op}: axis must be counted from the front and lie in 0..{x.rank - 1} for {x}, got {axis}")


def _check_like(op: str, x: TensorType, shape: tuple[Dim, ...], meet: Meet, **operands: TensorType) -> None:
    """Each operand must have the dtype of `x` and `shape`."""
    for name, t in operands.items():
        if t.dtype != x.dtype:
            raise TypeRuleError(f"{op}: {name} is {t.dtype.name} but x is {x.dtype.name}; cast one of them (K.cast)")
        if t.rank != len(shape):
            expected = ", ".join(map(str, shape))
            raise TypeRuleError(f"{op}: {name} must have shape [{expected}] for x {x}, got {t}")
        for found, wanted in zip(t.shape, shape, strict=True):
            meet.same(found, wanted, f"{op}: {name} and x")


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(rank) if a != axis)


def _along(v: Value, x: Value, axis: int) -> Value:
    """The vector `v` shaped to broadcast along `axis` of `x`."""
    return b.reshape(v, tuple(v.shape[0] if a == axis else 1 for a in range(x.rank)))


def _wide(arrays: Sequence[Array], rank: int, axis: int) -> list[Array]:
    """The arrays in float64; vectors shaped to broadcast along `axis` of a tensor of `rank`."""
    shape = tuple(-1 if a == axis else 1 for a in range(rank))
    wide = [a.astype(np.float64) for a in arrays]
    return [a if a.ndim == rank else a.reshape(shape) for a in wide]


class BatchNorm(Op):
    """batch_norm(x, mean, variance, gamma, beta): (x - mean) / sqrt(variance + epsilon) * gamma + beta, where the
    parameters are vectors along `axis`."""

    name = "batch_norm"
    schema = {"axis": "int", "epsilon": "float"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 5)
        x, mean, variance, gamma, beta = types
        _check(self.name, x, attrs["axis"])
        vector = (x.shape[attrs["axis"]],)
        _check_like(self.name, x, vector, meet, mean=mean, variance=variance, gamma=gamma, beta=beta)
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, mean, variance, gamma, beta = _wide(inputs, inputs[0].ndim, attrs["axis"])
        with np.errstate(all="ignore"):
            y = (x - mean) / np.sqrt(variance + attrs["epsilon"]) * gamma + beta
            return (y.astype(inputs[0].dtype),)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        x, mean, variance, gamma, beta = inputs
        axis = attrs["axis"]
        scale = b.mul(b.unary("rsqrt", b.add(variance, attrs["epsilon"])), gamma)
        centred = b.sub(x, _along(mean, x, axis))
        return (b.add(b.mul(centred, _along(scale, x, axis)), _along(beta, x, axis)),)


def _count(x: Value, axis: int) -> Value:
    """The number of elements behind each statistic, as a scalar of x's dtype."""
    size = b.sizes((dims.product(x.shape[a] for a in _others(x.rank, axis)),))
    return b.cast(b.reshape(size, ()), x.type.dtype)


class Moments(Op):
    """moments(x): mean and variance (divided by the count) over all axes but `axis`, in one pass over x. NaN for an
    empty batch."""

    name = "moments"
    schema = {"axis": "int"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        _check(self.name, x, attrs["axis"])
        vector = TensorType(x.dtype, (x.shape[attrs["axis"]],))
        return vector, vector

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        axis, dtype = attrs["axis"], inputs[0].dtype
        (x,) = _wide(inputs, inputs[0].ndim, axis)
        axes = _others(x.ndim, axis)
        with np.errstate(all="ignore"):
            count = np.float64(x.size) / x.shape[axis]
            mean = x.sum(axes, keepdims=True) / count
            variance = np.square(x - mean).sum(axes, keepdims=True) / count
            return mean.ravel().astype(dtype), variance.ravel().astype(dtype)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        (x,) = inputs
        axis = attrs["axis"]
        axes = _others(x.rank, axis)
        mean = b.reduce_mean(x, axes)
        return mean, b.reduce_mean(b.unary("square", b.sub(x, _along(mean, x, axis))), axes)


class BatchNormSums(Op):
    """batch_norm_sums(dy, x, mean, variance): the gradients (dgamma, dbeta) of batch normalisation, the sums of
    `dy * (x - mean) / sqrt(variance + epsilon)` and of dy over all axes but `axis`, in one pass."""

    name = "batch_norm_sums"
    schema = BatchNorm.schema

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 4)
        dy, x, mean, variance = types
        _check(self.name, x, attrs["axis"])
        vector = (x.shape[attrs["axis"]],)
        _check_like(self.name, x, x.shape, meet, dy=dy)
        _check_like(self.name, x, vector, meet, mean=mean, variance=variance)
        return TensorType(x.dtype, vector), TensorType(x.dtype, vector)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        axis, rank, dtype = attrs["axis"], inputs[1].ndim, inputs[1].dtype
        dy, x, mean, variance = _wide(inputs, rank, axis)
        axes = _others(rank, axis)
        with np.errstate(all="ignore"):
            normal = (x - mean) / np.sqrt(variance + attrs["epsilon"])
            return (dy * normal).sum(axes).ravel().astype(dtype), dy.sum(axes).ravel().astype(dtype)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        dy, x, mean, variance = inputs
        axis = attrs["axis"]
        axes = _others(x.rank, axis)
        inverse = b.unary("rsqrt", b.add(variance, attrs["epsilon"]))
        weighted = b.mul(dy, b.sub(x, _along(mean, x, axis)))
        return b.mul(b.reduce_sum(weighted, axes), inverse), b.reduce_sum(dy, axes)


class BatchNormTrain(Op):
    """batch_norm_train(x, gamma, beta): x normalised by its own statistics over all axes but `axis`, their mean, and
    their variance (divided by the count). An empty batch has NaN statistics."""

    name = "batch_norm_train"
    schema = BatchNorm.schema

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 3)
        x, gamma, beta = types
        _check(self.name, x, attrs["axis"])
        vector = (x.shape[attrs["axis"]],)
        _check_like(self.name, x, vector, meet, gamma=gamma, beta=beta)
        return x, TensorType(x.dtype, vector), TensorType(x.dtype, vector)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        axis, rank, dtype = attrs["axis"], inputs[0].ndim, inputs[0].dtype
        x, gamma, beta = _wide(inputs, rank, axis)
        axes = _others(rank, axis)
        with np.errstate(all="ignore"):
            count = np.float64(x.size) / x.shape[axis]
            mean = x.sum(axes, keepdims=True) / count
            variance = np.square(x - mean).sum(axes, keepdims=True) / count
            y = (x - mean) / np.sqrt(variance + attrs["epsilon"]) * gamma + beta
            return y.astype(dtype), mean.ravel().astype(dtype), variance.ravel().astype(dtype)

    def gradient(self, node: Node, grads: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        from ir.autodiff import gradients

        (x, gamma, _), (_, mean, variance), (dy, *statistics) = node.inputs, node.outputs, grads
        dx: Value | None = None
        dgamma: Value | None = None
        dbeta: Value | None = None
        if dy is not None:
            dx, dgamma, dbeta = b.apply("batch_norm_grad", dy, x, gamma, mean, variance, **node.attrs)
        if any(g is not None for g in statistics):
            moments = b.apply("moments", x, axis=node.attrs["axis"])
            (more,) = gradients(moments, (x,), statistics, stop_at_wrt=True)
            dx = more if dx is None or more is None else b.add(dx, more)
        return dx, dgamma, dbeta

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        x, gamma, beta = inputs
        mean, variance = b.apply("moments", x, axis=attrs["axis"])
        return b.apply1("batch_norm", x, mean, variance, gamma, beta, **attrs), mean, variance


class BatchNormGrad(Op):
    """batch_norm_grad(dy, x, gamma, mean, variance): gradients (dx, dgamma, dbeta) of batch_norm_train's inputs, given
    that of y alone; mean and variance are its other two outputs."""

    name = "batch_norm_grad"
    schema = BatchNorm.schema

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 5)
        dy, x, gamma, mean, variance = types
        _check(self.name, x, attrs["axis"])
        vector = (x.shape[attrs["axis"]],)
        _check_like(self.name, x, x.shape, meet, dy=dy)
        _check_like(self.name, x, vector, meet, gamma=gamma, mean=mean, variance=variance)
        return x, TensorType(x.dtype, vector), TensorType(x.dtype, vector)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        axis, rank, dtype = attrs["axis"], inputs[1].ndim, inputs[1].dtype
        dy, x, gamma, mean, variance = _wide(inputs, rank, axis)
        axes = _others(rank, axis)
        with np.errstate(all="ignore"):
            count = np.float64(x.size) / x.shape[axis]
            inverse = 1 / np.sqrt(variance + attrs["epsilon"])
            normal = (x - mean) * inverse
            dbeta = dy.sum(axes, keepdims=True)
            dgamma = (dy * normal).sum(axes, keepdims=True)
            dx = gamma * inverse * (dy - dbeta / count - normal * (dgamma / count))
            return dx.astype(dtype), dgamma.ravel().astype(dtype), dbeta.ravel().astype(dtype)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        dy, x, gamma, mean, variance = inputs
        axis = attrs["axis"]
        dgamma, dbeta = b.apply("batch_norm_sums", dy, x, mean, variance, **attrs)
        inverse = b.unary("rsqrt", b.add(variance, attrs["epsilon"]))
        count = _count(x, axis)
        # Vectors first, so that each element of dx costs two products and two differences.
        scale = b.mul(gamma, inverse)
        slope = b.mul(b.mul(scale, inverse), b.div(dgamma, count))
        centred = b.sub(dy, _along(b.div(dbeta, count), x, axis))
        pull = b.mul(b.sub(x, _along(mean, x, axis)), _along(slope, x, axis))
        return b.sub(b.mul(centred, _along(scale, x, axis)), pull), dgamma, dbeta


def log_softmax(x: Array, axis: int) -> Array:
    """The logarithm of softmax in float64, without overflow."""
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        shifted = wide - wide.max(axis, keepdims=True, initial=-np.inf)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def _shifted(x: Value, axis: int) -> Value:
    return b.sub(x, b.reduce("reduce_max", x, (axis,), keepdims=True))


class Softmax(SingleOutput):
    """softmax(x): exp(x) over its sum along `axis`, without overflow."""

    name = "softmax"
    schema = {"axis": "int"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        _check(self.name, x, attrs["axis"])
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,) = inputs
        return (np.exp(log_softmax(x, attrs["axis"])).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        y = node.output
        mean = b.reduce_sum(b.mul(g, y), (node.attrs["axis"],), keepdims=True)
        return (b.mul(y, b.sub(g, mean)),)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        power = b.unary("exp", _shifted(inputs[0], attrs["axis"]))
        return (b.div(power, b.reduce_sum(power, (attrs["axis"],), keepdims=True)),)


class LogSoftmax(SingleOutput):
    """log_softmax(x): the logarithm of softmax, without overflow or loss of small probabilities."""

    name = "log_softmax"
    schema = {"axis": "int"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        _check(self.name, x, attrs["axis"])
        return (x,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,) = inputs
        return (log_softmax(x, attrs["axis"]).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        y = node.output
        total = b.reduce_sum(g, (node.attrs["axis"],), keepdims=True)
        return (b.sub(g, b.mul(b.unary("exp", y), total)),)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        shifted = _shifted(inputs[0], attrs["axis"])
        total = b.reduce_sum(b.unary("exp", shifted), (attrs["axis"],), keepdims=True)
        return (b.sub(shifted, b.unary("log", total)),)


OPS: tuple[Op, ...] = (
    BatchNorm(),
    Moments(),
    BatchNormSums(),
    BatchNormTrain(),
    BatchNormGrad(),
    Softmax(),
    LogSoftmax(),
)
