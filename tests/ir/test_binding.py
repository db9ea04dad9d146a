"""Binding of sizes: symbols, expressions, guards, checks and the messages for users."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ir.binding import NeedsSpecialization, SizeError, bind_inputs, bind_sizes
from ir.dims import Dim, SymDim
from ir.graph import Check, Graph, Guard, Value
from ir.types import tensor

B, T, H = SymDim("B"), SymDim("T"), SymDim("H")


def graph(*shapes: tuple[Dim, ...], guards: tuple[Guard, ...] = (), checks: tuple[Check, ...] = ()) -> Graph:
    inputs = tuple(Value(tensor("f32", *s), None, 0, name) for s, name in zip(shapes, "abcd", strict=False))
    return Graph("g", inputs, (), (), inputs, (), guards, checks)


@pytest.mark.parametrize(
    "shapes, fed, expected",
    [
        ([(B, 3)], [(7, 3)], {B: 7}),
        ([(B, T), (T, B)], [(2, 5), (5, 2)], {B: 2, T: 5}),
        ([(2 * B,), (B,)], [(6,), (3,)], {B: 3}),
        ([(B,)], [(0,)], {B: 0}),
        ([()], [()], {}),
        ([((H - 3) // 2 + 1, H)], [(4, 9)], {H: 9}),
    ],
)
def test_binds_symbols(shapes: list[tuple[Dim, ...]], fed: list[tuple[int, ...]], expected: dict[SymDim, int]) -> None:
    assert bind_sizes(graph(*shapes), fed) == expected


@pytest.mark.parametrize(
    "shapes, fed, message",
    [
        ([(B,), (B,)], [(4,), (5,)],
         "input 'b' has size 5 along axis 0, but input 'a' has size 4 there: they must agree"),
        ([(B,), (3, B)], [(4,), (3, 5)],
         "input 'b' has size 5 along axis 1, but input 'a' has size 4 along axis 0: they must agree"),
        ([(B, 28, 28)], [(2, 28, 27)], "input 'a' has size 27 along axis 2, expected 28"),
        ([(B,), (2 * B + 1,)], [(4,), (8,)],
         "input 'b' has size 8 along axis 0, expected 2*B + 1 = 9 (B is 4: axis 0 of input 'a')"),
        ([(B, 3)], [(3,)], "input 'a' takes 2 dimensions, shape (B, 3); got 1, shape (3,)"),
        ([(B,), (B,)], [(4,)], "graph 'g' takes 2 inputs, got 1"),
        ([(2 * B,)], [(4,)], "graph 'g': no input has an axis of size B, so it cannot be determined"),
    ],
)  # fmt: skip
def test_messages(shapes: list[tuple[Dim, ...]], fed: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(SizeError, match=re.escape(message)):
        bind_sizes(graph(*shapes), fed)


def test_an_input_without_name_is_counted() -> None:
    value = Value(tensor("f32", 3))
    with pytest.raises(SizeError, match="input number 0 has size 2"):
        bind_sizes(Graph("g", (value,), (), (), ()), [(2,)])


def test_dtypes() -> None:
    g = graph((B,))
    assert bind_inputs(g, [np.zeros(2, np.float32)]) == {B: 2}
    with pytest.raises(SizeError, match="input 'a' takes dtype float32, got int64"):
        bind_inputs(g, [np.zeros(2, np.int64)])


def test_a_guarded_axis_may_be_one() -> None:
    g = graph((B, T), (B, T), guards=(Guard(1, 1, T),))
    assert bind_sizes(g, [(4, 3), (4, 3)]) == {B: 4, T: 3}
    assert bind_sizes(g, [(4, 1), (4, 1)]) == {B: 4, T: 1}
    with pytest.raises(NeedsSpecialization) as e:
        bind_sizes(g, [(4, 3), (4, 1)])
    assert e.value.inputs_axes == ((1, 1),)
    with pytest.raises(SizeError, match="input 'b' has size 2 along axis 1, but input 'a' has size 3 there"):
        bind_sizes(g, [(4, 3), (4, 2)])


def test_a_guarded_axis_never_decides_where_another_can() -> None:
    g = graph((T,), (T,), guards=(Guard(0, 0, T),))
    with pytest.raises(NeedsSpecialization) as e:
        bind_sizes(g, [(1,), (5,)])
    assert e.value.inputs_axes == ((0, 0),)


def test_of_guarded_axes_those_that_are_not_one_decide() -> None:
    g = graph((T,), (T,), guards=(Guard(0, 0, T), Guard(1, 0, T)))
    assert bind_sizes(g, [(5,), (5,)]) == {T: 5}
    with pytest.raises(NeedsSpecialization):
        bind_sizes(g, [(1,), (5,)])


def test_a_guard_on_a_fixed_size() -> None:
    g = graph((B, 10), guards=(Guard(0, 1, 10),))
    assert bind_sizes(g, [(4, 10)]) == {B: 4}
    with pytest.raises(NeedsSpecialization):
        bind_sizes(g, [(4, 1)])
    with pytest.raises(SizeError, match="size 3 along axis 1, expected 10"):
        bind_sizes(g, [(4, 3)])


def test_checks() -> None:
    g = graph((H,), (T,), checks=(Check((H - 1) // 2, T, "add"),))
    assert bind_sizes(g, [(9,), (4,)]) == {H: 9, T: 4}
    expected = "add: sizes 4 and 5 must agree (H is 9: axis 0 of input 'a'; T is 5: axis 0 of input 'b')"
    with pytest.raises(SizeError, match=re.escape(expected)):
        bind_sizes(g, [(9,), (5,)])
