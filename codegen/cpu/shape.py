"""Rearranging, joining, cutting and indexing tensors on the CPU, and vectors made from sizes.

Before it come the ops of `ir/ops/shape.py`; most are strided copies (`strided.py`). `broadcast_to` is elementwise
(`elementwise.py`), reshapes cost nothing (`schedule.py`). Kernels that only move elements know them by their size. An
index out of range, which is an error in the reference, reads zeros and writes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from codegen.cpu.strided import Axis, copy, dense, fill
from codegen.cpu.tiles import computed_in, count, named_slots, per, tiles
from codegen.cpu.widen import narrow
from codegen.launch import Buffer, Choose, Launch, LowerContext, Lowering, Order, Read, Write
from codegen.source import Kernel
from ir import dims
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Node


def _buffers(node: Node, ctx: LowerContext) -> tuple[Buffer, Buffer, int]:
    """First operand, result, size of an element."""
    return ctx.buffer(node.inputs[0]), ctx.buffer(node.output), node.output.type.dtype.itemsize


def lower_transpose(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y, itemsize = _buffers(node, ctx)
    source, out = dense(node.inputs[0].shape), node.output.shape
    axes = [Axis(d, source[p], t) for d, p, t in zip(out, node.attrs["perm"], dense(out), strict=True)]
    return [copy(x, y, axes, itemsize)]


def _view(shape: tuple[Dim, ...], node: Node) -> tuple[list[Dim], Dim]:
    """Strides, and first element, of a slice of a dense tensor of `shape`."""
    strides = dense(shape)
    start: Dim = 0
    for first, stride in zip(node.attrs["starts"], strides, strict=True):
        start = start + count(first, stride)
    return [count(step, stride) for step, stride in zip(node.attrs["steps"], strides, strict=True)], start


def lower_slice(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y, itemsize = _buffers(node, ctx)
    strides, start = _view(node.inputs[0].shape, node)
    out = node.output.shape
    axes = [Axis(*axis) for axis in zip(out, strides, dense(out), strict=True)]
    return [copy(x, y, axes, itemsize, source=start)]


def lower_unslice(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y, itemsize = _buffers(node, ctx)
    out, part = node.output.type, node.inputs[0].shape
    if all(step == 1 for step in node.attrs["steps"]):
        return _surrounded(node, node.attrs["starts"], 0, ctx)
    strides, start = _view(out.shape, node)
    axes = [Axis(*axis) for axis in zip(part, dense(part), strides, strict=True)]
    return [fill(y, out.size, itemsize), copy(x, y, axes, itemsize, target=start)]


def _surrounded(node: Node, before: Sequence[Dim], value: float | int | bool, ctx: LowerContext) -> list[Launch]:
    """Copies the operand to where it begins in the result, and `value` to the slabs around it, axis by axis."""
    x, y, itemsize = _buffers(node, ctx)
    shape, out = node.inputs[0].shape, node.output.shape
    strides = dense(out)
    content = np.array(value).astype(node.output.type.dtype.numpy).tobytes()
    constant = ctx.constant(content, "padding")

    def place(source: Buffer, steps: Sequence[Dim], sizes: Sequence[Dim], starts: Sequence[Dim]) -> Launch:
        target: Dim = 0
        for first, stride in zip(starts, strides, strict=True):
            target = target + count(first, stride)
        axes = [Axis(*axis) for axis in zip(sizes, steps, strides, strict=True)]
        order = Order.INDEPENDENT if source is constant else Order.BARRIER
        return copy(source, y, axes, itemsize, target=target, order=order)

    launches = [place(x, dense(shape), shape, before)]
    for k, (first, size, whole) in enumerate(zip(before, shape, out, strict=True)):
        for start, width in ((0, first), (first + size, whole - first - size)):
            if width != 0:
                # the axes before this one are those of the operand, the ones behind it are whole
                sizes = (*shape[:k], width, *out[k + 1 :])
                starts = (*before[:k], start, *(0 for _ in out[k + 1 :]))
                launches.append(place(constant, [0] * len(out), sizes, starts))
    return launches


def _bits(value: float | int | bool, dtype: DType) -> int:
    """An element as an unsigned integer, fit for a slot."""
    number = int(np.array(value).astype(dtype.numpy).reshape(1).view(f"u{dtype.itemsize}")[0])
    return number - 2**64 if number >= 2**63 else number


def lower_pad(node: Node, ctx: LowerContext) -> list[Launch]:
    return _surrounded(node, [before for before, _ in node.attrs["pads"]], node.attrs["value"], ctx)


def lower_concatenate(node: Node, ctx: LowerContext) -> list[Launch]:
    axis, out = node.attrs["axis"], node.output
    strides = dense(out.shape)
    launches: list[Launch] = []
    start: Dim = 0
    for v in node.inputs:
        axes = [Axis(*a) for a in zip(v.shape, dense(v.shape), strides, strict=True)]
        order = Order.INDEPENDENT if launches else Order.BARRIER
        target = count(start, strides[axis])
        launches.append(copy(ctx.buffer(v), ctx.buffer(out), axes, out.type.dtype.itemsize, target=target, order=order))
        start = start + v.shape[axis]
    return launches


# Indices.

_GATHER = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo * per, min(hi * per, items)):
        index = i64(indices[t % m])
        to = offset(y, t * inner)
        if 0 <= index and index < n:
            p = offset(x, (t // m * n + index) * inner)
            for i in range(inner):
                store(to, i, load(p, i))
        else:
            for i in range(inner):
                store(to, i, {u}(0))
"""


