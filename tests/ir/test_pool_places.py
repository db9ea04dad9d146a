"""pool_places: which gradients of max poolings are computed from places."""

from __future__ import annotations

from typing import Any

import pytest

from ir import builder as b
from ir import dtypes
from ir.extract import extract
from ir.graph import Graph
from ir.passes.pool_places import pool_places
from ir.printer import print_graph
from ir.types import TensorType
from tests.golden_text import Golden
from tests.ir.pass_checks import apply, ops


def graph(size: int = 3, other_maxima: bool = False, other_windows: bool = False, image: int = 7) -> Graph:
    attrs: dict[str, Any] = {
        "pool_size": (size, size), "strides": (2, 2), "padding": "same", "data_format": "channels_last",
    }  # fmt: skip
    x = b.input_value(TensorType(dtypes.f32, (2, image, 5, 3)), "x")
    y = b.apply1("max_pool2d", x, **attrs)
    dy = b.input_value(y.type, "dy")
    if other_windows:
        attrs["pool_size"] = (size, size + 1)
    grad = b.apply1("max_pool2d_grad", x, b.neg(y) if other_maxima else y, dy, **attrs)
    return extract("g", [x, dy], [y, grad], [])


def test_places(golden: Golden) -> None:
    after = apply(pool_places, graph())
    golden("passes/pool_places", print_graph(after))
    assert ops(after) == ["max_pool2d_places", "max_pool2d_places_grad"]


def test_a_pooling_without_gradient_stays() -> None:
    before = graph()
    forward = extract("g", before.inputs[:1], before.outputs[:1], [])
    assert ops(apply(pool_places, forward)) == ["max_pool2d"]


@pytest.mark.parametrize(
    "before",
    [graph(other_maxima=True), graph(other_windows=True), graph(size=16, image=20)],
    ids=["other maxima", "other windows", "a large window"],
)
def test_refusals(before: Graph) -> None:
    assert [op for op in ops(apply(pool_places, before)) if op != "neg"] == ["max_pool2d", "max_pool2d_grad"]
