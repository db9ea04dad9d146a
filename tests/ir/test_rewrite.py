"""Rebuilding graphs: replacement, order, what disappears, substitution of sizes, inlining, the mistakes it catches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ir import builder as b
from ir.dims import SymDim
from ir.graph import Check, Guard, Node, Update, Value, Variable
from ir.interpreter import run
from ir.parser import parse
from ir.printer import print_graph
from ir.rewrite import assemble, copy_node, inline, rebuild, retype, substitute
from ir.types import tensor
from ir.verify import verify
from ir.walk import leaves_of, nodes_of
from tests.ir.random_graphs import assert_same_bits, random_graph

B, T = SymDim("B"), SymDim("T")

TEXT = """
graph @g(B) {
  input    %x     : f32[B, 4]
  input    %y     : f32[B, 4]
  variable %w     : f32[4]  "dense/bias" trainable
  variable %state : f32[4]  "state"
  guard %y[0] in {1, B}
  check 2*B == 4 "reshape"
  %a : f32[B, 4] = add(%x, %w)   # dense
  %h : f32[B, 4] = tanh(%a)   # dense
  %b : f32[B, 4] = mul(%h, %y)   # mul
  %s : f32[4] = reduce_sum(%b) {axes=(0,), keepdims=false}   # mul
  output %b, %x
  update %state = %s
}
"""


def keep(node: Node, inputs: tuple[Value, ...]) -> None:
    return None


def test_keeping_every_node_gives_the_graph_itself() -> None:
    g = parse(TEXT)
    assert rebuild(g, keep) is g


@pytest.mark.parametrize("seed", range(10))
def test_nodes_from_the_first_replacement_on_are_made_anew(seed: int) -> None:
    g = random_graph(seed)
    at = len(g.nodes) // 2
    again = rebuild(g, lambda node, inputs: copy_node(node, inputs).outputs if node is g.nodes[at] else None)
    verify(again)
    assert again == g and print_graph(again) == print_graph(g)
    assert [old is new for old, new in zip(g.nodes, again.nodes, strict=True)] == [i < at for i in range(len(g.nodes))]
    assert_same_bits(g, again, seed)


def test_replacing_a_node() -> None:
    g = parse(TEXT)

    def square_instead(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return (b.unary("neg", b.unary("square", *inputs)),) if node.op.name == "tanh" else None

    after = rebuild(g, square_instead)
    verify(after)
    assert [n.op.name for n in after.nodes] == ["add", "square", "neg", "mul", "reduce_sum"]
    replaced = after.nodes[2]
    assert replaced.output.name == "h" and replaced.origin == after.nodes[1].origin == ("dense",)
    assert after.guards == g.guards and after.checks == g.checks and after.variables == g.variables


def test_what_is_no_longer_needed_disappears() -> None:
    g = parse(TEXT)
    after = rebuild(g, lambda n, ins: (ins[1],) if n.op.name == "mul" else None)
    verify(after)
    assert [n.op.name for n in after.nodes] == ["reduce_sum"]
    assert [v.path for v in after.variables] == ["state"], "an updated variable stays, one that is not read goes"
    assert after.outputs == (after.inputs[1], after.inputs[0])


def test_mapping_replaces_inputs_and_variables() -> None:
    g = parse(TEXT)
    other = b.input_value(tensor("f32", B, 4), "z")
    frozen = b.constant(np.zeros(4, np.float32))
    after = rebuild(g, keep, {g.inputs[0]: other, g.variables[0].value: frozen}, [other, g.inputs[1]])
    verify(after)
    assert [v.name for v in after.inputs] == ["z", "y"] and [v.path for v in after.variables] == ["state"]
    assert after.outputs[1] is other


def test_a_replacement_of_another_type_is_a_mistake() -> None:
    with pytest.raises(TypeError, match=r"rewriting <tanh.*changed its type from f32\[B, 4\] to f32\[4\]"):
        rebuild(parse(TEXT), lambda n, ins: (b.reduce_sum(ins[0], [0]),) if n.op.name == "tanh" else None)


def test_dropping_a_needed_input_is_a_mistake() -> None:
    g = parse(TEXT)
    with pytest.raises(ValueError, match="the outputs of g depend on 'x', which is not among its inputs"):
        rebuild(g, keep, inputs=[g.inputs[1]])


def test_assemble_orders_nodes_as_they_were_written_and_variables_as_told() -> None:
    x = b.input_value(tensor("f32", 2), "x")
    v, w, unread, updated = (Variable(tensor("f32", 2), n) for n in ("v", "w", "unread", "updated"))
    first, second = b.neg(x), b.mul(w.value, v.value)
    dead = b.unary("exp", first)
    g = assemble("g", [x], [b.add(second, first)], [Update(updated, first)], variables=[updated, v, unread])
    assert [n.op.name for n in g.nodes] == ["neg", "mul", "add"] and dead.node not in g.nodes
    assert [x.path for x in g.variables] == ["updated", "v", "w"]
    assert [x.path for x in assemble("g", [x], [second]).variables] == ["w", "v"]


def test_multiple_outputs_are_replaced_together() -> None:
    x, v = b.input_value(tensor("f32", B, 4), "x"), b.constant(np.ones(4, np.float32))
    y, mean, _ = b.apply("batch_norm_train", x, v, v, axis=1, epsilon=1e-3)
    g = assemble("g", [x], [mean, y])
    after = rebuild(g, lambda n, ins: n.op.decompose(ins, n.attrs) if n.op.name == "batch_norm_train" else None)
    verify(after)
    a = np.random.default_rng(0).standard_normal((5, 4)).astype("f4")
    for old, new in zip(run(g, [a], {})[0], run(after, [a], {})[0], strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-5, atol=1e-5)


def test_copy_node_keeps_everything_but_the_inputs() -> None:
    x, y = b.input_value(tensor("f32", B, 4)), b.input_value(tensor("f32", B, 4))
    with b.origin(("layer",)):
        node = b.reduce_sum(x, [0]).node
    assert node is not None
    node.output.name = "total"
    copy = copy_node(node, (y,))
    assert copy.inputs == (y,) and copy.op is node.op and copy.attrs == node.attrs and copy.origin == ("layer",)
    assert copy.output.name == "total" and copy.output.type == node.output.type and copy.output is not node.output


def test_retype_follows_the_operands() -> None:
    x = b.input_value(tensor("f32", B, T))
    node = b.reshape(x, (B * T,)).node
    assert node is not None
    fresh = retype(node, (b.input_value(tensor("f32", 3, T)),), {B: 3})
    assert fresh.output.type == tensor("f32", 3 * T) and fresh.attrs["shape"] == (3 * T,)


def test_substitute_sizes_everywhere() -> None:
    x, y = b.input_value(tensor("f32", B, T), "x"), b.input_value(tensor("f32", B, T), "y")
    inner = b.input_value(tensor("f32", B, T), "inner")
    body = assemble("body", [inner], [b.neg(inner)])
    fused = b.apply1("fused", b.add(x, y), body=body)
    g = assemble("g", [x, y], [fused, b.sizes((B, T + 1))], (), [Guard(1, 1, T)], [Check(B, 2 * T, "w")])
    after = g.substitute({T: 5})
    verify(after)
    assert [v.type for v in after.inputs] == [tensor("f32", B, 5)] * 2
    assert after.outputs[0].type == tensor("f32", B, 5)
    assert after.guards == (Guard(1, 1, 5),) and after.checks == (Check(B, 10, "w"),)
    found, sizes = run(substitute(after, {B: 10}), [np.ones((10, 5), "f4")] * 2, {})[0]
    assert (found == -2).all() and sizes.tolist() == [10, 6]


def test_inline() -> None:
    g = parse(TEXT)
    body = assemble("body", g.inputs, [g.nodes[2].output, g.inputs[1]])
    ins = [b.input_value(tensor("f32", B, 4)) for _ in range(2)]
    out, same = inline(body, ins)
    assert same is ins[1] and out.type == tensor("f32", B, 4)
    free, variables = leaves_of([out], nodes_of([out]))
    assert set(free) == set(ins) and [v.path for v in variables] == ["dense/bias"]
    assert not set(nodes_of([out])) & set(body.nodes)


def test_walking_does_not_look_behind_stops() -> None:
    x = b.input_value(tensor("f32", 2))
    y = b.neg(x)
    z = b.mul(y, y)
    assert [n.op.name for n in nodes_of([z])] == ["neg", "mul"]
    assert [n.op.name for n in nodes_of([z], [y])] == ["mul"]
    assert nodes_of([z], [z]) == []
    assert leaves_of([z], nodes_of([z], [y])) == ([], [])
    assert leaves_of([x], []) == ([x], [])


def test_walking_deep_values() -> None:
    y = b.input_value(tensor("f32"))
    for _ in range(5000):
        y = b.neg(y)
    assert len(nodes_of([y])) == 5000
