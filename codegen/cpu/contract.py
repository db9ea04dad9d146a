"""The one kernel under matmul and convolution: a blocked contraction of two strided operands.

    C[i, j] = sum over k of A[row(i) + step(k)] * B[place(k) + j * column]      (and, per tile, an epilogue)

`row`, `step`, `place` and the place of row i of C are `Digits`: i or k is split into up to four digits (a volume, a
plane, a line and a pixel; a kernel plane, row and column and a channel), each with a stride. A matmul has one digit; an
implicit-GEMM convolution of images three, of volumes four. Before it come `matmul.py` and `conv.py`, which describe
their operands with a `Contraction`; below it are the micro-kernels (`microkernel.py`), called by address, so that this
text is compiled once per element type, whatever the sizes and the epilogue.

A tile is some rows by one panel (at most `widest` vectors) of columns by all of k, or by one part of k where the sum is
split: then parts go to a workspace and a second launch adds them in order. All block sizes depend on sizes alone, so
sums do, too.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from codegen.cpu.epilogue import Epilogue
from codegen.cpu.features import MAX_ROWS, Vectors, host_vectors
from codegen.cpu.microkernel import multiply_kernel, transpose_kernel
from codegen.cpu.tiling import Blocks, splits_of
from codegen.launch import Buffer, Choose, Entry, Launch, LowerContext, Read, Size, Slot, Write
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
    epilogue: Epilogue | None = None
    origin: tuple[str, ...] = ()


_SLOTS = (
    "a b c a_start b_start c_start rows columns depth row_block depth_block part splits c_split c_batch "
    "m1 m2 m3 am0 am1 am2 am3 cm0 cm1 cm2 cm3 k1 k2 k3 ak0 ak1 ak2 ak3 bk0 bk1 bk2 bk3 b_column b_direct "
    "width high multiply tail_width tail_high tail_multiply lanes transpose epilogue n_ahead n_batch"
).split()
_BATCH_AT = len(_SLOTS)
"""Slots by name; then come three for each batch axis (size, strides of A and B in bytes), the operands of the
epilogue to fetch ahead, and the slots of the epilogue."""

_SOURCE = """
def kernel(args, lo, hi, worker):
    s = slots(args)
{reads}
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
            at = {batch_at} + 3 * i
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
        direct_b = b_direct != 0 and n_columns == w and (bk3 == w * {size} or n_rows <= {direct_rows})
        direct_c = epilogue == 0 and n_columns == w
        keep = w * {size}
        if end - start <= depth_block:
            keep = 0
        k0 = start
        last = False
        while not last:
            kc = max(0, min(depth_block, end - k0))
            last = k0 + kc >= end
            fill = steps_of != k0
            pack = (not direct_b) and packed_of != (batch * panels + panel) * (depth + 1) + k0
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
                        if b_column == {size}:
                            for i in range(run):
                                to = {pointer}(target + i * w * {size})
                                of = {pointer}(source + i * bk3)
                                for j in range(n_columns):
                                    store(to, j, load(of, j))
                        else:
                            j = 0
                            while j < n_columns:
                                squares = 0
                                if bk3 == {size} and j + lanes <= n_columns:
                                    squares = run // lanes
                                    corner = source + j * b_column
                                    call_n(transpose, target + j * {size}, w * {size}, corner, b_column, squares)
                                to = {pointer}(target + j * {size})
                                of = {pointer}(source + j * b_column)
                                wide = min(lanes, n_columns - j)
                                for i in range(squares * lanes, run):
                                    for l in range(wide):
                                        store(to, i * w + l, load(of, (i * bk3 + l * b_column) // {size}))
                                j += wide
                        to = {pointer}(target)
                        for i in range(run):
                            for j in range(n_columns, w):
                                store(to, i * w + j, {zero})
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
                if pack:
                    packed_of = (batch * panels + panel) * (depth + 1) + k0
            b_rows = packed
            b_stride = w * {size}
            if direct_b:
                b_rows = b_base + k0 * bk3 + j0 * {size}
                b_stride = bk3
            more = 0
            if k0 > start:
                more = 1
            for i in range(0, n_rows, mr):
                a_rows = addr(a_table) + 8 * i
                c_rows = addr(c_table) + 8 * i
                if direct_c:
                    call_n(fn, kc, a_base, a_rows, addr(steps), b_rows, b_stride, c_base + j0 * {size}, c_rows, more)
                else:
                    sum_at = sums + i * keep
                    if last and n_ahead > 0:
                        for o in range(n_ahead):
                            first = s[{batch_at} + 3 * n_batch + o] + j0 * {size}
                            for r in range(i, min(i + mr, n_rows)):
                                for x in range(0, n_columns * {size}, 64):
                                    prefetch(first + c_table[r] + x)
                    call_n(fn, kc, a_base, a_rows, addr(steps), b_rows, b_stride, sum_at, addr(dense), more)
                    if last:
                        height = min(mr, n_rows - i)
                        if epilogue != 0:
                            more_args = args + 8 * ({batch_at} + 3 * n_batch + n_ahead)
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
        pointer=_pointer(itemsize),
        zero="f32(0)" if itemsize == 4 else "0.0",
        extra=MAX_ROWS,
        batch_at=_BATCH_AT,
        direct_rows=_DIRECT_ROWS,
    )
    prefetch = ("prefetch", ("microkernel", "prefetch"))
    return Kernel(f"contract_{_pointer(itemsize)[:-1]}", source, namespace=(prefetch,))


@functools.cache
def _sum_kernel(itemsize: int) -> Kernel:
    source = _SUM_SOURCE.format(pointer=_pointer(itemsize), chunk=_SUM_CHUNK)
    return Kernel(f"sum_parts_{_pointer(itemsize)[:-1]}", source)


def _pointer(itemsize: int) -> str:
    return {4: "f32p", 8: "f64p"}[itemsize]


def contract(what: Contraction, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """The launches that compute a contraction of float32 or float64. `vectors` forces the tiles of another CPU."""
    vectors = vectors or host_vectors()
    size = what.dtype.itemsize
    rows, depth, columns = what.rows.count, what.depth.count, what.columns
    batches = dims.product(b.size for b in what.batches)
    lanes = vectors.lanes(size)
    wide, tail = _panel_vectors(columns, lanes, vectors)
    blocks = Blocks(wide * lanes, vectors.rows(wide), size)
    (_, *m), (a_rows, c_rows) = merged(what.rows, what.a_rows, what.c_rows)
    (_, *k), (a_steps, b_steps) = merged(what.depth, what.a_steps, what.b_steps)
    linear = what.b_column == 1 and _is_one_run(merged(what.depth, what.b_steps)[0])
    sizes_of_c, ((*_, c_row),) = merged(what.rows, what.c_rows)
    dense = _is_one_run(sizes_of_c) and c_row == columns
    splits = splits_of(rows, columns, depth) if dense and not what.epilogue and not what.batches else 1
    sizes = (rows, columns, depth, batches, splits)
    nbytes = dims.product((rows, columns, size))
    parts = None if splits == 1 else ctx.temp(dims.product((splits, nbytes)), "parts")

    def scaled(values: PerDigit) -> PerDigit:
        return tuple(v * size for v in values)

    slots: tuple[Slot, ...] = (
        Read(what.a.buffer), Read(what.b.buffer), Write(parts or what.c.buffer),
        what.a.start * size, what.b.start * size, 0 if parts else what.c.start * size,
        rows, columns, depth,
        Choose(blocks.rows, sizes), Choose(blocks.depth, sizes), Choose(blocks.part, sizes),
        splits, nbytes, what.c_batch * size,
        *m, *scaled(a_rows), *scaled(c_rows), *k, *scaled(a_steps), *scaled(b_steps),
        what.b_column * size, int(linear),
        wide * lanes, vectors.rows(wide), Entry(multiply_kernel(vectors.rows(wide), wide, lanes, size)),
        tail * lanes, vectors.rows(tail), Entry(multiply_kernel(vectors.rows(tail), tail, lanes, size)),
        lanes, Entry(transpose_kernel(lanes, size)),
        Entry(what.epilogue.kernel) if what.epilogue else 0,
        len(what.epilogue.ahead) if what.epilogue else 0, len(what.batches),
    )  # fmt: skip
    assert len(slots) == _BATCH_AT
    for batch in what.batches:
        slots += (batch.size, _times(batch.a, size), _times(batch.b, size))
    if what.epilogue:
        slots += (*what.epilogue.ahead, *what.epilogue.slots)
    launch = Launch(
        _kernel(size), slots, Choose(blocks.tiles, sizes), dims.product((2, rows, columns, depth, batches)),
        Choose(blocks.scratch, sizes), _inplace(what), origin=what.origin,
    )  # fmt: skip
    if parts is None:
        return [launch]
    return [launch, add_parts(parts, what.c.buffer, dims.product((rows, columns)), splits, size, what.origin)]


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


def _panel_vectors(columns: Dim, lanes: int, vectors: Vectors) -> tuple[int, int]:
    """Vectors of a full panel and of the last one. An unknown number of columns takes the widest for both."""
    if not isinstance(columns, int) or columns <= 0:
        return vectors.widest, vectors.widest
    wide = min(vectors.widest, -(-columns // lanes))
    rest = columns % (wide * lanes)
    return wide, -(-rest // lanes) if rest else wide


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
