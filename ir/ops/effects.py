"""`print`: shows its operand when it runs. It is the one op that does more than give its result.

It runs where its result is used, at the top of a graph or in a body, and once for each time the operand is computed.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op
from ir.ops.base import SingleOutput, operands
from ir.types import TensorType

_SHOWN = 3  # elements


class Print(SingleOutput):
    """print(x) gives x, and writes `message` and the first elements of x to standard error, as TensorFlow 1's `Print`.

    `number` tells one print from another of the same value: equal nodes are merged.
    """

    name = "print"
    schema = {"message": "str", "number": "int"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 1)
        return types

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        show(attrs["message"], inputs[0])
        return (inputs[0].copy(),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        return (g,)


def show(message: str, x: Array) -> None:
    """Writes `message[elements]` to standard error."""
    print(f"{message}[{summary(x)}]", file=sys.stderr, flush=True)


def summary(x: Array) -> str:
    """The first three elements, inner axes in brackets, and `...` where there are more."""
    if not x.ndim:
        return _element(x[()])
    first = iter(x.ravel()[:_SHOWN])
    return _axis(x.shape, first, min(_SHOWN, x.size), outer=True)[0] + ("..." if x.size > _SHOWN else "")


def _axis(shape: tuple[int, ...], elements: Any, left: int, outer: bool) -> tuple[str, int]:
    """The text of one axis, and how many elements may still be shown."""
    if len(shape) == 1:
        shown = " ".join(_element(next(elements)) for _ in range(min(left, shape[0])))
        cut = left < shape[0] and not outer
        return shown + "..." * cut, left - min(left, shape[0])
    text = ""
    for _ in range(shape[0]):
        if not left:
            break
        inner, left = _axis(shape[1:], elements, left, outer=False)
        text += f"[{inner}]"
    return text, left


def _element(x: Any) -> str:
    """The shortest usual form: six digits where they tell the number, else as many as do."""
    if isinstance(x, np.floating):
        digits, more = (15, 17) if x.itemsize == 8 else (6, 9)
        short = f"{x:.{digits}g}"
        return short if type(x)(short) == x or x != x else f"{x:.{more}g}"
    return str(int(x))


OPS: tuple[Op, ...] = (Print(),)
