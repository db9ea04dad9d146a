"""Activation functions as elementwise ops, with the definitions and constants of Keras.

They stand in the table of `elementwise.py`. Activations made of several others (relu with a maximum or a threshold,
swish) are composed by the Keras backend.
"""

from __future__ import annotations

import numpy as np

from ir import builder as b
from ir.graph import Node, Value
from ir.opdef import Array, Op
from ir.ops.base import Scalar, Unary

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


class Tanh(Unary):
    name = "tanh"
    scalar = "tanh({0})"
    fn = np.tanh

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.mul(g, b.sub(1, b.unary("square", node.output))),)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # never overflows
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


class Sigmoid(Unary):
    name = "sigmoid"
    scalar = "sigmoid({0})"
    fn = _sigmoid

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        y = node.output
        return (b.mul(g, b.mul(y, b.sub(1, y))),)


class Relu(Unary):
    """max(x, 0); NaN stays NaN. The gradient at 0 is 0."""

    name = "relu"
    scalar = "where({0} <= 0, 0, {0})"
    accepts = "iuf"
    fn = staticmethod(lambda x: np.where(x <= 0, x.dtype.type(0), x))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.select(b.compare("greater", node.output, 0), g, 0),)


class Softplus(Unary):
    """log(exp(x) + 1), computed so that it neither overflows nor rounds to 0 early."""

    name = "softplus"
    scalar = "maximum({0}, 0) + log1p(exp(-absolute({0})))"
    fn = staticmethod(lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.mul(g, b.unary("sigmoid", node.inputs[0])),)


class Softsign(Unary):
    name = "softsign"
    scalar = "{0} / (1 + absolute({0}))"
    fn = staticmethod(lambda x: x / (1 + np.abs(x)))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (b.div(g, b.unary("square", b.add(b.unary("abs", node.inputs[0]), 1))),)


class HardSigmoid(Unary):
    """0.2 x + 0.5, clipped to [0, 1]."""

    name = "hard_sigmoid"
    scalar = "minimum(maximum({0} * 0.2 + 0.5, 0), 1)"
    fn = staticmethod(lambda x: np.minimum(np.maximum(x * 0.2 + 0.5, 0), 1))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        inside = b.compare("less_equal", b.unary("abs", node.inputs[0]), 2.5)
        return (b.select(inside, b.mul(g, 0.2), 0),)


class Selu(Unary):
    """Scaled exponential linear unit, with the constants of Keras (Klambauer et al., 2017)."""

    name = "selu"
    scalar = f"where({{0}} > 0, {{0}}, expm1({{0}}) * {SELU_ALPHA!r}) * {SELU_SCALE!r}"
    fn = staticmethod(lambda x: np.where(x > 0, x, np.expm1(x) * SELU_ALPHA) * SELU_SCALE)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        y = node.output
        below = b.mul(g, b.add(y, SELU_ALPHA * SELU_SCALE))
        return (b.select(b.compare("less", y, 0), below, b.mul(g, SELU_SCALE)),)


class Elu(Scalar):
    """`elu(x, alpha)`: x where it is positive, else alpha (exp(x) - 1)."""

    name = "elu"
    arity = 2
    accepts = "f"
    scalar = "where({0} > 0, {0}, {1} * expm1({0}))"
    fn = staticmethod(lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, alpha = node.inputs
        positive = b.compare("greater", x, 0)
        below = b.mul(g, b.add(node.output, alpha))
        return b.select(positive, g, below), b.select(positive, 0, b.mul(g, b.unary("expm1", x)))


class LeakyRelu(Scalar):
    """`leaky_relu(x, alpha)`: x where it is positive, else alpha x."""

    name = "leaky_relu"
    arity = 2
    accepts = "f"
    scalar = "where({0} > 0, {0}, {1} * {0})"
    fn = staticmethod(lambda x, alpha: np.where(x > 0, x, alpha * x))

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, alpha = node.inputs
        positive = b.compare("greater", x, 0)
        return b.select(positive, g, b.mul(g, alpha)), b.select(positive, 0, b.mul(g, x))


OPS: tuple[Op, ...] = (
    Tanh(), Sigmoid(), Relu(), Softplus(), Softsign(), HardSigmoid(), Selu(), Elu(), LeakyRelu(),
)  # fmt: skip
