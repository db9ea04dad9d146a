"""Regions with reductions: by column and by row, over one part and several, operands of every kind, stored or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from codegen.cpu.fused_reduce import lower_fused_reduce
from ir import builder as b
from ir import dtypes
from ir.graph import Node, Value
from ir.rewrite import assemble
from ir.types import TensorType
from tests.codegen.harness import run_node

Array = np.ndarray
Shape = tuple[int, ...]
ORDERS = ({"tiles_at_once": 1}, {"tiles_at_once": 1, "reverse": True}, {"tiles_at_once": 3})


def region(operands: Sequence[Value], outputs: Sequence[Value]) -> Node:
    outside = [b.input_value(v.type) for v in operands]
    node = b.apply("fused_reduce", *outside, body=assemble("body", operands, outputs))[0].node
    assert node is not None
    return node


def check(operands: Sequence[Value], outputs: Sequence[Value], arrays: Sequence[Array], tolerance: float) -> None:
    node = region(operands, outputs)
    found = run_node(lower_fused_reduce, node, arrays)
    expected = node.op.reference(list(arrays), node.attrs)
    for y, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(y, e, rtol=tolerance, atol=tolerance * 30)
    for order in ORDERS:
        for y, again in zip(found, run_node(lower_fused_reduce, node, arrays, **order), strict=True):
            np.testing.assert_array_equal(again, y)


def data(*shape: int, dtype: str = "float32", seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


# (shape of the loop, axes, shapes of the other operands)
LOOPS: list[tuple[Shape, tuple[int, ...], tuple[Shape, ...]]] = [
    ((7, 10), (1,), ((10,), (7, 1))),
    ((1000, 10), (1,), ((10,), (1000, 1))),
    ((1, 31), (1,), ((31,), (1, 1))),
    ((131, 32), (1,), ((32,), (131, 1))),
    ((133, 33), (1,), ((33,), (133, 1))),
    ((5003, 3), (1,), ((1, 1), (5003, 1))),
    ((3, 5, 129), (2,), ((129,), (3, 5, 1))),
    ((19, 4096), (1,), ((4096,), (19, 1))),
    ((40, 5, 7), (1, 2), ((5, 7), (40, 1, 1))),
    ((12, 1), (1,), ((1,), (12, 1))),
    ((0, 4), (1,), ((4,), (0, 1))),
    ((7, 10), (0,), ((10,), (7, 1))),
    ((1000, 10), (0,), ((10,), (1000, 1))),
    ((30_011, 16), (0,), ((16,), (30_011, 1))),
    ((201, 1023), (0,), ((1023,), (201, 1))),
    ((9, 33, 31, 5), (0, 1, 2), ((5,), (9, 33, 31, 1))),
    ((2, 1024), (0,), ((1024,), (2, 1))),
    ((100_003,), (0,), ((), (100_003,))),
    ((11, 13), (0, 1), ((1, 1), (11, 13))),
    ((1,), (0,), ((), (1,))),
    ((0, 3), (0,), ((3,), (0, 1))),
]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(("shape", "axes", "others"), LOOPS, ids=str)
def test_loops(shape: Shape, axes: tuple[int, ...], others: tuple[Shape, ...], stored: bool) -> None:
    arrays = [data(*s, seed=i) for i, s in enumerate([shape, *others])]
    x, v, w = operands = [b.input_value(TensorType(dtypes.f32, a.shape)) for a in arrays]
    y = b.add(b.mul(b.unary("tanh", x), v), w)
    sums = [b.reduce_sum(y, axes), b.reduce_sum(b.unary("square", y), axes, keepdims=True)]
    check(operands, [y, *sums] if stored else sums, arrays, 2e-6 * max(1, shape[0] ** 0.5))


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["reduce_sum", "reduce_mean", "reduce_max", "reduce_min"])
def test_reductions(op: str, dtype: str, axes: tuple[int, ...]) -> None:
    a = data(3001, 37, dtype=dtype)
    a[5, 7] = np.inf
    x = b.input_value(TensorType(dtypes.of(dtype), a.shape))
    check([x], [b.reduce(op, b.mul(x, -0.5), axes)], [a], 1e-13 if dtype == "float64" else 1e-5)


def test_operands_of_other_types() -> None:
    """A mask, half precision, and a result that is stored in half precision."""
    mask, half = np.arange(900).reshape(90, 10) % 3 == 0, data(90, 10, dtype="float16")
    p, h = (b.input_value(TensorType(dtypes.of(a.dtype), a.shape)) for a in (mask, half))
    wide = b.select(p, b.cast(h, dtypes.f32), 0.25)
    check([p, h], [b.cast(wide, dtypes.f16), b.reduce_sum(wide, (1,))], [mask, half], 1e-6)


def test_a_value_that_is_stored_may_replace_its_operand() -> None:
    x = b.input_value(TensorType(dtypes.f32, (90, 10)))
    y = b.unary("exp", x)
    node = region([x], [y, b.reduce_sum(y, (0,))])
    from tests.codegen.harness import Context

    first, *_ = lower_fused_reduce(node, Context())
    assert len(first.inplace) == 1
