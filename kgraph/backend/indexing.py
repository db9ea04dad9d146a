"""Indexing of values: `x[:, 1:, None, -1]` as a slice, gathers and a reshape. Used by `Tensor.__getitem__`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ir import builder as b
from ir import dims
from ir.dims import Dim
from ir.graph import Value
from ir.sizes import known_elements, known_scalar
from kgraph.backend.static import Dimension


def index(x: Value, key: Any) -> Value:
    """`x[key]` with numpy's meaning for ints, slices, `...`, None and integer values.

    A bound beyond the end of an axis of unknown size is cut to it; a start is taken to lie within. Raises IndexError
    for too many or impossible indices and TypeError for what cannot be an index.
    """
    items = _expand(x, key if isinstance(key, tuple) else (key,))
    starts: list[Dim] = []
    stops: list[Dim] = []
    steps: list[int] = []
    gathers: dict[int, Value] = {}
    dropped: list[bool | None] = []  # per item: True: the axis goes, False: it stays, None: a new axis
    for item in items:
        if item is None:
            dropped.append(None)
            continue
        axis = len(starts)
        size = x.shape[axis]
        start: Dim = 0
        stop: Dim = size
        step, drop = 1, False
        if isinstance(item, slice):
            start, stop, step = _bounds(item, size)
        elif isinstance(item, Value) and (item.rank or known_scalar(item) is None):
            gathers[axis] = item
        else:
            start = _position(as_dim(item), size, axis)
            stop, drop = start + 1, True
        starts.append(start)
        stops.append(stop)
        steps.append(step)
        dropped.append(drop)
    if starts != [0] * x.rank or stops != list(x.shape) or steps != [1] * x.rank:
        y = b.slice(x, starts, stops, steps)
    else:
        y = x
    shape = _remaining(y.shape, dropped, gathers)
    for axis in sorted(gathers, reverse=True):
        y = b.apply1("gather", y, gathers[axis], axis=axis)
    return b.reshape(y, shape)


def as_dim(item: Any) -> Dim:
    """An int, numpy integer, `Dimension`, dim or scalar integer value of known content as a dim."""
    if isinstance(item, Dimension):
        return item.dim
    if isinstance(item, Value):
        known = known_scalar(item)
        if known is None:
            raise TypeError("a size must be a number or computed from K.shape; this tensor depends on data")
        return known
    if isinstance(item, (bool, np.bool_)):
        raise TypeError("True and False are not sizes")
    if dims.is_dim(item):
        return item  # type: ignore[no-any-return]
    if isinstance(item, np.integer):
        return int(item)
    if isinstance(item, np.ndarray) and item.ndim == 0 and item.dtype.kind in "iu":
        return int(item)
    raise TypeError(f"expected an integer, got {item!r}")


def as_dims(shape: Any) -> tuple[Dim, ...]:
    """A sequence of sizes, or an integer vector of known content, as dims."""
    if isinstance(shape, Value):
        known = known_elements(shape) if shape.rank == 1 else None
        if known is None:
            raise TypeError("a shape must hold numbers or be computed from K.shape; this tensor depends on data")
        return known
    return tuple(as_dim(item) for item in shape)


def _expand(x: Value, key: tuple[Any, ...]) -> list[Any]:
    """`key` with `...` written out, one item for each axis."""
    given = sum(item is not None and item is not Ellipsis for item in key)
    ellipses = sum(item is Ellipsis for item in key)
    if ellipses > 1:
        raise IndexError("an index can hold one '...' only")
    if given > x.rank:
        raise IndexError(f"too many indices: {given} for a tensor of rank {x.rank}")
    fill = [slice(None)] * (x.rank - given)
    out: list[Any] = []
    for item in key:
        if item is Ellipsis:
            out.extend(fill)
        else:
            out.append(item)
    return out if ellipses else out + fill


def _position(i: Dim, size: Dim, axis: int) -> Dim:
    if isinstance(i, int) and isinstance(size, int) and not -size <= i < size:
        raise IndexError(f"index {i} is out of range for axis {axis} of size {size}")
    return size + i if isinstance(i, int) and i < 0 else i


def _bounds(item: slice, size: Dim) -> tuple[Dim, Dim, int]:
    step = 1 if item.step is None else as_dim(item.step)
    if not isinstance(step, int) or step == 0:
        raise IndexError(f"the step of a slice must be a number other than 0, got {item.step!r}")
    start = None if item.start is None else as_dim(item.start)
    stop = None if item.stop is None else as_dim(item.stop)
    if isinstance(size, int) and not isinstance(start, dims.DimExpr | dims.SymDim):
        if not isinstance(stop, dims.DimExpr | dims.SymDim):
            first, last, step = slice(start, stop, step).indices(size)
            if step > 0:
                return first, max(first, last), step
            return (first, last, step) if last < first else (0, 0, 1)
    if step < 0:
        return _from_end(start, size, size - 1), _from_end(stop, size, -1), step
    first_dim = _from_end(start, size, 0)
    last_dim = _from_end(stop, size, size)
    if isinstance(stop, int) and stop >= 0:
        last_dim = dims.dim_min(stop, size)
    return first_dim, last_dim, step


def _from_end(bound: Dim | None, size: Dim, default: Dim) -> Dim:
    if bound is None:
        return default
    return size + bound if isinstance(bound, int) and bound < 0 else bound


def _remaining(shape: tuple[Dim, ...], dropped: list[bool | None], gathers: dict[int, Value]) -> list[Dim]:
    out: list[Dim] = []
    axis = 0
    for drop in dropped:
        if drop is None:
            out.append(1)
            continue
        if axis in gathers:
            out.extend(gathers[axis].shape)
        elif not drop:
            out.append(shape[axis])
        axis += 1
    return out
