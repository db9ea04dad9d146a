"""The micro-kernels under every matmul-like op: explicit LLVM vectors, accumulators held in registers.

There is one family, a tile of `rows` rows by `vectors` vectors:

    c[crows[i] + j] (+)= sum over k of a[rows[i] + steps[k]] * b[k * bstride + j]

`rows`, `steps` and `crows` are tables of byte offsets. So one kernel serves packed, direct and transposed operands of a
matmul and the shifted pixels of a convolution, whose tiles cross rows and images: only the tables differ. A table
lookup per step of k is one load next to `rows * vectors` multiply-adds. A second, small kernel transposes blocks, for
packing operands whose columns are rows in memory.

`contract.py` makes the tables and calls these by address; `compiler.py` calls `build` for the specs in
`Kernel.namespace`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codegen.source import Kernel

_SHORT = {4: "f32", 8: "f64"}


def multiply_kernel(rows: int, vectors: int, lanes: int, itemsize: int) -> Kernel:
    """The micro-kernel `(depth, a, rows, steps, b, bstride, c, crows, accumulate)`.

    All arguments are int64: addresses, a count (`depth` may be 0) and byte offsets. With `accumulate` the tile is added
    to what `c` holds. Two of the `crows` may be equal if their `rows` are, too: both then store the same numbers.
    """
    spec = ("microkernel", "multiply", rows, vectors, lanes, _SHORT[itemsize])
    source = (
        "def kernel(depth, a, rows, steps, b, bstride, c, crows, accumulate):\n"
        "    multiply(depth, a, rows, steps, b, bstride, c, crows, accumulate)\n"
    )
    return Kernel(f"multiply_{rows}x{vectors * lanes}_{_SHORT[itemsize]}", source, "", (("multiply", spec),), params=9)


def transpose_kernel(lanes: int, itemsize: int) -> Kernel:
    """The kernel `(target, tstride, source, sstride, blocks)`: transposes square blocks of `lanes` elements.

    Row r of block n begins at `source + r * sstride + n * lanes` elements; it becomes column r of rows `n * lanes` and
    on of the target, whose rows are `tstride` bytes apart.
    """
    spec = ("microkernel", "transpose", lanes, _SHORT[itemsize])
    source = (
        "def kernel(target, tstride, source, sstride, blocks):\n"
        "    transpose(target, tstride, source, sstride, blocks)\n"
    )
    return Kernel(f"transpose_{lanes}_{_SHORT[itemsize]}", source, "", (("transpose", spec),), params=5)


def build(kind: str, *shape: Any) -> Any:
    """The Numba intrinsic of a spec: `("multiply", rows, vectors, lanes, dtype)`, `("transpose", lanes, dtype)` or
    `("prefetch",)`, which takes an address whose cache line will be read soon."""
    makers: dict[str, Callable[..., Any]] = {"multiply": _multiply, "transpose": _transpose, "prefetch": _prefetch}
    return makers[kind](*shape)


def void_intrinsic(arguments: int, emit: Any) -> Any:
    """An intrinsic of int64 arguments that returns nothing; `emit(builder, values)` writes its body."""
    from numba import types
    from numba.extending import intrinsic

    signature = types.void(*[types.int64] * arguments)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        emit(builder, values)
        return context.get_dummy_value()

    def typed(typingctx: Any, *args: Any) -> Any:
        return signature, generate

    names = [f"x{i}" for i in range(arguments)]
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def call(typingctx, {', '.join(names)}):\n    return typed(typingctx)\n", scope)
    return intrinsic(scope["call"])


class Emitter:
    """Addresses, vectors and one kind of loop on top of an llvmlite builder."""

    def __init__(self, builder: Any, lanes: int, dtype: str) -> None:
        from llvmlite import ir

        self.ir, self.b, self.lanes = ir, builder, lanes
        self.element = {"f32": ir.FloatType(), "f64": ir.DoubleType()}[dtype]
        self.align = {"f32": 4, "f64": 8}[dtype]
        self.vector = ir.VectorType(self.element, lanes)
        self.i8, self.i32, self.i64 = (ir.IntType(n) for n in (8, 32, 64))
        self.suffix = f"v{lanes}{dtype}"

    def number(self, value: int) -> Any:
        return self.ir.Constant(self.i64, value)

    def pointer(self, address: Any) -> Any:
        return self.b.inttoptr(address, self.ir.PointerType())

    def shift(self, pointer: Any, nbytes: Any) -> Any:
        return self.b.gep(pointer, [nbytes], source_etype=self.i8)

    def entry(self, table: Any, index: Any) -> Any:
        """Element of a table of int64."""
        return self.b.load(self.b.gep(table, [index], source_etype=self.i64), align=8, typ=self.i64)

    def splat(self, pointer: Any) -> Any:
        scalar = self.b.load(pointer, align=self.align, typ=self.element)
        undefined = self.ir.Constant(self.vector, self.ir.Undefined)
        one = self.b.insert_element(undefined, scalar, self.ir.Constant(self.i32, 0))
        return self.shuffle(one, undefined, [0] * self.lanes)

    def shuffle(self, x: Any, y: Any, lanes: list[int]) -> Any:
        return self.b.shuffle_vector(x, y, self.ir.Constant(self.ir.VectorType(self.i32, len(lanes)), lanes))

    def load(self, pointer: Any, vector: int = 0) -> Any:
        return self.b.load(self._vector(pointer, vector), align=self.align, typ=self.vector)

    def store(self, value: Any, pointer: Any, vector: int = 0) -> None:
        self.b.store(value, self._vector(pointer, vector), align=self.align)

    def _vector(self, pointer: Any, vector: int) -> Any:
        return self.shift(pointer, self.number(vector * self.lanes * self.align)) if vector else pointer

    def muladd(self, x: Any, y: Any, z: Any) -> Any:
        """x * y + z; rounded once where the CPU does that in one instruction."""
        from codegen.cpu.emit import function

        callee = function(self.b, f"llvm.fmuladd.{self.suffix}", self.vector, [self.vector] * 3)
        return self.b.call(callee, [x, y, z])

    def loop(self, count: Any, carried: list[Any], body: Any) -> list[Any]:
        """`for i in range(count): carried = body(i, carried)`; returns what is carried at the end."""
        b = self.b
        before = b.block
        head, inside, done = (b.append_basic_block(name) for name in ("head", "body", "done"))
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(self.i64)
        index.add_incoming(self.number(0), before)
        phis = [b.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", index, count), inside, done)
        b.position_at_end(inside)
        results = body(index, list(phis))
        index.add_incoming(b.add(index, self.number(1)), b.block)
        for phi, value in zip(phis, results, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(done)
        return list(phis)


def _multiply(rows: int, vectors: int, lanes: int, dtype: str) -> Any:
    def emit(builder: Any, values: Any) -> None:
        e = Emitter(builder, lanes, dtype)
        depth, a, row_table, steps, b, bstride, c, crow_table, accumulate = values
        row_table, steps, crow_table = (e.pointer(t) for t in (row_table, steps, crow_table))
        a = e.pointer(a)
        starts = [e.shift(a, e.entry(row_table, e.number(i))) for i in range(rows)]
        zero = e.ir.Constant(e.vector, [0.0] * lanes)

        def step(k: Any, carried: list[Any]) -> list[Any]:
            *sums, pb = carried
            right = [e.load(pb, j) for j in range(vectors)]
            at = e.entry(steps, k)
            for i in range(rows):
                left = e.splat(e.shift(starts[i], at))
                for j in range(vectors):
                    sums[i * vectors + j] = e.muladd(left, right[j], sums[i * vectors + j])
            return [*sums, e.shift(pb, bstride)]

        *sums, _ = e.loop(depth, [zero] * (rows * vectors) + [e.pointer(b)], step)
        c = e.pointer(c)
        targets = [e.shift(c, e.entry(crow_table, e.number(i))) for i in range(rows)]
        before = builder.block
        add, finish = builder.append_basic_block("add"), builder.append_basic_block("finish")
        builder.cbranch(builder.icmp_signed("!=", accumulate, e.number(0)), add, finish)
        builder.position_at_end(add)
        added = [
            builder.fadd(sums[i * vectors + j], e.load(targets[i], j)) for i in range(rows) for j in range(vectors)
        ]
        builder.branch(finish)
        builder.position_at_end(finish)
        for n, (plain, total) in enumerate(zip(sums, added, strict=True)):
            result = builder.phi(e.vector)
            result.add_incoming(plain, before)
            result.add_incoming(total, add)
            sums[n] = result
        for n, value in enumerate(sums):
            e.store(value, targets[n // vectors], n % vectors)

    return void_intrinsic(9, emit)


def _transpose(lanes: int, dtype: str) -> Any:
    def emit(builder: Any, values: Any) -> None:
        e = Emitter(builder, lanes, dtype)
        target, tstride, source, sstride, blocks = values

        def block(_: Any, carried: list[Any]) -> list[Any]:
            to, row = carried
            after = e.shift(row, e.number(lanes * e.align))
            x = []
            for _ in range(lanes):
                x.append(e.load(row))
                row = e.shift(row, sstride)
            for vector in _transposed(e, x):
                e.store(vector, to)
                to = e.shift(to, tstride)
            return [to, after]

        e.loop(blocks, [e.pointer(target), e.pointer(source)], block)

    return void_intrinsic(5, emit)


def _transposed(e: Emitter, x: list[Any]) -> list[Any]:
    """Interleaving rows r and r + n/2 moves one bit of the row number into the lane number; log2(n) times is a
    transposition."""
    n = e.lanes
    low = [lane for i in range(n // 2) for lane in (i, n + i)]
    high = [lane + n // 2 for lane in low]
    for _ in range(n.bit_length() - 1):
        x = [e.shuffle(x[r], x[r + n // 2], lanes) for r in range(n // 2) for lanes in (low, high)]
    return x


def _prefetch() -> Any:
    def emit(builder: Any, values: Any) -> None:
        from llvmlite import ir

        from codegen.cpu.emit import function

        i32 = ir.IntType(32)
        callee = function(builder, "llvm.prefetch.p0", ir.VoidType(), [ir.PointerType(), i32, i32, i32])
        read, keep, data = (ir.Constant(i32, n) for n in (0, 3, 1))
        builder.call(callee, [builder.inttoptr(values[0], ir.PointerType()), read, keep, data])

    return void_intrinsic(1, emit)
