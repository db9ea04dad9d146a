"""Base classes of ops with one output, and checks that type rules share.

`elementwise.py`, `activations.py`, `reduce.py`, `shape.py` and `matmul.py` build on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Elementwise, Op, TypeRuleError
from ir.types import TensorType


class SingleOutput(Op):
    """An op with one output, whose gradient is written as `backward`."""

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        """Gradients of the inputs given the gradient `g` of the output; None means zero.

        A gradient may still have the shape of the output where an input was broadcast; `autodiff` sums it.
        """
        raise TypeError(f"op {self.name} has no gradient")

    def gradient(self, node: Node, grads: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        (g,) = grads
        return (None,) * len(node.inputs) if g is None else self.backward(node, g)


class Scalar(SingleOutput, Elementwise):
    """An elementwise op whose numpy meaning is the function `fn`."""

    fn: ClassVar[Callable[..., Any]]

    def compute(self, *arrays: Array, attrs: Attrs) -> Array:
        return np.asarray(type(self).fn(*arrays))


class Unary(Scalar):
    """Floating-point function of one operand."""

    arity = 1
    accepts = "f"


def operands(name: str, types: tuple[TensorType, ...], count: int) -> None:
    """Raises TypeRuleError unless there are `count` operands."""
    if len(types) != count:
        raise TypeRuleError(f"{name} takes {count} operand{'s' * (count != 1)}, got {len(types)}")


def of_kind(name: str, type: TensorType, kinds: str, what: str = "") -> None:
    """Raises TypeRuleError unless the dtype of `type` is one of `kinds` (letters of `DType.kind`)."""
    if type.dtype.kind not in kinds:
        raise TypeRuleError(f"{name} does not take {type.dtype.name}{f' as {what}' if what else ''}")
