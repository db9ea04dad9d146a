"""The one kernel under matmul and convolution: a blocked contraction of two strided operands.

    C[i, j] = sum over k of A[row(i) + step(k)] * B[place(k) + j * column]      (and, per tile, an epilogue)

`row`, `step`, `place` and the place of row i of C are `Digits`: i or k is split into up to four digits (a volume, a
plane, a line and a pixel; a kernel plane, row and column and a channel), each with a stride. A matmul has one digit; an
implicit-GEMM convolution of images three, of volumes four. Before it come `matmul.py` and `conv.py`, which describe
their operands with a `Contraction`; below it are the micro-kernels (`microkernel.py`), called by address, so that this
text is compiled once per element type, whatever the sizes and the epilogue.

A tile is some rows by one panel of columns by all of k, or by one part of k where the sum is split: then parts go to a
workspace and a second launch adds them in order. All block sizes depend on sizes alone (`tiling.py`), so sums do, too.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from codegen.cpu.borders import LINE_SLOTS, Lines
from codegen.cpu.epilogue import Epilogue
from codegen.cpu.features import MAX_ROWS, Vectors, host_vectors
from codegen.cpu.microkernel import multiply_kernel, transpose_kernel
from codegen.cpu.panels import pack, pointer, run_kernel, sum_kernel
from codegen.cpu.tiling import Blocks, packed_plans, plans, splits_of
from codegen.launch import Buffer, Choose, Entry, Launch, LowerContext, Order, Read, Size, Slot, Write
from codegen.source import Kernel
from ir import dims
from ir.dims import Dim
from ir.dtypes import DType

_DIGITS = 4
PerDigit = tuple[Dim, ...]  # one number for each digit


@dataclass(frozen=True)
class Digits:
    """An index split into `_DIGITS` digits of these sizes, the last the fastest."""

    sizes: PerDigit

    @classmethod
    def of(cls, *sizes: Dim) -> Digits:
        """Digits of at most `_DIGITS` sizes; the leading ones are 1."""
        return cls((1,) * (_DIGITS - len(sizes)) + sizes)

    @property
    def count(self) -> Dim:
        return dims.product(self.sizes)


def strides(*values: Dim) -> PerDigit:
    """Strides for the digits of `Digits.of(...)`, in elements; those of leading digits of size 1 are 0."""
    return (0,) * (_DIGITS - len(values)) + values


def merged(digits: Digits, *of: PerDigit) -> tuple[PerDigit, list[PerDigit]]:
    """Joins neighbouring digits where every set of strides runs on through them: longer runs make cheaper tables.

    Returns the sizes and the strides of the digits that are left, filled up with leading digits of size 1.
    """
    size, step = [digits.sizes[-1]], [[s[-1]] for s in of]
    for i in range(_DIGITS - 2, -1, -1):
        if digits.sizes[i] == 1:
            continue
        if size[0] == 1 or all(s[i] == t[0] * size[0] for s, t in zip(of, step, strict=True)):
            step = [[s[i], *t[1:]] if size[0] == 1 else t for s, t in zip(of, step, strict=True)]
            size[0] = size[0] * digits.sizes[i]
        else:
            size.insert(0, digits.sizes[i])
            step = [[s[i], *t] for s, t in zip(of, step, strict=True)]
    return Digits.of(*size).sizes, [strides(*t) for t in step]


@dataclass(frozen=True)
class Operand:
    """A buffer and the element of it where the first one stands."""

    buffer: Buffer
    start: Dim = 0


@dataclass(frozen=True)
class Batch:
    """One leading axis: its size and the strides, in elements, of A and B along it (0: broadcast)."""

    size: Dim
    a: Dim | Choose
    b: Dim | Choose


@dataclass(frozen=True)
class Contraction:
    """What to compute; see the module. Strides are in elements. `c` is dense along columns and holds batches one
    after the other."""

    dtype: DType
    a: Operand
    b: Operand
    c: Operand
    rows: Digits
    columns: Dim
    depth: Digits
    a_rows: PerDigit
    a_steps: PerDigit
    b_steps: PerDigit
    b_column: Dim
    c_rows: PerDigit
    batches: tuple[Batch, ...] = ()
    c_batch: Dim = 0
    b_stays: bool = False  # B is the same from run to run
    sums: Buffer | None = None  # for the sums of B's columns
    lines: Lines | None = None  # what to leave out of sums
    epilogue: Epilogue | None = None
    origin: tuple[str, ...] = ()


_SLOTS = (
    "a b c a_start b_start c_start rows columns depth row_block depth_block part splits c_split c_batch "
    "m1 m2 m3 am0 am1 am2 am3 cm0 cm1 cm2 cm3 k1 k2 k3 ak0 ak1 ak2 ak3 bk0 bk1 bk2 bk3 b_column b_direct b_panel "
    f"lanes transpose pack_rows {LINE_SLOTS} b_sums sum_columns epilogue n_ahead n_batch n_plans plan"
).split()
_PLANS_AT = len(_SLOTS)
_PLAN = 6
"""Slots by name; then come `_PLAN` for each plan (columns of a panel, rows of a tile and its micro-kernel, and the same
for the last panel), three for each batch axis (size, strides of A and B in bytes), the operands of the epilogue to
fetch ahead, and the slots of the epilogue."""

_PACKED = 2
"""`b_direct` where B lies packed; 1 where its rows lie one after the other."""

_SOURCE = """
def kernel(args, lo, hi, worker):
    s = slots(args)
{reads}
    p = {plans_at} + plan * {plan}
    width, high, multiply, tail_width, tail_high, tail_multiply = s[p], s[p + 1], s[p + 2], s[p + 3], s[p + 4], s[p + 5]
    batch_at = {plans_at} + n_plans * {plan}
    if b_panel == 0:
        b_panel = width * {size}
    panels = (columns + width - 1) // width
    blocks = (rows + row_block - 1) // row_block
    table = row_block + {extra}
    a_table = slots(worker)
    c_table = offset(a_table, table)
    steps = offset(c_table, table)
    dense = offset(steps, depth_block)
    packed = (addr(offset(dense, {extra})) + 63) // 64 * 64
    sums = packed + (depth_block * width * {size} + 63) // 64 * 64
    rows_of = -1
    steps_of = -1
    steps_many = 0
    packed_of = -1
    for tile in range(lo, hi):
        panel = tile % panels
        rest = tile // panels
        block = rest % blocks
        part_of = rest // blocks % splits
        batch = rest // blocks // splits
        a_base = a + a_start
        b_base = b + b_start
        q = batch
        for i in range(n_batch - 1, -1, -1):
            at = batch_at + 3 * i
            a_base += q % s[at] * s[at + 1]
            b_base += q % s[at] * s[at + 2]
            q = q // s[at]
        c_base = c + part_of * c_split
        r0 = block * row_block
        n_rows = min(row_block, rows - r0)
        j0 = panel * width
        n_columns = min(width, columns - j0)
        w = width
        mr = high
        fn = multiply
        if n_columns < width:
            w = tail_width
            mr = tail_high
            fn = tail_multiply
        if rows_of != batch * blocks + block:
            rows_of = batch * blocks + block
            d3 = r0 % m3
            q = r0 // m3
            d2 = q % m2
            q = q // m2
            d1 = q % m1
            d0 = q // m1
            done = 0
            while done < n_rows:
                run = min(m3 - d3, n_rows - done)
                x = d0 * am0 + d1 * am1 + d2 * am2 + d3 * am3
                y = c_start + d0 * cm0 + d1 * cm1 + d2 * cm2 + d3 * cm3 + batch * c_batch
                for i in range(run):
                    store(a_table, done + i, x + i * am3)
                    store(c_table, done + i, y + i * cm3)
                done += run
                d3 = 0
                d2 += 1
                if d2 == m2:
                    d2 = 0
                    d1 += 1
                    if d1 == m1:
                        d1 = 0
                        d0 += 1
            for i in range(n_rows, n_rows + {extra}):
                a_table[i] = a_table[n_rows - 1]
                c_table[i] = c_table[n_rows - 1]
        for i in range({extra}):
            store(dense, i, i * w * {size})
        start = part_of * part
        end = min(start + part, depth)
        direct_b = b_direct == {packed} or (b_direct == 1 and (bk3 == w * {size} or n_rows <= {direct_rows}))
        # A vector of the last row of B may reach past its end: that row is copied.
        past_end = direct_b and b_direct != {packed} and n_columns < w and end == depth
        direct_c = epilogue == 0 and n_columns == w
        keep = w * {size}
        if end - start <= depth_block and not past_end:
            keep = 0
        k0 = start
        last = False
        while not last:
            kc = max(0, min(depth_block, end - k0))
            copy_row = past_end and k0 + 1 >= end
            if past_end and not copy_row and k0 + kc >= end:
                kc -= 1
            last = k0 + kc >= end
            fill = steps_of != k0 or steps_many < kc
            in_place = direct_b and not copy_row
            pack = (not in_place) and packed_of != (batch * panels + panel) * (depth + 1) + k0
            if kc > 0 and (fill or pack):
                d3 = k0 % k3
                q = k0 // k3
                d2 = q % k2
                q = q // k2
                d1 = q % k1
                d0 = q // k1
                done = 0
                while done < kc:
                    run = min(k3 - d3, kc - done)
                    if fill:
                        x = d0 * ak0 + d1 * ak1 + d2 * ak2 + d3 * ak3
                        for i in range(run):
                            store(steps, done + i, x + i * ak3)
                    if pack:
                        source = b_base + d0 * bk0 + d1 * bk1 + d2 * bk2 + d3 * bk3 + j0 * b_column
                        target = packed + done * w * {size}
                        call_n(pack_rows, target, w, source, run, bk3, b_column, n_columns, lanes, transpose)
                    done += run
                    d3 = 0
                    d2 += 1
                    if d2 == k2:
                        d2 = 0
                        d1 += 1
                        if d1 == k1:
                            d1 = 0
                            d0 += 1
                steps_of = k0
                steps_many = kc
                if pack:
                    packed_of = (batch * panels + panel) * (depth + 1) + k0
            b_rows = packed
            b_stride = w * {size}
            if in_place:
                b_rows = b_base + k0 * bk3 + panel * b_panel
                b_stride = bk3
            more = 0
            if k0 > start:
                more = 1
            if b_sums != 0 and block == 0:
                call_n(sum_columns, b_sums + (part_of * columns + j0) * {size}, b_rows, b_stride, kc, n_columns, more)
            for i in range(0, n_rows, mr):
                lo = 0
                hi = kc
                if line_rows != 0:
                    line = (r0 + i) // line_rows * line_advance - line_before
                    after = line_size - 1 - line
                    line = (r0 + min(i + mr, n_rows) - 1) // line_rows * line_advance - line_before
                    lo = min(max(0, -(line // line_step)) * line_steps - k0, kc)
                    hi = min((after // line_step + 1) * line_steps - k0, kc)
                    lo = max(lo, 0)
                    hi = max(hi, lo)
                at_k = addr(steps) + 8 * lo
                at_b = b_rows + lo * b_stride
                a_rows = addr(a_table) + 8 * i
                c_rows = addr(c_table) + 8 * i
                if direct_c:
                    call_n(fn, hi - lo, a_base, a_rows, at_k, at_b, b_stride, c_base + j0 * {size}, c_rows, more)
                else:
                    sum_at = sums + i * keep
                    if last and n_ahead > 0:
                        for o in range(n_ahead):
                            first = s[batch_at + 3 * n_batch + o] + j0 * {size}
                            for r in range(i, min(i + mr, n_rows)):
                                for x in range(0, n_columns * {size}, 64):
                                    prefetch(first + c_table[r] + x)
                    call_n(fn, hi - lo, a_base, a_rows, at_k, at_b, b_stride, sum_at, addr(dense), more)
                    if last:
                        height = min(mr, n_rows - i)
                        if epilogue != 0:
                            more_args = args + 8 * (batch_at + 3 * n_batch + n_ahead)
                            call_n(epilogue, more_args, sum_at, w, c_rows, height, n_columns, j0)
                        else:
                            of = {pointer}(sum_at)
                            for r in range(height):
                                to = {pointer}(c_base + c_table[i + r] + j0 * {size})
                                for j in range(n_columns):
                                    store(to, j, load(of, r * w + j))
            k0 += kc
"""

_DIRECT_ROWS = 128  # with fewer rows, packing a panel of B costs more than reading it where it lies

_SUM_SOURCE = """
def kernel(args, lo, hi, worker):
    s = slots(args)
    parts = {pointer}(s[0])
    to = {pointer}(s[1])
    size = s[2]
    splits = s[3]
    for tile in range(lo, hi):
        start = tile * {chunk}
        end = min(size, start + {chunk})
        for i in range(start, end):
            store(to, i, load(parts, i))
        for part in range(1, splits):
            of = offset(parts, part * size)
            for i in range(start, end):
                store(to, i, load(to, i) + load(of, i))
"""
_SUM_CHUNK = 4096


@functools.cache
def _kernel(itemsize: int) -> Kernel:
    reads = "\n".join(f"    {name} = s[{i}]" for i, name in enumerate(_SLOTS))
    source = _SOURCE.format(
        reads=reads,
        size=itemsize,
        pointer=pointer(itemsize),
        extra=MAX_ROWS,
        plans_at=_PLANS_AT,
        plan=_PLAN,
        packed=_PACKED,
        direct_rows=_DIRECT_ROWS,
    )
    prefetch = ("prefetch", ("microkernel", "prefetch"))
    return Kernel(f"contract_{pointer(itemsize)[:-1]}", source, namespace=(prefetch,))


@functools.cache
def _sum_kernel(itemsize: int) -> Kernel:
    source = _SUM_SOURCE.format(pointer=pointer(itemsize), chunk=_SUM_CHUNK)
    return Kernel(f"sum_parts_{pointer(itemsize)[:-1]}", source)


def contract(what: Contraction, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """The launches that compute a contraction of float32 or float64. `vectors` forces the tiles of another CPU."""
    vectors = vectors or host_vectors()
    size = what.dtype.itemsize
    rows, depth, columns = what.rows.count, what.depth.count, what.columns
    batches = dims.product(b.size for b in what.batches)
    lanes = vectors.lanes(size)
    before: list[Launch] = []
    b_direct = int(what.b_column == 1 and _is_one_run(merged(what.depth, what.b_steps)[0]))
    choices = plans(rows, columns, lanes, vectors, b_direct == 1)
    b_panel: Dim = 0
    if what.b_stays and pays_to_pack(what, vectors):
        assert isinstance(columns, int)
        choices = packed_plans(rows, columns, lanes, vectors)
        width = choices[0].full[1] * lanes
        before, what = _packed(what, width, lanes, ctx)
        b_direct, b_panel = _PACKED, dims.product((depth, width * size))
    blocks = Blocks(choices, vectors, size)
    (_, *m), (a_rows, c_rows) = merged(what.rows, what.a_rows, what.c_rows)
    (_, *k), (a_steps, b_steps) = merged(what.depth, what.a_steps, what.b_steps)
    sizes_of_c, ((*_, c_row),) = merged(what.rows, what.c_rows)
    dense = _is_one_run(sizes_of_c) and c_row == columns
    splits = splits_of(rows, columns, depth) if dense and not what.epilogue and not what.batches else 1
    sizes = (rows, columns, depth, batches, splits)
    nbytes = dims.product((rows, columns, size))
    parts = None if splits == 1 else ctx.temp(dims.product((splits, nbytes)), "parts")
    part_sums = ctx.temp(dims.product((splits, columns, size)), "parts of sums") if parts and what.sums else None

    def scaled(values: PerDigit) -> PerDigit:
        return tuple(v * size for v in values)

    slots: tuple[Slot, ...] = (
        Read(what.a.buffer), Read(what.b.buffer), Write(parts or what.c.buffer),
        what.a.start * size, what.b.start * size, 0 if parts else what.c.start * size,
        rows, columns, depth,
        Choose(blocks.rows, sizes), Choose(blocks.depth, sizes), Choose(blocks.part, sizes),
        splits, nbytes, what.c_batch * size,
        *m, *scaled(a_rows), *scaled(c_rows), *k, *scaled(a_steps), *scaled(b_steps),
        what.b_column * size, b_direct, b_panel, lanes, Entry(transpose_kernel(lanes, size)), Entry(run_kernel(size)),
        *(what.lines.slots if what.lines else (0,) * len(LINE_SLOTS.split())),
        Write(part_sums or what.sums) if what.sums else 0, Entry(sum_kernel(size)) if what.sums else 0,
        Entry(what.epilogue.kernel) if what.epilogue else 0,
        len(what.epilogue.ahead) if what.epilogue else 0, len(what.batches), len(choices),
        Choose(blocks.choice, sizes),
    )  # fmt: skip
    assert len(slots) == _PLANS_AT
    for plan in choices:
        for high, wide in (plan.full, plan.tail):
            slots += (wide * lanes, high, Entry(multiply_kernel(high, wide, lanes, size)))
    for batch in what.batches:
        slots += (batch.size, _times(batch.a, size), _times(batch.b, size))
    if what.epilogue:
        slots += (*what.epilogue.ahead, *what.epilogue.slots)
    launch = Launch(
        _kernel(size), slots, Choose(blocks.tiles, sizes), dims.product((2, rows, columns, depth, batches)),
        Choose(blocks.scratch, sizes), _inplace(what), origin=what.origin,
    )  # fmt: skip
    if parts is None:
        return [*before, launch]
    after = [add_parts(parts, what.c.buffer, dims.product((rows, columns)), splits, size, what.origin)]
    if part_sums and what.sums:
        added = add_parts(part_sums, what.sums, columns, splits, size, what.origin)
        after.append(replace(added, order=Order.INDEPENDENT))
    return [*before, launch, *after]


def _inplace(what: Contraction) -> tuple[tuple[Buffer, Buffer], ...]:
    """A result may replace an operand of the epilogue, which only the tile that writes it reads, but neither factor."""
    pairs = what.epilogue.inplace if what.epilogue else ()
    return tuple((written, read) for written, read in pairs if read not in (what.a.buffer, what.b.buffer))


def add_parts(
    parts: Buffer, to: Buffer, elements: Dim, splits: Dim, itemsize: int, origin: tuple[str, ...]
) -> Launch:
    """The launch that adds `splits` arrays of `elements` float32 or float64, which lie one after the other, in their
    order."""
    slots = (Read(parts), Write(to), elements, splits)
    work = dims.product((elements, splits))
    return Launch(_sum_kernel(itemsize), slots, dims.ceildiv(elements, _SUM_CHUNK), work, origin=origin)


def _is_one_run(sizes: PerDigit) -> bool:
    """Whether merged digits are one digit."""
    return all(d == 1 for d in sizes[:-1])


_LEAST_STRIDE = 2048  # bytes from row to row of B
_MOST_PACKED = 32 << 20  # bytes


def pays_to_pack(what: Contraction, vectors: Vectors) -> bool:
    """Whether to keep B packed, in addition to what it was packed from."""
    size = what.dtype.itemsize
    depth, columns = what.depth.count, what.columns
    if not (isinstance(depth, int) and isinstance(columns, int)) or what.batches:
        return False
    # Large ones would need as much memory once more; they are read as fast as memory goes anyway.
    if not 0 < depth * columns * size <= _MOST_PACKED:
        return False
    if what.b_column != 1:
        return True
    # One panel, or rows that are close to each other, are read well as they lie.
    return columns > vectors.widest * vectors.lanes(size) and columns * size >= _LEAST_STRIDE


def _packed(what: Contraction, width: int, lanes: int, ctx: LowerContext) -> tuple[list[Launch], Contraction]:
    """The launch that packs B in panels of `width` columns, and the contraction that reads what it made."""
    size = what.dtype.itemsize
    assert isinstance(what.columns, int)
    steps = tuple(v * size for v in what.b_steps)
    launch, packed = pack(
        what.b.buffer, what.b.start * size, what.depth.sizes, steps, what.columns, what.b_column * size, width, lanes,
        transpose_kernel(lanes, size), size, what.origin, ctx,
    )  # fmt: skip
    row: list[Dim] = [width]
    for digit in what.depth.sizes[:0:-1]:
        row.insert(0, digit * row[0])
    return [launch], replace(what, b=Operand(packed), b_steps=tuple(row), b_column=1)


def _times(stride: Dim | Choose, size: int) -> Size:
    if isinstance(stride, Choose):
        return Choose(_Scaled(stride.function, size), stride.dims)
    return stride * size


@dataclass(frozen=True)
class _Scaled:
    """A stride in bytes from one in elements."""

    function: object
    size: int

    def __call__(self, *sizes: int) -> int:
        return int(self.function(*sizes)) * self.size  # type: ignore[operator]
