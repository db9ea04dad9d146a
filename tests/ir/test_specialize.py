"""Fixing the learning phase drops the gradients of the branches that are not taken, and nothing else."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from ir import autodiff, dtypes, interpreter
from ir import builder as b
from ir.extract import Assign, extract
from ir.graph import Graph, Variable
from ir.ops.random import STATE
from ir.passes.check import check_pass
from ir.passes.simplify import simplify
from ir.passes.specialize import specialize
from ir.types import TensorType

VECTOR = TensorType(dtypes.f32, (3,))


def switched(double: bool) -> Graph:
    """The derivative of select(phase, sin(x), sqrt(x) * x), or of that derivative's sum."""
    x = b.input_value(VECTOR, "x")
    phase = b.input_value(TensorType(dtypes.bool_, ()), "phase")
    y = b.select(phase, b.unary("sin", x), b.mul(b.unary("sqrt", x), x))
    (dx,) = autodiff.gradients([y], [x])
    if double:
        (dx,) = autodiff.gradients([dx], [x])
    assert dx is not None
    return extract("switched", [x, phase], [dx])


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("phase", [0, 1])
def test_only_one_branch_is_left(phase: int, double: bool) -> None:
    before = switched(double)
    after = simplify(specialize(before, phase))
    ops = {node.op.name for node in after.nodes}
    assert not ops & ({"sqrt", "rsqrt", "div"} if phase else {"sin", "cos"}) and "select" not in ops
    x = np.array([0.5, 1.0, 2.0], np.float32)
    expected = interpreter.run(before, [x, np.array(bool(phase))], {})[0]
    assert np.allclose(interpreter.run(after, [x], {})[0], expected)


def test_a_dead_branch_spoils_nothing() -> None:
    """The square root of a negative number is in the other branch."""
    x = np.array([-0.5, -1.0, -2.0], np.float32)
    (result,) = interpreter.run(specialize(switched(False), 1), [x], {})[0]
    assert np.allclose(result, np.cos(x))


def test_only_states_that_are_read_advance() -> None:
    phase = b.input_value(TensorType(dtypes.bool_, ()), "phase")
    states = [Variable(STATE, f"state_{i}") for i in range(2)]
    draws = [b.apply1("random_uniform", s.value, seed=0, shape=(3,), dtype=dtypes.f32) for s in states]
    advance = [Assign(s, b.apply1("random_advance", s.value)) for s in states]
    graph = extract("draws", [phase], [b.add(b.select(phase, draws[0], 1.0), draws[1])], (), advance)
    assert [u.variable for u in specialize(graph, 1).updates] == states
    test = specialize(graph, 0)
    assert [u.variable for u in test.updates] == [states[1]] and test.variables == (states[1],)
    check_pass("specialize", partial(specialize, phase=0), graph, test)


@pytest.mark.parametrize("zero_first", [False, True])
def test_a_zero_of_the_user_is_a_number(zero_first: bool) -> None:
    """`select(phase, y, 0) * x` stays a product: x may be infinite."""
    x, y = b.input_value(VECTOR, "x"), b.input_value(VECTOR, "y")
    phase = b.input_value(TensorType(dtypes.bool_, ()), "phase")
    chosen = b.select(phase, b.full((3,), 0, dtypes.f32), y) if zero_first else b.select(phase, y, 0)
    graph = specialize(extract("product", [x, y, phase], [b.mul(chosen, x)]), int(zero_first))
    assert [node.op.name for node in graph.nodes if node.op.name == "mul"]
    (result,) = interpreter.run(graph, [np.full(3, np.inf, np.float32), np.ones(3, np.float32)], {})[0]
    assert np.isnan(result).all()
