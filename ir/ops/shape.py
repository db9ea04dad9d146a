"""Ops that make or move elements without arithmetic: constants, sizes, reshape, transpose, slices, padding, gather.

`unslice` and `scatter_add` are the gradients of `slice` and `gather`; each is differentiable in terms of the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ir import builder as b
from ir import dims, dtypes
from ir.dims import Dim
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops.base import SingleOutput, of_kind, operands
from ir.ops.reduce import expands
from ir.types import TensorType


def _dense(x: Array) -> Array:
    """A fresh row-major copy, so that no result is a view of an input."""
    return np.array(x, order="C")


class Constant(Op):
    """A tensor whose elements stand in `value`, row-major."""

    name = "constant"
    schema = {"value": "numbers", "shape": "ints", "dtype": "dtype"}
    no_gradient = "it has no inputs"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 0)
        value, shape, dtype = attrs["value"], attrs["shape"], attrs["dtype"]
        if any(d < 0 for d in shape) or len(value) != math.prod(shape):
            raise TypeRuleError(f"constant: {len(value)} elements do not fill shape {shape}")
        allowed: tuple[type, ...] = (bool,) if dtype.is_bool else (float,) if dtype.is_float else (int,)
        wrong = next((v for v in value if type(v) not in allowed), None)
        if wrong is not None:
            raise TypeRuleError(f"constant: {wrong!r} is not a value of {dtype.name}")
        if dtype.is_integer and value:
            info = np.iinfo(dtype.name)
            if min(value) < info.min or max(value) > info.max:
                raise TypeRuleError(f"constant: values {min(value)} to {max(value)} do not fit {dtype.name}")
        return (TensorType(dtype, shape),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (np.array(attrs["value"], attrs["dtype"].numpy).reshape(attrs["shape"]),)


class Sizes(Op):
    """A vector of dims: what `K.shape` gives. `ir/sizes.py` reads the dims back from values computed with it."""

    name = "sizes"
    schema = {"dims": "dims", "dtype": "dtype"}
    no_gradient = "it has no inputs"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 0)
        out = TensorType(attrs["dtype"], (len(attrs["dims"]),))
        of_kind(self.name, out, "iu", "the dtype of sizes")
        return (out,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (np.array(attrs["dims"], attrs["dtype"].numpy),)


class Iota(Op):
    """0, 1, ..., size - 1."""

    name = "iota"
    schema = {"size": "dim", "dtype": "dtype"}
    no_gradient = "it has no inputs"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 0)
        size = attrs["size"]
        if isinstance(size, int) and size < 0:
            raise TypeRuleError(f"iota: size {size} is negative")
        out = TensorType(attrs["dtype"], (size,))
        of_kind(self.name, out, "iuf", "the dtype of iota")
        return (out,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (np.arange(attrs["size"]).astype(attrs["dtype"].numpy),)


class Reshape(SingleOutput):
    """The same elements, row-major, in another shape."""

    name = "reshape"
    schema = {"shape": "dims"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,), shape = types, attrs["shape"]
        out = TensorType(x.dtype, shape)
        if any(isinstance(d, int) and d < 0 for d in shape):
            raise TypeRuleError(f"reshape: {out} has a negative size")
        if x.size != out.size:
            what = f"reshape of {x} to {out}: numbers of elements"
            meet.same(*_without_common_factors(x.shape, shape), what)
        return (out,)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (_dense(inputs[0]).reshape(attrs["shape"]),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.reshape(g, node.inputs[0].shape),)


def _without_common_factors(left: Sequence[Dim], right: Sequence[Dim]) -> tuple[Dim, Dim]:
    """The products of both shapes, divided by what they visibly share, so that unequal ones say more: `[B, 6]` reshaped
    to `[B, K, 3]` gives 2 and K.
    """
    rest, others = list(left), []
    for d in right:
        if d in rest and d != 0:
            rest.remove(d)
        else:
            others.append(d)
    known = [math.prod(d for d in part if isinstance(d, int)) for part in (rest, others)]
    shared = math.gcd(*known) or 1
    unknown = [[d for d in part if not isinstance(d, int)] for part in (rest, others)]
    first, second = (dims.product((*ds, k // shared)) for ds, k in zip(unknown, known, strict=True))
    return first, second


class Transpose(SingleOutput):
    """Axis i of the result is axis `perm[i]` of the operand."""

    name = "transpose"
    schema = {"perm": "ints"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,), perm = types, attrs["perm"]
        if sorted(perm) != list(range(x.rank)):
            raise TypeRuleError(f"transpose: {perm} is not a permutation of the {x.rank} axes of {x}")
        return (TensorType(x.dtype, tuple(x.shape[p] for p in perm)),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (_dense(np.transpose(inputs[0], attrs["perm"])),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        perm = node.attrs["perm"]
        return (b.transpose(g, [perm.index(i) for i in range(len(perm))]),)


class BroadcastTo(SingleOutput):
    """Repeats elements along axes of size 1 and along new leading axes, as numpy broadcasts."""

    name = "broadcast_to"
    schema = {"shape": "dims"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,), shape = types, attrs["shape"]
        what = f"broadcast_to of {x} to {TensorType(x.dtype, shape)}"
        lead = len(shape) - x.rank
        if lead < 0:
            raise TypeRuleError(f"{what}: the rank must not shrink")
        tail = tuple(expands(d, target, meet, what) for d, target in zip(x.shape, shape[lead:], strict=True))
        return (TensorType(x.dtype, shape[:lead] + tail),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (_dense(np.broadcast_to(inputs[0], attrs["shape"])),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.sum_to(g, node.inputs[0].shape),)


class Concatenate(SingleOutput):
    """Joins one or more operands along `axis`."""

    name = "concatenate"
    schema = {"axis": "int"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        axis = attrs["axis"]
        if not types:
            raise TypeRuleError("concatenate takes at least one operand")
        listed = ", ".join(map(str, types))
        if len({t.dtype for t in types}) > 1 or len({t.rank for t in types}) > 1:
            raise TypeRuleError(f"concatenate: operands must have one dtype and one rank, got {listed}")
        first = types[0]
        if not 0 <= axis < first.rank:
            raise TypeRuleError(f"concatenate: axis {axis} is out of range for operands of rank {first.rank}")
        shape = list(first.shape)
        for t in types[1:]:
            for i, d in enumerate(t.shape):
                what = f"concatenate of {listed} along axis {axis}: axis {i}"
                shape[i] = shape[i] + d if i == axis else meet.same(shape[i], d, what)
        return (TensorType(first.dtype, tuple(shape)),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (_dense(np.concatenate(list(inputs), axis=attrs["axis"])),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        axis = node.attrs["axis"]
        parts: list[Value | None] = []
        start: Dim = 0
        for v in node.inputs:
            stop = start + v.shape[axis]
            starts = [start if i == axis else 0 for i in range(v.rank)]
            stops = [stop if i == axis else d for i, d in enumerate(v.shape)]
            parts.append(b.slice(g, starts, stops))
            start = stop
        return tuple(parts)


def _extent(start: Dim, stop: Dim, step: int) -> Dim:
    """How many elements `start:stop:step` has."""
    return dims.ceildiv(stop - start, step) if step > 0 else dims.ceildiv(start - stop, -step)


def _slice_shape(name: str, shape: tuple[Dim, ...], attrs: Attrs) -> tuple[Dim, ...]:
    """The shape of a slice of `shape`. Raises TypeRuleError for bounds that are known to be wrong."""
    starts, stops, steps = attrs["starts"], attrs["stops"], attrs["steps"]
    if not len(starts) == len(stops) == len(steps) == len(shape):
        raise TypeRuleError(f"{name}: needs one start, stop and step for each of {len(shape)} axes")
    for axis, (d, start, stop, step) in enumerate(zip(shape, starts, stops, steps, strict=True)):
        if step == 0:
            raise TypeRuleError(f"{name}: the step of axis {axis} is 0")
        low, high = (0, d) if step > 0 else (-1, d - 1)
        order = (low, start, stop, high) if step > 0 else (low, stop, start, high)
        gaps = [after - before for before, after in itertools.pairwise(order)]
        if any(isinstance(gap, int) and gap < 0 for gap in gaps):
            raise TypeRuleError(
                f"{name}: {start}:{stop}:{step} is out of bounds for axis {axis} of size {dims.format_dim(d)}"
            )
    return tuple(_extent(*s) for s in zip(starts, stops, steps, strict=True))


def _index(attrs: Attrs) -> tuple[slice, ...]:
    """numpy's form of a slice. An empty one is spelled out, since numpy would count a bound of -1 from the end."""
    return tuple(
        slice(0, 0) if start == stop else slice(start, None if stop < 0 else stop, step)
        for start, stop, step in zip(attrs["starts"], attrs["stops"], attrs["steps"], strict=True)
    )


