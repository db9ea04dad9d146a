"""pool_gradients: masks and sums move before the gradient of a max pooling, where that is exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from ir import builder as b
from ir import dtypes
from ir.extract import extract
from ir.graph import Graph
from ir.interpreter import run
from ir.passes.cse import cse
from ir.passes.pool_gradients import pool_gradients
from ir.printer import print_graph
from ir.types import TensorType
from tests.golden_text import Golden
from tests.ir.pass_checks import apply, ops

IMAGES = {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid", "data_format": "channels_last"}
OVERLAPPING = {"pool_size": (3, 3), "strides": (2, 1), "padding": "same", "data_format": "channels_first"}
MOVED = ["max_pool2d", "greater", "select", "max_pool2d_grad", "reduce_sum"]




def graph(
    attrs: Mapping[str, object] = IMAGES,
    axes: tuple[int, ...] = (0, 1, 2),
    negative: bool = False,
    other_maxima: bool = False,
    kept: bool = False,
    otherwise: float = 0.0,
) -> Graph:
    x = b.input_value(TensorType(dtypes.f32, (2, 5, 6, 4)), "x")
    y = b.apply1("max_pool2d", x, **attrs)
    dy = b.input_value(y.type, "dy")
    maxima = b.neg(y) if other_maxima else y
    grad = b.apply1("max_pool2d_grad", x, maxima, dy, **attrs)
    mask = b.compare("less" if negative else "greater", x, 0)
    masked = b.select(mask, grad, otherwise)
    total = b.reduce("reduce_sum", masked, axes)
    outputs = [masked, total, *([grad] if kept else [])]
    return cse(extract("g", [x, dy], outputs, []))


def test_masked_and_summed(golden: Golden) -> None:
    after = apply(pool_gradients, graph())
    assert sorted(ops(after)) == sorted(MOVED)
    golden("passes/pool_gradients", print_graph(after))


@pytest.mark.parametrize(
    ("attrs", "axes"),
    [(IMAGES, (1, 2)), (IMAGES, (0, 1, 2, 3)), (OVERLAPPING, (0, 2, 3)), (OVERLAPPING, (2, 3))],
)
def test_windows_and_axes(attrs: Mapping[str, object], axes: tuple[int, ...]) -> None:
    assert sorted(ops(apply(pool_gradients, graph(attrs, axes)))) == sorted(MOVED)


def test_nothing_of_a_window_with_nan() -> None:
    g = graph()
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 4)).astype(np.float32)
    x[0, 0, 0, 0], x[1, 2, 3, 1], x[0, 3, 3, 2] = np.nan, np.inf, -np.inf
    dy = np.ones((2, 2, 3, 4), np.float32)
    before, after = run(g, [x, dy], {})[0], run(pool_gradients(g), [x, dy], {})[0]
    for was, now in zip(before, after, strict=True):
        assert np.array_equal(was, now)


REFUSED: dict[str, tuple[Graph, list[str]]] = {
    "another mask": (graph(negative=True), ["less", "max_pool2d_grad", "select"]),
    "not 0 elsewhere": (graph(otherwise=1.0), ["greater", "max_pool2d_grad", "select"]),
    "values that are not the maxima": (graph(other_maxima=True), ["neg", "greater", "max_pool2d_grad", "select"]),
    "a gradient that is needed without the mask": (graph(kept=True), ["greater", "max_pool2d_grad", "select"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    before, expected = REFUSED[name]
    assert sorted(ops(apply(pool_gradients, before))) == sorted(["max_pool2d", *expected, "reduce_sum"])


def test_sum_of_a_part_of_the_image() -> None:
    after = apply(pool_gradients, graph(axes=(0, 1)))
    total = after.outputs[1].node
    assert total is not None and total.inputs[0] is after.outputs[0]
