"""The names that a kernel's text is written with: typed pointers, loads and stores, indirect calls, bit casts, atomics.

Imported only by `codegen/compiler.py` on a cache miss, because it needs Numba. `vmath` adds the mathematics. A
pointer is made from an address once, before the loop (`x = f32p(a[0])`), and indexed in it. There are two kinds of
access:

    x[i], x[i] = v             plain and ordered; LLVM proves what it can. For sums in memory, scatter-add, anything
    that may overlap. load(x, i), store(x, i, v) parallel: promises that no iteration of the innermost loop around
    them reads or writes what another one
                               writes. A loop that has only such accesses vectorises whatever its pointers are, in-
                               place updates included.

float16 elements are read and written as float32, bool elements (one byte) as bool.
"""

from __future__ import annotations

import operator
import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

from codegen.cpu.emit import F32, F64, HALF, I8, I16, I32, I64, POINTER, function
from codegen.postprocess import mark_parallel


class Pointer(types.Type):  # type: ignore[misc]
    """Address of elements stored as LLVM type `stored`, seen by the kernel as Numba type `value`."""

    def __init__(self, short: str, value: Any, stored: Any) -> None:
        super().__init__(name=f"{short}*")
        self.value = value
        self.stored = stored
        self.size = {HALF: 2, F32: 4, F64: 8}.get(stored) or stored.width // 8


@register_model(Pointer)
class _PointerModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.stored.as_pointer())


POINTERS: dict[str, Pointer] = {
    short: Pointer(short, value, stored)
    for short, value, stored in (
        ("bool", types.boolean, I8),
        ("i8", types.int8, I8),
        ("i16", types.int16, I16),
        ("i32", types.int32, I32),
        ("i64", types.int64, I64),
        ("u8", types.uint8, I8),
        ("u16", types.uint16, I16),
        ("u32", types.uint32, I32),
        ("u64", types.uint64, I64),
        ("f16", types.float32, HALF),
        ("f32", types.float32, F32),
        ("f64", types.float64, F64),
    )
}
"""Pointer type of each dtype, by its short name."""


def _element(context: Any, builder: Any, pointer: Pointer, base: Any, index_type: Any, index: Any) -> Any:
    index = context.cast(builder, index, index_type, types.int64)
    return builder.gep(base, [index], inbounds=True)


def _read(builder: Any, pointer: Pointer, address: Any, parallel: bool) -> Any:
    value = builder.load(address, align=pointer.size)
    if parallel:
        mark_parallel(builder.module, value)
    if pointer.value == types.boolean:
        return builder.icmp_unsigned("!=", value, ir.Constant(I8, 0))
    return builder.fpext(value, F32) if pointer.stored == HALF else value


def _write(context: Any, builder: Any, pointer: Pointer, address: Any, type_: Any, value: Any, parallel: bool) -> None:
    value = context.cast(builder, value, type_, pointer.value)
    if pointer.value == types.boolean:
        value = builder.zext(value, I8)
    elif pointer.stored == HALF:
        value = builder.fptrunc(value, HALF)
    instruction = builder.store(value, address, align=pointer.size)
    if parallel:
        mark_parallel(builder.module, instruction)


def word(rule: Callable[..., Any]) -> Any:
    """Makes a typing rule, which returns a signature and an emitter of LLVM code, a function that kernels may call."""
    return intrinsic(rule)


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index = args
        if isinstance(pointer, Pointer) and isinstance(index, types.Integer):
            return signature(pointer.value, pointer, index)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index, value = args
        if isinstance(pointer, Pointer) and isinstance(index, types.Integer):
            return signature(types.none, pointer, index, value)
        return None


