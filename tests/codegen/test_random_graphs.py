"""Random small graphs through all passes and the CPU target, against the interpreter; products of random shapes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.program import compile_graph
from codegen.storage import StoredVariable
from ir import builder as b
from ir.dims import SymDim
from ir.extract import extract
from ir.graph import Graph, Update, Variable
from ir.interpreter import run
from ir.rewrite import rebuild
from ir.types import tensor
from tests.ir.random_graphs import random_feeds, random_graph


def stored(graph: Graph, contents: dict[Variable, np.ndarray]) -> Graph:
    """`graph` over variables with these contents."""
    new = {v: StoredVariable(contents[v], v.type, v.path, v.trainable) for v in graph.variables}
    moved = rebuild(graph, lambda node, inputs: None, {v.value: s.value for v, s in new.items()})
    updates = tuple(Update(new[u.variable], m.value) for u, m in zip(graph.updates, moved.updates, strict=True))
    return dataclasses.replace(moved, updates=updates, variables=tuple(new.values()))


@pytest.mark.parametrize("seed", range(24))
def test_random_graph(seed: int) -> None:
    phase = bool(seed % 2)
    graph = random_graph(1000 + seed)
    inputs, contents = random_feeds(graph, seed, phase)
    outputs, updates = run(graph, inputs, contents)
    mine = stored(graph, contents)
    program = compile_graph(mine, int(phase))
    fed = [a for v, a in zip(graph.inputs, inputs, strict=True) if v.name != "phase"]
    with np.errstate(all="ignore"):
        for found, wanted in zip(program.run(fed), outputs, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        by_path = {v.path: v for v in mine.variables}
        written = {u.variable.path for u in program.graph.updates}
        for variable, wanted in updates.items():
            if variable.path == "random/state" and variable.path not in written:
                continue  # at this phase nothing reads it
            found_variable = by_path[variable.path]
            assert isinstance(found_variable, StoredVariable)
            np.testing.assert_allclose(found_variable.get(), wanted, rtol=1e-4, atol=1e-5)


X = b.input_value(tensor("f32", SymDim.fresh("M"), SymDim.fresh("K")), "x")
Y = b.input_value(tensor("f32", SymDim.fresh("K"), SymDim.fresh("N")), "y")
PRODUCT = compile_graph(extract("product", [X, Y], [b.unary("relu", b.matmul(X, Y))]))
SIZE = st.integers(0, 70)


@settings(max_examples=60, deadline=None)
@given(SIZE, SIZE, SIZE)
def test_products_of_all_shapes(m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(m * 10007 + k * 101 + n)
    x, y = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    (found,) = PRODUCT.run([x, y])
    wanted = np.maximum(x.astype(np.float64) @ y.astype(np.float64), 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
