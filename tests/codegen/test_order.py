"""The order of nodes, and which launches need not wait for each other. Nothing is compiled."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from codegen.launch import Buffer, BufferKind, Launch, Order, Read, Write
from codegen.order import mark_independent, order_nodes
from codegen.schedule import ALIASES
from codegen.source import Kernel
from ir import builder as b
from ir.graph import Graph, Update, Value, Variable
from ir.rewrite import assemble
from ir.types import tensor
from tests.ir.random_graphs import random_graph

LARGE = (400, 300)


def variable(name: str, *shape: int) -> Variable:
    return Variable(tensor("f32", *shape), name)


def order(graph: Graph) -> list[str]:
    return [n.origin[0] if n.origin else n.op.name for n in order_nodes(graph, ALIASES)]


def named(name: str, op: str, *inputs: Value, **attrs: object) -> Value:
    with b.origin((name,)):
        return b.apply1(op, *inputs, **attrs)


def step(*shapes: tuple[int, ...]) -> Graph:
    """A chain of products, the gradients (here: other products) of all weights, and then all updates."""
    weights = [variable(f"w{i}", *s) for i, s in enumerate(shapes)]
    x = b.input_value(tensor("f32", 50, shapes[0][0]), "x")
    values = [x]
    for i, w in enumerate(weights):
        values.append(named(f"forward{i}", "matmul", values[-1], w.value, transpose_a=False, transpose_b=False))
    dy = values[-1]
    gradients: list[Value] = []
    for i, w in reversed(list(enumerate(weights))):
        gradients.append(named(f"gradient{i}", "matmul", values[i], dy, transpose_a=True, transpose_b=False))
        dy = named(f"back{i}", "matmul", dy, w.value, transpose_a=False, transpose_b=True)
    rate = named("rate", "sqrt", variable("rate").value)
    updates = []
    for i, (w, g) in enumerate(zip(weights, reversed(gradients), strict=True)):
        scaled = b.mul(g, rate)
        updates.append(Update(w, named(f"update{i}", "sub", w.value, scaled)))
    return assemble("step", [x], [named("loss", "reduce_sum", dy, axes=(0, 1), keepdims=False)], updates)


def test_large_updates_come_as_soon_as_the_old_weight_is_not_read_any_more() -> None:
    found = [n for n in order(step(LARGE, LARGE[::-1])) if n != "mul"]
    assert found == [
        "rate", "forward0", "forward1", "gradient1", "back1", "update1", "gradient0", "back0", "update0", "loss"
    ]  # fmt: skip


def test_small_updates_come_last_and_together() -> None:
    found = [n for n in order(step((4, 5), (5, 6), (6, 3))) if n != "mul"]
    assert found[-3:] == ["update0", "update1", "update2"]


def test_a_new_value_that_others_read() -> None:
    """They read it and the old value, too: nothing waits for ever."""
    w = variable("w", *LARGE)
    new = named("new", "neg", w.value)
    both = named("both", "add", w.value, new)
    assert order(assemble("g", [], [both], [Update(w, new)])) == ["new", "both"]


def test_two_variables_exchanged() -> None:
    v, w = variable("v", *LARGE), variable("w", *LARGE)
    a, c = named("a", "neg", w.value), named("c", "exp", v.value)
    assert sorted(order(assemble("g", [], [], [Update(v, a), Update(w, c)]))) == ["a", "c"]


def test_what_a_reshape_hides() -> None:
    """Reading a reshaped variable is reading the variable, and a reshaped result is a new value all the same."""
    w = variable("w", *LARGE)
    flat = b.reshape(w.value, (120_000,))
    new = b.reshape(named("new", "neg", flat), LARGE)
    late = named("late", "reduce_sum", flat, axes=(0,), keepdims=False)
    found = order(assemble("g", [], [late], [Update(w, new)]))
    assert found.index("late") < found.index("new")


@pytest.mark.parametrize("seed", range(20))
def test_an_order_of_all_nodes(seed: int) -> None:
    graph = random_graph(seed)
    found = order_nodes(graph, ALIASES)
    assert sorted(n.serial for n in found) == sorted(n.serial for n in graph.nodes)
    place = {n: i for i, n in enumerate(found)}
    assert all(place[v.node] < place[n] for n in found for v in n.inputs if v.node is not None)
    assert order_nodes(graph, ALIASES) == found


# Independent launches: (launches as "order reads>writes", the orders found)

MARKED: list[tuple[Sequence[str], str]] = [
    (("b a>b", "b c>d", "b e>f"), "bii"),
    (("b a>b", "b b>c", "b a>d"), "bbi"),
    (("b a>b", "b c>a", "b d>e"), "bbi"),
    (("b a>b", "b c>b"), "bb"),
    (("b ab>b", "b cd>d"), "bi"),
    (("b a>b", "i a>b", "b c>d", "i c>d"), "biii"),
    (("b a>b", "b c>d", "i b>d"), "bbi"),
    (("b a>b", "b c>d", "b b>e", "b d>f"), "bibi"),
    ((), ""),
]


@pytest.mark.parametrize(("launches", "orders"), MARKED, ids=str)
def test_what_is_independent(launches: Sequence[str], orders: str) -> None:
    buffers = {name: Buffer(BufferKind.TEMP, 8, name=name) for name in "abcdef"}
    letters = {"b": Order.BARRIER, "i": Order.INDEPENDENT}
    kernel = Kernel("k", "def kernel(args, lo, hi, worker):\n    pass\n")

    def made(text: str) -> Launch:
        letter, uses = text.split()
        reads, writes = uses.split(">")
        slots = (*(Read(buffers[r]) for r in reads), *(Write(buffers[w]) for w in writes))
        return Launch(kernel, slots, 1, order=letters[letter])

    found = mark_independent([made(text) for text in launches], {})
    assert [x.order for x in found if isinstance(x, Launch)] == [letters[x] for x in orders]


def test_an_alias_is_the_same_memory() -> None:
    buffers = [Buffer(BufferKind.TEMP, 8) for _ in range(3)]
    kernel = Kernel("k", "def kernel(args, lo, hi, worker):\n    pass\n")
    launches = [Launch(kernel, (Write(buffers[0]),), 1), Launch(kernel, (Read(buffers[1]), Write(buffers[2])), 1)]
    assert [x.order for x in mark_independent(launches, {})] == [Order.BARRIER, Order.INDEPENDENT]
    assert [x.order for x in mark_independent(launches, {buffers[1]: buffers[0]})] == [Order.BARRIER, Order.BARRIER]
