"""Small graphs for the tests of the text form, one with everything that the form can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ir import builder as b
from ir.dims import SymDim
from ir.graph import Attrs, Check, Graph, Guard, Node, Update, Value, Variable
from ir.interpreter import run
from ir.opdef import Array, Arrays, Meet, Op, infer
from ir.rewrite import assemble
from ir.types import TensorType, tensor

B, T, H = SymDim("B"), SymDim("T"), SymDim("H")


class Call(Op):
    """Runs a body graph; stands for the ops that carry bodies."""

    name = "call"
    schema: ClassVar[Mapping[str, str]] = {"body": "graph", "label": "str"}
    no_gradient = "only for tests"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        return tuple(v.type for v in attrs["body"].outputs)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return tuple(run(attrs["body"], inputs, {})[0])


CALL = Call()


def call(body: Graph, *inputs: Value) -> tuple[Value, ...]:
    attrs = Attrs({"body": body, "label": 'a "quoted"\nlabel'})
    types, constraints = infer(CALL, inputs, attrs)
    return Node(CALL, inputs, attrs, types, ("region",), constraints).outputs


def everything() -> Graph:
    """Needs `CALL` in the table of ops. Has names that clash or cannot stand as they are, a guard, a check, bodies."""
    x = b.input_value(tensor("f32", B, T, 3), "x")
    clash = b.input_value(tensor("f32", B, H), "x")
    odd = b.input_value(tensor("i32", B), "input 1/odd:0")
    unnamed = b.input_value(tensor("bool"))
    w = Variable(tensor("f32", 3), "dense_1/kernel:0", trainable=True)
    w2 = Variable(tensor("f32", 3), "dense_2/kernel:0")
    with b.origin(("model_1", "dense_1")):
        y = b.add(x, w.value)
        y.name = "x"
    with b.origin(('an "odd" name, # really', "")):
        numbers = b.constant([0.1, -0.0, float("inf"), float("-inf"), float("nan"), 1e-30, 1e22, 3.0])
    a = b.input_value(tensor("f32", B, T, 3), "a")
    inner = assemble("inner", [a], [b.neg(a)])
    c = b.input_value(tensor("f32", B, T, 3), "a")
    body = assemble("a body", [c], [call(inner, c)[0], b.full((B,), True, unnamed.type.dtype)])
    p, q = call(body, y)
    padded = b.apply1("pad", clash, pads=((0, 0), (1, H - 1)), value=-1.0)
    outputs = [p, q, padded, b.sizes(((H - 3) // 2 + 1, B * T, 7)), numbers, odd, unnamed]
    return assemble(
        "every thing",
        [x, clash, odd, unnamed],
        outputs,
        [Update(w, w2.value)],
        [Guard(1, 1, H), Guard(0, 0, 2 * B)],
        [Check((H - 3) // 2, T, 'add in "dense_1"')],
    )
