"""The verifier: what it refuses, and that its messages name the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ir import builder as b
from ir import verify as verifier
from ir.dims import SymDim
from ir.graph import Attrs, Check, Graph, Guard, Node, Update, Value, Variable
from ir.ops import OPS
from ir.rewrite import assemble, copy_node, rebuild
from ir.types import tensor
from ir.verify import Known, VerifyError, verify
from tests.ir.random_graphs import random_graph
from tests.ir.sample_graphs import CALL, Call, call, everything

B, Q = SymDim("B"), SymDim("Q")


def good() -> Graph:
    x = b.input_value(tensor("f32", B, 3), "x")
    w = Variable(tensor("f32", 3), "dense/kernel")
    with b.origin(("dense",)):
        y = b.mul(b.add(x, w.value), 2.0)
    return assemble("g", [x], [y], [Update(w, b.neg(w.value))])


def node(op: str, inputs: tuple[Value, ...], *shape: object, **attrs: object) -> Node:
    """A node that claims to have type f32[shape]."""
    return Node(OPS[op], inputs, Attrs(attrs), (tensor("f32", *shape),), ("layer_7",))  # type: ignore[arg-type]


def appended(*nodes: Node) -> Callable[[Graph], Graph]:
    return lambda g: replace(g, nodes=(*g.nodes, *nodes))


x0 = b.input_value(tensor("f32", 3), "stranger")
w0 = Variable(tensor("f32", 3), "other/kernel")


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda g: replace(g, nodes=g.nodes[1:]), "is not defined before it is used"),
        (lambda g: replace(g, nodes=g.nodes[::-1]), "is not defined before it is used"),
        (lambda g: replace(g, nodes=(*g.nodes, g.nodes[0])), "the node stands in the graph twice"),
        (lambda g: replace(g, inputs=g.inputs * 2), "is listed twice"),
        (lambda g: replace(g, inputs=(*g.inputs, g.outputs[0])), "is computed by a node"),
        (lambda g: replace(g, variables=g.variables * 2), "variable 'dense/kernel' is listed twice"),
        (lambda g: replace(g, variables=()), "variable 'dense/kernel' is not defined before it is used"),
        (lambda g: replace(g, outputs=(x0,)), "output %stranger : .* is not defined in the graph"),
        (lambda g: replace(g, updates=g.updates * 2), "variable 'dense/kernel' is updated twice"),
        (lambda g: replace(g, updates=(Update(w0, g.updates[0].value),)), "'other/kernel' is updated but not listed"),
        (lambda g: replace(g, updates=(Update(g.variables[0], x0),)), "update of 'dense/kernel', %stranger"),
        (lambda g: replace(g, updates=(Update(g.variables[0], g.outputs[0]),)),
         r"update of 'dense/kernel' is f32\[B, 3\], but the variable is f32\[3\]"),
        (lambda g: replace(g, guards=(Guard(0, 5, B),)), "guard on axis 5 of input number 0"),
        (lambda g: replace(g, checks=(Check(Q, B, "add"),)), "mentions Q"),
        (lambda g: appended(node("neg", (x0,), 3))(g), "operand %stranger"),
        (lambda g: appended(node("neg", g.inputs, B, 4))(g),
         r"its type is f32\[B, 4\], but the type rule gives f32\[B, 3\]\n  neg: .*neg\(%x\)   # layer_7"),
        (lambda g: appended(node("neg", g.inputs, B, 3, axis=1))(g), "neg takes attributes"),
        (lambda g: appended(node("add", g.inputs, B, 3))(g), "add takes 2 operands"),
        (lambda g: appended(node("broadcast_to", g.inputs, Q, B, 3, shape=(Q, B, 3)))(g), "symbol Q is not a size"),
        (lambda g: appended(Node(Call(), (), Attrs(), ()))(g), "op 'call' is not in the table of ops"),
    ],
)  # fmt: skip
def test_refuses(damage: Callable[[Graph], Graph], message: str) -> None:
    g, known = good(), Known()
    verify(g, known)
    for knows in (None, known, known):
        with pytest.raises(VerifyError, match=message):
            verify(damage(g), knows)


def test_nodes_that_are_known_are_not_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    g, known = good(), Known()
    verify(g, known)
    again = rebuild(g, lambda node, inputs: copy_node(node, inputs).outputs)
    monkeypatch.setattr(verifier, "infer", lambda *args: pytest.fail("a type rule ran"))
    verify(again, known)


def test_names_the_node_its_line_and_its_layers() -> None:
    g = good()
    g.nodes[2].outputs[0].type = tensor("f32", B, 5)
    with pytest.raises(VerifyError) as e:
        verify(g)
    assert "graph 'g': its type is f32[B, 5]" in str(e.value)
    assert "mul: %2 : f32[B, 5] = mul(%0, %1)   # dense" in str(e.value)


def test_symbols_have_one_meaning() -> None:
    x = b.input_value(tensor("f32", SymDim("B"), SymDim.fresh("B")), "x")
    with pytest.raises(VerifyError, match="two symbols are called 'B'"):
        verify(assemble("g", [x], [x]))
    with pytest.raises(VerifyError, match="a symbol is called 'B 1'"):
        verify(assemble("g", [y := b.input_value(tensor("f32", SymDim("B 1")), "x")], [y]))


def test_bodies_are_verified_and_see_outer_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "call", CALL)
    verify(everything())
    x, a = b.input_value(tensor("f32", B), "x"), b.input_value(tensor("f32", 3), "a")
    inner = assemble("inner", [a], [b.neg(a)])
    broken = replace(inner, nodes=())
    with pytest.raises(VerifyError, match="graph 'inner': output"):
        verify(assemble("g", [x, a], [call(broken, a)[0]]))


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs_are_well_formed(seed: int) -> None:
    verify(random_graph(seed))
