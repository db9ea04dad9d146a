"""Elementwise regions with reductions (`fused_reduce`): one pass computes the region, stores what others need and
reduces the rest while it is in cache. Before it comes the pass `fuse_reduce`; `elementwise.py` and `reduce.py` do one
without the other.

The loop is seen as [rows, columns]. A chunk of rows goes through the body at a time, and the values to be reduced to a
small buffer. By column, chunks are added to totals as `reduce.py` does it: over blocks in one precision and these in
float64; a long loop is split into parts, which make tiles, and another launch combines them. By row, a tile is some
rows. The order of every sum depends on sizes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from codegen.cpu.columns import fold, group_of, placed, row_pass
from codegen.cpu.reduce import BLOCK_ROWS, MONOIDS, Monoid, combine_parts, parts_of
from codegen.cpu.tiles import count, literal, named_slots, per, tiles
from codegen.expression import Body, body
from codegen.launch import Choose, Launch, LowerContext, Lowering, Order, Read, Slot, Write
from codegen.source import Kernel
from ir import dims
from ir.graph import Graph, Node, Value
from ir.ops.reduce import Reduction
from ir.passes.fuse_reduce import Loop, kind_of, loop_of

_CHUNK = 4096  # elements of a chunk
_WIDE = 512  # elements of a group of rows with vectors written out, about
_LANES = 32  # partial sums of a row


@dataclass(frozen=True)
class _Total:
    """A reduction: its number, the name of its operand in the body, and where its operand is stored anyway."""

    number: int
    monoid: Monoid
    value: str  # the type that is computed in
    operand: str
    stored: int | None
    mean: bool


def _chunk_by_column(columns: int) -> int:
    """Rows of a chunk: a multiple of four groups."""
    four = 4 * group_of(columns)
    return max(1, _CHUNK // (four * columns)) * four


def _chunk_by_row(columns: int) -> int:
    return max(1, _CHUNK // columns)


def _wide(columns: int) -> int:
    return max(1, _WIDE // columns)


_BY_COLUMN = """
def kernel(args, lo, hi, worker):
    {slots}
    {setup}
    width = group * columns
    step = width
    for t in range(lo, hi):
        first = rows * t // parts
        end = rows * (t + 1) // parts
        for k in range(columns):
            {clear_totals}
        while first < end:
            n = min({block} * group, end - first)
            for k in range(width):
                {clear_sums}
            done = 0
            while done < n:
                m = min(chunk, n - done)
                at = first + done
                {stage}
                groups = m // group
                rest = (m - groups * group) * columns
                {add}
                done += m
            {fold}
            for k in range(columns):
                {widen}
            first += n
        {finish}
"""

_BY_ROW = """
def kernel(args, lo, hi, worker):
    {slots}
    {setup}
    for t in range(lo, hi):
        at = t * per
        end = min(rows, at + per)
        while at < end:
            m = min(chunk, end - at)
            {stage}
            {add}
            at += m
"""

_LONG_ROWS = """\
whole = columns // {lanes} * {lanes}
for r in range(m):
    p{n} = offset(r{n}, r * columns)
    total = f64(neutral{n})
    for k in range({lanes}):
        store(sums{n}, k, load(p{n}, k))
    for i in range({lanes}, whole, {lanes}):
        for k in range({lanes}):
            store(sums{n}, k, {add})
    for k in range({lanes}):
        total = {widen}
    for i in range(whole, columns):
        total = {rest}
    {scale}
    out{n}[at + r] = {value}(total)
"""

_SHORT_ROWS = """\
for r in range(0, m, 4):
    {pointers}
    s0 = s1 = s2 = s3 = neutral{n}
    for i in range(columns):
        {add}
    {finish}