class Slice(SingleOutput):
    """`x[start:stop:step]` on every axis. Bounds lie within the axis and in the step's direction; for a negative step,
    `stop` may be -1, which means past the first element.
    """

    name = "slice"
    schema = {"starts": "dims", "stops": "dims", "steps": "ints"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,) = types
        return (TensorType(x.dtype, _slice_shape(f"slice of {x}", x.shape, attrs)),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (_dense(inputs[0][_index(attrs)]),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.apply1("unslice", g, shape=node.inputs[0].shape, **node.attrs),)


class Unslice(SingleOutput):
    """Zeros of `shape` with the operand put in where `slice` with the same bounds would read."""

    name = "unslice"
    schema = {"shape": "dims", "starts": "dims", "stops": "dims", "steps": "ints"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,), shape = types, attrs["shape"]
        part = _slice_shape("unslice", shape, attrs)
        if len(part) != x.rank:
            raise TypeRuleError(f"unslice of {x}: the shape {shape} has another rank")
        for d, e in zip(x.shape, part, strict=True):
            meet.same(d, e, f"unslice of {x}")
        return (TensorType(x.dtype, shape),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        out = np.zeros(attrs["shape"], inputs[0].dtype)
        out[_index(attrs)] = inputs[0]
        return (out,)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        a = node.attrs
        return (b.slice(g, a["starts"], a["stops"], a["steps"]),)


class Pad(SingleOutput):
    """Adds `pads[i] = (before, after)` elements equal to `value` around axis i."""

    name = "pad"
    schema = {"pads": "pairs", "value": "number"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (x,), pads = types, attrs["pads"]
        if len(pads) != x.rank:
            raise TypeRuleError(f"pad of {x}: needs {x.rank} pairs, got {len(pads)}")
        if any(isinstance(p, int) and p < 0 for pair in pads for p in pair):
            raise TypeRuleError(f"pad of {x}: padding must not be negative, got {pads}")
        return (TensorType(x.dtype, tuple(d + lo + hi for d, (lo, hi) in zip(x.shape, pads, strict=True))),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x,), pads = inputs, attrs["pads"]
        out = np.full([d + lo + hi for d, (lo, hi) in zip(x.shape, pads, strict=True)], attrs["value"], x.dtype)
        out[tuple(slice(lo, lo + d) for d, (lo, _) in zip(x.shape, pads, strict=True))] = x
        return (out,)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        shape, pads = node.inputs[0].shape, node.attrs["pads"]
        starts = [lo for lo, _ in pads]
        return (b.slice(g, starts, [lo + d for lo, d in zip(starts, shape, strict=True)]),)


def _check_range(name: str, indices: Array, size: int) -> None:
    wrong = indices[(indices < 0) | (indices >= size)]
    if wrong.size:
        raise IndexError(f"{name}: index {wrong.flat[0]} is out of range [0, {size})")


class Gather(SingleOutput):
    """Replaces `axis` of x by the axes of `indices`: element i of them is slice `indices[i]` of x.

    An index out of range is an error.
    """

    name = "gather"
    schema = {"axis": "int"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        (x, indices), axis = types, attrs["axis"]
        of_kind(self.name, indices, "iu", "indices")
        if not 0 <= axis < x.rank:
            raise TypeRuleError(f"gather: axis {axis} is out of range for {x}, which has rank {x.rank}")
        return (TensorType(x.dtype, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (x, indices), axis = inputs, attrs["axis"]
        _check_range(self.name, indices, x.shape[axis])
        return (_dense(np.take(x, indices.astype(np.intp), axis=axis)),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        (x, indices), axis = node.inputs, node.attrs["axis"]
        return b.apply1("scatter_add", g, indices, size=x.shape[axis], axis=axis), None


class ScatterAdd(SingleOutput):
    """The gradient of `gather`: adds slice i of `updates` to slice `indices[i]` of zeros, `size` of them along
    `axis`. An index out of range is an error.
    """

    name = "scatter_add"
    schema = {"size": "dim", "axis": "int"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        (updates, indices), axis = types, attrs["axis"]
        of_kind(self.name, updates, "iuf", "updates")
        of_kind(self.name, indices, "iu", "indices")
        end = axis + indices.rank
        if axis < 0 or end > updates.rank:
            raise TypeRuleError(f"scatter_add: updates {updates} have no axes {axis} to {end} for indices {indices}")
        for d, e in zip(updates.shape[axis:end], indices.shape, strict=True):
            meet.same(d, e, f"scatter_add of {updates} at {indices}")
        return (TensorType(updates.dtype, (*updates.shape[:axis], attrs["size"], *updates.shape[end:])),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        (updates, indices), axis, size = inputs, attrs["axis"], attrs["size"]
        _check_range(self.name, indices, size)
        before, after = updates.shape[:axis], updates.shape[axis + indices.ndim :]
        out = np.zeros((*before, size, *after), np.float64 if updates.dtype.kind == "f" else updates.dtype)
        flat = updates.reshape((*before, indices.size, *after))
        np.add.at(out, (*(slice(None),) * axis, indices.ravel().astype(np.intp)), flat)
        return (out.astype(updates.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return b.apply1("gather", g, node.inputs[1], axis=node.attrs["axis"]), None


class OneHot(Op):
    """A new last axis of size `depth` that is 1 at the index and 0 elsewhere; all 0 for an index out of range."""

    name = "one_hot"
    schema = {"depth": "int", "dtype": "dtype"}
    no_gradient = "indices are integers"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        (indices,), depth = types, attrs["depth"]
        of_kind(self.name, indices, "iu", "indices")
        if depth < 0:
            raise TypeRuleError(f"one_hot: depth {depth} is negative")
        return (TensorType(attrs["dtype"], (*indices.shape, depth)),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        classes = np.arange(attrs["depth"], dtype=dtypes.i64.numpy)
        return ((inputs[0][..., None].astype(np.int64) == classes).astype(attrs["dtype"].numpy),)


OPS: tuple[Op, ...] = (
    Constant(), Sizes(), Iota(), Reshape(), Transpose(), BroadcastTo(), Concatenate(), Slice(), Unslice(), Pad(),
    Gather(), ScatterAdd(), OneHot(),
)  # fmt: skip
