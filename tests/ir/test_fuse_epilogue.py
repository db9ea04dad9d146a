"""fuse_epilogue: which regions a product takes, which it leaves alone, and that nothing is computed differently."""

from __future__ import annotations

import pytest

from ir.graph import Graph
from ir.passes.fuse_conv import fuse_conv
from ir.passes.fuse_elementwise import fuse_elementwise
from ir.passes.fuse_epilogue import fuse_epilogue
from ir.printer import print_graph
from tests.golden_text import Golden
from tests.ir.pass_checks import apply_text, ops

HEAD = """
graph @fuse(B) {{
  input    %x : f32[B, 300]
  input    %dy : f32[B, 400]
  input    %r : f32[B, 400]
  variable %w : f32[300, 400]  "w"
  variable %m : f32[300, 400]  "m"
  variable %k : f32[300, 400]  "k"
  variable %v : f32[400]  "v"
  variable %rate : f32[]  "rate"
  %half : f32[] = constant() {{dtype=f32, shape=(), value=(0.5,)}}
  {nodes}
  {results}
}}
"""
GRADIENT = "%g : f32[300, 400] = matmul(%x, %dy) {transpose_a=true, transpose_b=false}   # gradient"
FORWARD = "%a : f32[B, 400] = matmul(%x, %w) {transpose_a=false, transpose_b=false}   # forward"
UPDATE = (
    GRADIENT, "%n = square(%g)   # optimizer", "%d = mul(%rate, %g)", "%e = add(%d, %n)", "%y = sub(%w, %e)",
)  # fmt: skip
SWISH = (FORWARD, "%b = add(%a, %v)   # forward", "%s = sigmoid(%b)   # swish", "%y = mul(%b, %s)   # swish")
UPDATES = "update %m = %n\n  update %w = %y"


def text(*nodes: str, results: str = "output %y") -> str:
    """Definitions `nodes`; those without a type have the type of the first one."""
    kind = nodes[0].partition(" : ")[2].partition(" = ")[0]
    full = (n if " : " in n else n.replace(" = ", f" : {kind} = ", 1) for n in nodes)
    return HEAD.format(nodes="\n  ".join(full), results=results)


def fused(text: str) -> Graph:
    return apply_text(lambda g: fuse_epilogue(fuse_elementwise(fuse_conv(g))), text)


GOLDEN = {"update": text(*UPDATE, results=UPDATES), "swish": text(*SWISH)}


@pytest.mark.parametrize("name", GOLDEN)
def test_fuses(name: str, golden: Golden) -> None:
    after = fused(GOLDEN[name])
    golden(f"passes/fuse_epilogue_{name}", print_graph(after))
    assert ops(after) == ["fused_matmul"]


TAKES: dict[str, tuple[str, ...]] = {
    "a region behind an epilogue": SWISH,
    "an operand twice": (FORWARD, "%b = add(%a, %v)", "%s = sigmoid(%b)", "%t = mul(%b, %s)", "%y = add(%t, %v)"),
    "a tensor": (FORWARD, "%s = sigmoid(%a)", "%t = mul(%a, %s)", "%y = add(%t, %r)"),
}


@pytest.mark.parametrize("name", TAKES)
def test_a_product_takes(name: str) -> None:
    assert ops(fused(text(*TAKES[name]))) == ["fused_matmul"]


LEAVES: dict[str, tuple[str, list[str]]] = {
    "a result that others read": (
        text(*SWISH, "%z : f32[B] = reduce_sum(%a) {axes=(1,), keepdims=false}", results="output %y, %z"),
        ["matmul", "fused", "reduce_sum"],
    ),
    "a result that is an output": (text(*SWISH, results="output %y, %b"), ["fused_matmul", "fused"]),
    "a small result of known size": (
        text(*UPDATE, results=UPDATES).replace("300", "30").replace("400", "40"), ["matmul", "fused"],
    ),
    "more tensors than it can read at once": (
        text(*UPDATE[:-1], "%f = mul(%e, %k)", "%y = sub(%w, %f)", results=UPDATES), ["matmul", "fused"],
    ),
    "an operand that varies otherwise": (
        text(FORWARD, "%q : f32[B, 1] = reduce_max(%r) {axes=(1,), keepdims=true}", "%s = sigmoid(%a)",
             "%t = mul(%a, %s)", "%y = sub(%t, %q)"),
        ["matmul", "reduce_max", "fused"],
    ),
    "results of another type": (
        text(FORWARD, "%s = sigmoid(%a)", "%t = mul(%a, %s)", "%p : bool[B, 400] = greater(%t, %half)",
             results="output %t, %p"),
        ["matmul", "fused"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAVES)
def test_a_product_leaves(name: str) -> None:
    before, left = LEAVES[name]
    assert ops(fused(before)) == left


def test_of_two_products_one_takes_the_region() -> None:
    other = FORWARD.replace("%a", "%c").replace("forward", "other")
    after = fused(text(FORWARD, other, "%s = mul(%a, %c)", "%t = sigmoid(%s)", "%u = mul(%a, %t)", "%y = add(%u, %c)"))
    assert ops(after) == ["matmul", "fused_matmul"]
