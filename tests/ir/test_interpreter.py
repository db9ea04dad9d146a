"""Interpreter: values, graphs, updates, errors."""

from __future__ import annotations

import numpy as np
import pytest

from ir import builder as b
from ir import dtypes
from ir.binding import SizeError
from ir.dims import SymDim
from ir.graph import Graph, Update, Variable
from ir.interpreter import EvaluationError, evaluate, run, trace
from ir.rewrite import assemble
from ir.types import tensor

B = SymDim("B")


def test_evaluates_floating_values_with_symbols() -> None:
    x = b.input_value(tensor("f32", B, 3), "x")
    w = Variable(tensor("f32", 3), "w")
    y = b.reshape(b.add(x, w.value), (B * 3,))
    feeds = {x: np.arange(6, dtype=np.float32).reshape(2, 3), w.value: np.ones(3, np.float32)}
    total, flat = evaluate([b.reduce_sum(y), y], feeds)
    np.testing.assert_array_equal(flat, [1, 2, 3, 4, 5, 6])
    assert total == 21 and total.dtype == np.float32


def test_evaluates_shapes_as_data() -> None:
    x = b.input_value(tensor("f32", B, 3), "x")
    (sizes,) = evaluate([b.sizes((B, 3, B * 3 + 1))], {x: np.zeros((5, 3), np.float32)})
    np.testing.assert_array_equal(sizes, [5, 3, 16])


def test_a_fed_intermediate_value_replaces_what_computes_it() -> None:
    x = b.input_value(tensor("f32", 2), "x")
    hidden = b.neg(x)
    (y,) = evaluate([b.mul(hidden, 2.0)], {hidden: np.array([1, 2], np.float32)})
    np.testing.assert_array_equal(y, [2, 4])


def test_depth_is_no_limit() -> None:
    x = y = b.input_value(tensor("f32"), "x")
    for _ in range(5000):
        y = b.add(y, 1.0)
    assert evaluate([y], {x: np.float32(0)})[0] == 5000


@pytest.mark.parametrize(
    "feed, message",
    [
        (np.zeros((2, 3), np.float64), "input 'x' takes dtype float32, got float64"),
        (np.zeros(3, np.float32), r"input 'x' takes 2 dimensions \(f32\[B, 3\]\), got shape \(3,\)"),
        (np.zeros((2, 4), np.float32), "input 'x' has size 4 along axis 1, expected 3"),
    ],
)
def test_evaluate_refuses_what_does_not_fit(feed: np.ndarray, message: str) -> None:
    x = b.input_value(tensor("f32", B, 3), "x")
    with pytest.raises(SizeError, match=message):
        evaluate([b.neg(x)], {x: feed})


def test_evaluate_names_what_is_missing_or_disagrees() -> None:
    x, y = b.input_value(tensor("f32", B), "x"), b.input_value(tensor("f32", B), "y")
    w = Variable(tensor("f32"), "dense/bias")
    with pytest.raises(SizeError, match="input 'y' .* needed but was not fed"):
        evaluate([b.add(x, y)], {x: np.zeros(2, np.float32)})
    with pytest.raises(SizeError, match="variable 'dense/bias' .* needed but was not fed"):
        evaluate([b.add(x, w.value)], {x: np.zeros(2, np.float32)})
    with pytest.raises(SizeError, match="input 'y' has size 3 along axis 0, but input 'x' has size 2"):
        evaluate([b.add(x, y)], {x: np.zeros(2, np.float32), y: np.zeros(3, np.float32)})


def counter() -> tuple[Graph, Variable, Variable]:
    """Two counters that read each other's old value."""
    x = b.input_value(tensor("f32", B), "x")
    one, two = Variable(tensor("f32"), "one"), Variable(tensor("f32"), "two")
    updates = [Update(one, b.add(two.value, b.reduce_sum(x))), Update(two, one.value)]
    return assemble("swap", [x], [one.value, b.add(x, two.value)], updates), one, two


def test_reads_see_old_values_and_updates_come_together() -> None:
    graph, one, two = counter()
    variables = {one: np.float32(10), two: np.float32(20)}
    (seen, shifted), new = run(graph, [np.ones(3, np.float32)], variables)
    assert seen == 10 and shifted.tolist() == [21, 21, 21]
    assert new == {one: 23, two: 10} and variables == {one: 10, two: 20}


def test_results_are_fresh_arrays() -> None:
    x = b.input_value(tensor("f32", B), "x")
    fed = np.ones(2, np.float32)
    (out,), _ = run(assemble("g", [x], [x]), [fed], {})
    out[0] = 5
    assert fed[0] == 1


def test_trace_keeps_every_value() -> None:
    graph, one, two = counter()
    table = trace(graph, [np.ones(3, np.float32)], {one: np.float32(1), two: np.float32(2)})
    assert all(o in table for n in graph.nodes for o in n.outputs)


def test_run_refuses_variables_that_do_not_fit() -> None:
    graph, one, two = counter()
    fed = [np.ones(3, np.float32)]
    with pytest.raises(SizeError, match="variable 'two'.* not fed"):
        run(graph, fed, {one: np.float32(1)})
    with pytest.raises(SizeError, match=r"variable 'one' is f32\[\], got float32 of shape \(2,\)"):
        run(graph, fed, {one: np.zeros(2, np.float32), two: np.float32(2)})
    with pytest.raises(SizeError, match="takes 1 inputs, got 2"):
        run(graph, fed * 2, {one: np.float32(1), two: np.float32(2)})


def test_a_failing_op_is_named() -> None:
    x = b.input_value(tensor("f32", 3), "x")
    i = b.input_value(tensor("i32", 1), "i")
    with b.origin(("embedding_1",)):
        y = b.apply1("gather", x, i, axis=0)
    with pytest.raises(EvaluationError, match="op gather of embedding_1 failed"):
        run(assemble("g", [x, i], [y]), [np.zeros(3, np.float32), np.array([7], np.int32)], {})


def test_several_outputs() -> None:
    x = b.input_value(tensor("f32", B, 2), "x")
    one, zero = b.constant(np.ones(2, np.float32)), b.constant(np.zeros(2, np.float32))
    y, mean, variance = b.apply("batch_norm_train", x, one, zero, axis=1, epsilon=0.0)
    graph = assemble("g", [x], [mean, y, variance])
    fed = np.array([[1, 2], [3, 6]], np.float32)
    (m, normal, v), _ = run(graph, [fed], {})
    np.testing.assert_allclose(m, [2, 4])
    np.testing.assert_allclose(v, [1, 4])
    np.testing.assert_allclose(normal, [[-1, -1], [1, 1]], rtol=1e-6)


def test_integer_constants_keep_their_dtype() -> None:
    (c,) = evaluate([b.constant([1, 2], dtypes.i64)], {})
    assert c.dtype == np.int64 and c.tolist() == [1, 2]
