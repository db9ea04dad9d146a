"""fuse_elementwise: which nodes become one loop, which must not, and that nothing is computed differently."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from ir import builder as b
from ir.dims import SymDim
from ir.graph import Graph, Node, Update, Value, Variable
from ir.passes.fuse_elementwise import _MAX_NODES, _MAX_OPERANDS, fuse_elementwise
from ir.printer import print_graph
from ir.rewrite import assemble
from ir.types import tensor
from ir.verify import verify
from tests.golden_text import Golden
from tests.ir.pass_checks import apply, apply_text, ops
from tests.ir.random_graphs import assert_same_bits, random_graph

B, T = SymDim("B"), SymDim("T")

HEAD = """
graph @fuse(B) {{
  input    %x : f32[B, 4]
  input    %y : f32[B, 4]
  input    %p : bool[B, 4]
  input    %col : f32[B, 1]
  variable %w : f32[4]  "w"
  variable %v : f32[4]  "v"
  %half : f32[] = constant() {{dtype=f32, shape=(), value=(0.5,)}}
  %two : f32[] = constant() {{dtype=f32, shape=(), value=(2.0,)}}
{nodes}
  {results}
}}
"""


def graph(*nodes: str, results: str = "output %z") -> str:
    """Definitions `nodes`; those without a type are f32[B, 4]."""
    full = (n if " : " in n else n.replace(" = ", " : f32[B, 4] = ", 1) for n in nodes)
    return HEAD.format(nodes="\n".join(f"  {n}" for n in full), results=results)


SUM = "%s : f32[B, 1] = reduce_sum(%a) {axes=(1,), keepdims=true}"
GOLDEN = {
    "chain": graph("%a = add(%x, %w)   # bias", "%b = mul(%half, %a)   # scale", "%z = relu(%b)   # relu"),
    "outputs": graph(
        "%a = add(%x, %y)   # add", "%b : bool[B, 4] = greater(%a, %half)   # mask", "%c = select(%b, %a, %half)",
        "%m : f32[4] = reduce_mean(%a) {axes=(0,), keepdims=false}", "%z = sub(%c, %m)",
        results="output %z, %c\n  update %v = %m",
    ),
    "broadcast": graph("%f = broadcast_to(%two) {shape=(B, 4)}", "%g = broadcast_to(%w) {shape=(B, 4)}",
                       "%a = mul(%f, %g)", "%z = add(%a, %x)"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_fuses(name: str, golden: Golden) -> None:
    golden(f"passes/fuse_elementwise_{name}", print_graph(apply_text(fuse_elementwise, GOLDEN[name])))


# (the graph, the ops of it afterwards, the ops of each fused body)
CASES: dict[str, tuple[str, list[str], list[list[str]]]] = {
    "a tree": (
        graph("%a = exp(%x)", "%b = tanh(%y)", "%c = mul(%a, %b)", "%z = add(%c, %x)"),
        ["fused"], [["exp", "tanh", "mul", "add"]],
    ),
    "a single node stays as it is": (graph("%z = exp(%x)"), ["exp"], []),
    "a diamond": (
        graph("%a = exp(%x)", "%b = neg(%a)", "%c = tanh(%a)", "%z = mul(%b, %c)"),
        ["fused"], [["exp", "neg", "tanh", "mul"]],
    ),
    "a diamond with a sum on one side": (
        graph("%a = exp(%x)", "%b = neg(%a)", SUM, "%c = mul(%b, %s)", "%z = add(%c, %y)"),
        ["exp", "reduce_sum", "fused"], [["neg", "mul", "add"]],
    ),
    "softmax": (
        graph("%m : f32[B, 1] = reduce_max(%x) {axes=(1,), keepdims=true}", "%d = sub(%x, %m)", "%a = exp(%d)", SUM,
              "%z = div(%a, %s)"),
        ["reduce_max", "fused", "reduce_sum", "div"], [["sub", "exp"]],
    ),
    "no common operand, no common loop": (
        graph("%a = exp(%x)", "%b = neg(%a)", "%c = tanh(%y)", "%d = neg(%c)", results="output %b, %d"),
        ["fused", "fused"], [["exp", "neg"], ["tanh", "neg"]],
    ),
    "other shapes are other loops": (
        graph("%a : f32[4] = exp(%w)", "%b : f32[4] = neg(%a)", "%c = mul(%x, %b)", "%z = tanh(%c)"),
        ["fused", "fused"], [["exp", "neg"], ["mul", "tanh"]],
    ),
    "a column is another loop": (
        graph("%a : f32[B, 1] = exp(%col)", "%z = mul(%x, %a)"), ["exp", "mul"], [],
    ),
    "a reduction ends a loop": (
        graph("%a = exp(%x)", SUM, "%b : f32[B, 1] = log(%s)", "%z = sub(%x, %b)"),
        ["exp", "reduce_sum", "log", "sub"], [],
    ),
    "a reshape ends a loop": (
        graph("%a = exp(%x)", "%r : f32[4*B] = reshape(%a) {shape=(4*B,)}", "%z : f32[4*B] = neg(%r)"),
        ["exp", "reshape", "neg"], [],
    ),
    "casts and comparisons are part of it": (
        graph("%a : f16[B, 4] = cast(%x) {dtype=f16}", "%b : f16[B, 4] = neg(%a)",
              "%c : f32[B, 4] = cast(%b) {dtype=f32}",
              "%d : bool[B, 4] = less(%c, %y)", "%e : bool[B, 4] = logical_and(%d, %p)", "%z = select(%e, %x, %y)"),
        ["fused"], [["cast", "neg", "cast", "less", "logical_and", "select"]],
    ),
    "a broadcast alone": (graph("%z = broadcast_to(%w) {shape=(B, 4)}"), ["broadcast_to"], []),
    "scalars": (
        graph("%a : f32[] = mul(%half, %two)", "%s : f32[] = reduce_sum(%x) {axes=(0, 1), keepdims=false}",
              "%b : f32[] = mul(%s, %a)", "%z : f32[] = exp(%b)"),
        ["reduce_sum", "fused"], [["mul", "mul", "exp"]],
    ),
    "an input twice": (graph("%a = mul(%x, %x)", "%z = add(%a, %a)"), ["fused"], [["mul", "add"]]),
    "an output that is read as well": (
        graph("%a = exp(%x)", "%z = neg(%a)", results="output %z, %a, %a"), ["fused"], [["exp", "neg"]],
    ),
    "random numbers end a loop": (
        graph("%u = random_uniform(%state) {dtype=f32, seed=1, shape=(B, 4)}", "%a = mul(%u, %x)", "%z = add(%a, %w)")
        .replace("variable %w", 'variable %state : u64[2]  "state"\n  variable %w'),
        ["random_uniform", "fused"], [["mul", "add"]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    text, expected, bodies = CASES[name]
    after = apply_text(fuse_elementwise, text)
    assert ops(after) == expected
    assert [ops(n.attrs["body"]) for n in after.nodes if n.op.name == "fused"] == bodies


def test_scalar_constants_move_into_every_body_that_reads_them() -> None:
    text = graph("%a = mul(%x, %half)", "%b = exp(%a)", "%s : f32[4] = reduce_sum(%b) {axes=(0,), keepdims=false}",
                 "%c : f32[4] = mul(%s, %half)", "%z : f32[4] = tanh(%c)")  # fmt: skip
    after = apply_text(fuse_elementwise, text)
    assert [n.op.name for n in after.nodes] == ["fused", "reduce_sum", "fused"]
    for n in (after.nodes[0], after.nodes[2]):
        assert len(n.inputs) == 1
        assert [m.attrs["value"] for m in n.attrs["body"].nodes if m.op.name == "constant"] == [(0.5,)]


def test_longer_constants_are_operands() -> None:
    text = graph("%k : f32[4] = constant() {dtype=f32, shape=(4,), value=(1.0, 2.0, 3.0, 4.0)}", "%a = mul(%x, %k)",
                 "%z = exp(%a)")  # fmt: skip
    after = apply_text(fuse_elementwise, text)
    assert [n.op.name for n in after.nodes] == ["constant", "fused"] and len(after.nodes[1].inputs) == 2


def test_constants_without_elements_are_operands() -> None:
    x, empty = b.input_value(tensor("f32", 0), "x"), b.constant(np.zeros(0, np.float32))
    after = apply(fuse_elementwise, assemble("g", [x], [b.unary("exp", b.add(x, empty))]))
    assert [n.op.name for n in after.nodes] == ["constant", "fused"] and len(after.nodes[1].inputs) == 2


def test_a_body_without_operands() -> None:
    text = graph("%f = broadcast_to(%two) {shape=(B, 4)}", "%g = broadcast_to(%half) {shape=(B, 4)}",
                 "%z = mul(%f, %g)")  # fmt: skip
    after = apply_text(fuse_elementwise, text)
    assert ops(after) == ["fused"] and after.nodes[0].inputs == ()


def test_updates_are_results_of_regions() -> None:
    """As in an optimizer: one pass over memory for all that belongs to a weight."""
    w, m, rate = Variable(tensor("f32", 3, 5), "w"), Variable(tensor("f32", 3, 5), "m"), Variable(tensor("f32"), "rate")
    g = b.input_value(tensor("f32", 3, 5), "gradient")
    moment = b.add(b.mul(m.value, 0.9), b.mul(g, 0.1))
    new = b.sub(w.value, b.mul(moment, rate.value))
    after = apply(fuse_elementwise, assemble("sgd", [g], [], [Update(w, new), Update(m, moment)]))
    assert ops(after) == ["fused"] and len(after.nodes[0].outputs) == 2
    assert [v.name for v in after.nodes[0].inputs] == ["m", "gradient", "rate", "w"] and len(after.updates) == 2


def test_origins_name_all_layers() -> None:
    (fused,) = apply_text(fuse_elementwise, GOLDEN["chain"]).nodes
    assert fused.origin == ("bias", "scale", "relu")


# Limits


def chain(length: int, operands: int = 0) -> Graph:
    x = y = b.input_value(tensor("f32", B, 4), "x")
    others = [b.input_value(tensor("f32", B, 4), f"x{i}") for i in range(operands)]
    for i in range(length):
        y = b.add(y, others[i % operands]) if operands else b.neg(y)
    return assemble("chain", [x, *others], [y])


def bodies(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op.name == "fused"]


@pytest.mark.parametrize("length", [47, 48, 49, 150])
def test_regions_have_a_largest_number_of_nodes(length: int) -> None:
    after = apply(fuse_elementwise, chain(length))
    sizes = [len(n.attrs["body"].nodes) for n in bodies(after)]
    lonely = len([n for n in after.nodes if n.op.name == "neg"])
    assert sum(sizes) + lonely == length and max(sizes) <= _MAX_NODES
    assert len(sizes) + lonely == -(-length // _MAX_NODES)


@pytest.mark.parametrize("operands", [13, 14, 40])
def test_regions_have_a_largest_number_of_operands(operands: int) -> None:
    after = apply(fuse_elementwise, chain(operands, operands))
    assert all(len(n.inputs) <= _MAX_OPERANDS for n in bodies(after))
    assert len(after.nodes) <= 4


def test_time_is_linear() -> None:
    def seconds(length: int) -> float:
        g = chain(length, 3)
        start = time.perf_counter()
        fuse_elementwise(g)
        return time.perf_counter() - start

    seconds(100)
    assert seconds(4000) < 60 * seconds(400) + 0.5


# Cycles: two regions that each need the other could never run.


def levels_of(graph: Graph) -> bool:
    """Whether every node stands behind those that it reads (`verify` says so, too)."""
    verify(graph)
    position = {o: i for i, n in enumerate(graph.nodes) for o in n.outputs}
    return all(position[v] < i for i, n in enumerate(graph.nodes) for v in n.inputs if v in position)


def random_elementwise(seed: int, size: int = 40) -> Graph:
    """Elementwise nodes of two shapes with reductions and broadcasts strewn in."""
    rng = random.Random(seed)
    x, y = b.input_value(tensor("f32", B, 4), "x"), b.input_value(tensor("f32", B, 4), "y")
    w = Variable(tensor("f32", 4), "w")
    wide: list[Value] = [x, y]
    narrow: list[Value] = [w.value]
    made: list[Value] = []
    for _ in range(size):
        kind = rng.randrange(10)
        v, u, n = rng.choice(wide[-6:]), rng.choice(wide), rng.choice(narrow[-4:])
        if kind < 4:
            wide.append(b.apply1(rng.choice(("add", "sub", "mul", "maximum")), v, u))
        elif kind < 6:
            wide.append(b.unary(rng.choice(("tanh", "sigmoid", "abs", "neg")), v))
        elif kind == 6:
            wide.append(b.mul(v, b.unary("tanh", n) if rng.random() < 0.5 else b.lift(0.5, v)))
        elif kind == 7:
            narrow.append(b.reduce_mean(v, [0]))
        elif kind == 8:
            narrow.append(b.unary("tanh", b.sub(n, rng.choice(narrow))))
        else:
            wide.append(b.select(b.compare("greater", v, u), v, b.broadcast_to(n, (B, 4))))
        made = [*wide[2:], *narrow[1:]]
    return assemble("random", [x, y], rng.sample(made, min(4, len(made))), [Update(w, narrow[-1])])


@pytest.mark.parametrize("seed", range(60))
def test_random_elementwise_graphs(seed: int) -> None:
    before = random_elementwise(seed)
    after = fuse_elementwise(before)
    assert levels_of(after)
    assert_same_bits(before, after, seed)
    assert len(after.nodes) <= len(before.nodes)


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs(seed: int) -> None:
    before = random_graph(seed, 40)
    after = fuse_elementwise(before)
    assert levels_of(after)
    assert_same_bits(before, after, seed, bool(seed % 2))


def test_the_mask_of_a_derivative_joins_the_derivative() -> None:
    """The comparison of relu's derivative reads the output of the forward pass; it is not stored by that pass."""
    x, k = b.input_value(tensor("f32", B, 4), "x"), Variable(tensor("f32", 4, 4), "k")
    y = b.unary("relu", b.mul(b.matmul(x, k.value), 2.0))
    mask = b.compare("greater", y, 0.0)
    out = b.matmul(y, k.value)
    slope = b.mul(b.select(mask, out, 0.0), 2.0)
    after = apply(fuse_elementwise, assemble("g", [x], [slope]))
    assert ops(after) == ["matmul", "fused", "matmul", "fused"]
    first, second = bodies(after)
    assert ops(first.attrs["body"]) == ["mul", "relu"] and len(first.outputs) == 1
    assert ops(second.attrs["body"]) == ["greater", "select", "mul"]


