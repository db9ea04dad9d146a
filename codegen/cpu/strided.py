"""Copies between strided views of two buffers: what transposing, slicing, padding and joining come down to.

Before it comes `shape.py`, which describes an op by the strides of its operand and of its result. A copy knows
elements only by their size, so there is one kernel for each size, whatever the rank: the two inner axes are loops, the
others are digits of the item's number. Where the inner axis of the result is not that of the source, square blocks are
transposed in registers (`microkernel.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from codegen.cpu.features import host_vectors
from codegen.cpu.microkernel import transpose_kernel
from codegen.cpu.tiles import count, items_per_tile, named_slots, per, tiles
from codegen.launch import Buffer, Choose, Entry, Launch, Order, Read, Size, Slot, Write
from codegen.source import Kernel
from ir.dims import Dim


@dataclass(frozen=True)
class Axis:
    """One axis of a copy: its size, and the strides, in elements, of source and target (0 repeats, negative runs
    backwards)."""

    size: Dim
    source: Dim
    target: Dim


def dense(shape: Sequence[Dim]) -> list[Dim]:
    """The strides of a row-major tensor."""
    return [count(*shape[i + 1 :]) for i in range(len(shape))]


def collapse(axes: Sequence[Axis]) -> list[Axis]:
    """The same copy with axes of size 1 dropped and neighbours merged that are one axis in both source and target."""
    merged: list[Axis] = []
    for axis in axes:
        if axis.size == 1:
            continue
        if merged:
            outer = merged[-1]
            if outer.source == count(axis.source, axis.size) and outer.target == count(axis.target, axis.size):
                merged[-1] = Axis(count(outer.size, axis.size), axis.source, axis.target)
                continue
        merged.append(axis)
    return merged


_DECODE = """\
        s = x0
        d = y0
        q = t // blocks
        for k in range(n_outer - 1, -1, -1):
            at = {base} + 3 * k
            s += q % a[at] * a[at + 1]
            d += q % a[at] * a[at + 2]
            q = q // a[at]
        first = t % blocks * block
        high = min(block, m - first)
        s += first * xm
        d += first * ym
"""

_COPY_NAMES = "x0 y0 m xm ym n xn yn block blocks items per n_outer"
_COPY = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo * per, min(hi * per, items)):
{decode}\
        for j in range(high):
            p = offset(x, s + j * xm)
            to = offset(y, d + j * ym)
            if xn == 1 and yn == 1:
                for i in range(n):
                    store(to, i, load(p, i))
            elif xn == 0 and yn == 1:
                value = p[0]
                for i in range(n):
                    store(to, i, value)
            else:
                for i in range(n):
                    store(to, i * yn, load(p, i * xn))
"""

_TRANSPOSE = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo * per, min(hi * per, items)):
{decode}\
        p = offset(x, s)
        to = offset(y, d)
        squares = high // lanes
        whole = n // lanes * lanes
        if squares == 0:
            whole = 0
        for i in range(0, whole, lanes):
            call_n(transpose, addr(offset(to, i)), ym * {size}, addr(offset(p, i * xn)), xn * {size}, squares)
        for j in range(high):
            i0 = whole
            if j >= squares * lanes:
                i0 = 0
            for i in range(i0, n):
                store(to, j * ym + i, load(p, i * xn + j))
"""
"""Here the axis m runs along the source (xm is 1) and n along the target (yn is 1)."""


def _unsigned(itemsize: int) -> str:
    return f"u{8 * itemsize}"


@functools.cache
def _copy_kernel(itemsize: int) -> Kernel:
    u = _unsigned(itemsize)
    slots = named_slots(f"{u}:x {u}:y {_COPY_NAMES}")
    decode = _DECODE.format(base=2 + len(_COPY_NAMES.split()))
    return Kernel(f"copy_{8 * itemsize}", _COPY.format(slots=slots, decode=decode))


@functools.cache
def _transpose_kernel(itemsize: int) -> Kernel:
    u = _unsigned(itemsize)
    names = f"{_COPY_NAMES} lanes transpose"
    decode = _DECODE.format(base=2 + len(names.split()))
    slots = named_slots(f"{u}:x {u}:y {names}")
    return Kernel(f"transpose_{8 * itemsize}", _TRANSPOSE.format(slots=slots, decode=decode, size=itemsize))


_LANES = 64  # a block of the axis m is a multiple of this: of the lanes of every vector


def block_of(m: int, n: int) -> int:
    """Rows of an item: so many that it is worth a tile."""
    return min(m, -(-items_per_tile(n) // _LANES) * _LANES)


def _blocks(m: int, n: int) -> int:
    return -(-m // max(1, block_of(m, n)))


def _items(outer: int, m: int, n: int) -> int:
    return outer * _blocks(m, n)


def _per(m: int, n: int) -> int:
    return items_per_tile(block_of(m, n) * n)


def _tiles(outer: int, m: int, n: int) -> int:
    return -(-_items(outer, m, n) // _per(m, n)) if n else 0


def copy(
    x: Buffer,
    y: Buffer,
    axes: Sequence[Axis],
    itemsize: int,
    source: Dim = 0,
    target: Dim = 0,
    order: Order = Order.BARRIER,
) -> Launch:
    """The launch that copies from element `source` of x to element `target` of y on, along `axes` (the last one is the
    inner one)."""
    merged = collapse(axes)
    while len(merged) < 2:
        merged.insert(0, Axis(1, 0, 0))
    *outer, last = merged
    transposed = _transposed(outer, last, itemsize)
    row = outer.pop(transposed if transposed is not None else -1)
    m, n = row.size, last.size
    number = count(*(axis.size for axis in outer))
    items = Choose(_items, (number, m, n))
    slots: list[Slot] = [
        Read(x), Write(y), source, target, m, row.source, row.target, n, last.source, last.target,
        Choose(block_of, (m, n)), Choose(_blocks, (m, n)), items, Choose(_per, (m, n)), len(outer),
    ]  # fmt: skip
    kernel = _copy_kernel(itemsize)
    if transposed is not None:
        kernel = _transpose_kernel(itemsize)
        lanes = host_vectors().lanes(itemsize)
        slots += [lanes, Entry(transpose_kernel(lanes, itemsize))]
    for axis in outer:
        slots += [axis.size, axis.source, axis.target]
    return Launch(kernel, tuple(slots), Choose(_tiles, (number, m, n)), count(number, m, n), order=order)


def _transposed(outer: Sequence[Axis], last: Axis, itemsize: int) -> int | None:
    """Which of the outer axes runs along the source, where the inner one runs along the target only."""
    if last.target != 1 or last.source == 1 or itemsize not in (4, 8):
        return None
    return next((i for i, axis in enumerate(outer) if axis.source == 1), None)


_FILL = """
def kernel(args, lo, hi, worker):
    {slots}
    for i in range(lo * per, min(hi * per, n)):
        store(y, i, value)
"""


@functools.cache
def _fill_kernel(itemsize: int) -> Kernel:
    u = _unsigned(itemsize)
    return Kernel(f"fill_{8 * itemsize}", _FILL.format(slots=named_slots(f"{u}:y {u}=value n per")))


def fill(y: Buffer, size: Dim, itemsize: int, bits: int = 0) -> Launch:
    """The launch that sets `size` elements to the value with these bits."""
    number: Size = tiles(size, 1)
    return Launch(_fill_kernel(itemsize), (Write(y), bits, size, per(1)), number, size)
