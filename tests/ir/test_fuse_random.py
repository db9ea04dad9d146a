"""fuse_random: which random numbers a region makes itself, and that they are the same numbers."""

from __future__ import annotations

import pytest

from ir.passes.fuse_elementwise import fuse_elementwise
from ir.passes.fuse_random import fuse_random
from ir.printer import print_graph
from tests.golden_text import Golden
from tests.ir.pass_checks import apply_text, ops

HEAD = """
graph @fuse(B) {{
  input    %x : f32[B, 5]
  input    %column : f32[B, 1]
  variable %state : u64[2]  "random_state"
  variable %state_1 : u64[2]  "random_state_1"
  variable %v : f32[5]  "v"
  %rate : f32[] = constant() {{dtype=f32, shape=(), value=(0.5,)}}
  %two : f32[] = constant() {{dtype=f32, shape=(), value=(2.0,)}}
  %zero : f32[] = constant() {{dtype=f32, shape=(), value=(0.0,)}}
  {nodes}
  {results}
}}
"""
DRAW = "%u = random_uniform(%state) {dtype=f32, seed=77, shape=(B, 5)}   # dropout"
DROPOUT = (
    DRAW, "%k : bool[B, 5] = greater_equal(%u, %rate)   # dropout", "%m = select(%k, %two, %zero)",
    "%y = mul(%x, %m)",
)  # fmt: skip


def text(*nodes: str, results: str = "output %y") -> str:
    full = (n if " : " in n else n.replace(" = ", " : f32[B, 5] = ", 1) for n in nodes)
    return HEAD.format(nodes="\n  ".join(full), results=results)


def fused(text: str) -> list[str]:
    return ops(apply_text(lambda g: fuse_random(fuse_elementwise(g)), text))


def test_dropout(golden: Golden) -> None:
    after = apply_text(lambda g: fuse_random(fuse_elementwise(g)), text(*DROPOUT, results="output %y, %m"))
    golden("passes/fuse_random", print_graph(after))
    assert ops(after) == ["fused"]


MORE = "%t = random_uniform(%state_1) {dtype=f32, seed=78, shape=(B, 5)}"
CASES: dict[str, tuple[tuple[str, ...], str, list[str]]] = {
    "a single node": ((DRAW, "%y = mul(%u, %two)"), "output %y", ["fused"]),
    "a second draw": ((DRAW, MORE, "%a = add(%u, %t)", "%y = mul(%a, %x)"), "output %y", ["random_uniform", "fused"]),
    "a second reader": (
        (*DROPOUT, "%z : f32[B] = reduce_sum(%u) {axes=(1,), keepdims=false}"), "output %y, %z",
        ["random_uniform", "fused", "reduce_sum"],
    ),
    "an output": (DROPOUT, "output %y, %u", ["random_uniform", "fused"]),
    "a reader that is no loop": (
        (DRAW, "%y : f32[B] = reduce_sum(%u) {axes=(1,), keepdims=false}"), "output %y",
        ["random_uniform", "reduce_sum"],
    ),
    "a loop over rows": ((*DROPOUT[:3], "%y = mul(%m, %v)"), "output %y", ["random_uniform", "fused"]),
    "a loop over columns": ((*DROPOUT[:3], "%y = mul(%m, %column)"), "output %y", ["random_uniform", "fused"]),
    "numbers of two words": (
        ("%u : f64[B, 5] = random_uniform(%state) {dtype=f64, seed=77, shape=(B, 5)}", "%y : f64[B, 5] = neg(%u)"),
        "output %y", ["random_uniform", "neg"],
    ),
    "normal numbers": (
        (DRAW.replace("uniform", "normal"), "%y = neg(%u)"), "output %y", ["random_normal", "neg"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_who_draws(name: str) -> None:
    nodes, results, left = CASES[name]
    assert fused(text(*nodes, results=results)) == left
