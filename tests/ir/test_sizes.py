"""Dims stay known through the integer arithmetic that scripts do on `K.shape`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ir import builder as b
from ir import dtypes
from ir.dims import Dim, SymDim, dim_max
from ir.graph import Value
from ir.interpreter import evaluate
from ir.sizes import known_elements, known_scalar
from ir.types import tensor

B, T = SymDim("B"), SymDim("T")


def shape() -> Value:
    return b.sizes((B, T, 3))


def element(i: int) -> Value:
    return b.reshape(b.slice(shape(), [i], [i + 1]), ())


def vector(*values: int) -> Value:
    return b.constant(list(values), dtypes.i32)


KNOWN: list[tuple[str, Callable[[], Value], tuple[Dim, ...]]] = [
    ("sizes", shape, (B, T, 3)),
    ("constant", lambda: vector(4, -1), (4, -1)),
    ("iota", lambda: b.apply1("iota", size=3, dtype=dtypes.i32), (0, 1, 2)),
    ("slice", lambda: b.slice(shape(), [1], [3]), (T, 3)),
    ("reversed", lambda: b.slice(shape(), [2], [-1], [-1]), (3, T, B)),
    ("scalar", lambda: element(1), (T,)),
    ("stack", lambda: b.concatenate([b.reshape(element(0), (1,)), b.reshape(element(2), (1,))], 0), (B, 3)),
    ("concatenate", lambda: b.concatenate([shape(), vector(7)], 0), (B, T, 3, 7)),
    ("gather", lambda: b.apply1("gather", shape(), vector(2, 0), axis=0), (3, B)),
    ("cast", lambda: b.cast(shape(), dtypes.i64), (B, T, 3)),
    ("scaled", lambda: b.mul(shape(), 2), (2 * B, 2 * T, 6)),
    ("tiled", lambda: b.mul(shape(), vector(1, 2, 3)), (B, 2 * T, 9)),
    ("broadcast", lambda: b.add(element(0), vector(1, 2)), (B + 1, B + 2)),
    ("sub", lambda: b.sub(element(1), element(0)), (T - B,)),
    ("floordiv", lambda: b.floordiv(b.mul(element(0), 4), 2), (2 * B,)),
    ("mod", lambda: b.mod(shape(), 2), (B % 2, T % 2, 1)),
    ("neg", lambda: b.neg(element(0)), (-B,)),
    ("maximum", lambda: b.maximum(element(0), element(1)), (dim_max(B, T),)),
    ("product", lambda: b.reduce("reduce_prod", shape()), (3 * B * T,)),
    ("sum", lambda: b.reduce_sum(shape(), keepdims=True), (B + T + 3,)),
    ("matrix", lambda: b.transpose(b.reshape(vector(1, 2, 3, 4), (2, 2)), (1, 0)), (1, 3, 2, 4)),
    ("broadcast_to", lambda: b.broadcast_to(element(0), (2, 2)), (B, B, B, B)),
    ("empty", lambda: b.sizes(()), ()),
]


@pytest.mark.parametrize(("make", "expected"), [k[1:] for k in KNOWN], ids=[k[0] for k in KNOWN])
def test_known(make: Callable[[], Value], expected: tuple[Dim, ...]) -> None:
    value = make()
    assert known_elements(value) == expected
    assert known_scalar(value) == (expected[0] if len(expected) == 1 else None)


@pytest.mark.parametrize("make", [k[1] for k in KNOWN], ids=[k[0] for k in KNOWN])
def test_known_elements_are_those_that_a_run_gives(make: Callable[[], Value]) -> None:
    from ir.dims import bind

    value = make()
    elements = known_elements(value)
    assert elements is not None
    x = b.input_value(tensor("f32", B, T))
    (result, _) = evaluate([value, x], {x: np.zeros((5, 4), np.float32)})
    assert result.ravel().tolist() == [bind(d, {B: 5, T: 4}) for d in elements]


def test_unknown() -> None:
    data = b.input_value(tensor("i32", 2))
    floats = b.constant([1.0, 2.0], dtypes.f32)
    for value in (
        data,
        floats,
        b.add(data, b.slice(shape(), [0], [2])),
        b.cast(floats, dtypes.i32),
        b.apply1("gather", shape(), data, axis=0),
        b.floordiv(shape(), 0),
        b.reduce_sum(b.reshape(vector(1, 2, 3, 4), (2, 2)), [0]),
        b.apply1("iota", size=B, dtype=dtypes.i32),
        b.apply1("argmax", b.input_value(tensor("f32", B, T)), axis=1),
    ):
        assert known_elements(value) is None
        assert known_scalar(value) is None


def test_shared_subexpressions_are_read_once() -> None:
    x = element(0)
    for _ in range(40):
        x = b.add(x, x)
    assert known_scalar(x) == 2**40 * B
