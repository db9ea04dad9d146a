"""`scan` and `cond`: type rules with symbols, gradients against unrolled loops, text form, the passes for bodies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest

from ir import builder as b
from ir import dtypes, passes
from ir.autodiff import gradients
from ir.closure import captured, close
from ir.dims import Dim, SymDim
from ir.extract import ExtractError, extract
from ir.graph import Graph, Value
from ir.interpreter import evaluate, run
from ir.opdef import TypeRuleError
from ir.parser import parse
from ir.passes.bodies import bind_bodies, deep, trim_bodies
from ir.passes.cse import cse
from ir.passes.join_slices import join_slices
from ir.passes.scans import hoist_scans, merge_scans
from ir.printer import print_graph
from ir.types import tensor
from ir.verify import verify
from tests.ir.derivatives import check_second_derivatives
from tests.ir.pass_checks import apply, ops

Step = Callable[[Sequence[Value], Sequence[Value]], tuple[list[Value], list[Value]]]


def looped(step: Step, xs: Sequence[Value], states: Sequence[Value], reverse: bool = False) -> tuple[Value, ...]:
    """`step(elements, states) -> (outputs, new states)` as a scan."""
    elements = [b.input_value(tensor(x.type.dtype, *x.shape[1:])) for x in xs]
    old = [b.input_value(s.type) for s in states]
    outputs, new = step(elements, old)
    constants = captured([*outputs, *new], [*elements, *old])
    body = close("step", [*elements, *old, *constants], [*outputs, *new])
    attrs = {"n_seq": len(xs), "n_state": len(states), "length": xs[0].shape[0], "reverse": reverse}
    return b.apply("scan", *xs, *states, *constants, body=body, **attrs)


def unrolled(
    step: Step, xs: Sequence[Value], states: Sequence[Value], reverse: bool = False
) -> tuple[Value, ...]:
    length = xs[0].shape[0]
    assert isinstance(length, int)
    rows: dict[int, list[Value]] = {}
    now = list(states)
    for t in reversed(range(length)) if reverse else range(length):
        rows[t], now = step([element(x, t) for x in xs], now)
    columns = ([rows[t][i] for t in range(length)] for i in range(len(rows[0])))
    stacked = [b.concatenate([b.reshape(v, (1, *v.shape)) for v in column], 0) for column in columns]
    return (*stacked, *now)


def element(x: Value, t: int) -> Value:
    rest = x.shape[1:]
    return b.reshape(b.slice(x, (t, *(0 for _ in rest)), (t + 1, *rest)), rest)


class Network:
    """A recurrent step with every kind of constant, as values of float64."""

    def __init__(self, length: Dim, batch: Dim, dtype: str = "f64") -> None:
        self.x = b.input_value(tensor(dtype, length, batch, 3), "x")
        self.h, self.c = (b.input_value(tensor(dtype, batch, 4), name) for name in "hc")
        self.w, self.u = (b.input_value(tensor(dtype, n, 4), name) for n, name in ((3, "w"), (4, "u")))
        self.bias = b.input_value(tensor(dtype, 4), "bias")
        self.mask = b.input_value(tensor("bool", length, batch, 1), "mask")
        self.inputs = [self.x, self.h, self.c, self.w, self.u, self.bias]

    def step(self, xs: Sequence[Value], states: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        x, mask = xs
        h, c = states
        z = b.add(b.add(b.matmul(x, self.w), b.matmul(h, self.u)), self.bias)
        new = b.add(b.mul(c, b.unary("sigmoid", z)), b.unary("tanh", z))
        out = b.mul(b.unary("tanh", new), self.bias)
        return [out], [b.select(mask, out, h), b.select(mask, new, c)]

    def arrays(self, length: int, batch: int, dtype: str = "f8") -> list[np.ndarray]:
        rng = np.random.default_rng(length + batch)
        shapes = [(length, batch, 3), (batch, 4), (batch, 4), (3, 4), (4, 4), (4,)]
        return [np.asarray(rng.normal(size=s), dtype) for s in shapes]

    def outputs(self, loop: Callable[..., tuple[Value, ...]], reverse: bool = False) -> tuple[Value, ...]:
        return loop(self.step, [self.x, self.mask], [self.h, self.c], reverse)


def marks(length: int, batch: int) -> np.ndarray:
    return np.random.default_rng(1).random((length, batch, 1)) > 0.3


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 5])
def test_gradients_are_those_of_the_unrolled_loop(length: int, reverse: bool) -> None:
    net = Network(length, 2)
    feeds = dict(zip([*net.inputs, net.mask], [*net.arrays(length, 2), marks(length, 2)], strict=True))
    found = []
    for loop in (looped, unrolled):
        outputs = net.outputs(loop, reverse)
        loss = b.add(b.reduce_sum(b.unary("square", outputs[0])), b.reduce_sum(b.unary("sin", outputs[2])))
        first = gradients([loss], net.inputs)
        total = None
        for g in first:
            assert g is not None
            squares = b.reduce_sum(b.unary("square", g))
            total = squares if total is None else b.add(total, squares)
        assert total is not None
        second = gradients([total], net.inputs)
        results = [*outputs, *(g for g in (*first, *second) if g is not None)]
        assert len(results) == 3 + 2 * len(net.inputs)
        found.append(evaluate(results, feeds))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


def test_second_derivatives_of_branches() -> None:
    for taken in (True, False):
        condition = b.constant(taken)

        def build(x: Value, y: Value, condition: Value = condition) -> Value:
            then = close("then", [x, y], [b.mul(b.unary("sin", x), y)])
            otherwise = close("otherwise", [x, y], [b.mul(b.unary("square", y), x)])
            return b.apply1("cond", condition, x, y, then=then, otherwise=otherwise)

        rng = np.random.default_rng(0)
        check_second_derivatives(build, [rng.normal(size=(2, 3)), rng.normal(size=(2, 3))])


def test_no_steps() -> None:
    net = Network(SymDim.fresh("T"), SymDim.fresh("B"))
    outputs = net.outputs(looped)
    loss = b.add(b.reduce_sum(outputs[0]), b.reduce_sum(outputs[1]))
    grads = [g for g in gradients([loss], net.inputs) if g is not None]
    arrays = net.arrays(0, 2)
    feeds = dict(zip([*net.inputs, net.mask], [*arrays, np.zeros((0, 2, 1), bool)], strict=True))
    stacked, h, c, *found = evaluate([*outputs, *grads], feeds)
    assert stacked.shape == (0, 2, 4)
    np.testing.assert_array_equal(h, arrays[1])
    np.testing.assert_array_equal(c, arrays[2])
    np.testing.assert_array_equal(found[1], np.ones((2, 4)))
    assert all(not g.any() for g in found[2:])


def training_graph(dtype: str = "f64") -> Graph:
    """Loss and gradients, with sizes of sequences and masks that have to meet."""
    net = Network(SymDim.fresh("T"), SymDim.fresh("B"), dtype)
    net.mask = b.input_value(tensor("bool", SymDim.fresh("T"), SymDim.fresh("B"), 1), "mask")
    outputs = net.outputs(looped)
    loss = b.add(b.reduce_sum(outputs[0]), b.reduce_sum(outputs[1]))
    grads = [g for g in gradients([loss], net.inputs) if g is not None]
    return extract("train", [*net.inputs, net.mask], [loss, *grads])


def test_symbols_meet_and_the_text_is_read_back() -> None:
    graph = training_graph()
    verify(graph)
    assert sorted(s.name for s in graph.symbols) == ["B", "T"]
    assert parse(print_graph(graph)) == graph


def test_lengths_that_disagree() -> None:
    x, y = (b.input_value(tensor("f32", n, 2)) for n in (3, 4))
    with pytest.raises(TypeRuleError, match="steps of sequences: sizes 4 and 3 differ"):
        looped(lambda xs, s: ([b.add(*xs)], []), [x, y], [])
    states = b.input_value(tensor("f32", 5))
    with pytest.raises(TypeRuleError, match="state 0 before and after a step"):
        looped(lambda xs, s: ([], [xs[0]]), [x], [states])
    with pytest.raises(TypeRuleError, match="fit"):
        body = close("step", [b.input_value(tensor("f32", 2))], [])
        b.apply("scan", x, body=body, n_seq=2, n_state=0, length=3, reverse=False)


def test_branches_must_agree() -> None:
    x = b.input_value(tensor("f32", 2))
    same, wide = close("then", [x], [x]), close("otherwise", [x], [b.cast(x, dtypes.f64)])
    with pytest.raises(TypeRuleError, match="must have one type"):
        b.apply("cond", b.constant(True), x, then=same, otherwise=wide)
    with pytest.raises(TypeRuleError, match="condition"):
        b.apply("cond", x, x, then=same, otherwise=same)


def test_a_size_of_one_reaches_the_body() -> None:
    """Two batches of which one has size 1: the body is made for the size that it gets."""
    x, y = (b.input_value(tensor("f32", SymDim.fresh("T"), SymDim.fresh("B"), 2), name) for name in "xy")
    total = b.add(x, y)
    start = b.full(total.shape[1:], 0, dtypes.f32)
    (out, _) = looped(lambda xs, s: ([b.add(xs[0], s[0])], [xs[0]]), [total], [start])
    one = next(iter([d for d in y.shape[1:2] if isinstance(d, SymDim)]))
    other = next(iter([d for d in x.shape[1:2] if isinstance(d, SymDim)]))
    wide, thin = (3, 4, 2), (3, 1, 2)
    for ones, shapes in (((), (wide, wide)), ((one,), (wide, thin)), ((other,), (thin, wide))):
        try:
            graph = extract("f", [x, y], [out], ones=ones)
        except ExtractError as e:
            assert "broadcasts against another" in str(e)
            continue
        arrays = [np.random.default_rng(0).normal(size=s).astype("f4") for s in shapes]
        (found,), _ = run(graph, arrays, {})
        whole = arrays[0] + arrays[1]
        np.testing.assert_allclose(found, whole + np.concatenate([np.zeros_like(whole[:1]), whole[:-1]]), rtol=1e-6)


# Passes


def scans(graph: Graph) -> list[Graph]:
    return [n.attrs["body"] for n in graph.nodes if n.op.name == "scan"]


def test_merge_scans() -> None:
    before = deep(cse)(training_graph())
    assert len(scans(before)) == 3, "forward, forward with saved values, backward"
    after = apply(merge_scans, before)
    assert len(scans(after)) == 2


def test_scans_of_different_states_stay_apart() -> None:
    x, h = b.input_value(tensor("f32", 3, 2), "x"), b.input_value(tensor("f32", 2), "h")
    first = looped(lambda xs, s: ([xs[0]], [b.add(s[0], xs[0])]), [x], [h])
    second = looped(lambda xs, s: ([xs[0]], [b.mul(s[0], xs[0])]), [x], [h])
    assert len(scans(apply(merge_scans, extract("f", [x, h], [*first, *second])))) == 2


def test_products_leave_the_loop() -> None:
    graph = training_graph()
    for run_pass in (deep(cse), merge_scans, hoist_scans, trim_bodies):
        graph = apply(run_pass, graph)
    forward, backward = scans(graph)
    assert [ops(body).count("matmul") for body in (forward, backward)] == [1, 1]
    # One for the inputs, one for their gradient, two for the weights.
    assert ops(graph).count("matmul") == 4
    assert [v.shape[-1] for v in forward.inputs[:2]] == [1, 4], "the sequences are the mask and what the product gives"


def test_gradients_make_cheap_values_again() -> None:
    """Of two parts and what an activation makes of them, the backward loop gets the tensor that the parts are of."""

    def step(xs: Sequence[Value], s: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        z = b.add(xs[0], b.concatenate([s[0], s[0]], 1))
        left, right = (b.slice(z, (0, at), (z.shape[0], at + 3), (1, 1)) for at in (0, 3))
        h = b.mul(b.apply1("hard_sigmoid", left), b.apply1("hard_sigmoid", right))
        return [h], [h]

    batch = SymDim.fresh("B")
    x, start = b.input_value(tensor("f64", 4, batch, 6)), b.input_value(tensor("f64", batch, 3))
    outputs = looped(step, [x], [start])
    grads = gradients([b.reduce_sum(outputs[0])], [x, start])
    graph = passes.run_passes(
        extract("train", [x, start], [outputs[0], *(g for g in grads if g is not None)]), passes.TRAIN
    )
    forward = graph.nodes[[n.op.name for n in graph.nodes].index("scan")]
    stacked = forward.outputs[: len(forward.outputs) - forward.attrs["n_state"]]
    assert sorted(v.shape[-1] for v in stacked) == [3, 6]  # h and z


def test_trim_bodies_drops_what_nothing_needs() -> None:
    x, h, g = (b.input_value(tensor("f32", *s), n) for s, n in (((3, 2), "x"), ((2,), "h"), ((2,), "g")))

    def step(xs: Sequence[Value], s: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        return [b.add(xs[0], s[0]), b.unary("exp", s[1])], [b.add(s[0], xs[0]), b.mul(s[1], xs[1])]

    y = b.input_value(tensor("f32", 3, 2), "y")
    out, _, _, _ = looped(step, [x, y], [h, g])
    graph = apply(trim_bodies, extract("f", [x, y, h, g], [out]))
    (node,) = graph.nodes
    assert (node.attrs["n_seq"], node.attrs["n_state"]) == (1, 1)
    assert ops(node.attrs["body"]) == ["add", "add"] and len(node.outputs) == 2


def test_bind_bodies_moves_numbers_in_and_takes_known_branches() -> None:
    x, phase = b.input_value(tensor("f32", 3, 2), "x"), b.input_value(tensor("bool"), "phase")

    def step(xs: Sequence[Value], s: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        return [b.select(phase, b.unary("exp", xs[0]), xs[0])], []

    (out,) = looped(step, [x], [])
    bodies = {"then": close("then", [x], [b.neg(x)]), "otherwise": close("otherwise", [x], [b.unary("exp", x)])}
    chosen = b.apply1("cond", phase, x, **bodies)
    graph = extract("f", [x, phase], [out, chosen])
    for number, want in ((0, "exp"), (1, "neg")):
        fixed = apply(bind_bodies, passes.run_passes(graph, passes.pipeline(number)[:1]))
        assert want in ops(fixed) and "cond" not in ops(fixed)
        (body,) = scans(fixed)
        assert len(body.inputs) == 1
        done = passes.run_passes(graph, passes.pipeline(number))
        assert [ops(body) for body in scans(done)] == [["exp"] if number else []]


def test_join_slices() -> None:
    x, y, z = (b.input_value(tensor("f32", SymDim("B"), n), name) for n, name in ((2, "x"), (3, "y"), (5, "z")))

    def put(v: Value, start: int) -> Value:
        rows, stop = SymDim("B"), start + int(str(v.shape[1]))
        return b.apply1("unslice", v, shape=(rows, 5), starts=(0, start), stops=(rows, stop), steps=(1, 1))

    joined = apply(join_slices, extract("f", [x, y, z], [b.add(b.add(put(y, 2), put(x, 0)), z)]))
    assert ops(joined) == ["concatenate", "add"]
    hole = extract("f", [x, z], [b.add(put(x, 0), put(x, 3))])
    assert ops(apply(join_slices, hole)) == ["unslice", "unslice", "add"]


@pytest.mark.parametrize("phase", [0, 1])
def test_whole_pipeline(phase: int) -> None:
    graph = training_graph("f32")
    for name, run_pass in passes.pipeline(phase):
        graph = apply(partial(run_pass) if isinstance(run_pass, partial) else run_pass, graph)
        assert name
    forward, backward = scans(graph)
    assert [ops(forward).count(op) for op in ("matmul", "fused_matmul")] == [0, 1]


def test_nested_scans() -> None:
    x = b.input_value(tensor("f64", 3, 4, 2), "x")
    w = b.input_value(tensor("f64", 2), "w")

    def outer(loop: Callable[..., tuple[Value, ...]]) -> Step:
        def step(xs: Sequence[Value], s: Sequence[Value]) -> tuple[list[Value], list[Value]]:
            inner = lambda ys, t: ([b.mul(t[0], w)], [b.unary("tanh", b.add(b.mul(t[0], w), ys[0]))])  # noqa: E731
            stacked, last = loop(inner, [xs[0]], [s[0]], True)
            return [stacked], [last]

        return step

    start = b.full((2,), 0.5, dtypes.f64)
    feeds = {x: np.random.default_rng(0).normal(size=(3, 4, 2)), w: np.array([0.7, -1.2])}
    found = []
    for loop in (looped, unrolled):
        outputs = loop(outer(loop), [x], [start])
        loss = b.reduce_sum(b.unary("square", outputs[0]))
        grads = [g for g in gradients([loss], [x, w]) if g is not None]
        found.append(evaluate([*outputs, *grads], feeds))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10)