@functools.cache
def _gather_kernel(itemsize: int, index: str) -> Kernel:
    u = f"u{8 * itemsize}"
    slots = named_slots(f"{u}:x {index}:indices {u}:y n m inner items per")
    return Kernel(f"gather_{8 * itemsize}_{index}", _GATHER.format(slots=slots, u=u))


def lower_gather(node: Node, ctx: LowerContext) -> list[Launch]:
    x, indices = node.inputs
    axis, m = node.attrs["axis"], indices.type.size
    outer, n, inner = count(*x.shape[:axis]), x.shape[axis], count(*x.shape[axis + 1 :])
    kernel = _gather_kernel(x.type.dtype.itemsize, indices.type.dtype.short)
    items = count(outer, m)
    buffers = (Read(ctx.buffer(x)), Read(ctx.buffer(indices)), Write(ctx.buffer(node.output)))
    slots = (*buffers, n, m, inner, items, per(inner))
    return [Launch(kernel, slots, tiles(items, inner), count(items, inner))]


_SCATTER_ADD = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo, hi):
        part = t % parts
        outer = t // parts
        first = n * part // parts
        end = n * (part + 1) // parts
        fill0(addr(offset(y, (outer * n + first) * inner)), (end - first) * inner * {size})
        for j in range(m):
            index = i64(indices[j])
            if first <= index and index < end:
                to = offset(y, (outer * n + index) * inner)
                p = offset(x, (outer * m + j) * inner)
                for i in range(inner):
                    store(to, i, load(to, i) + load(p, i))