def _get_item(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer, index = sig.args
    return _read(builder, pointer, _element(context, builder, pointer, args[0], index, args[1]), parallel=False)


def _set_item(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer, index, value = sig.args
    address = _element(context, builder, pointer, args[0], index, args[1])
    _write(context, builder, pointer, address, value, args[2], parallel=False)
    return context.get_dummy_value()


lower_builtin(operator.getitem, Pointer, types.Integer)(_get_item)
lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)(_set_item)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise TypingError(message)


@word
def load(typingctx: Any, pointer: Any, index: Any) -> Any:
    """Element `index`, with the promise that accesses of different iterations do not conflict."""
    _require(isinstance(pointer, Pointer), f"load needs a typed pointer such as f32p(address), got {pointer}")

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _read(builder, pointer, _element(context, builder, pointer, args[0], index, args[1]), parallel=True)

    return signature(pointer.value, pointer, index), emit


@word
def store(typingctx: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Writes element `index`, with the promise that accesses of different iterations do not conflict."""
    _require(isinstance(pointer, Pointer), f"store needs a typed pointer such as f32p(address), got {pointer}")

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _element(context, builder, pointer, args[0], index, args[1])
        _write(context, builder, pointer, address, value, args[2], parallel=True)
        return context.get_dummy_value()

    return signature(types.void, pointer, index, value), emit


def _pointer_maker(pointer: Pointer) -> Any:
    @word
    def make(typingctx: Any, address: Any) -> Any:
        """Typed pointer from an address (an integer)."""
        _require(isinstance(address, types.Integer), f"{pointer.name} needs an integer address, got {address}")

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.inttoptr(context.cast(builder, args[0], address, types.int64), pointer.stored.as_pointer())

        return signature(pointer, address), emit

    return make


@word
def addr(typingctx: Any, pointer: Any) -> Any:
    """Address of a typed pointer, as an int64."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], I64)

    return signature(types.int64, pointer), emit


@word
def offset(typingctx: Any, pointer: Any, count: Any) -> Any:
    """The pointer moved on by `count` elements."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _element(context, builder, pointer, args[0], count, args[1])

    return signature(pointer, pointer, count), emit


@word
def copy(typingctx: Any, target: Any, source: Any, nbytes: Any) -> Any:
    """Copies bytes between two addresses (int64) whose ranges do not overlap."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        to, from_ = (builder.inttoptr(arg, POINTER) for arg in args[:2])
        callee = function(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), [POINTER, POINTER, I64, ir.IntType(1)])
        builder.call(callee, [to, from_, args[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return signature(types.void, types.int64, types.int64, types.int64), emit


@word
def fill0(typingctx: Any, address: Any, nbytes: Any) -> Any:
    """Writes zero bytes at an address (int64)."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        callee = function(builder, "llvm.memset.p0.i64", ir.VoidType(), [POINTER, I8, I64, ir.IntType(1)])
        to = builder.inttoptr(args[0], POINTER)
        builder.call(callee, [to, ir.Constant(I8, 0), args[1], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return signature(types.void, types.int64, types.int64), emit


@word
def call_n(typingctx: Any, fn: Any, *args: Any) -> Any:
    """Calls the C function at address `fn`, `void(int64, ...)`, with up to 16 integers."""
    arguments = args[0] if len(args) == 1 and isinstance(args[0], types.BaseTuple) else types.Tuple(args)
    _require(len(arguments) <= 16, f"call_n takes at most 16 arguments, got {len(arguments)}")
    _require(all(isinstance(t, types.Integer) for t in arguments), f"call_n takes integers, got {arguments}")

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[1], len(arguments))
        values = [context.cast(builder, v, t, types.int64) for v, t in zip(values, arguments, strict=True)]
        callee = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [I64] * len(values)).as_pointer())
        builder.call(callee, values)
        return context.get_dummy_value()

    return signature(types.void, types.int64, types.StarArgTuple.from_types(tuple(arguments))), emit


@word
def call_kernel(typingctx: Any, fn: Any, args: Any, lo: Any, hi: Any, worker: Any) -> Any:
    """Calls an ordinary kernel at address `fn`."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        callee = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [I64] * 4).as_pointer())
        builder.call(callee, args[1:])
        return context.get_dummy_value()

    return signature(types.void, *[types.int64] * 5), emit


@word
def atomic_load(typingctx: Any, address: Any) -> Any:
    """The int64 at an address. All atomic accesses are in one order that every thread agrees on."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(args[0], I64.as_pointer()), "seq_cst", 8)

    return signature(types.int64, types.int64), emit


@word
def atomic_store(typingctx: Any, address: Any, value: Any) -> Any:
    """Writes an int64 at an address."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[1], builder.inttoptr(args[0], I64.as_pointer()), "seq_cst", 8)
        return context.get_dummy_value()

    return signature(types.void, types.int64, types.int64), emit


def _read_modify_write(operation: str) -> Any:
    @word
    def update(typingctx: Any, address: Any, value: Any) -> Any:
        """Changes the int64 at an address in one step and returns what was there before."""

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.atomic_rmw(operation, builder.inttoptr(args[0], I64.as_pointer()), args[1], "seq_cst")

        return signature(types.int64, types.int64, types.int64), emit

    return update


@word
def pause(typingctx: Any) -> Any:
    """Tells the CPU that a thread waits in a loop."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        machine = platform.machine().lower()
        if machine in ("x86_64", "amd64"):
            builder.call(function(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        elif machine in ("arm64", "aarch64"):
            hint = function(builder, "llvm.aarch64.hint", ir.VoidType(), [I32])
            builder.call(hint, [ir.Constant(I32, 1)])
        return context.get_dummy_value()

    return signature(types.void), emit


_FLUSH = 0x8040  # bits of the control register of x86 vectors: subnormal results, and operands, become 0


def _on_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def _control(builder: Any, name: str, place: Any) -> None:
    """Stores the control register at `place`, or loads it from there."""
    pointer = builder.bitcast(place, ir.PointerType())
    builder.call(function(builder, f"llvm.x86.sse.{name}mxcsr", ir.VoidType(), [ir.PointerType()]), [pointer])


@word
def flush_subnormals(typingctx: Any) -> Any:
    """Lets this thread take subnormal numbers, which are a hundred times slower than others, for 0, where the CPU is
    an x86. Returns what `restore_floats` takes."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not _on_x86():
            return ir.Constant(I64, 0)
        place = cgutils.alloca_once(builder, I32)
        _control(builder, "st", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(I32, _FLUSH)), place)
        _control(builder, "ld", place)
        return builder.zext(before, I64)

    return signature(types.int64), emit


@word
def restore_floats(typingctx: Any, before: Any) -> Any:
    """Ends `flush_subnormals`."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _on_x86():
            place = cgutils.alloca_once(builder, I32)
            builder.store(builder.trunc(args[0], I32), place)
            _control(builder, "ld", place)
        return context.get_dummy_value()

    return signature(types.void, types.int64), emit


def _bit_cast(name: str, source: Any, target: Any, stored: Any) -> Any:
    @word
    def cast(typingctx: Any, value: Any) -> Any:
        """Reinterprets bits; an integer is first cut to the size of the result."""

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.bitcast(args[0], stored)

        _require(isinstance(value, types.Integer) or value == source, f"{name} takes {source}, got {value}")
        return signature(target, source), emit

    return cast


@word
def umulhi32(typingctx: Any, x: Any, y: Any) -> Any:
    """High 32 bits of the product of two uint32."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = builder.mul(builder.zext(args[0], I64), builder.zext(args[1], I64))
        return builder.trunc(builder.lshr(wide, ir.Constant(I64, 32)), I32)

    return signature(types.uint32, types.uint32, types.uint32), emit


@word
def f16(typingctx: Any, value: Any) -> Any:
    """The value rounded to half precision, as float32."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fpext(builder.fptrunc(args[0], HALF), F32)

    return signature(types.float32, types.float32), emit


NAMESPACE: dict[str, Any] = {
    **{f"{short}p": _pointer_maker(pointer) for short, pointer in POINTERS.items()},
    **{short: pointer.value for short, pointer in POINTERS.items() if short not in ("bool", "f16")},
    "boolean": types.boolean,
    "f16": f16,
    "slots": _pointer_maker(POINTERS["i64"]),
    "load": load,
    "store": store,
    "addr": addr,
    "offset": offset,
    "copy": copy,
    "fill0": fill0,
    "atomic_load": atomic_load,
    "atomic_store": atomic_store,
    "exchange": _read_modify_write("xchg"),
    "fetch_add": _read_modify_write("add"),
    "pause": pause,
    "flush_subnormals": flush_subnormals,
    "restore_floats": restore_floats,
    "call_n": call_n,
    "call_kernel": call_kernel,
    "f32_bits": _bit_cast("f32_bits", types.int32, types.float32, F32),
    "f64_bits": _bit_cast("f64_bits", types.int64, types.float64, F64),
    "bits_f32": _bit_cast("bits_f32", types.float32, types.int32, I32),
    "bits_f64": _bit_cast("bits_f64", types.float64, types.int64, I64),
    "umulhi32": umulhi32,
}
"""Every name of this module that kernel text may use. `f32(v)`, `i64(v)`, ... convert by value."""
