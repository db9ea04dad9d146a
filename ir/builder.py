"""Building free-floating values: `apply` makes a node, the functions below are shorthand for it.

Used by the Keras backend, by gradient rules and by passes. The origin (the Keras layers that a node comes from) is
taken from the enclosing `origin(...)` block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from ir import dtypes
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Attrs, Node, Value
from ir.opdef import TypeRuleError, infer
from ir.types import TensorType

_origin: ContextVar[tuple[str, ...]] = ContextVar("origin", default=())

Operand = Value | int | float | bool | np.generic


@contextlib.contextmanager
def origin(names: tuple[str, ...]) -> Iterator[None]:
    """Nodes made in this block carry `names` as their origin."""
    token = _origin.set(names)
    try:
        yield
    finally:
        _origin.reset(token)


def change_origin(names: tuple[str, ...]) -> None:
    """Another origin for the rest of the enclosing `origin` block."""
    _origin.set(names)


def current_origin() -> tuple[str, ...]:
    return _origin.get()


def serial() -> int:
    """A number between the serials of the nodes made so far and those of nodes made later."""
    node = constant(0.0).node
    assert node is not None
    return node.serial


def input_value(type: TensorType, name: str | None = None) -> Value:
    """A new input (a placeholder)."""
    return Value(type, None, 0, name)


def apply(op: str, *inputs: Value, **attrs: Any) -> tuple[Value, ...]:
    """Applies the op called `op` and returns its outputs. Raises TypeRuleError, which names the origin."""
    from ir.ops import OPS

    frozen = Attrs(attrs)
    try:
        types, constraints = infer(OPS[op], inputs, frozen)
    except TypeRuleError as e:
        if not _origin.get():
            raise
        raise TypeRuleError(f"{e} (in {'/'.join(_origin.get())})") from e
    return Node(OPS[op], tuple(inputs), frozen, types, _origin.get(), constraints).outputs


def apply1(op: str, *inputs: Value, **attrs: Any) -> Value:
    """`apply` for an op with one output."""
    (out,) = apply(op, *inputs, **attrs)
    return out


def constant(value: Any, dtype: DType | None = None) -> Value:
    """A constant from a Python or numpy number, nested sequence or array. Its elements stand in the text form."""
    array = np.asarray(value) if dtype is None else np.asarray(value).astype(dtype.numpy)
    kind = dtypes.of(array.dtype)
    # The shortest decimal that rounds to the element, so that the text form of a float32 0.001 says 0.001.
    flat = tuple(float(str(x)) if kind.is_float else x.item() for x in array.ravel())
    return apply1("constant", value=flat, shape=array.shape, dtype=kind)


def lift(x: Operand, like: Value) -> Value:
    """`x` as a value; a Python or numpy number takes the dtype of `like`."""
    return x if isinstance(x, Value) else constant(x, like.type.dtype)


def _pair(x: Operand, y: Operand) -> tuple[Value, Value]:
    like = x if isinstance(x, Value) else y
    if not isinstance(like, Value):
        raise TypeError("at least one operand must be a value")
    return lift(x, like), lift(y, like)


def add(x: Operand, y: Operand) -> Value:
    return apply1("add", *_pair(x, y))


def sub(x: Operand, y: Operand) -> Value:
    return apply1("sub", *_pair(x, y))


def mul(x: Operand, y: Operand) -> Value:
    return apply1("mul", *_pair(x, y))


def div(x: Operand, y: Operand) -> Value:
    return apply1("div", *_pair(x, y))


def floordiv(x: Operand, y: Operand) -> Value:
    return apply1("floordiv", *_pair(x, y))


def mod(x: Operand, y: Operand) -> Value:
    return apply1("mod", *_pair(x, y))


def pow(x: Operand, y: Operand) -> Value:
    return apply1("pow", *_pair(x, y))


def maximum(x: Operand, y: Operand) -> Value:
    return apply1("maximum", *_pair(x, y))


def minimum(x: Operand, y: Operand) -> Value:
    return apply1("minimum", *_pair(x, y))


def compare(op: str, x: Operand, y: Operand) -> Value:
    """`op` is one of equal, not_equal, less, less_equal, greater, greater_equal; the result is bool."""
    return apply1(op, *_pair(x, y))


def unary(op: str, x: Value) -> Value:
    """Any elementwise op of one operand and no attributes: neg, exp, log, sqrt, square, tanh, ..."""
    return apply1(op, x)


def neg(x: Value) -> Value:
    return apply1("neg", x)


def select(condition: Value, x: Operand, y: Operand) -> Value:
    """`x` where `condition` (bool, broadcast) holds, else `y`."""
    return apply1("select", condition, *_pair(x, y))


def cast(x: Value, dtype: DType) -> Value:
    return x if x.type.dtype == dtype else apply1("cast", x, dtype=dtype)


def reduce(op: str, x: Value, axes: Sequence[int] | None = None, keepdims: bool = False) -> Value:
    """`op` is one of reduce_sum, reduce_mean, reduce_max, reduce_min, reduce_prod, reduce_any, reduce_all.

    `axes` None reduces all; negative axes count from the end.
    """
    rank = x.rank
    ax = tuple(range(rank)) if axes is None else tuple(sorted(a % rank if -rank <= a < rank else a for a in axes))
    return apply1(op, x, axes=ax, keepdims=keepdims)


def reduce_sum(x: Value, axes: Sequence[int] | None = None, keepdims: bool = False) -> Value:
    return reduce("reduce_sum", x, axes, keepdims)


def reduce_mean(x: Value, axes: Sequence[int] | None = None, keepdims: bool = False) -> Value:
    return reduce("reduce_mean", x, axes, keepdims)


def reshape(x: Value, shape: Sequence[Dim]) -> Value:
    """Row-major reshape; the number of elements must agree."""
    return x if x.shape == tuple(shape) else apply1("reshape", x, shape=tuple(shape))


def transpose(x: Value, perm: Sequence[int]) -> Value:
    return x if tuple(perm) == tuple(range(x.rank)) else apply1("transpose", x, perm=tuple(perm))


def broadcast_to(x: Value, shape: Sequence[Dim]) -> Value:
    return x if x.shape == tuple(shape) else apply1("broadcast_to", x, shape=tuple(shape))


def sum_to(x: Value, shape: Sequence[Dim]) -> Value:
    """Undoes a broadcast: sums `x` over the axes along which `shape` is 1 or missing.

    It stays a node while dims are symbolic, since which axes those are may only be known when sizes are bound.
    """
    return x if x.shape == tuple(shape) else apply1("sum_to", x, shape=tuple(shape))


def full(shape: Sequence[Dim], value: Any, dtype: DType) -> Value:
    return broadcast_to(constant(value, dtype), shape)


def zeros_like(x: Value) -> Value:
    return full(x.shape, 0, x.type.dtype)


def ones_like(x: Value) -> Value:
    return full(x.shape, 1, x.type.dtype)


def matmul(x: Value, y: Value, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    """Matrix product of the last two axes; leading axes broadcast as in numpy."""
    return apply1("matmul", x, y, transpose_a=transpose_a, transpose_b=transpose_b)


def concatenate(xs: Sequence[Value], axis: int) -> Value:
    return xs[0] if len(xs) == 1 else apply1("concatenate", *xs, axis=axis % xs[0].rank)


def slice(x: Value, starts: Sequence[Dim], stops: Sequence[Dim], steps: Sequence[int] | None = None) -> Value:
    """`x[start:stop:step, ...]` for every axis; starts and stops are within bounds, steps may be negative.

    For a negative step, `stop` may be -1, meaning "past the first element".
    """
    return apply1(
        "slice", x, starts=tuple(starts), stops=tuple(stops), steps=tuple(steps or (1,) * x.rank)
    )


def sizes(shape: Sequence[Dim], dtype: DType = dtypes.i32) -> Value:
    """A vector whose elements are dims: `K.shape`."""
    return apply1("sizes", dims=tuple(shape), dtype=dtype)
