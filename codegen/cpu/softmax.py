"""Softmax and its logarithm on the CPU, along any axis. Before it come the ops of `ir/ops/norm.py`; `losses.py` shares
the text of a row.

A tensor is seen as [outer, n, inner]. Along the last axis an item is a row, which is read three times (its maximum,
the sum of exponentials, the result); along another axis an item is a block of columns.
"""

from __future__ import annotations

import functools

from codegen.cpu.columns import placed
from codegen.cpu.tiles import computed_in, count, literal, named_slots, per, tiles
from codegen.launch import Choose, Launch, LowerContext, Read, Write
from codegen.source import Kernel
from ir.graph import Node

_COLUMNS = 512  # columns of an item

ROW_TOTAL = """\
top = lowest
for i in range(n):
    top = maximum(top, load(p, i))
total = f64(0)
for b in range(0, n, 4096):
    s = {value}(0)
    for i in range(b, min(b + 4096, n)):
        e = exp(load(p, i) - top)
        {keep}s += e
    total += f64(s)
"""
"""The maximum `top` of the row `p` of `n` elements and the sum `total` of exp(p - top); `keep` may store the
exponential `e`."""

_ROWS = """
def kernel(args, lo, hi, worker):
    {slots}
    for r in range(lo * per, min(hi * per, rows)):
        p = offset(x, r * n)
        q = offset(y, r * n)
        {total}
        {last}
        for i in range(n):
            store(q, i, {result})
"""

_COLUMNS_TEXT = """
def kernel(args, lo, hi, worker):
    {slots}
    top = {value}p(worker)
    total = offset(top, {columns})
    blocks = (inner + {columns} - 1) // {columns}
    for r in range(lo * per, min(hi * per, items)):
        c0 = r % blocks * {columns}
        high = min({columns}, inner - c0)
        start = r // blocks * n * inner + c0
        for k in range(high):
            store(top, k, lowest)
            store(total, k, {value}(0))
        for i in range(n):
            p = offset(x, start + i * inner)
            for k in range(high):
                store(top, k, maximum(load(top, k), load(p, k)))
        for i in range(n):
            p = offset(x, start + i * inner)
            for k in range(high):
                store(total, k, load(total, k) + exp(load(p, k) - load(top, k)))
        for k in range(high):
            store(total, k, {share})
        for i in range(n):
            p = offset(x, start + i * inner)
            q = offset(y, start + i * inner)
            for k in range(high):
                store(q, k, {result})
"""


@functools.cache
def _rows_kernel(short: str, value: str, log: bool) -> Kernel:
    # Exponentials are kept in the result, unless that would round them to half precision.
    kept = not log and short == value
    if log:
        # Written with fma, which is not reordered: top + shift would lose the digits of shift where top is large.
        last = f"shift = {value}(log(total))"
        result = f"fma(shift, {value}(-1), fma(top, {value}(-1), load(p, i)))"
    else:
        last = f"share = {value}(f64(1) / total)"
        result = "load(q, i) * share" if kept else "exp(load(p, i) - top) * share"
    total = ROW_TOTAL.format(value=value, keep="store(q, i, e)\n        " if kept else "")
    text = _ROWS.format(
        slots=named_slots(f"{short}:x {short}:y {value}=lowest rows n per"),
        total=placed(total, 8),
        last=last,
        result=result,
    )
    return Kernel(f"{'log_' * log}softmax_{short}", text, fastmath=True)


@functools.cache
def _columns_kernel(short: str, value: str, log: bool) -> Kernel:
    if log:
        share, result = "log(load(total, k))", "(load(p, k) - load(top, k)) - load(total, k)"
    else:
        share, result = f"{value}(1) / load(total, k)", "exp(load(p, k) - load(top, k)) * load(total, k)"
    slots = named_slots(f"{short}:x {short}:y {value}=lowest items n inner per")
    text = _COLUMNS_TEXT.format(slots=slots, value=value, columns=_COLUMNS, share=share, result=result)
    return Kernel(f"{'log_' * log}softmax_columns_{short}", text)


def _column_items(outer: int, inner: int) -> int:
    return outer * -(-inner // _COLUMNS)


def _column_tiles(outer: int, n: int, inner: int) -> int:
    """Items are tiles: a block of columns is much work already."""
    return _column_items(outer, inner) if n else 0


def _lower(node: Node, ctx: LowerContext, log: bool) -> list[Launch]:
    x, axis = node.inputs[0], node.attrs["axis"]
    short, value = x.type.dtype.short, computed_in(x.type.dtype)
    outer, n, inner = count(*x.shape[:axis]), x.shape[axis], count(*x.shape[axis + 1 :])
    buffers = (Read(ctx.buffer(x)), Write(ctx.buffer(node.output)), literal(float("-inf"), value))
    # A row is read again after its exponentials took its place, but then these are what is read.
    inplace = ((ctx.buffer(node.output), ctx.buffer(x)),)
    work = count(12, x.type.size)
    if inner == 1:
        kernel = _rows_kernel(short, value, log)
        return [Launch(kernel, (*buffers, outer, n, per(n)), tiles(outer, n), work, inplace=inplace)]
    kernel = _columns_kernel(short, value, log)
    slots = (*buffers, Choose(_column_items, (outer, inner)), n, inner, 1)
    return [Launch(kernel, slots, Choose(_column_tiles, (outer, n, inner)), work, _COLUMNS * 16, inplace)]


def lower_softmax(node: Node, ctx: LowerContext) -> list[Launch]:
    return _lower(node, ctx, log=False)


def lower_log_softmax(node: Node, ctx: LowerContext) -> list[Launch]:
    return _lower(node, ctx, log=True)
