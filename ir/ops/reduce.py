"""Reductions over axes, positions of extremes, and `sum_to`, which undoes broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ir import builder as b
from ir import dims, dtypes
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops.base import SingleOutput, of_kind, operands
from ir.types import TensorType


def reduced_shape(shape: tuple[Dim, ...], axes: Sequence[int], keepdims: bool) -> tuple[Dim, ...]:
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axes)


def _wide(x: Array) -> Array:
    return x.astype(np.float64) if x.dtype.kind == "f" else x


class Reduction(SingleOutput):
    """Reduces over `axes` (counted from the front, ascending); with `keepdims` they stay with size 1."""

    schema = {"axes": "ints", "keepdims": "bool"}
    accepts = "iuf"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        of_kind(self.name, x, self.accepts)
        axes = attrs["axes"]
        for axis in axes:
            if not 0 <= axis < x.rank:
                raise TypeRuleError(f"{self.name}: axis {axis} is out of range for {x}, which has rank {x.rank}")
        if list(axes) != sorted(set(axes)):
            raise TypeRuleError(f"{self.name}: axes must be ascending and without repetition, got {axes}")
        return (TensorType(x.dtype, reduced_shape(x.shape, axes, attrs["keepdims"])),)

    def compute(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        """The numpy meaning; floats come as float64."""
        raise TypeError(f"op {self.name} has no reference")

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,) = inputs
        with np.errstate(all="ignore"):
            return (np.asarray(self.compute(_wide(x), attrs["axes"], attrs["keepdims"])).astype(x.dtype),)


def _keep(v: Value, node: Node) -> Value:
    """The output of a reduction, or its gradient, with the reduced axes put back as 1."""
    return b.reshape(v, reduced_shape(node.inputs[0].shape, node.attrs["axes"], True))


def _count(shape: tuple[Dim, ...], axes: Sequence[int], dtype: DType) -> Value:
    """The number of elements that are reduced to one."""
    n = dims.product(shape[a] for a in axes)
    if isinstance(n, int):
        return b.constant(n, dtype)
    return b.cast(b.reshape(b.sizes((n,), dtypes.i64), ()), dtype)


class ReduceSum(Reduction):
    name = "reduce_sum"

    def compute(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.broadcast_to(_keep(g, node), node.inputs[0].shape),)


class ReduceMean(Reduction):
    """Mean of integers truncates, as in TensorFlow; the mean of no floats is NaN (of no integers 0)."""

    name = "reduce_mean"

    def compute(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        count = math.prod(x.shape[a] for a in axes)
        total = np.asarray(np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype))
        if x.dtype.kind == "f":
            return np.asarray(total / np.float64(count))
        exact = total.astype(np.uint64 if x.dtype.kind == "u" else np.int64)
        return np.asarray(np.sign(exact) * (np.abs(exact) // exact.dtype.type(count)))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        shape = node.inputs[0].shape
        share = b.div(_keep(g, node), _count(shape, node.attrs["axes"], g.type.dtype))
        return (b.broadcast_to(share, shape),)


class _Extreme(Reduction):
    """Ties share the gradient equally."""

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, axes = node.inputs[0], node.attrs["axes"]
        hit = b.cast(b.compare("equal", x, _keep(node.output, node)), x.type.dtype)
        return (b.mul(hit, b.div(_keep(g, node), b.reduce_sum(hit, axes, keepdims=True))),)


class ReduceMax(_Extreme):
    """NaN if any is NaN; the maximum of nothing is the lowest value of the dtype (minus infinity)."""

    name = "reduce_max"

    def compute(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        return np.asarray(np.max(x, axis=axes, keepdims=keepdims, initial=lowest))


class ReduceMin(_Extreme):
    """NaN if any is NaN; the minimum of nothing is the highest value of the dtype (infinity)."""

    name = "reduce_min"

    def compute(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        highest = np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max
        return np.asarray(np.min(x, axis=axes, keepdims=keepdims, initial=highest))


class ReduceProd(Reduction):
    """The gradient of an element is the product of the others, right where some are zero."""

    name = "reduce_prod"

    def compute(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(np.prod(x, axis=axes, keepdims=keepdims, dtype=x.dtype))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, axes = node.inputs[0], node.attrs["axes"]
        zero = b.compare("equal", x, 0)
        nonzero = b.select(zero, 1, x)
        others = b.div(b.reduce("reduce_prod", nonzero, axes, keepdims=True), nonzero)
        is_zero = b.cast(zero, x.type.dtype)
        other_zeros = b.sub(b.reduce_sum(is_zero, axes, keepdims=True), is_zero)
        return (b.select(b.compare("equal", other_zeros, 0), b.mul(_keep(g, node), others), 0),)


class ReduceAny(Reduction):
    name = "reduce_any"
    accepts = "b"
    no_gradient = "the result is boolean"

    def compute(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(np.any(x, axis=axes, keepdims=keepdims))


class ReduceAll(Reduction):
    name = "reduce_all"
    accepts = "b"
    no_gradient = "the result is boolean"

    def compute(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(np.all(x, axis=axes, keepdims=keepdims))


class _Position(Op):
    """Position of an extreme along `axis`, as int64; the first one at ties, the first NaN if there is one."""

    schema = {"axis": "int"}
    no_gradient = "positions are integers"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,), axis = types, attrs["axis"]
        of_kind(self.name, x, "iuf")
        if not 0 <= axis < x.rank:
            raise TypeRuleError(f"{self.name}: axis {axis} is out of range for {x}, which has rank {x.rank}")
        if x.shape[axis] == 0:
            raise TypeRuleError(f"{self.name}: axis {axis} of {x} is empty")
        return (TensorType(dtypes.i64, reduced_shape(x.shape, (axis,), False)),)


class ArgMax(_Position):
    name = "argmax"

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (np.asarray(np.argmax(inputs[0], axis=attrs["axis"]), np.int64),)


class ArgMin(_Position):
    name = "argmin"

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (np.asarray(np.argmin(inputs[0], axis=attrs["axis"]), np.int64),)


class SumTo(SingleOutput):
    """Sums over the axes along which `shape` is 1 or which it lacks: the gradient of broadcasting from `shape`."""

    name = "sum_to"
    schema = {"shape": "dims"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,), shape = types, attrs["shape"]
        of_kind(self.name, x, "iuf")
        what = f"sum_to of {x} to {TensorType(x.dtype, shape)}"
        if len(shape) > x.rank:
            raise TypeRuleError(f"{what}: the rank must not grow")
        for d, target in zip(x.shape[x.rank - len(shape) :], shape, strict=True):
            expands(target, d, meet, what)
        return (TensorType(x.dtype, shape),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,), shape = inputs, attrs["shape"]
        lead = x.ndim - len(shape)
        ones = tuple(i + lead for i, d in enumerate(shape) if d == 1 and x.shape[i + lead] != 1)
        wide = _wide(x)
        total = np.sum(wide, axis=(*range(lead), *ones), keepdims=True, dtype=wide.dtype)
        return (total.reshape(shape).astype(x.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.broadcast_to(g, node.inputs[0].shape),)


def expands(small: Dim, large: Dim, meet: Meet, what: str) -> Dim:
    """`small` broadcasts to `large`: it is 1 or equal to it. Returns the size of the larger."""
    if small == 1:
        return large
    if isinstance(small, int) or large == 1:
        return meet.same(large, small, what)
    return meet.broadcast(large, small, what)


OPS: tuple[Op, ...] = (
    ReduceSum(), ReduceMean(), ReduceMax(), ReduceMin(), ReduceProd(), ReduceAny(), ReduceAll(),
    ArgMax(), ArgMin(), SumTo(),
)  # fmt: skip
