"""Elementwise graphs as text: names, literals that become slots, dtypes of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.binding import float_bits
from codegen.expression import Body, Literal, body, is_literal, scalar_text
from codegen.launch import F32, F64
from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.graph import Value
from ir.types import tensor
from ir.walk import nodes_of

B = SymDim("B")


def operand(dtype: str = "f32", *shape: int) -> Value:
    return b.input_value(tensor(dtype, *(shape or (B, 4))))


def text(*outputs: Value, **operands: Value) -> Body:
    return body(nodes_of(outputs), {v: name for name, v in operands.items()}, outputs)


def test_one_line_per_node() -> None:
    x, y = operand(), operand()
    h = b.mul(x, y)
    found = text(b.unary("tanh", b.add(h, x)), h, x=x, y=y)
    assert found == Body(("v0 = x * y", "v1 = v0 + x", "v2 = tanh(v1)"), ("v2", "v0"), ())


def test_scalar_constants_become_parameters() -> None:
    x = operand()
    c, d = b.constant(0.25, dtypes.f32), b.constant([[3.5]], dtypes.f32)
    found = text(b.add(b.mul(x, c), b.mul(c, b.sub(x, d))), x=x)
    assert found.lines == ("v0 = x * c0", "v1 = x - c1", "v2 = c0 * v1", "v3 = v0 + v2")
    assert found.literals == (Literal("c0", dtypes.f32, 0.25), Literal("c1", dtypes.f32, 3.5))


def test_the_text_does_not_depend_on_the_numbers() -> None:
    def of(alpha: float) -> Body:
        x = operand()
        return text(b.apply1("leaky_relu", x, b.lift(alpha, x)), x=x)

    assert of(0.3).lines == of(0.1).lines and of(0.3).literals != of(0.1).literals


def test_copies_have_no_line() -> None:
    x, w = operand(), operand("f32", 4)
    one = b.constant(1.0, dtypes.f32)
    found = text(
        b.add(b.unary("identity", x), b.broadcast_to(w, (B, 4))), b.broadcast_to(one, (B, 4)),
        b.broadcast_to(w, (B, 4)), x=x, w=w,
    )  # fmt: skip
    assert found == Body(("v0 = x + w",), ("v0", "c0", "w"), (Literal("c0", dtypes.f32, 1.0),))


def test_which_constants_are_literals() -> None:
    for value in (b.constant(1.0), b.constant([[2.0]]), b.constant(True)):
        assert is_literal(value)
    for value in (operand(), b.constant([1.0, 2.0]), b.neg(b.constant(1.0)), b.constant(np.zeros(0))):
        assert not is_literal(value)


# Numbers of an op's expression take the operands' dtype; float16 is computed in float32, integer results are wrapped.
TEXTS: list[tuple[str, tuple[str, ...], dict[str, object], str]] = [
    ("relu", ("f32",), {}, "where(p <= cast_f32(0), cast_f32(0), p)"),
    ("relu", ("f16",), {}, "where(p <= cast_f32(0), cast_f32(0), p)"),
    ("relu", ("f64",), {}, "where(p <= cast_f64(0), cast_f64(0), p)"),
    ("relu", ("i8",), {}, "cast_i8(where(p <= cast_i8(0), cast_i8(0), p))"),
    ("add", ("f32", "f32"), {}, "p + q"),
    ("add", ("u8", "u8"), {}, "cast_u8(p + q)"),
    ("greater", ("i32", "i32"), {}, "p > q"),
    ("logical_not", ("bool",), {}, "p == False"),
    ("select", ("bool", "i16", "i16"), {}, "cast_i16(where(p, q, r))"),
    ("select", ("bool", "f16", "f16"), {}, "where(p, q, r)"),
    ("cast", ("f32",), {"dtype": dtypes.i32}, "cast_i32(p)"),
    ("cast", ("i32",), {"dtype": dtypes.f16}, "cast_f16(p)"),
]


@pytest.mark.parametrize("op, kinds, attrs, expected", TEXTS, ids=[f"{r[0]}-{'-'.join(r[1])}" for r in TEXTS])
def test_scalar_texts(op: str, kinds: tuple[str, ...], attrs: dict[str, object], expected: str) -> None:
    node = b.apply1(op, *(operand(k) for k in kinds), **attrs).node
    assert node is not None and scalar_text(node, ["p", "q", "r"]) == expected


def test_operands_may_be_named_like_anything() -> None:
    node = b.add(operand(), operand()).node
    assert node is not None and scalar_text(node, ["_operand1_", "_operand0_"]) == "_operand1_ + _operand0_"


@pytest.mark.parametrize(
    "dtype, value, slot, load",
    [
        ("f32", 0.1, F32(float(np.float32(0.1))), "f32_bits(a[3])"),
        ("f16", 0.1, F32(0.0999755859375), "f32_bits(a[3])"),
        ("f16", 0.5, F32(0.5), "f32_bits(a[3])"),
        ("f64", 0.1, F64(0.1), "f64_bits(a[3])"),
        ("i32", -7, -7, "cast_i32(a[3])"),
        ("i64", -(2**63), -(2**63), "cast_i64(a[3])"),
        ("u64", 2**63 + 5, 5 - 2**63, "cast_u64(a[3])"),
        ("u8", 255, 255, "cast_u8(a[3])"),
        ("bool", True, 1, "cast_bool(a[3])"),
        ("bool", False, 0, "cast_bool(a[3])"),
    ],
)
def test_literals_are_slots_of_64_bits(dtype: str, value: float, slot: object, load: str) -> None:
    literal = Literal("c0", dtypes.of(dtype), value)
    assert literal.slot() == slot and literal.load(3) == load
    number = literal.slot()
    np.array([float_bits(number) if isinstance(number, (F32, F64)) else number], np.int64)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, float("inf"), float("-inf"), 1e-45, 3.4028235e38])
def test_bits_of_floats(value: float) -> None:
    assert np.int64(float_bits(F64(value))).view(np.float64).tobytes() == np.float64(value).tobytes()
    low = np.array([float_bits(F32(value))]).astype("<i8").view("<f4")[0]
    assert low.tobytes() == np.float32(value).tobytes()
    assert np.isnan(np.array([float_bits(F32(float("nan")))]).view("<f4")[0])