"""
"""Four rows at a time, since an addition waits for the one before; at the end the last one several times."""


class _Printer:
    """The text of one region's kernel, and the slots that it reads after those of buffers and literals."""

    def __init__(self, loop: Loop, operands: Sequence[Value], kinds: Sequence[str], text: Body, stored: int) -> None:
        self.loop = loop
        self.operands = operands
        self.kinds = kinds
        self.text = text
        self.stored = stored
        self.scratch = 0
        self.setup: list[str] = []

    def buffer(self, name: str, short: str, elements: int) -> None:
        """A buffer in scratch memory."""
        self.setup.append(f"{name} = {short}p(worker + {self.scratch})")
        self.scratch += 8 * elements

    def stage(self, totals: Sequence[_Total]) -> list[str]:
        """Lines that take the body over `m` rows from row `at` on; adds to the setup."""
        lines = []
        loads = []
        expand = []
        for i, (v, kind) in enumerate(zip(self.operands, self.kinds, strict=True)):
            if kind == "one":
                self.setup.append(f"e{i} = x{i}[0]")
            elif kind == "each":
                lines.append(f"q{i} = offset(x{i}, at * columns)")
                loads.append(f"e{i} = load(q{i}, o + i)")
            elif kind == "row":
                self.buffer(f"q{i}", v.type.dtype.short, _CHUNK)
                lines += ["for r in range(m):", f"    of_row = x{i}[at + r]", "    for i in range(columns):"]
                lines.append(f"        store(q{i}, r * columns + i, of_row)")
                loads.append(f"e{i} = load(q{i}, o + i)")
            else:
                self.buffer(f"q{i}", v.type.dtype.short, _CHUNK)
                expand.append(f"store(q{i}, r * columns + i, load(x{i}, i))")
                loads.append(f"e{i} = load(q{i}, i)")
        if expand:
            self.setup += ["for r in range(wide):", "    for i in range(columns):", *(f"        {x}" for x in expand)]
        stores = []
        for i in range(self.stored):
            lines.append(f"z{i} = offset(y{i}, at * columns)")
            stores.append(f"store(z{i}, o + i, {self.text.results[i]})")
        for total in totals:
            if total.stored is not None:
                lines.append(f"r{total.number} = z{total.stored}")
            else:
                self.buffer(f"r{total.number}", total.value, _CHUNK)
                stores.append(f"store(r{total.number}, o + i, {total.operand})")
        # Vectors written out are as long as a group of rows; without any, the chunk is one group.
        lines += ["for g in range(0, m, wide):" if expand else "for g in range(1):"]
        lines += ["    o = g * columns", f"    for i in range({'min(wide, m - g)' if expand else 'm'} * columns):"]
        return [*lines, *(f"        {line}" for line in (*loads, *self.text.lines, *stores))]

    def by_column(self, slots: str, totals: Sequence[_Total], direct: bool, targets: Sequence[str]) -> str:
        for t in totals:
            self.buffer(f"sums{t.number}", t.value, 1024)
            self.buffer(f"totals{t.number}", "f64", 1024)
        clear_totals, clear_sums, add, folds, widen, finish = [], [], [], [], [], ["for k in range(columns):"]
        for t, target in zip(totals, targets, strict=True):
            n, combine = t.number, t.monoid.combine
            clear_totals.append(f"store(totals{n}, k, f64(neutral{n}))")
            clear_sums.append(f"store(sums{n}, k, neutral{n})")
            add.append(row_pass([f"r{n}"], [(f"sums{n}", f"{{r{n}}}")], combine))
            folds.append(fold(f"sums{n}", "columns", combine))
            wide = combine.format(f"load(totals{n}, k)", f"f64(load(sums{n}, k))")
            widen.append(f"store(totals{n}, k, {wide})")
            if direct:
                value = f"load(totals{n}, k)" + (" / f64(rows)" if t.mean else "")
                finish.append(f"    store(out{n}, k, {target}({value}))")
            else:
                finish.append(f"    store(out{n}, t * columns + k, load(totals{n}, k))")
        stage = self.stage(totals)
        return _BY_COLUMN.format(
            slots=slots, setup=_at(self.setup, 4), clear_totals=_at(clear_totals, 12), clear_sums=_at(clear_sums, 16),
            block=BLOCK_ROWS, stage=_at(stage, 16), add=_at(add, 16), fold=_at(folds, 12), widen=_at(widen, 16),
            finish=_at(finish, 8),
        )  # fmt: skip

    def by_row(self, slots: str, totals: Sequence[_Total], targets: Sequence[str]) -> str:
        short = isinstance(self.loop.columns, int) and self.loop.columns < _LANES
        rows = self._short_rows if short else self._long_rows
        add = [rows(t, target) for t, target in zip(totals, targets, strict=True)]
        stage = self.stage(totals)
        return _BY_ROW.format(slots=slots, setup=_at(self.setup, 4), stage=_at(stage, 12), add=_at(add, 12))

    def _long_rows(self, t: _Total, target: str) -> str:
        n, combine = t.number, t.monoid.combine
        self.buffer(f"sums{n}", t.value, _LANES)
        return _LONG_ROWS.format(
            n=n, lanes=_LANES, value=target,
            add=combine.format(f"load(sums{n}, k)", f"load(p{n}, i + k)"),
            widen=combine.format("total", f"f64(load(sums{n}, k))"),
            rest=combine.format("total", f"f64(load(p{n}, i))"),
            scale="total = total / f64(columns)" if t.mean else "",
        )  # fmt: skip

    def _short_rows(self, t: _Total, target: str) -> str:
        n = t.number
        pointers, add, finish = [], [], []
        for j in range(4):
            pointers += [f"row{j} = min(r + {j}, m - 1)", f"p{j} = offset(r{n}, row{j} * columns)"]
            add.append(f"s{j} = {t.monoid.combine.format(f's{j}', f'load(p{j}, i)')}")
            total = f"f64(s{j})" + (" / f64(columns)" if t.mean else "")
            finish.append(f"out{n}[at + row{j}] = {target}({total})")
        return _SHORT_ROWS.format(n=n, pointers=_at(pointers, 4), add=_at(add, 8), finish=_at(finish, 4))


