"""Elementwise ops: arithmetic, mathematics, comparisons, logic, `select`, `clip` and `cast`.

Activations are in `activations.py` and listed here too. Each op is one small class: its scalar expression for code
generation, its numpy meaning and its gradient. Number literals in an expression take the dtype of the operands.
Semantics are those of TensorFlow: floor division, NaN propagates through maximum and minimum, sign(NaN) is 0.
"""

from __future__ import annotations

import math

import numpy as np

from ir import builder as b
from ir import dtypes
from ir.dtypes import DType
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Elementwise, Meet, Op, TypeRuleError
from ir.ops import activations
from ir.ops.base import Scalar, SingleOutput, Unary
from ir.types import TensorType

PIECEWISE_CONSTANT = "piecewise constant"
BOOLEAN = "the result is boolean"


class Neg(Unary):
    name = "neg"
    scalar = "-{0}"
    accepts = "iuf"
    fn = np.negative

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.neg(g),)


class Abs(Unary):
    name = "abs"
    scalar = "absolute({0})"
    accepts = "iuf"
    fn = np.abs

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.mul(g, b.unary("sign", node.inputs[0])),)


class Sign(Unary):
    """-1, 0 or 1; 0 for NaN. Its gradient is zero, not missing, as in TensorFlow."""

    name = "sign"
    scalar = "sign({0})"
    accepts = "iuf"
    fn = staticmethod(lambda x: (x > 0).astype(np.int8) - (x < 0).astype(np.int8))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.zeros_like(node.inputs[0]),)


class Exp(Unary):
    name = "exp"
    scalar = "exp({0})"
    fn = np.exp

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.mul(g, node.output),)


class Log(Unary):
    name = "log"
    scalar = "log({0})"
    fn = np.log

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.div(g, node.inputs[0]),)


class Log1p(Unary):
    name = "log1p"
    scalar = "log1p({0})"
    fn = np.log1p

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.div(g, b.add(node.inputs[0], 1)),)


class Expm1(Unary):
    name = "expm1"
    scalar = "expm1({0})"
    fn = np.expm1

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.mul(g, b.unary("exp", node.inputs[0])),)


class Sqrt(Unary):
    name = "sqrt"
    scalar = "sqrt({0})"
    fn = np.sqrt

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.div(b.mul(g, 0.5), node.output),)


class Rsqrt(Unary):
    name = "rsqrt"
    scalar = "rsqrt({0})"
    fn = staticmethod(lambda x: 1 / np.sqrt(x))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        y = node.output
        return (b.mul(b.mul(g, -0.5), b.mul(y, b.unary("square", y))),)


class Square(Unary):
    name = "square"
    scalar = "{0} * {0}"
    accepts = "iuf"
    fn = np.square

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.mul(g, b.mul(node.inputs[0], 2)),)


class Reciprocal(Unary):
    name = "reciprocal"
    scalar = "1 / {0}"
    fn = np.reciprocal

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.neg(b.mul(g, b.unary("square", node.output))),)


class Sin(Unary):
    name = "sin"
    scalar = "sin({0})"
    fn = np.sin

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.mul(g, b.unary("cos", node.inputs[0])),)


class Cos(Unary):
    name = "cos"
    scalar = "cos({0})"
    fn = np.cos

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.neg(b.mul(g, b.unary("sin", node.inputs[0]))),)


def _erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x.ravel().tolist()], np.float64).reshape(x.shape)


class Erf(Unary):
    name = "erf"
    scalar = "erf({0})"
    fn = _erf

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        slope = b.mul(b.unary("exp", b.neg(b.unary("square", node.inputs[0]))), 2 / math.sqrt(math.pi))
        return (b.mul(g, slope),)


class Floor(Unary):
    name = "floor"
    scalar = "floor({0})"
    fn = np.floor
    no_gradient = PIECEWISE_CONSTANT


class Ceil(Unary):
    name = "ceil"
    scalar = "ceil({0})"
    fn = np.ceil
    no_gradient = PIECEWISE_CONSTANT


