"""Arithmetic: elementwise functions, comparisons, reductions and products of matrices."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import builder as b
from ir import dtypes
from ir.dims import Dim, product
from ir.graph import Value
from kgraph.backend import sparse
from kgraph.backend.creation import float_type
from kgraph.backend.sparse import is_sparse
from kgraph.backend.tensor import Tensor, as_value, binary, operands, power


def _unary(op: str, x: Any) -> Tensor:
    return Tensor(b.unary(op, as_value(x)))


def cast(x: Any, dtype: Any) -> Tensor:
    """`x` with another element type."""
    return Tensor(b.cast(as_value(x), dtypes.of(dtype)))


# Elementwise


def square(x: Any) -> Tensor:
    return _unary("square", x)


def abs(x: Any) -> Tensor:
    return _unary("abs", x)


def sqrt(x: Any) -> Tensor:
    """The square root, with negative numbers taken as 0."""
    value = as_value(x)
    return Tensor(b.unary("sqrt", b.maximum(value, 0)))


def exp(x: Any) -> Tensor:
    return _unary("exp", x)


def log(x: Any) -> Tensor:
    return _unary("log", x)


def round(x: Any) -> Tensor:
    """To the nearest integer, halves to even."""
    value = as_value(x)
    return Tensor(b.unary("round", value)) if value.type.dtype.is_float else Tensor(b.unary("identity", value))


def sign(x: Any) -> Tensor:
    return _unary("sign", x)


def sin(x: Any) -> Tensor:
    return _unary("sin", x)


def cos(x: Any) -> Tensor:
    return _unary("cos", x)


def pow(x: Any, a: Any) -> Tensor:
    """`x` to the power of `a`."""
    return power(x, a)


def clip(x: Any, min_value: Any, max_value: Any) -> Tensor:
    """`x` limited to `[min_value, max_value]`; None is no limit, and a maximum below the minimum counts as it."""
    if isinstance(min_value, (int, float)) and isinstance(max_value, (int, float)):
        max_value = builtins.max(min_value, max_value)
    value = as_value(x)
    low, high = (None if v is None else as_value(v, value.type.dtype) for v in (min_value, max_value))
    if low is not None and high is not None:
        return Tensor(b.apply1("clip", value, low, high))
    if low is not None:
        return Tensor(b.maximum(value, low))
    return Tensor(b.unary("identity", value) if high is None else b.minimum(value, high))


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of both, element by element."""
    return binary("maximum", x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of both, element by element."""
    return binary("minimum", x, y)


def equal(x: Any, y: Any) -> Tensor:
    return binary("equal", x, y)


def not_equal(x: Any, y: Any) -> Tensor:
    return binary("not_equal", x, y)


def greater(x: Any, y: Any) -> Tensor:
    return binary("greater", x, y)


def greater_equal(x: Any, y: Any) -> Tensor:
    return binary("greater_equal", x, y)


def less(x: Any, y: Any) -> Tensor:
    return binary("less", x, y)


def less_equal(x: Any, y: Any) -> Tensor:
    return binary("less_equal", x, y)


# Reductions


def axes_of(x: Value, axis: Any, what: str) -> tuple[int, ...]:
    """`axis` (None: all, an int, or several) as axes counted from the front, ascending.

    Raises ValueError for an axis that `x` lacks.
    """
    if axis is None:
        return tuple(range(x.rank))
    given = list(axis) if np.ndim(axis) else [axis]
    for a in given:
        if not -x.rank <= int(a) < x.rank:
            raise ValueError(f"{what}: axis {a} is out of range for a tensor of rank {x.rank}")
    return tuple(sorted({int(a) % x.rank for a in given}))


def _reduce(op: str, x: Value, axis: Any, keepdims: bool) -> Value:
    return b.apply1(op, x, axes=axes_of(x, axis, op), keepdims=bool(keepdims))


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return Tensor(_reduce("reduce_sum", as_value(x), axis, keepdims))


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return Tensor(_reduce("reduce_prod", as_value(x), axis, keepdims))


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return Tensor(_reduce("reduce_max", as_value(x), axis, keepdims))


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return Tensor(_reduce("reduce_min", as_value(x), axis, keepdims))


def _floats(x: Any) -> Value:
    value = as_value(x)
    return value if value.type.dtype.is_float else b.cast(value, float_type())


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean; of bools and integers as the default float type."""
    return Tensor(_reduce("reduce_mean", _floats(x), axis, keepdims))


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The variance: the mean of the squared distances from the mean."""
    value = _floats(x)
    centred = b.sub(value, _reduce("reduce_mean", value, axis, True))
    return Tensor(_reduce("reduce_mean", b.unary("square", centred), axis, keepdims))


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The standard deviation: the square root of `var`."""
    return sqrt(var(x, axis, keepdims))


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element is true (not 0), as a bool tensor."""
    return Tensor(_reduce("reduce_any", b.cast(as_value(x), dtypes.bool_), axis, keepdims))


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are true (not 0), as a bool tensor."""
    return Tensor(_reduce("reduce_all", b.cast(as_value(x), dtypes.bool_), axis, keepdims))


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) without overflow."""
    value = as_value(x)
    peak = b.unary("stop_gradient", _reduce("reduce_max", value, axis, True))
    finite = b.compare("less", b.unary("abs", peak), float("inf"))
    peak = b.select(finite, peak, 0)
    total = _reduce("reduce_sum", b.unary("exp", b.sub(value, peak)), axis, True)
    result = b.add(b.unary("log", total), peak)
    if keepdims:
        return Tensor(result)
    gone = axes_of(value, axis, "K.logsumexp")
    return Tensor(b.reshape(result, [d for i, d in enumerate(value.shape) if i not in gone]))


def argmax(x: Any, axis: int = -1) -> Tensor:
    """The position of the largest element along `axis`, as int64; the first at ties."""
    return _position("argmax", x, axis)


def argmin(x: Any, axis: int = -1) -> Tensor:
    """The position of the smallest element along `axis`, as int64; the first at ties."""
    return _position("argmin", x, axis)


def _position(op: str, x: Any, axis: int) -> Tensor:
    value = as_value(x)
    return Tensor(b.apply1(op, value, axis=axes_of(value, axis, op)[0]))


def l2_normalize(x: Any, axis: Any = None) -> Tensor:
    """`x` divided by its Euclidean norm along `axis`."""
    value = as_value(x)
    total = _reduce("reduce_sum", b.unary("square", value), axis, True)
    return Tensor(b.mul(value, b.unary("rsqrt", b.maximum(total, 1e-12))))


# Products of matrices


def dot(x: Any, y: Any) -> Tensor:
    """The product over the last axis of `x` and the last but one of `y`, for all other axes of both.

    Shapes (..., n) and (..., n, m) give (all others of x, all others of y, m), as in numpy. Either may be sparse.
    """
    left, right = operands(x, y)
    if is_sparse(x) and x.parts is not None and right.rank == 2:
        return Tensor(sparse.product(x, right))
    if left.rank < 2 or right.rank < 2:
        raise ValueError(
            f"K.dot takes tensors of rank 2 or more, got shapes {_words(left)} and {_words(right)}; "
            "give a vector a second axis with K.expand_dims"
        )
    if left.rank == 2 and right.rank == 2:
        return Tensor(b.matmul(left, right))
    inner = right.rank - 2
    order = (inner, *(i for i in range(right.rank) if i != inner))
    others = tuple(d for i, d in enumerate(right.shape) if i != inner)
    rows = b.reshape(left, (product(left.shape[:-1]), left.shape[-1]))
    columns = b.reshape(b.transpose(right, order), (right.shape[inner], product(others)))
    return Tensor(b.reshape(b.matmul(rows, columns), (*left.shape[:-1], *others)))


def _words(x: Value) -> str:
    return "(" + ", ".join(str(d) for d in x.shape) + ")"


def batch_dot(x: Any, y: Any, axes: int | Sequence[int] | None = None) -> Tensor:
    """The product over `axes[0]` of `x` and `axes[1]` of `y` for each sample; at least two axes remain.

    `axes` defaults to the last axis of `x` and the last but one of `y`. Operands of rank 2 to 3; of higher rank,
    batches of matrices as in a matrix product, contracted over one of the last two axes of each.
    """
    left, right = operands(x, y)
    first, second = _batch_axes(left, right, axes)
    if left.rank == 2 and right.rank == 2:
        if first == second:
            return Tensor(b.reduce_sum(b.mul(left, right), (1,), keepdims=True))
        raise ValueError(f"K.batch_dot of tensors of rank 2 contracts axis 1 of both, got axes {axes}")
    pad = left.rank - right.rank
    if pad > 0:
        right = b.reshape(right, right.shape + (1,) * pad)
    elif pad < 0:
        left = b.reshape(left, left.shape + (1,) * -pad)
    rank = left.rank
    for name, axis in (("x", first), ("y", second)):
        if axis < rank - 2:
            raise ValueError(f"K.batch_dot contracts one of the last two axes, not axis {axis} of {name} (rank {rank})")
    result = b.matmul(left, right, first == rank - 2, second == rank - 1)
    if pad > 0:
        result = _without(result, range(rank - 1, rank - 1 - pad, -1))
    elif pad < 0:
        result = _without(result, range(rank - 2, rank - 2 + pad, -1))
    return Tensor(b.reshape(result, (*result.shape, 1)) if result.rank == 1 else result)


def _batch_axes(x: Value, y: Value, axes: int | Sequence[int] | None) -> tuple[int, int]:
    if axes is None:
        axes = (x.rank - 1, builtins.max(y.rank - 2, 1))
    pair: Sequence[Any] = (axes, axes) if isinstance(axes, int) else axes
    if len(pair) != 2 or builtins.any(isinstance(a, (list, tuple)) for a in pair):
        raise ValueError(
            f"Multiple target dimensions are not supported. Expected: None, int, (int, int), Provided: {axes}"
        )
    if x.rank < 2 or y.rank < 2:
        raise ValueError(f"K.batch_dot takes tensors of rank 2 or more, got shapes {_words(x)} and {_words(y)}")
    first, second = (axes_of(v, a, "K.batch_dot")[0] for v, a in zip((x, y), pair, strict=True))
    if not first or not second:
        raise ValueError("K.batch_dot cannot contract the axis of samples (0)")
    return first, second


def _without(x: Value, axes: Any) -> Value:
    gone = set(axes)
    shape: list[Dim] = [d for i, d in enumerate(x.shape) if i not in gone]
    return b.reshape(x, shape)
