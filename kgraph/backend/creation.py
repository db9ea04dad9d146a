"""Making tensors: placeholders, constants, filled tensors and ranges; and asking tensors what they are."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import numpy as np

from ir import builder as b
from ir import dtypes
from ir.dims import Dim, ceildiv, product
from ir.dtypes import DType
from kgraph.backend import indexing, session
from kgraph.backend.sparse import SparseTensor
from kgraph.backend.tensor import Tensor, as_value, placeholder_type
from kgraph.backend.variable import Variable, variable


def float_type() -> DType:
    """The default float type."""
    return dtypes.of(session.current().config.floatx)


def dtype_of(dtype: Any) -> DType:
    """`dtype`, or the default float type for None."""
    return float_type() if dtype is None else dtypes.of(dtype)


def as_shape(shape: Any) -> tuple[Dim, ...]:
    """A shape from ints, dimensions, scalar tensors computed from `K.shape`, or one such vector."""
    if isinstance(shape, Tensor):
        return indexing.as_dims(shape.value)
    if not hasattr(shape, "__iter__"):
        shape = (shape,)
    return indexing.as_dims(x.value if isinstance(x, Tensor) else x for x in shape)


# What a tensor is


def is_tensor(x: Any) -> TypeGuard[Tensor]:
    """Whether `x` is a symbolic tensor or a variable."""
    return isinstance(x, Tensor)


def is_variable(x: Any) -> TypeGuard[Variable]:
    """Whether `x` is a variable."""
    return isinstance(x, Variable)


def is_placeholder(x: Any) -> bool:
    """Whether `x` is a tensor whose value is fed."""
    return isinstance(x, Tensor) and x.value.producer is None


def is_keras_tensor(x: Any) -> bool:
    """Whether `x` was made by a Keras layer or `Input`. Raises ValueError for what is no tensor."""
    if not isinstance(x, Tensor):
        raise ValueError(f"Unexpectedly found an instance of type `{type(x)}`. Expected a symbolic tensor instance.")
    return hasattr(x, "_keras_history")


def ndim(x: Tensor) -> int:
    """The number of axes."""
    return as_value(x).rank


def dtype(x: Tensor) -> str:
    """The name of the element type."""
    return as_value(x).type.dtype.name


def int_shape(x: Any) -> tuple[int | None, ...]:
    """The shape as a tuple of ints, None where a size is not known yet."""
    if hasattr(x, "_keras_shape"):
        return tuple(x._keras_shape)
    if isinstance(x, np.ndarray):
        return x.shape
    return tuple(d if isinstance(d, int) else None for d in as_value(x).shape)


def shape(x: Any) -> Tensor:
    """The sizes as an integer vector, also where they are not known yet."""
    return Tensor(b.sizes(as_value(x).shape))


def count_params(x: Any) -> int:
    """The number of elements of a variable."""
    return math.prod(d for d in int_shape(x) if d is not None)


# Placeholders and constants


def placeholder(
    shape: Any = None, ndim: int | None = None, dtype: Any = None, sparse: bool = False, name: str | None = None
) -> Tensor:
    """A tensor whose value is fed when a function runs. Unknown sizes are None; `ndim` stands for that many of them.

    A `sparse` one is fed scipy matrices or arrays. Raises ValueError where neither `shape` nor `ndim` is given.
    """
    if shape is None:
        if ndim is None:
            raise ValueError("a placeholder needs a `shape`, or `ndim`, its number of axes")
        shape = (None,) * ndim
    shape = tuple(shape)
    label = session.current().unique_name(session.scope() + (name or "Placeholder"))
    kind = SparseTensor if sparse else Tensor
    x = kind(b.input_value(placeholder_type(shape, dtype_of(dtype)), label), label + ":0")
    x._keras_shape = tuple(d if isinstance(d, int) else None for d in x.value.shape)
    return x


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Tensor:
    """A constant tensor; with `shape` a single number fills it."""
    content = as_value(np.asarray(value, dtype=None if dtype is None else dtype_of(dtype).numpy), dtype_of(dtype))
    if shape is not None:
        target = as_shape(shape)
        fits = content.type.size == product(target)
        content = b.reshape(content, target) if fits else b.broadcast_to(content, target)
    return Tensor(content, _named(name))


def _named(name: str | None) -> str | None:
    return None if name is None else session.current().unique_name(session.scope() + name) + ":0"


def _filled(shape: Any, value: float, dtype: Any, name: str | None) -> Tensor:
    """A variable where the shape is known and has elements, else a tensor."""
    dims = as_shape(shape)
    kind = dtype_of(dtype)
    if all(isinstance(d, int) and d > 0 for d in dims):
        return variable(np.full([d for d in dims if isinstance(d, int)], value, kind.numpy), kind.name, name)
    return Tensor(b.full(dims, value, kind), _named(name))


def zeros(shape: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """A variable of zeros; a plain tensor where the shape is not known yet."""
    return _filled(shape, 0, dtype, name)


def ones(shape: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """A variable of ones; a plain tensor where the shape is not known yet."""
    return _filled(shape, 1, dtype, name)


def eye(size: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """A variable that holds the identity matrix."""
    rows, columns = size if isinstance(size, (tuple, list)) else (size, size)
    return variable(np.eye(int(rows), int(columns)), dtype, name)


def _like(x: Any, value: int, dtype: Any, name: str | None) -> Tensor:
    source = as_value(x)
    return Tensor(b.full(source.shape, value, source.type.dtype if dtype is None else dtypes.of(dtype)), _named(name))


def zeros_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Zeros of the shape of `x`."""
    return _like(x, 0, dtype, name)


def ones_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Ones of the shape of `x`."""
    return _like(x, 1, dtype, name)


def identity(x: Any, name: str | None = None) -> Tensor:
    """A tensor with the content of `x`."""
    return Tensor(b.unary("identity", as_value(x)), _named(name))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = "int32") -> Tensor:
    """`start`, `start + step`, ... up to but without `stop`; with one number, 0 up to it.

    Numbers, or integer tensors computed from `K.shape`.
    """
    kind = dtypes.of(dtype)
    bounds = [_bound(x) for x in (start, stop, step)]
    first, last, by = bounds
    if last is None:
        first, last = 0, 0 if isinstance(first, (int, float)) and first < 0 else first
    if all(isinstance(x, (int, float)) for x in (first, last, by)):
        return Tensor(as_value(np.arange(first, last, by).astype(kind.numpy), kind))
    if not isinstance(by, int) or by == 0:
        raise ValueError(f"K.arange over sizes that are not known yet takes a step that is a number, got {step!r}")
    count = ceildiv(last - first, by) if by > 0 else ceildiv(first - last, -by)
    steps = b.apply1("iota", size=count, dtype=dtypes.i32)
    if by != 1:
        steps = b.mul(steps, by)
    if first != 0:
        steps = b.add(steps, first if isinstance(first, int) else b.reshape(b.sizes((first,)), ()))
    return Tensor(b.cast(steps, kind))


def _bound(x: Any) -> Any:
    if x is None or isinstance(x, (int, float)):
        return x
    if isinstance(x, (np.floating, np.integer)):
        return x.item()
    return indexing.as_dim(x.value if isinstance(x, Tensor) else x)
