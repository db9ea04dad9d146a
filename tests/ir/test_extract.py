"""Extraction: symbols that meet, sizes of 1, updates that compose, what is missing, and what cannot agree."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from ir import builder as b
from ir.autodiff import gradients
from ir.binding import NeedsSpecialization, SizeError, bind_sizes
from ir.dims import Dim, SymDim
from ir.extract import Assign, ExtractError, Increment, compose_updates, extract
from ir.graph import Check, Graph, Guard, Value, Variable
from ir.interpreter import run
from ir.types import tensor
from ir.verify import verify

RNG = np.random.default_rng(0)


def fresh(name: str = "B") -> SymDim:
    return SymDim.fresh(name)


def placeholder(name: str, *shape: Dim) -> Value:
    return b.input_value(tensor("f32", *shape), name)


def extracted(inputs: Sequence[Value], outputs: Sequence[Value], **options: object) -> Graph:
    graph = extract("g", inputs, outputs, **options)  # type: ignore[arg-type]
    verify(graph)
    return graph


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


# Symbols


def test_two_inputs_that_meet_share_a_symbol() -> None:
    x, y = placeholder("x", fresh(), 3), placeholder("y", fresh(), 3)
    g = extracted([x, y], [b.add(x, y)])
    batch = SymDim("B")
    assert [v.type for v in (*g.inputs, *g.outputs)] == [tensor("f32", batch, 3)] * 3
    assert g.symbols == (batch,) and g.checks == ()
    assert set(g.guards) == {Guard(0, 0, batch), Guard(1, 0, batch)}
    a, c = numbers(5, 3), numbers(5, 3)
    np.testing.assert_array_equal(run(g, [a, c], {})[0][0], a + c)
    with pytest.raises(SizeError, match="input 'y' has size 4 along axis 0, but input 'x' has size 5 there"):
        run(g, [a, numbers(4, 3)], {})


def test_symbols_that_never_meet_stay_apart_and_get_names_of_their_own() -> None:
    x, y, z = placeholder("x", fresh()), placeholder("y", fresh("B_1")), placeholder("z", fresh())
    g = extracted([x, y, z], [b.neg(x), b.neg(y), b.neg(z)])
    assert [str(s) for s in g.symbols] == ["B", "B_1", "B_2"]
    assert [o.shape for o in run(g, [numbers(2), numbers(0), numbers(5)], {})[0]] == [(2,), (0,), (5,)]


def test_the_earliest_input_names_what_meets() -> None:
    """Whatever the order of the operands, the graph speaks of the first input's size."""
    t, n = fresh("T"), fresh("N")
    x, y = placeholder("x", t), placeholder("y", n)
    for value in (b.add(x, y), b.add(y, x)):
        assert extracted([x, y], [value]).outputs[0].shape == (SymDim("T"),)
        assert extracted([y, x], [value]).outputs[0].shape == (SymDim("N"),)


def test_a_symbol_that_meets_a_number_becomes_it_under_a_guard() -> None:
    n, t = fresh("N"), fresh("T")
    x, target = placeholder("x", fresh(), 10), placeholder("target", n, t)
    loss = b.sub(x, target)
    g = extracted([x, target], [loss])
    assert g.inputs[1].shape == (SymDim("B"), 10)
    assert Guard(1, 1, 10) in g.guards
    with pytest.raises(NeedsSpecialization) as need:
        bind_sizes(g, [(4, 10), (4, 1)])
    assert need.value.inputs_axes == ((1, 1),)
    narrow = extracted([x, target], [loss], ones=[t])
    assert narrow.inputs[1].shape == (SymDim("B"), 1) and Guard(1, 1, 10) not in narrow.guards
    a, c = numbers(4, 10), numbers(4, 1)
    np.testing.assert_array_equal(run(narrow, [a, c], {})[0][0], a - c)


def test_sizes_that_must_be_equal_have_no_guard() -> None:
    x, y = placeholder("x", fresh(), 3), placeholder("y", fresh("N"), 2)
    g = extracted([x, y], [b.concatenate([x, y], 1)])
    assert g.guards == () and g.inputs[1].shape == (SymDim("B"), 2)
    with pytest.raises(SizeError, match="they must agree"):
        run(g, [numbers(5, 3), numbers(1, 2)], {})


