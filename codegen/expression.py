"""Graphs of elementwise nodes as text: one assignment per node, for kernels of every target that compiles Python.

The text depends on the structure alone. Scalar constants become parameters (`Literal`), which reach the kernel as
slots, so that another alpha or epsilon makes no new kernel. Before it come fused nodes and epilogues; after it the
kernel printers.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.launch import F32, F64, Slot
from ir import dtypes
from ir.dtypes import DType
from ir.graph import Node, Value
from ir.opdef import Elementwise

COPIES = frozenset({"broadcast_to", "identity", "stop_gradient", "reshape"})
"""Ops that leave an element as it is (a reshape only where the body's loop has collapsed the axes it touches)."""


@dataclass(frozen=True)
class Literal:
    """A scalar constant of a body: the name it has in the text, its dtype and its value."""

    name: str
    dtype: DType
    value: bool | int | float

    def slot(self) -> Slot:
        """The value as a 64-bit slot. Slots are signed, so the largest uint64 wrap."""
        if self.dtype == dtypes.f64:
            return F64(self.value)
        if self.dtype.is_float:  # a float16 is computed in float32, yet the constant has half precision
            return F32(float(self.dtype.numpy.type(self.value)))
        return (int(self.value) + 2**63) % 2**64 - 2**63

    def load(self, index: int) -> str:
        """Text that reads the slot `index` of the row `a`."""
        if self.dtype.is_float:
            return f"{'f64' if self.dtype == dtypes.f64 else 'f32'}_bits(a[{index}])"
        return f"cast_{self.dtype.short}(a[{index}])"


@dataclass(frozen=True)
class Body:
    """Statements that compute `results` (names) from the operands' names and `literals`."""

    lines: tuple[str, ...]
    results: tuple[str, ...]
    literals: tuple[Literal, ...]


def is_literal(value: Value) -> bool:
    """Whether `value` is a constant with one element, which becomes a slot."""
    node = value.node
    return node is not None and node.op.name == "constant" and len(node.attrs["value"]) == 1


def body(nodes: Sequence[Node], operands: Mapping[Value, str], outputs: Sequence[Value]) -> Body:
    """The body that computes `outputs` by `nodes` (elementwise, in order); `operands` names the values from outside."""
    names: dict[Value, str] = dict(operands)
    literals: list[Literal] = []
    lines: list[str] = []

    def name(v: Value) -> str:
        if v not in names and is_literal(v):
            assert v.node is not None
            literals.append(Literal(f"c{len(literals)}", v.type.dtype, v.node.attrs["value"][0]))
            names[v] = literals[-1].name
        return names[v]

    for node in nodes:
        if node.op.name == "constant":
            continue
        ins = [name(v) for v in node.inputs]
        if node.op.name in COPIES:
            names[node.output] = ins[0]
            continue
        result = f"v{len(lines)}"
        lines.append(f"{result} = {scalar_text(node, ins)}")
        names[node.output] = result
    return Body(tuple(lines), tuple(name(v) for v in outputs), tuple(literals))


def scalar_text(node: Node, operands: Sequence[str]) -> str:
    """The expression of one elementwise node over operand names, with its result in the node's dtype.

    Number literals of an op's expression take the dtype of the operands, so that float32 stays float32. Results of
    integer arithmetic are wrapped to their dtype.
    """
    op = node.op
    assert isinstance(op, Elementwise), op
    kinds = tuple(v.type.dtype for v in node.inputs)
    template = op.expression(node.attrs, kinds)
    typed = _typed(template, _compute(kinds[-1]).short)
    text = typed.format(*operands)
    out = node.output.type.dtype
    if out.is_integer and op.name != "cast":
        return f"cast_{out.short}({text})"
    return text


def _compute(dtype: DType) -> DType:
    """The dtype in which a dtype's arithmetic is done."""
    return dtypes.f32 if dtype == dtypes.f16 else dtype


@functools.cache
def _typed(template: str, dtype: str) -> str:
    """`template` with every number literal wrapped as `cast_<dtype>(literal)`."""
    slots = {f"_operand{i}_": f"{{{i}}}" for i in range(10)}
    text = template.format(*slots)

    class Typed(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.expr:
            if isinstance(node.value, bool) or not isinstance(node.value, (int, float)) or dtype == "bool":
                return node
            return ast.Call(ast.Name(f"cast_{dtype}", ast.Load()), [node], [])

    text = ast.unparse(Typed().visit(ast.parse(text, mode="eval")))
    for key, slot in slots.items():
        text = text.replace(key, slot)
    return text
