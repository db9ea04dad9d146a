"""The functions of `codegen/scalar.py` as Numba intrinsics, one per name, for every dtype that the table allows.

`vmath` computes floats; integers and bools are done here. Imported by `codegen/compiler.py` only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.core.typing.templates import signature
from numba.extending import intrinsic

from codegen.cpu import vmath
from codegen.cpu.emit import F32, HALF, I64, V, where
from codegen.cpu.intrinsics import POINTERS
from codegen.scalar import FUNCTIONS, Function

IntegerEmitter = Callable[[bool, "list[V]"], V]


def _kind(type_: Any) -> str:
    """Kind of a Numba type in the letters of `FUNCTIONS`; empty for anything that is no number."""
    if isinstance(type_, types.Boolean):
        return "b"
    if isinstance(type_, types.Integer):
        return "i" if type_.signed else "u"
    return "f" if type_ in (types.float32, types.float64) else ""


def _common_type(typingctx: Any, name: str, function: Function, arguments: tuple[Any, ...]) -> Any:
    """The one type that a function's arguments have, or an error in words."""
    kinds = {_kind(t) for t in arguments}
    if len(set(arguments)) == 1:
        common = arguments[0]
    elif kinds == {"i"} or kinds == {"u"}:
        common = typingctx.unify_types(*arguments)
    else:
        given = ", ".join(str(t) for t in arguments)
        raise TypingError(f"{name}({given}): arguments must have one type; write for example f32(...) around a literal")
    if _kind(common) not in function.kinds or not _kind(common):
        raise TypingError(f"{name} does not take {common}")
    return common


def _make(name: str, function: Function) -> Any:
    def rule(typingctx: Any, *arguments: Any) -> Any:
        first = 1 if name == "where" else 0
        if first and not isinstance(arguments[0], types.Boolean):
            raise TypingError(f"where needs a bool condition, got {arguments[0]}")
        common = _common_type(typingctx, name, function, arguments[first:])
        kinds = (types.boolean,) * first + (common,) * (function.arity - first)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _emit(name, common, [V(builder, arg) for arg in args]).v

        return signature(types.boolean if function.boolean else common, *kinds), emit

    return _intrinsic(name, function.arity, rule)


def _intrinsic(name: str, arity: int, rule: Callable[..., Any]) -> Any:
    """Numba looks at the parameter list, so there is one function per arity."""
    by_arity: dict[int, Callable[..., Any]] = {
        1: lambda typingctx, x: rule(typingctx, x),
        2: lambda typingctx, x, y: rule(typingctx, x, y),
        3: lambda typingctx, x, y, z: rule(typingctx, x, y, z),
    }
    by_arity[arity].__name__ = name
    return intrinsic(by_arity[arity])


def _emit(name: str, type_: Any, values: list[V]) -> V:
    if name == "where":
        return where(*values)
    if _kind(type_) == "f":
        table = vmath.FLOAT32 if type_ == types.float32 else vmath.FLOAT64
        return table[name](*values)
    return INTEGERS[name](_kind(type_) == "i", values)


def _minimum(signed: bool, values: list[V]) -> V:
    return _select_by("<", signed, *values)


def _maximum(signed: bool, values: list[V]) -> V:
    return _select_by(">", signed, *values)


def _select_by(comparison: str, signed: bool, x: V, y: V) -> V:
    compare = x.b.icmp_signed if signed else x.b.icmp_unsigned
    return where(V(x.b, compare(comparison, x.v, y.v)), x, y)


def _absolute(signed: bool, values: list[V]) -> V:
    (x,) = values
    return where(x < 0, -x, x) if signed else x


def _sign(signed: bool, values: list[V]) -> V:
    (x,) = values
    nonzero = where(x.ne(0), x.const(1), 0)
    return where(x < 0, x.const(-1), nonzero) if signed else nonzero


