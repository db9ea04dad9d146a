"""fuse_reduce: which reductions join the region that makes their operand, and that nothing is computed differently."""

from __future__ import annotations

import pytest

from ir import builder as b
from ir.graph import Graph
from ir.opdef import TypeRuleError
from ir.passes.decompose import decompose
from ir.passes.fuse_elementwise import fuse_elementwise
from ir.passes.fuse_reduce import fuse_reduce, kind_of, loop_of
from ir.printer import print_graph
from ir.rewrite import assemble
from ir.types import tensor
from tests.golden_text import Golden
from tests.ir.pass_checks import apply, apply_text, ops
from tests.ir.random_graphs import random_graph

HEAD = """
graph @fuse(B) {{
  input    %x : f32[B, 6]
  input    %z : f32[B, 4, 6]
  input    %w : f32[B, 5000]
  input    %col : f32[B, 1]
  variable %v : f32[6]  "v"
  variable %s : f32[6]  "s"
  %half : f32[] = constant() {{dtype=f32, shape=(), value=(0.5,)}}
  {nodes}
  {results}
}}
"""
BODY = ("%a = mul(%x, %v)   # layer", "%t = tanh(%a)   # layer")


def columns(name: str, of: str, op: str = "reduce_sum", type: str = "f32[6]", axes: str = "(0,)") -> str:
    return f"%{name} : {type} = {op}(%{of}) {{axes={axes}, keepdims=false}}   # sums"


def rows(name: str, of: str, keepdims: bool = False) -> str:
    kind = "f32[B, 1]" if keepdims else "f32[B]"
    return f"%{name} : {kind} = reduce_sum(%{of}) {{axes=(1,), keepdims={str(keepdims).lower()}}}   # sums"


def text(*nodes: str, results: str = "output %y") -> str:
    full = (n if " : " in n else n.replace(" = ", " : f32[B, 6] = ", 1) for n in nodes)
    return HEAD.format(nodes="\n  ".join(full), results=results)


def both(graph: Graph) -> Graph:
    return fuse_reduce(fuse_elementwise(graph))


GOLDEN = {
    "columns": text(*BODY, columns("y", "t")),
    "stored": text(*BODY, rows("y", "t", True), "%o = sub(%t, %y)", results="output %o\n  update %s = %m")
    .replace("  output", "  " + columns("m", "a") + "\n  output"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_fuses(name: str, golden: Golden) -> None:
    golden(f"passes/fuse_reduce_{name}", print_graph(apply_text(both, GOLDEN[name])))


# (nodes, results, the ops afterwards)
CASES: dict[str, tuple[tuple[str, ...], str, list[str]]] = {
    "a single node": (("%t = tanh(%x)", columns("y", "t")), "output %y", ["fused_reduce"]),
    "rows": ((*BODY, rows("y", "t")), "output %y", ["fused_reduce"]),
    "everything": (
        ("%t = tanh(%x)", columns("y", "t", type="f32[]", axes="(0, 1)")), "output %y", ["fused_reduce"],
    ),
    "everything, with an operand per column": (
        (*BODY, columns("y", "t", type="f32[]", axes="(0, 1)")), "output %y", ["fused", "reduce_sum"],
    ),
    "two reductions": (
        (*BODY, columns("y", "t"), columns("o", "a", "reduce_max")), "output %y, %o", ["fused_reduce"],
    ),
    "over other axes than the first": (
        (*BODY, columns("y", "t"), rows("o", "t")), "output %y, %o", ["fused_reduce", "reduce_sum"],
    ),
    "an output": ((*BODY, columns("y", "t")), "output %y, %t", ["fused_reduce"]),
    "an operand per row": (("%t = mul(%x, %col)", columns("y", "t")), "output %y", ["fused_reduce"]),
    "what is read again": (
        (*BODY, rows("y", "t", True), "%o = mul(%t, %y)", columns("p", "o")), "output %p",
        ["fused_reduce", "fused_reduce"],
    ),
    "an input": ((columns("y", "x"),), "output %y", ["reduce_sum"]),
    "a product": (
        ("%p : f32[B, 6] = reduce_prod(%z) {axes=(1,), keepdims=false}", columns("y", "p")), "output %y",
        ["reduce_prod", "reduce_sum"],
    ),
    "axes in the middle": (
        ("%t : f32[B, 4, 6] = tanh(%z)", "%y : f32[B, 6] = reduce_sum(%t) {axes=(1,), keepdims=false}"), "output %y",
        ["tanh", "reduce_sum"],
    ),
    "long rows": (
        ("%t : f32[B, 5000] = tanh(%w)", rows("y", "t")), "output %y", ["tanh", "reduce_sum"],
    ),
    "many columns": (
        ("%t : f32[B, 5000] = tanh(%w)", columns("y", "t", type="f32[5000]")), "output %y", ["tanh", "reduce_sum"],
    ),
    "an operand that varies otherwise": (
        ("%t : f32[B, 4, 6] = mul(%z, %v)",
         "%y : f32[B] = reduce_sum(%t) {axes=(1, 2), keepdims=false}"), "output %y", ["mul", "reduce_sum"],
    ),
    "half precision": (
        ("%t : f16[B, 6] = cast(%x) {dtype=f16}", columns("y", "t", type="f16[6]")), "output %y",
        ["cast", "reduce_sum"],
    ),
    "an unknown number of columns": (
        ("%n : f32[6, B] = transpose(%x) {perm=(1, 0)}", "%t : f32[6, B] = tanh(%n)",
         "%y : f32[B] = reduce_sum(%t) {axes=(0,), keepdims=false}"), "output %y", ["transpose", "tanh", "reduce_sum"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    nodes, results, left = CASES[name]
    assert ops(apply_text(both, text(*nodes, results=results))) == left


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs(seed: int) -> None:
    apply(both, random_graph(seed, 30))


def test_it_comes_apart() -> None:
    after = apply_text(both, GOLDEN["columns"])
    assert ops(apply(lambda g: decompose(g, lambda op: op != "fused_reduce"), after)) == ["mul", "tanh", "reduce_sum"]


def test_loops() -> None:
    shape = (2, 3, 5)
    assert loop_of(shape, (1,)) is None and loop_of(shape, (0, 2)) is None
    first, last, every = (loop_of(shape, axes) for axes in ((0,), (1, 2), (0, 1, 2)))
    assert first and (first.rows, first.columns, first.by_column) == (2, 15, True)
    assert last and (last.rows, last.columns, last.by_column) == (2, 15, False)
    assert every and (every.rows, every.columns, every.by_column) == (30, 1, True)
    operands = ((2, 3, 5), (3, 5), (2, 1, 1), (), (1, 1, 1), (5,), (2, 3, 1), (3, 1))
    assert [kind_of(o, shape, 1) for o in operands] == ["each", "column", "row", "one", "one", None, None, None]


BAD = {
    "tensors of one shape over the same axes": lambda x: (b.reduce_sum(x, (0,)), b.reduce_sum(x, (1,))),
    "must have the shape": lambda x: (b.reduce_sum(x, (0,)), b.reshape(x, (12,))),
    "may read what was reduced": lambda x: (b.neg(b.reduce_sum(b.reshape(x, (12,)), (0,), keepdims=True)),),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_bodies(message: str) -> None:
    x = b.input_value(tensor("f32", 3, 4))
    with pytest.raises(TypeRuleError, match=message):
        b.apply("fused_reduce", b.input_value(x.type), body=assemble("body", [x], BAD[message](x)))
