"""Packing the right operand of a contraction: a panel is some columns of all steps of k, which the micro-kernel reads
one after the other.

`contract.py` packs a part of a panel into scratch memory where it multiplies, by `run_kernel`. Where the operand stays
the same from run to run, `pack` makes all panels at once; that launch depends on variables alone, so it belongs to the
prologue and is redone when one of them changes. The same in a loop, where the operand stays from step to step: that
launch moves in front of the loop.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

from codegen.cpu.columns import placed, row_pass
from codegen.launch import Buffer, Entry, Launch, LowerContext, Read, Write
from codegen.source import Kernel
from ir import dims
from ir.dims import Dim
from ir.graph import Value

_MOST_NODES = 64
_ZERO = {4: "f32(0)", 8: "0.0"}

_RUN_SOURCE = """
def kernel(target, width, source, rows, row_step, column_step, columns, lanes, transpose):
    if column_step == {size}:
        for i in range(rows):
            to = {pointer}(target + i * width * {size})
            of = {pointer}(source + i * row_step)
            for j in range(columns):
                store(to, j, load(of, j))
    else:
        j = 0
        while j < columns:
            squares = 0
            if row_step == {size} and j + lanes <= columns:
                squares = rows // lanes
                call_n(transpose, target + j * {size}, width * {size}, source + j * column_step, column_step, squares)
            to = {pointer}(target + j * {size})
            of = {pointer}(source + j * column_step)
            wide = min(lanes, columns - j)
            for i in range(squares * lanes, rows):
                for l in range(wide):
                    store(to, i * width + l, load(of, (i * row_step + l * column_step) // {size}))
            j += wide
    to = {pointer}(target)
    for i in range(rows):
        for j in range(columns, width):
            store(to, i * width + j, {zero})
"""

_PACK_SOURCE = """
def kernel(args, lo, hi, worker):
    s = slots(args)
    b, to, columns, width, run, lanes, transpose, column_step = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
    k0, k1, k2, k3, b0, b1, b2, b3 = s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15]
    for panel in range(lo, hi):
        target = to + panel * k0 * k1 * k2 * k3 * width * {size}
        source = b + panel * width * column_step
        n_columns = min(width, columns - panel * width)
        for d0 in range(k0):
            for d1 in range(k1):
                for d2 in range(k2):
                    of = source + d0 * b0 + d1 * b1 + d2 * b2
                    call_n(run, target, width, of, k3, b3, column_step, n_columns, lanes, transpose)
                    target += k3 * width * {size}
"""


def pointer(itemsize: int) -> str:
    """The word of kernel text for a pointer to floats of this size."""
    return {4: "f32p", 8: "f64p"}[itemsize]


@functools.cache
def run_kernel(itemsize: int) -> Kernel:
    """The kernel `(target, width, source, rows, row_step, column_step, columns, lanes, transpose)`.

    It copies `rows` rows of `columns` elements to rows of `width` elements and fills these up with zeros. Steps are in
    bytes; `transpose` is the entry of `microkernel.transpose_kernel` for `lanes` lanes.
    """
    source = _RUN_SOURCE.format(size=itemsize, pointer=pointer(itemsize), zero=_ZERO[itemsize])
    return Kernel(f"pack_rows_{pointer(itemsize)[:-1]}", source, params=9)


_SUM_SOURCE = """
def kernel(target, source, step, rows, columns, more):
    to = {pointer}(target)
    if more == 0:
        for j in range(columns):
            store(to, j, {zero})
    {rows}
"""


@functools.cache
def sum_kernel(itemsize: int) -> Kernel:
    """The kernel `(target, source, step, rows, columns, more)`: adds rows of B, `step` bytes apart, to the totals of
    its columns, or to 0 unless there are `more`."""
    head = f"x = {pointer(itemsize)}(source)\nstep = step // {itemsize}\n"
    rows = head + "groups = rows\nwidth = columns\nrest = 0\n" + row_pass(["x"], [("to", "{x}")])
    source = _SUM_SOURCE.format(pointer=pointer(itemsize), zero=_ZERO[itemsize], rows=placed(rows, 4))
    return Kernel(f"sum_columns_{pointer(itemsize)[:-1]}", source, params=6)


@functools.cache
def _pack_kernel(itemsize: int) -> Kernel:
    return Kernel(f"pack_panels_{pointer(itemsize)[:-1]}", _PACK_SOURCE.format(size=itemsize))


def pack(
    b: Buffer, start: Dim, depth: tuple[Dim, ...], steps: tuple[Dim, ...], columns: int, column_step: Dim, width: int,
    lanes: int, transpose: Kernel, itemsize: int, origin: tuple[str, ...], ctx: LowerContext,
) -> tuple[Launch, Buffer]:  # fmt: skip
    """The launch that packs panels of `width` columns, and the buffer they go to, one after the other. `depth` and
    `steps` are the sizes and strides of the four digits of k; strides are in bytes."""
    panels = -(-columns // width)
    elements = dims.product((*depth, panels * width))
    packed = ctx.temp(elements * itemsize, "packed")
    slots = (
        Read(b, start), Write(packed), columns, width, Entry(run_kernel(itemsize)), lanes, Entry(transpose),
        column_step, *depth, *steps,
    )  # fmt: skip
    return Launch(_pack_kernel(itemsize), slots, panels, elements, origin=origin), packed


def stays(value: Value, fixed: Collection[Value]) -> bool:
    """Whether a value is computed, by few nodes, from constants and from `fixed` values alone."""
    seen: set[Value] = set()
    todo = [value]
    while todo:
        v = todo.pop()
        if v in seen or v in fixed:
            continue
        seen.add(v)
        if v.node is None or len(seen) > _MOST_NODES:
            return False
        todo.extend(v.node.inputs)
    return True
