"""Writing LLVM instructions with Python operators, for the intrinsics that kernels are made of.

`V` wraps an llvmlite builder and a value: `fma(x, y, z) * x + 1` appends the instructions. Used by `vmath` (scalar
functions that LLVM widens) and `intrinsics`. Float instructions written here carry the flag `contract` and no other,
so that `postprocess`, which gives flags to the instructions of a kernel's own text, leaves alone those whose rounding
is part of an algorithm.
"""

from __future__ import annotations

from typing import Any, Union

from llvmlite import ir

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
HALF, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
POINTER = ir.PointerType()

EXACT = ("contract",)
"""Flags of float instructions that must not be reordered."""

Operand = Union["V", int, float]


class V:
    """An LLVM value (float, double or integer) together with the builder that appends to its block."""

    __slots__ = ("b", "v")

    def __init__(self, builder: Any, value: Any) -> None:
        self.b = builder
        self.v = value

    @property
    def type(self) -> Any:
        return self.v.type

    @property
    def is_float(self) -> bool:
        return self.v.type in (F32, F64)

    def const(self, value: int | float) -> V:
        """A constant of this value's type."""
        return V(self.b, ir.Constant(self.v.type, float(value) if self.is_float else int(value)))

    def _other(self, other: Operand) -> Any:
        return other.v if isinstance(other, V) else self.const(other).v

    def _binary(self, float_op: str, int_op: str, left: Any, right: Any) -> V:
        if self.is_float:
            return V(self.b, getattr(self.b, float_op)(left, right, flags=EXACT))
        return V(self.b, getattr(self.b, int_op)(left, right))

    def __add__(self, other: Operand) -> V:
        return self._binary("fadd", "add", self.v, self._other(other))

    def __sub__(self, other: Operand) -> V:
        return self._binary("fsub", "sub", self.v, self._other(other))

    def __rsub__(self, other: Operand) -> V:
        return self._binary("fsub", "sub", self._other(other), self.v)

    def __mul__(self, other: Operand) -> V:
        return self._binary("fmul", "mul", self.v, self._other(other))

    def __truediv__(self, other: Operand) -> V:
        return V(self.b, self.b.fdiv(self.v, self._other(other), flags=EXACT))

    def __rtruediv__(self, other: Operand) -> V:
        return V(self.b, self.b.fdiv(self._other(other), self.v, flags=EXACT))

    def __neg__(self) -> V:
        return V(self.b, self.b.fneg(self.v) if self.is_float else self.b.neg(self.v))

    __radd__ = __add__
    __rmul__ = __mul__

    def __and__(self, other: Operand) -> V:
        return V(self.b, self.b.and_(self.v, self._other(other)))

    def __or__(self, other: Operand) -> V:
        return V(self.b, self.b.or_(self.v, self._other(other)))

    def __xor__(self, other: Operand) -> V:
        return V(self.b, self.b.xor(self.v, self._other(other)))

    def __lshift__(self, other: Operand) -> V:
        return V(self.b, self.b.shl(self.v, self._other(other)))

    def __rshift__(self, other: Operand) -> V:
        """Arithmetic shift; `shift_right` is the logical one."""
        return V(self.b, self.b.ashr(self.v, self._other(other)))

    def shift_right(self, other: Operand) -> V:
        return V(self.b, self.b.lshr(self.v, self._other(other)))

    def _compare(self, op: str, other: Operand) -> V:
        """Signed or ordered comparison; with NaN only `!=` is true."""
        right = self._other(other)
        if not self.is_float:
            return V(self.b, self.b.icmp_signed(op, self.v, right))
        compare = self.b.fcmp_unordered if op == "!=" else self.b.fcmp_ordered
        return V(self.b, compare(op, self.v, right))

    def __lt__(self, other: Operand) -> V:
        return self._compare("<", other)

    def __le__(self, other: Operand) -> V:
        return self._compare("<=", other)

    def __gt__(self, other: Operand) -> V:
        return self._compare(">", other)

    def __ge__(self, other: Operand) -> V:
        return self._compare(">=", other)

    def eq(self, other: Operand) -> V:
        return self._compare("==", other)

    def ne(self, other: Operand) -> V:
        return self._compare("!=", other)

    def is_nan(self) -> V:
        return self.ne(self)

    def bits(self) -> V:
        """A float's bit pattern as an integer of the same size."""
        return V(self.b, self.b.bitcast(self.v, I32 if self.type == F32 else I64))

    def as_float(self) -> V:
        """The float that has this integer's bit pattern."""
        return V(self.b, self.b.bitcast(self.v, F32 if self.type == I32 else F64))

    def to(self, type_: Any) -> V:
        """Conversion by value between signed integers and floats of any size."""
        b, v = self.b, self.v
        if v.type == type_:
            return self
        if self.is_float:
            if type_ in (F32, F64):
                return V(b, widen(b, v) if type_ == F64 else b.fptrunc(v, F32))
            return V(b, b.fptosi(v, type_))
        if type_ in (F32, F64):
            return V(b, b.uitofp(v, type_) if v.type == I1 else b.sitofp(v, type_))
        if v.type.width > type_.width:
            return V(b, b.trunc(v, type_))
        return V(b, b.zext(v, type_) if v.type == I1 else b.sext(v, type_))


