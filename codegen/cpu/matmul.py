"""Matrix products: `matmul` and `fused_matmul` as contractions (`contract.py`), other element types by a simple kernel.

float16 operands are widened, multiplied in float32 and rounded once. Leading axes broadcast as in numpy; `x @ w` with a
plain matrix on the right is one product whatever the rank of x.
"""

from __future__ import annotations

import functools

from codegen.cpu.contract import Batch, Contraction, Digits, Operand, contract, strides
from codegen.cpu.epilogue import lower_epilogue
from codegen.cpu.features import Vectors
from codegen.cpu.panels import stays
from codegen.cpu.widen import narrow, widen
from codegen.launch import Choose, Launch, LowerContext, Lowering, Read, Slot, Write
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dims import Dim
from ir.graph import Node


def lower_matmul(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`matmul(x, y) {transpose_a, transpose_b}` for every numeric type."""
    dtype = node.output.type.dtype
    if dtype.is_float:
        return _lower_float(node, ctx, vectors)
    return _lower_integer(node, ctx)


def lower_fused_matmul(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`fused_matmul(x, y, *extras) {transpose_a, transpose_b, epilogue}` for float types."""
    return _lower_float(node, ctx, vectors)


def lower_matmul_sums(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`matmul_sums(x, dy) {transpose_a, transpose_b}` for float types: x^T dy and the sums of dy's columns."""
    return _lower_float(node, ctx, vectors)


class _Shape:
    """The sizes of a product and how its operands lie in memory (strides in elements)."""

    def __init__(self, node: Node) -> None:
        x, y = node.inputs[0].shape, node.inputs[1].shape
        ta, tb = node.attrs["transpose_a"], node.attrs["transpose_b"]
        out = node.outputs[0].shape
        self.rows, self.columns = out[-2], out[-1]
        self.depth: Dim = x[-2] if ta else x[-1]
        self.a_row: Dim = 1 if ta else self.depth
        self.a_step: Dim = self.rows if ta else 1
        self.b_step: Dim = 1 if tb else self.columns
        self.b_column: Dim = self.depth if tb else 1
        self.batches: tuple[Batch, ...] = ()
        if len(y) == 2 and not ta:
            self.rows = dims.product((*out[:-2], self.rows))
        else:
            self.batches = _batches(x[:-2], y[:-2], out[:-2], dims.product(x[-2:]), dims.product(y[-2:]))


def _batches(x: tuple[Dim, ...], y: tuple[Dim, ...], out: tuple[Dim, ...], a: Dim, b: Dim) -> tuple[Batch, ...]:
    """The leading axes of the result, with the strides of both operands along them; `a` and `b` are the sizes of one
    matrix."""
    x, y = ((1,) * (len(out) - len(s)) + s for s in (x, y))
    batches: list[Batch] = []
    for i in reversed(range(len(out))):
        batches.insert(0, Batch(out[i], _stride(x[i], a), _stride(y[i], b)))
        a, b = a * x[i], b * y[i]
    return tuple(batch for batch in batches if batch.size != 1)


def _stride(size: Dim, stride: Dim) -> Dim | Choose:
    """The stride along an axis that broadcasts where its size is 1, which may only be known when sizes are bound."""
    if isinstance(size, int):
        return 0 if size == 1 else stride
    return Choose(_unless_one, (size, stride))


def _unless_one(size: int, stride: int) -> int:
    return 0 if size == 1 else stride


def _lower_float(node: Node, ctx: LowerContext, vectors: Vectors | None) -> list[Launch]:
    shape = _Shape(node)
    before, (a, b) = widen(node, ctx, node.inputs[:2])
    outputs, after = narrow(node, ctx)
    dtype = dtypes.f32 if node.inputs[0].type.dtype == dtypes.f16 else node.inputs[0].type.dtype
    epilogue = lower_epilogue(node, ctx, 2, dtype, outputs) if "epilogue" in node.attrs else None
    what = Contraction(
        dtype=dtype,
        a=Operand(a),
        b=Operand(b),
        c=Operand(outputs[0]),
        rows=Digits.of(shape.rows),
        columns=shape.columns,
        depth=Digits.of(shape.depth),
        a_rows=strides(shape.a_row),
        a_steps=strides(shape.a_step),
        b_steps=strides(shape.b_step),
        b_column=shape.b_column,
        c_rows=strides(shape.columns),
        batches=shape.batches,
        c_batch=dims.product((shape.rows, shape.columns)),
        b_stays=stays(node.inputs[1], ctx.fixed),
        sums=outputs[1] if node.op.name == "matmul_sums" else None,
        epilogue=epilogue,
        origin=node.origin,
    )
    return [*before, *contract(what, ctx, vectors), *after]


_INTEGER_SOURCE = """
def kernel(args, lo, hi, worker):
    s = slots(args)
    a, b, c, columns, depth, rows, a_row, a_step, b_step, b_column, n_batch = (
        s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10])
    for tile in range(lo, hi):
        batch = tile // rows
        to = offset({pointer}(c), tile * columns)
        x = offset({pointer}(a), tile % rows * a_row)
        y = {pointer}(b)
        for i in range(n_batch - 1, -1, -1):
            at = {batch_at} + 3 * i
            x = offset(x, batch % s[at] * s[at + 1])
            y = offset(y, batch % s[at] * s[at + 2])
            batch = batch // s[at]
        for j in range(columns):
            store(to, j, {type}(0))
        for k in range(depth):
            left = x[k * a_step]
            for j in range(columns):
                store(to, j, {type}(load(to, j) + left * load(y, k * b_step + j * b_column)))
"""
_INTEGER_BATCH_AT = 11


@functools.cache
def _integer_kernel(short: str) -> Kernel:
    source = _INTEGER_SOURCE.format(pointer=f"{short}p", type=short, batch_at=_INTEGER_BATCH_AT)
    return Kernel(f"matmul_{short}", source)


def _lower_integer(node: Node, ctx: LowerContext) -> list[Launch]:
    shape = _Shape(node)
    a, b, c = (ctx.buffer(v) for v in (*node.inputs[:2], node.output))
    slots: tuple[Slot, ...] = (
        Read(a), Read(b), Write(c), shape.columns, shape.depth, shape.rows,
        shape.a_row, shape.a_step, shape.b_step, shape.b_column, len(shape.batches),
    )  # fmt: skip
    for batch in shape.batches:
        slots += (batch.size, batch.a, batch.b)
    tiles = dims.product((shape.rows, *(batch.size for batch in shape.batches)))
    work = dims.product((2, tiles, shape.columns, shape.depth))
    return [Launch(_integer_kernel(node.output.type.dtype.short), slots, tiles, work, origin=node.origin)]




LOWERINGS: dict[str, Lowering] = {
    "matmul": lower_matmul,
    "fused_matmul": lower_fused_matmul,
    "matmul_sums": lower_matmul_sums,
}