@pytest.mark.parametrize("first, second", [(1, 5), (5, 1), (1, 1), (5, 5), (1, 0), (0, 0)])
def test_either_of_two_unknown_sizes_may_be_one(first: int, second: int) -> None:
    x, y = placeholder("x", fresh("T"), 3), placeholder("y", fresh("N"), 3)
    out = b.mul(b.add(x, y), x)
    a, c = numbers(first, 3), numbers(second, 3)
    ones: list[SymDim] = []
    g = extracted([x, y], [out])
    try:
        bind_sizes(g, [a.shape, c.shape])
    except NeedsSpecialization as need:
        ones = [d for i, axis in need.inputs_axes for d in [(x, y)[i].shape[axis]] if isinstance(d, SymDim)]
    assert bool(ones) == (first != second)
    found = run(extracted([x, y], [out], ones=ones), [a, c], {})[0][0]
    np.testing.assert_array_equal(found, (a + c) * a)


def test_three_that_broadcast_against_each_other() -> None:
    xs = [placeholder(n, fresh(n)) for n in "xyz"]
    total = b.add(b.add(xs[0], xs[1]), xs[2])
    for sizes in ((5, 5, 5), (1, 5, 5), (5, 1, 1), (1, 1, 5), (1, 1, 1)):
        arrays = [numbers(n) for n in sizes]
        ones = [x.shape[0] for x, n in zip(xs, sizes, strict=True) if n == 1 and max(sizes) > 1]
        g = extracted(xs, [total], ones=ones)
        np.testing.assert_array_equal(run(g, arrays, {})[0][0], arrays[0] + arrays[1] + arrays[2])


def test_a_size_of_one_whose_broadcast_size_stands_in_an_attribute_is_refused() -> None:
    """In the mean's derivative the symbol T means the size of the broadcast result, not the 1 that was fed."""
    t, n = fresh("T"), fresh("N")
    x, y = placeholder("x", t), placeholder("y", n)
    with b.origin(("loss",)):
        mean = b.reduce_mean(b.unary("square", b.sub(x, y)))
    (slope,) = gradients([mean], [y])
    assert slope is not None
    a, c = numbers(5), numbers(5)
    expected = -2 / 5 * (a - c)
    np.testing.assert_allclose(run(extracted([x, y], [slope]), [a, c], {})[0][0], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ExtractError, match="in loss: a size that is 1 in one input"):
        extract("g", [x, y], [slope], ones=[t])
    np.testing.assert_allclose(run(extracted([x, y], [mean], ones=[t]), [a[:1], c], {})[0][0],
                               np.square(a[:1] - c).mean(), rtol=1e-6)  # fmt: skip


def test_symbols_in_attributes_are_replaced() -> None:
    s, n = fresh("S"), fresh("N")
    x, y = placeholder("x", s, 4), placeholder("y", n, 4)
    flat = b.reshape(y, (n * 4,))
    g = extracted([x, y], [b.add(x, y), b.add(flat, b.full((4 * s,), 1, flat.type.dtype))])
    assert [str(x) for x in g.symbols] == ["S"] and g.outputs[1].shape == (4 * SymDim("S"),)
    assert [n.attrs["shape"] for n in g.nodes if n.op.name in ("reshape", "broadcast_to")] == [(4 * SymDim("S"),)] * 2
    a, c = numbers(3, 4), numbers(3, 4)
    np.testing.assert_array_equal(run(g, [a, c], {})[0][1], c.ravel() + 1)