"""


@functools.cache
def _scatter_add_kernel(source: DType, target: str, index: str) -> Kernel:
    """Tiles are ranges of the result along the axis; each goes through all indices in order."""
    slots = named_slots(f"{source.short}:x {index}:indices {target}:y n m inner parts")
    size = {"f16": 4}.get(source.short, source.itemsize)
    return Kernel(f"scatter_add_{source.short}_{index}", _SCATTER_ADD.format(slots=slots, size=size))


_SCATTER_PARTS = 8


def _scatter_parts(outer: int, n: int, inner: int) -> int:
    enough = -(-_SCATTER_PARTS // max(1, outer))
    return max(1, min(enough, n * inner // 8192, n))


def _scatter_tiles(outer: int, n: int, inner: int) -> int:
    return outer * _scatter_parts(outer, n, inner)


def lower_scatter_add(node: Node, ctx: LowerContext) -> list[Launch]:
    updates, indices = node.inputs
    axis, m, out = node.attrs["axis"], indices.type.size, node.output
    (y,), after = narrow(node, ctx)
    outer, n, inner = count(*out.shape[:axis]), out.shape[axis], count(*out.shape[axis + 1 :])
    dtype = updates.type.dtype
    kernel = _scatter_add_kernel(dtype, computed_in(dtype), indices.type.dtype.short)
    sizes = (outer, n, inner)
    slots = (
        Read(ctx.buffer(updates)), Read(ctx.buffer(indices)), Write(y), n, m, inner, Choose(_scatter_parts, sizes),
    )  # fmt: skip
    work = count(outer, dims.dim_max(m, n), inner)
    return [Launch(kernel, slots, Choose(_scatter_tiles, sizes), work), *after]


_ONE_HOT = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo * per, min(hi * per, items)):
        to = offset(y, t * depth)
        fill0(addr(to), depth * {size})
        index = i64(indices[t])
        if 0 <= index and index < depth:
            to[index] = one
"""


@functools.cache
def _one_hot_kernel(itemsize: int, index: str) -> Kernel:
    u = f"u{8 * itemsize}"
    slots = named_slots(f"{index}:indices {u}:y {u}=one depth items per")
    return Kernel(f"one_hot_{8 * itemsize}_{index}", _ONE_HOT.format(slots=slots, size=itemsize))


def lower_one_hot(node: Node, ctx: LowerContext) -> list[Launch]:
    indices, depth, dtype = node.inputs[0], node.attrs["depth"], node.output.type.dtype
    items = indices.type.size
    kernel = _one_hot_kernel(dtype.itemsize, indices.type.dtype.short)
    slots = (
        Read(ctx.buffer(indices)), Write(ctx.buffer(node.output)), _bits(1, dtype), depth, items, per(depth),
    )  # fmt: skip
    return [Launch(kernel, slots, tiles(items, depth), count(items, depth))]


# Vectors made from sizes.

_IOTA = """
def kernel(args, lo, hi, worker):
    {slots}
    for i in range(lo * per, min(hi * per, n)):
        store(y, i, {cast}(i))
"""


@functools.cache
def _iota_kernel(dtype: DType) -> Kernel:
    slots = named_slots(f"{dtype.short}:y n per")
    return Kernel(f"iota_{dtype.short}", _IOTA.format(slots=slots, cast=computed_in(dtype)))


def lower_iota(node: Node, ctx: LowerContext) -> list[Launch]:
    n = node.attrs["size"]
    slots = (Write(ctx.buffer(node.output)), n, per(1))
    return [Launch(_iota_kernel(node.attrs["dtype"]), slots, tiles(n, 1), n)]


_SIZES = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo, hi):
        y[t] = {cast}(a[t + 1])
"""


@functools.cache
def _sizes_kernel(dtype: DType) -> Kernel:
    slots = named_slots(f"{dtype.short}:y")
    return Kernel(f"sizes_{dtype.short}", _SIZES.format(slots=slots, cast=computed_in(dtype)))


def lower_sizes(node: Node, ctx: LowerContext) -> list[Launch]:
    sizes = node.attrs["dims"]
    return [Launch(_sizes_kernel(node.attrs["dtype"]), (Write(ctx.buffer(node.output)), *sizes), len(sizes))]


LOWERINGS: dict[str, Lowering] = {
    "transpose": lower_transpose,
    "slice": lower_slice,
    "unslice": lower_unslice,
    "pad": lower_pad,
    "concatenate": lower_concatenate,
    "gather": lower_gather,
    "scatter_add": lower_scatter_add,
    "one_hot": lower_one_hot,
    "iota": lower_iota,
    "sizes": lower_sizes,
}
