"""fuse_slices: which slices and concatenations regions take, and that the same is computed, also by kernels."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.program import compile_graph
from ir.graph import Graph
from ir.interpreter import run
from ir.parser import parse
from ir.passes.fuse_elementwise import fuse_elementwise
from ir.passes.fuse_slices import fuse_slices
from ir.printer import print_graph
from tests.golden_text import Golden
from tests.ir.pass_checks import apply_text, ops

HEAD = """
graph @gates(B) {{
  input %x : f32[B, 3, 96]
  input %y : f32[B, 3, 32]
  input %n : f32[B, 3, 16]
  {nodes}
  {results}
}}
"""


def part(name: str, start: int, stop: int, batch: str = "0", size: str = "B") -> str:
    bounds = f"{{starts=({batch}, 0, {start}), steps=(1, 1, 1), stops=({size}, 3, {stop})}}"
    return f"{name} : f32[B, 3, {stop - start}] = slice(%x) {bounds}"


def text(*nodes: str, results: str) -> str:
    full = (n if " : " in n else n.replace(" = ", " : f32[B, 3, 32] = ", 1) for n in nodes)
    return HEAD.format(nodes="\n  ".join(full), results=results)


def fused(graph: Graph) -> Graph:
    return fuse_slices(fuse_elementwise(graph))


GATES = (
    part("%a", 0, 32), part("%b", 32, 64), part("%c", 64, 96), "%s = tanh(%a)", "%t = mul(%s, %b)", "%u = add(%t, %y)",
    "%v = square(%c)", "%w = sub(%v, %y)", "%z : f32[B, 3, 96] = concatenate(%w, %t, %s) {axis=2}",
)  # fmt: skip


def test_gates(golden: Golden) -> None:
    after = apply_text(fused, text(*GATES, results="output %z, %u"))
    golden("passes/fuse_slices", print_graph(after))
    assert ops(after) == ["fused"]


JOIN = "%z : f32[B, 3, 64] = concatenate(%s, %t) {axis=2}"
CASES: dict[str, tuple[tuple[str, ...], str, list[str]]] = {
    "a single node": ((part("%a", 32, 64), "%s = tanh(%a)"), "output %s", ["fused"]),
    "a slice that is a result": ((part("%a", 0, 32), "%s = tanh(%a)"), "output %s, %a", ["slice", "tanh"]),
    "a reader that is no loop": (
        (part("%a", 0, 32), "%s = tanh(%a)", "%r : f32[B, 3] = reduce_sum(%a) {axes=(2,), keepdims=false}"),
        "output %s, %r", ["slice", "tanh", "reduce_sum"],
    ),
    "short rows": ((part("%a", 0, 16), "%s : f32[B, 3, 16] = mul(%a, %n)"), "output %s", ["slice", "mul"]),
    "another axis": (
        ("%a : f32[B, 1, 96] = slice(%x) {starts=(0, 1, 0), steps=(1, 1, 1), stops=(B, 2, 96)}",
         "%s : f32[B, 1, 96] = tanh(%a)"), "output %s", ["slice", "tanh"],
    ),
    "every second element": (
        ("%a : f32[B, 3, 48] = slice(%x) {starts=(0, 0, 0), steps=(1, 1, 2), stops=(B, 3, 96)}",
         "%s : f32[B, 3, 48] = tanh(%a)"), "output %s", ["slice", "tanh"],
    ),
    "a part that is a result": (
        ("%s = tanh(%y)", "%t = square(%s)", JOIN), "output %z, %t", ["fused", "concatenate"],
    ),
    "a part with another reader": (
        ("%s = tanh(%y)", "%t = square(%s)", JOIN, "%r : f32[B, 3] = reduce_sum(%t) {axes=(2,), keepdims=false}"),
        "output %z, %r", ["fused", "concatenate", "reduce_sum"],
    ),
    "a part twice": (
        ("%s = tanh(%y)", "%t = square(%s)", "%z : f32[B, 3, 96] = concatenate(%s, %t, %t) {axis=2}"), "output %z",
        ["fused", "concatenate"],
    ),
    "a part from elsewhere": (
        ("%s = tanh(%y)", "%t = square(%s)", "%z : f32[B, 3, 96] = concatenate(%s, %t, %y) {axis=2}"), "output %z",
        ["fused", "concatenate"],
    ),
    "parts of two widths": (
        ("%s = tanh(%y)", "%t = square(%s)", "%p : f32[B, 3, 16] = tanh(%n)",
         "%z : f32[B, 3, 80] = concatenate(%s, %t, %p) {axis=2}"), "output %z", ["fused", "tanh", "concatenate"],
    ),
    "joined along another axis": (
        ("%s = tanh(%y)", "%t = square(%s)", "%z : f32[B, 6, 32] = concatenate(%s, %t) {axis=1}"), "output %z",
        ["fused", "concatenate"],
    ),
    "regions that depend on each other": (
        ("%s = tanh(%y)", "%r : f32[B, 3, 1] = reduce_sum(%s) {axes=(2,), keepdims=true}", "%t = mul(%y, %r)", JOIN),
        "output %z", ["tanh", "reduce_sum", "mul", "concatenate"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("nodes, results, want", CASES.values(), ids=CASES)
def test_what_is_taken(nodes: tuple[str, ...], results: str, want: list[str]) -> None:
    assert ops(apply_text(fused, text(*nodes, results=results))) == want


def test_random_numbers_are_drawn_in_one_loop() -> None:
    body = """fused(%a, %state) {body=graph @body(B) {
      input %a : f32[B, 3, 32]
      input %state : u64[2]
      %u : f32[B, 3, 32] = random_uniform(%state) {dtype=f32, seed=7, shape=(B, 3, 32)}
      %m : f32[B, 3, 32] = mul(%u, %a)
      output %m
    }}"""
    graph = text(part("%a", 0, 32), f"%s : f32[B, 3, 32] = {body}", results="output %s")
    graph = graph.replace("input %n : f32[B, 3, 16]", 'variable %state : u64[2]  "random_state"')
    assert ops(apply_text(fuse_slices, graph)) == ["slice", "fused"]


@pytest.mark.parametrize("batch", [0, 1, 5, 200])
def test_kernels_read_and_write_parts_where_they_lie(batch: int) -> None:
    graph = parse(text(*GATES, results="output %z, %u"))
    random = np.random.RandomState(batch)
    inputs = [random.standard_normal((batch, 3, n)).astype("f4") for n in (96, 32, 16)]
    executable = compile_graph(fused(graph))
    for got, want in zip(executable.run(inputs), run(graph, inputs, {})[0], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_wide_operand_read_in_parts_is_not_overwritten() -> None:
    """The result has the operand's size, and its parts lie in another order."""
    nodes = (
        "%h : f32[B, 3, 96] = square(%x)", part("%a", 0, 32).replace("%x", "%h"),
        part("%b", 32, 64).replace("%x", "%h"), part("%c", 64, 96).replace("%x", "%h"), "%s = tanh(%a)",
        "%t = add(%s, %b)", "%u = mul(%t, %c)", "%z : f32[B, 3, 96] = concatenate(%u, %t, %s) {axis=2}",
    )  # fmt: skip
    graph = parse(text(*nodes, results="output %z"))
    inputs = [np.random.RandomState(0).standard_normal((7, 3, n)).astype("f4") for n in (96, 32, 16)]
    (got,), (want,) = compile_graph(fused(graph)).run(inputs), run(graph, inputs, {})[0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
