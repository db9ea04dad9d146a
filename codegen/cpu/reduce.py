"""Reductions on the CPU. Before it come the ops of `ir/ops/reduce.py`.

Neighbouring axes that are all kept or all reduced are one axis. What remains is reduced one axis at a time, from the
last: each step sees a tensor as [outer, n, inner] and gives [outer, inner]. Where inner is 1, a row is summed with
several vector accumulators; otherwise rows are combined column by column (`columns.py`). A long axis is split into
parts, which make tiles, and a second launch of the same kernel combines them. Sums of float32 are taken over blocks
and these in float64, so that they are good to about 1e-7 at any length.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codegen.cpu.columns import fold, group_of, placed, row_pass
from codegen.cpu.tiles import computed_in, count, items_per_tile, literal, named_slots, per, tiles
from codegen.launch import Buffer, Choose, Launch, LowerContext, Lowering, Read, Slot, Write
from codegen.schedule import copy_launch
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Node

_Sizes = tuple[Dim, Dim, Dim]  # outer, n, inner

_PART = 16384  # elements of a part of an axis, at least
_MOST_PARTS = 64
_SHORT = 512  # elements of a row up to which four rows are summed side by side
_BLOCK = 4096  # elements of a row that are summed in one precision before they go to the next
BLOCK_ROWS = 256  # the same for rows that are combined column by column: groups of a block
_COLUMNS = 1024  # columns of an item


@dataclass(frozen=True)
class Monoid:
    """An associative operation as text, and its neutral element for a dtype."""

    name: str
    combine: str

    def neutral(self, dtype: DType) -> float | int:
        if self.name in ("sum", "prod"):
            return int(self.name == "prod")
        if dtype.is_bool:
            return int(self.name == "min")
        sign = -1 if self.name == "max" else 1
        if dtype.is_float:
            return sign * float("inf")
        limits = np.iinfo(dtype.numpy)
        limit = int(limits.min if sign < 0 else limits.max)
        return limit - 2**64 if limit >= 2**63 else limit  # as the bits of a slot


_SUM = Monoid("sum", "({} + {})")
_PROD = Monoid("prod", "({} * {})")
_MAX = Monoid("max", "maximum({}, {})")
_MIN = Monoid("min", "minimum({}, {})")

_ROWS = """
def kernel(args, lo, hi, worker):
    {slots}
    t = lo * per
    end = min(hi * per, items)
    while n <= {short} and t < end:
        {rows}
        s0 = s1 = s2 = s3 = neutral
        for i in range(n):
            {add_four}
        {narrow_four}
        t += 4
    while t < end:
        part = t % parts
        first = n * part // parts
        stop = n * (part + 1) // parts
        p = offset(x, t // parts * n)
        total = {wide}(neutral)
        for b in range(first, stop, {block}):
            s = neutral
            for i in range(b, min(b + {block}, stop)):
                s = {add}
            total = {widen}
        {scale}
        y[t] = {narrow}
        t += 1
"""
"""Short rows, of one part, are taken four at a time, since an addition waits for the one before; at the end the last
one several times, so that no row is summed in another way.
"""

_COLUMNS_TEXT = """
def kernel(args, lo, hi, worker):
    {slots}
    s = {value}p(worker)
    totals = {wide}p(worker + scratch)
    blocks = (inner + {columns} - 1) // {columns}
    for t in range(lo * per, min(hi * per, items)):
        c0 = t % blocks * {columns}
        c = min({columns}, inner - c0)
        part = t // blocks % parts
        outer = t // blocks // parts
        first = n * part // parts
        end = n * (part + 1) // parts
        width = c
        step = inner
        if group > 1:
            width = group * c
            step = width
        for k in range(c):
            store(totals, k, {wide}(neutral))
        while first < end:
            rows = min({block} * group, end - first)
            groups = rows // group
            rest = (rows - groups * group) * c
            xb = offset(x, (outer * n + first) * inner + c0)
            for k in range(width):
                store(s, k, neutral)
            {add}
            {fold}
            for k in range(c):
                store(totals, k, {widen})
            first += rows
        to = offset(y, (outer * parts + part) * inner + c0)
        for k in range(c):
            total = load(totals, k)
            {scale}
            store(to, k, {narrow})
"""


@dataclass(frozen=True)
class _Form:
    """What the text of a kernel depends on: the operation, the dtypes that it reads and writes, and whether it divides
    in the end."""

    monoid: Monoid
    source: str
    target: str
    mean: bool

    @property
    def value(self) -> str:
        return computed_in(dtypes.of(self.source))

    @property
    def wide(self) -> str:
        """The dtype of totals over blocks."""
        return "f64" if dtypes.of(self.source).is_float and self.monoid.name in ("sum", "prod") else self.value

    def combined(self, left: str, right: str) -> str:
        return self.monoid.combine.format(left, right)

    @property
    def scale(self) -> str:
        """Lines that make a mean of `total`."""
        if not self.mean:
            return "pass"
        if dtypes.of(self.source).is_float:
            return "total = total / f64(divisor)"
        wide = "u64" if dtypes.of(self.source).kind == "u" else "i64"
        exact = f"{wide}({self.value}(total))"  # the sum wraps, the quotient truncates
        return f"total = sign({exact}) * floordiv(absolute({exact}), {wide}(divisor))"

    def slots(self, names: str) -> str:
        return named_slots(f"{self.source}:x {self.target}:y {self.value}=neutral n parts items per divisor {names}")


@functools.cache
def _rows_kernel(form: _Form) -> Kernel:
    narrow = f"{computed_in(dtypes.of(form.target))}(total)"
    rows, add, four = [], [], []
    for j in range(4):
        rows += [f"t{j} = min(t + {j}, end - 1)", f"p{j} = offset(x, t{j} * n)"]
        add.append(f"s{j} = {form.combined(f's{j}', f'load(p{j}, i)')}")
        four += [f"total = {form.wide}(s{j})", form.scale, f"y[t{j}] = {narrow}"]
    text = _ROWS.format(
        slots=form.slots(""),
        short=_SHORT,
        rows=placed("\n".join(rows), 8),
        add_four=placed("\n".join(add), 12),
        narrow_four=placed("\n".join(four), 8),
        block=_BLOCK,
        wide=form.wide,
        add=form.combined("s", "load(p, i)"),
        widen=form.combined("total", f"{form.wide}(s)"),
        scale=form.scale,
        narrow=narrow,
    )
    return Kernel(f"reduce_{form.monoid.name}_rows_{form.source}", text, fastmath=True)


@functools.cache
def _columns_kernel(form: _Form) -> Kernel:
    text = _COLUMNS_TEXT.format(
        slots=form.slots("inner group scratch"),
        value=form.value,
        wide=form.wide,
        columns=_COLUMNS,
        block=BLOCK_ROWS,
        add=placed(row_pass(["xb"], [("s", "{xb}")], form.monoid.combine), 12),
        fold=placed(fold("s", "c", form.monoid.combine), 12),
        widen=form.combined("load(totals, k)", f"{form.wide}(load(s, k))"),
        scale=form.scale,
        narrow=f"{computed_in(dtypes.of(form.target))}(total)",
    )
    return Kernel(f"reduce_{form.monoid.name}_columns_{form.source}", text)


# Sizes.


def _items(outer: int, parts: int, inner: int) -> int:
    return outer * parts * -(-inner // _COLUMNS)


def _per(parts: int, n: int, inner: int) -> int:
    return items_per_tile(-(-n // parts) * min(inner, _COLUMNS))


def _tiles(outer: int, parts: int, n: int, inner: int) -> int:
    return -(-_items(outer, parts, inner) // _per(parts, n, inner))


def _group(n: int, inner: int) -> int:
    """Rows of a group; rows of a short axis are not worth folding."""
    if inner > _COLUMNS:
        return 1
    return max(1, min(group_of(inner), n // 8))


def _sums_bytes(n: int, inner: int) -> int:
    """Bytes of one group of values, rounded to vectors."""
    return -(-8 * _group(n, inner) * min(inner, _COLUMNS) // 64) * 64


def _scratch(n: int, inner: int) -> int:
    return _sums_bytes(n, inner) + 8 * min(inner, _COLUMNS)


def parts_of(outer: Dim, n: Dim, inner: Dim) -> Dim:
    """Into how many parts an axis is split: enough for tiles of some size where the rest of the shape makes few."""
    most = dims.floordiv(count(n, dims.dim_min(inner, _COLUMNS)), _PART)
    if isinstance(most, int) and most <= 1:
        return 1
    enough = dims.floordiv(_MOST_PARTS, dims.dim_max(1, count(outer, dims.ceildiv(inner, _COLUMNS))))
    return dims.dim_max(1, dims.dim_min(dims.dim_min(enough, most), n))


def _launch(form: _Form, neutral: Slot, x: Buffer, y: Buffer, sizes: _Sizes, parts: Dim, divisor: Dim) -> Launch:
    """One launch from [outer, n, inner] to [outer, parts, inner]."""
    outer, n, inner = sizes
    shape = (outer, parts, n, inner)
    slots: tuple[Slot, ...] = (
        Read(x), Write(y), neutral, n, parts, Choose(_items, (outer, parts, inner)), Choose(_per, (parts, n, inner)),
        divisor,
    )  # fmt: skip
    work = count(outer, n, inner)
    if inner == 1:
        return Launch(_rows_kernel(form), slots, Choose(_tiles, shape), work)
    slots += (inner, Choose(_group, (n, inner)), Choose(_sums_bytes, (n, inner)))
    return Launch(_columns_kernel(form), slots, Choose(_tiles, shape), work, Choose(_scratch, (n, inner)))


def combine_parts(monoid: Monoid, x: Buffer, y: Buffer, dtype: DType, columns: Dim, parts: Dim, mean_of: Dim) -> Launch:
    """The launch that combines float64 numbers [parts, columns] in their order, and divides by `mean_of`."""
    form = _Form(monoid, "f64", dtype.short, mean_of != 1)
    return _launch(form, literal(monoid.neutral(dtype), "f64"), x, y, (1, parts, columns), 1, mean_of)


def _steps(shape: Sequence[Dim], axes: Sequence[int]) -> list[_Sizes]:
    """The axes to reduce as steps from [outer, n, inner] to [outer, inner], the last ones first."""
    known = [(d, axis in axes) for axis, d in enumerate(shape) if d != 1]
    steps: list[_Sizes] = []
    inner: Dim = 1
    n: Dim = 1
    for i, (d, reduced) in reversed(list(enumerate(known))):
        if not reduced:
            inner = count(d, inner)
        elif i and known[i - 1][1]:
            n = count(d, n)
        else:
            steps.append((count(*(d for d, _ in known[:i])), count(d, n), inner))
            n = 1
    return steps


def _reduce(node: Node, ctx: LowerContext, monoid: Monoid, axes: Sequence[int], mean: bool = False) -> list[Launch]:
    x, y = node.inputs[0], node.output
    dtype = x.type.dtype
    source = "u8" if dtype.is_bool else dtype.short
    neutral = literal(monoid.neutral(dtype), computed_in(dtype))
    steps = _steps(x.shape, axes)
    divisor = count(*(x.shape[a] for a in axes))
    launches: list[Launch] = []
    buffer = ctx.buffer(x)

    def add(sizes: _Sizes, parts: Dim, last: bool) -> None:
        nonlocal buffer, source
        value = computed_in(dtypes.of(source))
        form = _Form(monoid, source, dtype.short if last and dtype == dtypes.f16 else value, mean and last)
        result = ctx.buffer(y) if last else ctx.temp(count(sizes[0], parts, sizes[2], 8), "partial results")
        launches.append(_launch(form, neutral, buffer, result, sizes, parts, divisor))
        buffer, source = result, value

    for i, (outer, n, inner) in enumerate(steps):
        last = i == len(steps) - 1
        parts = parts_of(outer, n, inner)
        if parts != 1:
            add((outer, n, inner), parts, False)
            n = parts
        add((outer, n, inner), 1, last)
    return launches or [copy_launch(buffer, ctx.buffer(y), "result")]


def _lower(monoid: Monoid, mean: bool = False) -> Lowering:
    def lower(node: Node, ctx: LowerContext) -> list[Launch]:
        return _reduce(node, ctx, monoid, node.attrs["axes"], mean)

    return lower


def lower_sum_to(node: Node, ctx: LowerContext) -> list[Launch]:
    """Sums over leading axes that the result lacks and over those where it has size 1. Dims that differ in any other
    way are equal when sizes are bound: a graph is specialised again where one of them turns out to be 1."""
    shape, target = node.inputs[0].shape, node.attrs["shape"]
    lead = len(shape) - len(target)
    axes = [*range(lead), *(lead + i for i, d in enumerate(target) if d == 1)]
    return _reduce(node, ctx, _SUM, axes)


# Positions of extremes.

_POSITION_ROWS = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo * per, min(hi * per, items)):
        p = offset(x, t * n)
        best = p[0]
        for i in range(n):
            best = {combine}
        first = 0
        found = i32({block})
        while found == {block} and first < n:
            for i in range(min({block}, n - first)):
                found = min(found, where({hit}, i32(i), i32({block})))
            first += {block}
        y[t] = first - {block} + i64(found)
"""
"""The extreme is looked for in blocks, in which the first place is a minimum over all places that hold it."""

_POSITION_COLUMNS = """
def kernel(args, lo, hi, worker):
    {slots}
    best = {value}p(worker)
    blocks = (inner + {columns} - 1) // {columns}
    for t in range(lo, hi):
        c0 = t % blocks * {columns}
        c = min({columns}, inner - c0)
        start = t // blocks * n * inner + c0
        to = offset(y, t // blocks * inner + c0)
        for k in range(c):
            store(best, k, load(x, start + k))
            store(to, k, 0)
        for i in range(1, n):
            p = offset(x, start + i * inner)
            for k in range(c):
                v = load(p, k)
                b = load(best, k)
                better = {better}
                store(best, k, where(better, v, b))
                store(to, k, where(better, i, load(to, k)))
"""


@functools.cache
def _position_kernel(monoid: Monoid, dtype: DType, rows: bool) -> Kernel:
    """The first extreme, or the first NaN if there is one."""
    value = computed_in(dtype)
    if rows:
        text = _POSITION_ROWS.format(
            slots=named_slots(f"{dtype.short}:x i64:y n items per"),
            combine=monoid.combine.format("best", "load(p, i)"),
            block=_BLOCK,
            hit="(load(p, first + i) == best) | (load(p, first + i) != load(p, first + i))"
            if dtype.is_float
            else "load(p, first + i) == best",
        )
        return Kernel(f"arg{monoid.name}_{dtype.short}", text)
    better = "v > b" if monoid is _MAX else "v < b"
    text = _POSITION_COLUMNS.format(
        slots=named_slots(f"{dtype.short}:x i64:y n inner"),
        value=value,
        columns=_COLUMNS,
        better=f"({better}) | ((v != v) & (b == b))" if dtype.is_float else better,
    )
    return Kernel(f"arg{monoid.name}_columns_{dtype.short}", text)


def _lower_position(monoid: Monoid) -> Lowering:
    def lower(node: Node, ctx: LowerContext) -> list[Launch]:
        x, axis = node.inputs[0], node.attrs["axis"]
        outer, n, inner = count(*x.shape[:axis]), x.shape[axis], count(*x.shape[axis + 1 :])
        kernel = _position_kernel(monoid, x.type.dtype, inner == 1)
        buffers = (Read(ctx.buffer(x)), Write(ctx.buffer(node.output)), n)
        work = count(2, x.type.size)
        if inner == 1:
            return [Launch(kernel, (*buffers, outer, per(n)), tiles(outer, n), work)]
        return [Launch(kernel, (*buffers, inner), Choose(_column_items, (outer, inner)), work, scratch=8 * _COLUMNS)]

    return lower


def _column_items(outer: int, inner: int) -> int:
    return _items(outer, 1, inner)


MONOIDS: dict[str, Monoid] = {"reduce_sum": _SUM, "reduce_mean": _SUM, "reduce_max": _MAX, "reduce_min": _MIN}

LOWERINGS: dict[str, Lowering] = {
    "reduce_sum": _lower(_SUM),
    "reduce_mean": _lower(_SUM, mean=True),
    "reduce_prod": _lower(_PROD),
    "reduce_max": _lower(_MAX),
    "reduce_min": _lower(_MIN),
    "reduce_any": _lower(_MAX),
    "reduce_all": _lower(_MIN),
    "argmax": _lower_position(_MAX),
    "argmin": _lower_position(_MIN),
    "sum_to": lower_sum_to,
}