def test_expressions_that_cannot_be_solved_become_checks() -> None:
    h, t = fresh("H"), fresh("T")
    x, y = placeholder("x", h), placeholder("y", t)
    shorter = b.slice(x, (0,), ((h - 1) // 2,))
    doubled = b.concatenate([y, y], 0)
    with b.origin(("add_1",)):
        g = extracted([x, y], [b.add(shorter, doubled)])
    named = (SymDim("H") - 1) // 2, 2 * SymDim("T")
    assert g.checks == (Check(*named, "add"),) and g.guards == ()
    assert run(g, [numbers(9), numbers(2)], {})[0][0].shape == (4,)
    with pytest.raises(SizeError, match=r"add: sizes 4 and 6 must agree \(H is 9.*T is 3"):
        run(g, [numbers(9), numbers(3)], {})


def test_a_symbol_that_meets_an_expression_becomes_it() -> None:
    h, t = fresh("H"), fresh("T")
    x, y = placeholder("x", h), placeholder("y", t)
    g = extracted([x, y], [b.add(b.slice(x, (0,), ((h - 1) // 2,)), y)])
    half = (SymDim("H") - 1) // 2
    assert g.inputs[1].shape == (half,) and g.guards == (Guard(1, 0, half),) and g.checks == ()
    assert run(g, [numbers(9), numbers(4)], {})[0][0].shape == (4,)


def test_a_symbol_that_meets_an_expression_of_itself_is_checked() -> None:
    t = fresh("T")
    x, y = placeholder("x", t), placeholder("y", t * t)
    g = extracted([x, y], [b.add(x, y)])
    assert g.checks == (Check(SymDim("T"), SymDim("T") * SymDim("T"), "add"),)
    with pytest.raises(SizeError, match="add: sizes 3 and 9 must agree"):
        run(g, [numbers(3), numbers(9)], {})


@pytest.mark.parametrize("late", [False, True])
def test_sizes_that_contradict_each_other_name_the_layer(late: bool) -> None:
    n = fresh("N")
    x, y, z = placeholder("x", 3), placeholder("y", n), placeholder("z", 4)
    with b.origin(("model_1", "add_1")):
        first = b.concatenate([b.reshape(x, (1, 3)), b.reshape(y, (1, n))], 0)
    with b.origin(("model_1", "add_2")):
        second = b.concatenate([b.reshape(y, (1, n)), b.reshape(z, (1, 4))], 0)
    outputs = [second, first] if late else [first, second]
    message = "in model_1/add_2: sizes 3 and 4 must agree"
    with pytest.raises(ExtractError, match=re.escape(message)):
        extract("g", [x, y, z], outputs)


def test_expressions_that_contradict_once_known_name_the_layer() -> None:
    h, t = fresh("H"), fresh("T")
    x, y = placeholder("x", h), placeholder("y", t)
    with b.origin(("add_1",)):
        early = b.add(b.slice(x, (0,), ((h - 1) // 2,)), b.concatenate([y, y], 0))
    fixed = [b.add(x, b.constant(np.zeros(9, np.float32))), b.add(y, b.constant(np.zeros(5, np.float32)))]
    with pytest.raises(ExtractError, match="add.*in add_1"):
        extract("g", [x, y], [early, *fixed])


# What is missing, what is unused


def test_missing_inputs_are_named() -> None:
    x, y, unnamed = placeholder("x", 3), placeholder("y", 3), b.input_value(tensor("f32", 3))
    out = b.add(b.add(x, y), unnamed)
    with pytest.raises(ExtractError, match=re.escape("predict: the outputs depend on 'y', 'f32[3]', which was not")):
        extract("predict", [x], [out])


def test_inputs_may_be_unused_outputs_of_the_graph_or_listed_among_them() -> None:
    x, y, w = placeholder("x", fresh()), placeholder("y", fresh(), 2), Variable(tensor("f32", 2), "w")
    g = extracted([x, y], [y, w.value, y])
    assert len(g.inputs) == 2 and not g.nodes and g.variables == (w,)
    assert g.outputs == (g.inputs[1], w.value, g.inputs[1])
    a = numbers(3, 2)
    found = run(g, [numbers(7), a], {w: np.ones(2, np.float32)})[0]
    np.testing.assert_array_equal(found[0], a)
    np.testing.assert_array_equal(found[1], [1, 1])


def test_names_and_origins_survive() -> None:
    x = placeholder("x", fresh())
    with b.origin(("dense_1",)):
        y = b.neg(x)
    y.name = "hidden"
    (node,) = extracted([x], [y]).nodes
    assert node.origin == ("dense_1",) and node.output.name == "hidden"


def test_extraction_does_not_change_what_it_reads() -> None:
    x, y = placeholder("x", fresh()), placeholder("y", fresh())
    out = b.add(x, y)
    before = (x.type, y.type, out.type)
    extracted([x, y], [out])
    assert (x.type, y.type, out.type) == before


def test_deep_models() -> None:
    x = y = placeholder("x", fresh(), 2)
    for _ in range(3000):
        y = b.add(b.neg(y), x)
    assert len(extracted([x], [y]).nodes) == 6000


# Updates


def variable(name: str, *shape: int) -> Variable:
    return Variable(tensor("f32", *shape), name)


def add_to(v: Variable, amount: float) -> Increment:
    return Increment(v, lambda old: b.add(old, amount))


def new_values(updates: Sequence[Assign | Increment], **content: float) -> dict[str, float]:
    """The new content of scalar variables after one run of `updates`."""
    g = extracted([], [], updates=updates)
    variables = {v: np.float32(content[v.path]) for v in g.variables}
    return {v.path: float(a) for v, a in run(g, [], variables)[1].items()}


def test_increments_compose_in_order() -> None:
    v = variable("v")
    double = Increment(v, lambda old: b.mul(old, 2.0))
    assert new_values([add_to(v, 3.0), double], v=1.0) == {"v": 8.0}
    assert new_values([double, add_to(v, 3.0)], v=1.0) == {"v": 5.0}


def test_reads_see_old_values() -> None:
    v, w = variable("v"), variable("w")
    assert new_values([add_to(v, 1.0), Assign(w, b.mul(v.value, 10.0))], v=2.0, w=0.0) == {"v": 3.0, "w": 20.0}


def test_a_swap() -> None:
    v, w = variable("v"), variable("w")
    assert new_values([Assign(v, w.value), Assign(w, v.value)], v=1.0, w=2.0) == {"v": 2.0, "w": 1.0}


def test_a_moving_average_of_two_branches() -> None:
    """As of a batch normalisation that two branches share."""
    v = variable("v")
    steps = [Increment(v, lambda old, x=x: b.add(b.mul(old, 0.5), 0.5 * x)) for x in (4.0, 8.0)]
    assert new_values(steps, v=0.0) == {"v": 5.0}


def test_the_same_assignment_twice_is_one() -> None:
    v = variable("v")
    value = b.neg(v.value)
    assert new_values([Assign(v, value), Assign(v, value)], v=1.0) == {"v": -1.0}


@pytest.mark.parametrize("order", ["assign assign", "increment assign", "assign increment"])
def test_two_assignments_contradict_each_other(order: str) -> None:
    v = variable("bn/moving_mean")
    kinds = {"assign": lambda: Assign(v, b.neg(v.value)), "increment": lambda: add_to(v, 1.0)}
    updates = [kinds[kind]() for kind in order.split()]
    with pytest.raises(ExtractError, match="variable bn/moving_mean is assigned twice in one run; use K.update_add"):
        compose_updates(updates)


def test_updates_stand_in_order_of_first_appearance() -> None:
    v, w = variable("v"), variable("w")
    composed = compose_updates([add_to(w, 1.0), add_to(v, 1.0), add_to(w, 1.0)])
    assert [u.variable for u in composed] == [w, v]


def test_updates_of_inputs_take_part_in_unification() -> None:
    v = variable("v", 3)
    x = placeholder("x", fresh("N"))
    g = extracted([x], [], updates=[Assign(v, b.add(v.value, x))])
    assert g.inputs[0].shape == (3,) and g.guards == (Guard(0, 0, 3),)


def test_updates_when_read() -> None:
    state = Variable(tensor("u64", 2), "random/state")
    other = variable("other")
    advance = Assign(state, b.apply1("random_advance", state.value))
    noise = b.apply1("random_uniform", state.value, seed=1, shape=(2,), dtype=tensor("f32").dtype)
    assert extracted([], [b.neg(other.value)], when_read=[advance]).updates == ()
    g = extracted([], [noise, noise], when_read=[advance])
    assert [u.variable for u in g.updates] == [state]
    assert run(g, [], {state: np.array([7, 1], np.uint64)})[1][state].tolist() == [7, 2]
    in_update = extracted([], [], updates=[Assign(variable("w", 2), noise)], when_read=[advance])
    assert [u.variable.path for u in in_update.updates] == ["w", "random/state"]


def test_a_state_that_is_written_anyway_is_not_advanced_as_well() -> None:
    state, saved = Variable(tensor("u64", 2), "random/state"), Variable(tensor("u64", 2), "saved")
    noise = b.apply1("random_uniform", state.value, seed=1, shape=(2,), dtype=tensor("f32").dtype)
    advance = Assign(state, b.apply1("random_advance", state.value))
    g = extracted([], [noise], updates=[Assign(state, saved.value)], when_read=[advance])
    assert [(u.variable, u.value) for u in g.updates] == [(state, saved.value)]