def widen(builder: Any, value: Any) -> Any:
    """A float32 made float64 on purpose, which the compiler's check for accidents lets pass."""
    wide = builder.fpext(value, F64)
    wide.deliberate = True
    return wide


def where(condition: V, yes: Operand, no: Operand) -> V:
    """`yes` where the condition holds, else `no`; both are computed. At least one of them is a `V`."""
    typed = yes if isinstance(yes, V) else no
    assert isinstance(typed, V)
    return V(typed.b, typed.b.select(condition.v, typed._other(yes), typed._other(no)))


def function(builder: Any, name: str, result: Any, arguments: list[Any], attributes: tuple[str, ...] = ()) -> Any:
    """Declaration of an external function, once per module. (llvmlite's own `declare_intrinsic` refuses vector
    types.)
    """
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    declared = ir.Function(module, ir.FunctionType(result, arguments), name)
    for attribute in attributes:
        declared.attributes.add(attribute)
    return declared


def type_name(type_: Any) -> str:
    """LLVM's suffix for an intrinsic on this type: `f32`, `v16f32`, `i64`."""
    if isinstance(type_, ir.VectorType):
        return f"v{type_.count}{type_name(type_.element)}"
    if isinstance(type_, ir.IntType):
        return f"i{type_.width}"
    return {HALF: "f16", F32: "f32", F64: "f64"}[type_]


def intrinsic_call(name: str, *values: V, flags: tuple[str, ...] = ()) -> V:
    """Calls `llvm.<name>.<type>`, whose operands and result have the type of the first value."""
    first = values[0]
    declared = function(first.b, f"llvm.{name}.{type_name(first.type)}", first.type, [v.type for v in values])
    return V(first.b, first.b.call(declared, [v.v for v in values], fastmath=flags))


def fma(x: V, y: Operand, z: Operand) -> V:
    """x * y + z, rounded once."""
    return intrinsic_call("fma", x, V(x.b, x._other(y)), V(x.b, x._other(z)))


def polynomial(x: V, coefficients: tuple[float, ...]) -> V:
    """Horner's rule, highest power first."""
    result = x.const(coefficients[0])
    for c in coefficients[1:]:
        result = fma(result, x, c)
    return result


def libm(name: str, *values: V) -> V:
    """Calls a pure function of the C mathematics library (`tanhf`, `erf`, ...)."""
    first = values[0]
    declared = function(first.b, name, first.type, [v.type for v in values], ("nounwind", "readnone"))
    return V(first.b, first.b.call(declared, [v.v for v in values]))