class Round(Unary):
    """To the nearest integer, halves to even."""

    name = "round"
    scalar = "rint({0})"
    fn = np.rint
    no_gradient = PIECEWISE_CONSTANT


class IsNan(Unary):
    name = "is_nan"
    scalar = "isnan({0})"
    result = dtypes.bool_
    fn = np.isnan
    no_gradient = BOOLEAN


class Identity(Unary):
    name = "identity"
    scalar = "{0}"
    accepts = "biuf"
    fn = np.array

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (g,)


class StopGradient(Unary):
    name = "stop_gradient"
    scalar = "{0}"
    accepts = "biuf"
    fn = np.array
    no_gradient = "gradients stop here by definition"


class Cast(SingleOutput, Elementwise):
    """Converts to `dtype`: floats to integers truncate, anything but zero is True."""

    name = "cast"
    arity = 1
    schema = {"dtype": "dtype"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        self.check_operands(types)
        return (types[0].with_dtype(attrs["dtype"]),)

    def expression(self, attrs: Attrs, dtypes: tuple[DType, ...]) -> str:
        return f"cast_{attrs['dtype'].short}({{0}})"

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (inputs[0].astype(attrs["dtype"].numpy),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        source = node.inputs[0].type.dtype
        return (b.cast(g, source) if source.is_float and g.type.dtype.is_float else None,)


class Binary(Scalar):
    """Function of two numbers."""

    arity = 2
    accepts = "iuf"


class Add(Binary):
    name = "add"
    scalar = "{0} + {1}"
    fn = np.add

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return g, g


class Sub(Binary):
    name = "sub"
    scalar = "{0} - {1}"
    fn = np.subtract

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return g, b.neg(g)


class Mul(Binary):
    name = "mul"
    scalar = "{0} * {1}"
    fn = np.multiply

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, y = node.inputs
        return b.mul(g, y), b.mul(g, x)


class Div(Binary):
    """True division of floats; cast integers first."""

    name = "div"
    scalar = "{0} / {1}"
    accepts = "f"
    fn = np.divide

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        scaled = b.div(g, node.inputs[1])
        return scaled, b.neg(b.mul(scaled, node.output))


class FloorDiv(Binary):
    """Division rounded down. Of floats it is floor(x / y), which may differ from numpy's by one."""

    name = "floordiv"
    fn = staticmethod(lambda x, y: np.floor(x / y) if x.dtype.kind == "f" else np.floor_divide(x, y))
    no_gradient = PIECEWISE_CONSTANT

    def expression(self, attrs: Attrs, dtypes: tuple[DType, ...]) -> str:
        return "floor({0} / {1})" if dtypes[0].is_float else "floordiv({0}, {1})"


class Mod(Binary):
    """The remainder of `floordiv`, with the sign of the divisor."""

    name = "mod"
    scalar = "floormod({0}, {1})"
    fn = np.mod

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return g, b.neg(b.mul(g, b.floordiv(*node.inputs)))


def _power(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.asarray(np.power(x, y))
    unit = np.where(np.abs(x) == 1, np.where(y % 2 == 0, 1, x), 0)
    return np.where(y < 0, unit, np.power(x, np.maximum(y, 0)))


class Pow(Binary):
    """Where the base is not positive, the gradient of the exponent is 0. A negative power of an integer is 0 unless the
    base is 1 or -1.
    """

    name = "pow"
    scalar = "power({0}, {1})"
    fn = _power

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, y = node.inputs
        log = b.unary("log", b.select(b.compare("greater", x, 0), x, 1))
        return b.mul(g, b.mul(y, b.pow(x, b.sub(y, 1)))), b.mul(g, b.mul(node.output, log))


class Maximum(Binary):
    """NaN if either is NaN. At ties the first operand gets the gradient."""

    name = "maximum"
    scalar = "maximum({0}, {1})"
    fn = np.maximum

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        first = b.compare("greater_equal", *node.inputs)
        return b.select(first, g, 0), b.select(first, 0, g)


class Minimum(Binary):
    """NaN if either is NaN. At ties the first operand gets the gradient."""

    name = "minimum"
    scalar = "minimum({0}, {1})"
    fn = np.minimum

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        first = b.compare("less_equal", *node.inputs)
        return b.select(first, g, 0), b.select(first, 0, g)


class Comparison(Scalar):
    arity = 2
    accepts = "iuf"
    result = dtypes.bool_
    no_gradient = BOOLEAN


class Equal(Comparison):
    name = "equal"
    scalar = "{0} == {1}"
    accepts = "biuf"
    fn = np.equal


class NotEqual(Comparison):
    name = "not_equal"
    scalar = "{0} != {1}"
    accepts = "biuf"
    fn = np.not_equal


class Less(Comparison):
    name = "less"
    scalar = "{0} < {1}"
    fn = np.less


class LessEqual(Comparison):
    name = "less_equal"
    scalar = "{0} <= {1}"
    fn = np.less_equal


class Greater(Comparison):
    name = "greater"
    scalar = "{0} > {1}"
    fn = np.greater


class GreaterEqual(Comparison):
    name = "greater_equal"
    scalar = "{0} >= {1}"
    fn = np.greater_equal


class Logical(Scalar):
    arity = 2
    accepts = "b"
    no_gradient = BOOLEAN


class LogicalAnd(Logical):
    name = "logical_and"
    scalar = "{0} & {1}"
    fn = np.logical_and


class LogicalOr(Logical):
    name = "logical_or"
    scalar = "{0} | {1}"
    fn = np.logical_or


class LogicalXor(Logical):
    name = "logical_xor"
    scalar = "{0} ^ {1}"
    fn = np.logical_xor


class LogicalNot(Logical):
    name = "logical_not"
    arity = 1
    scalar = "{0} == False"
    fn = np.logical_not


class Select(Scalar):
    """`select(condition, x, y)`: `x` where the boolean `condition` holds, else `y`."""

    name = "select"
    arity = 3
    scalar = "where({0}, {1}, {2})"
    fn = np.where

    def check_operands(self, types: tuple[TensorType, ...]) -> None:
        if len(types) != 3:
            raise TypeRuleError(f"select takes 3 operands, got {len(types)}")
        if not types[0].dtype.is_bool:
            raise TypeRuleError(f"select: the condition must be bool, got {types[0].dtype.name}")
        if types[1].dtype != types[2].dtype:
            raise TypeRuleError(
                f"select: the two branches have different dtypes {types[1].dtype.name} and {types[2].dtype.name}; "
                "cast one of them (K.cast), there is no implicit promotion"
            )

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        condition = node.inputs[0]
        return None, b.select(condition, g, 0), b.select(condition, 0, g)


class Clip(Scalar):
    """`clip(x, low, high)` is maximum(minimum(x, high), low). The gradient passes on both bounds."""

    name = "clip"
    arity = 3
    accepts = "iuf"
    scalar = "maximum(minimum({0}, {2}), {1})"
    fn = staticmethod(lambda x, low, high: np.maximum(np.minimum(x, high), low))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, low, high = node.inputs
        above_low = b.compare("greater_equal", b.minimum(x, high), low)
        below_high = b.compare("less_equal", x, high)
        capped = b.select(above_low, g, 0)
        return b.select(below_high, capped, 0), b.select(above_low, 0, g), b.select(below_high, 0, capped)


OPS: tuple[Op, ...] = (
    Neg(), Abs(), Sign(), Exp(), Log(), Log1p(), Expm1(), Sqrt(), Rsqrt(), Square(), Reciprocal(), Sin(), Cos(), Erf(),
    Floor(), Ceil(), Round(), IsNan(), Identity(), StopGradient(), Cast(),
    Add(), Sub(), Mul(), Div(), FloorDiv(), Mod(), Pow(), Maximum(), Minimum(),
    Equal(), NotEqual(), Less(), LessEqual(), Greater(), GreaterEqual(),
    LogicalAnd(), LogicalOr(), LogicalXor(), LogicalNot(), Select(), Clip(),
    *activations.OPS,
)  # fmt: skip