def test_what_later_regions_share_joins_the_first_of_them() -> None:
    """A dropout's mask is made where it is first used, and stored for the backward pass."""
    after = apply_text(fuse_elementwise, graph(
        "%k : bool[B, 4] = greater(%x, %half)   # mask", "%m = select(%k, %two, %half)   # mask",
        "%s : f32[B, 1] = reduce_sum(%y) {axes=(1,), keepdims=true}", "%a = mul(%m, %s)   # forward",
        "%t : f32[B, 1] = reduce_sum(%a) {axes=(1,), keepdims=true}", "%z = mul(%m, %t)   # backward",
    ))  # fmt: skip
    assert ops(after) == ["reduce_sum", "fused", "reduce_sum", "mul"]
    (first,) = (n for n in after.nodes if n.op.name == "fused")
    assert ops(first.attrs["body"]) == ["greater", "select", "mul"] and len(first.outputs) == 2


def test_what_regions_of_one_level_share_stays_alone() -> None:
    after = apply_text(fuse_elementwise, graph(
        "%m = tanh(%x)", "%s : f32[B, 1] = reduce_sum(%y) {axes=(1,), keepdims=true}", "%a = mul(%m, %s)",
        "%t : f32[B, 1] = reduce_max(%y) {axes=(1,), keepdims=true}", "%z = mul(%m, %t)", results="output %a, %z",
    ))  # fmt: skip
    assert ops(after) == ["tanh", "reduce_sum", "mul", "reduce_max", "mul"]


def test_shapes_of_no_elements_and_of_one() -> None:
    for shape in ((0, 4), (1, 1), ()):
        x = b.input_value(tensor("f32", *shape), "x")
        g = assemble("g", [x], [b.unary("exp", b.mul(x, 2.0))])
        after = fuse_elementwise(g)
        assert ops(after) == ["fused"] and after.outputs[0].shape == shape
        assert np.prod(shape) in (0, 1)