def _at(lines: Sequence[str], column: int) -> str:
    """Lines for a placeholder at a column."""
    return placed("\n".join(lines) or "pass", column)


def lower_fused_reduce(node: Node, ctx: LowerContext) -> list[Launch]:
    """`fused_reduce(*operands) {body}`."""
    graph: Graph = node.attrs["body"]
    reductions = [n for n in graph.nodes if isinstance(n.op, Reduction)]
    shape, axes = reductions[0].inputs[0].shape, reductions[0].attrs["axes"]
    loop = loop_of(shape, axes)
    kinds = [kind_of(v.shape, shape, loop.outer) if loop else None for v in node.inputs]
    if loop is None or None in kinds:
        raise ValueError(f"{node.op.name}: cannot reduce {shape} over the axes {axes} in one loop")
    outside = dict(zip(graph.outputs, node.outputs, strict=True))
    stored = [v for v in outside if v.node not in reductions]
    names = {v: f"e{i}" for i, v in enumerate(graph.inputs)}
    values = [*stored, *(n.inputs[0] for n in reductions)]
    text = body([n for n in graph.nodes if n not in reductions], names, values)
    totals = [
        _Total(
            i, MONOIDS[n.op.name], n.inputs[0].type.dtype.short, text.results[len(stored) + i],
            stored.index(n.inputs[0]) if n.inputs[0] in stored else None, n.op.name == "reduce_mean",
        )
        for i, n in enumerate(reductions)
    ]  # fmt: skip
    printer = _Printer(loop, node.inputs, [k for k in kinds if k], text, len(stored))
    results = [outside[n.output] for n in reductions]
    return _launches(printer, totals, [outside[v] for v in stored], results, ctx)


def _launches(
    printer: _Printer, totals: Sequence[_Total], stored: Sequence[Value], results: Sequence[Value], ctx: LowerContext
) -> list[Launch]:
    loop = printer.loop
    rows, columns = loop.rows, loop.columns
    parts = parts_of(1, rows, columns) if loop.by_column else 1
    direct = parts == 1
    reads, writes = [ctx.buffer(v) for v in printer.operands], [ctx.buffer(v) for v in stored]
    targets = [ctx.buffer(v) if direct else ctx.temp(count(parts, columns, 8), "partial results") for v in results]
    names = [f"{v.type.dtype.short}:x{i}" for i, v in enumerate(printer.operands)]
    names += [f"{v.type.dtype.short}:y{i}" for i, v in enumerate(stored)]
    names += [f"{v.type.dtype.short if direct else 'f64'}:out{i}" for i, v in enumerate(results)]
    slots: list[Slot] = [*map(Read, reads), *map(Write, writes), *map(Write, targets)]
    for t, v in zip(totals, results, strict=True):
        names.append(f"{t.value}=neutral{t.number}")
        slots.append(literal(t.monoid.neutral(v.type.dtype), t.value))
    printer.setup += [f"{c.name} = {c.load(len(slots) + i)}" for i, c in enumerate(printer.text.literals)]
    names += [f"literal{i}" for i in range(len(printer.text.literals))]
    slots += [c.slot() for c in printer.text.literals]
    names += ["rows", "columns", "wide", "chunk"]
    slots += [rows, columns, Choose(_wide, (columns,))]
    work = dims.product((rows, columns, len(printer.text.lines) + len(totals)))
    inplace = tuple(
        (w, r)
        for v, w in zip(stored, writes, strict=True)
        for x, r in zip(printer.operands, reads, strict=True)
        if x.shape == v.shape and x.type.dtype.itemsize == v.type.dtype.itemsize
    )
    kinds = [v.type.dtype.short for v in results]
    if not loop.by_column:
        slots += [Choose(_chunk_by_row, (columns,)), per(columns)]
        text = printer.by_row(named_slots(" ".join([*names, "per"])), totals, kinds)
        kernel = Kernel("fused_reduce_rows", text)
        return [Launch(kernel, tuple(slots), tiles(rows, columns), work, printer.scratch, inplace)]
    slots += [Choose(_chunk_by_column, (columns,)), Choose(group_of, (columns,)), parts]
    text = printer.by_column(named_slots(" ".join([*names, "group", "parts"])), totals, direct, kinds)
    launches = [Launch(Kernel("fused_reduce_columns", text), tuple(slots), parts, work, printer.scratch, inplace)]
    if not direct:
        for t, v, x in zip(totals, results, targets, strict=True):
            mean_of = rows if t.mean else 1
            combine = combine_parts(t.monoid, x, ctx.buffer(v), v.type.dtype, columns, parts, mean_of)
            launches.append(replace(combine, order=Order.INDEPENDENT) if len(launches) > 1 else combine)
    return launches


LOWERINGS: dict[str, Lowering] = {"fused_reduce": lower_fused_reduce}