def _divide(signed: bool, x: V, y: V) -> tuple[V, V]:
    """Quotient rounded down and remainder; by zero both are zero. No division that the processor would trap on is
    executed.
    """
    b = x.b
    by_zero = y.eq(0)
    if not signed:
        safe = where(by_zero, y.const(1), y)
        quotient, remainder = V(b, b.udiv(x.v, safe.v)), V(b, b.urem(x.v, safe.v))
        return where(by_zero, x.const(0), quotient), where(by_zero, x.const(0), remainder)
    negate = y.eq(-1)  # the smallest integer divided by -1 traps
    safe = where(V(b, b.or_(by_zero.v, negate.v)), y.const(1), y)
    quotient, remainder = V(b, b.sdiv(x.v, safe.v)), V(b, b.srem(x.v, safe.v))
    crossed = V(b, b.and_(remainder.ne(0).v, ((remainder ^ y) < 0).v))
    quotient, remainder = where(crossed, quotient - 1, quotient), where(crossed, remainder + y, remainder)
    zero = x.const(0)
    return where(by_zero, zero, where(negate, -x, quotient)), where(V(b, b.or_(by_zero.v, negate.v)), zero, remainder)


def _floordiv(signed: bool, values: list[V]) -> V:
    return _divide(signed, *values)[0]


def _floormod(signed: bool, values: list[V]) -> V:
    return _divide(signed, *values)[1]


def _power(signed: bool, values: list[V]) -> V:
    """By repeated squaring, in a loop over the bits of the exponent."""
    base, exponent = values
    b = base.b
    before, loop, after = b.block, b.append_basic_block("power"), b.append_basic_block("power.end")
    b.branch(loop)
    b.position_at_end(loop)
    square, left, result = (V(b, b.phi(base.type)) for _ in range(3))
    product = where((left & 1).ne(0), result * square, result)
    for phi, first, following in (
        (square, base, square * square),
        (left, exponent, left.shift_right(1)),
        (result, base.const(1), product),
    ):
        phi.v.add_incoming(first.v, before)
        phi.v.add_incoming(following.v, loop)
    b.cbranch((left.shift_right(1)).ne(0).v, loop, after)
    b.position_at_end(after)
    if not signed:
        return product
    reciprocal = where(base.eq(1), base.const(1), where(base.eq(-1), product, base.const(0)))
    return where(exponent < 0, reciprocal, product)


INTEGERS: dict[str, IntegerEmitter] = {
    "absolute": _absolute,
    "sign": _sign,
    "maximum": _maximum,
    "minimum": _minimum,
    "floordiv": _floordiv,
    "floormod": _floormod,
    "power": _power,
}
"""Functions of integers and bools: called with whether the type is signed."""


def _cast(short: str) -> Any:
    """`cast_<dtype>`: conversion by value. Floats lose their fraction; integers wrap; bool is "not zero"; float16
    rounds twice.
    """
    target = POINTERS[short].value

    def rule(typingctx: Any, x: Any) -> Any:
        if not _kind(x):
            raise TypingError(f"cast_{short} does not take {x}")

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if short == "f16":
                value = context.cast(builder, args[0], x, types.float32)
                return builder.fpext(builder.fptrunc(value, HALF), F32)
            if _kind(x) == "f" and _kind(target) in "iu" and target != types.uint64:
                wide = ir.IntType(32) if target.bitwidth < 32 or target == types.int32 else I64
                value = builder.fptosi(args[0], wide)
                return builder.trunc(value, ir.IntType(target.bitwidth)) if target.bitwidth < wide.width else value
            return context.cast(builder, args[0], x, target)

        return signature(target, x), emit

    return _intrinsic(f"cast_{short}", 1, rule)


NAMESPACE: dict[str, Any] = {
    **{name: _make(name, function) for name, function in FUNCTIONS.items()},
    **{f"cast_{short}": _cast(short) for short in POINTERS},
}
"""Every function name that kernel text may use."""
NAMESPACE |= {
    "min": NAMESPACE["minimum"],
    "max": NAMESPACE["maximum"],
}  # of two values; cheaper to compile than Numba's own
