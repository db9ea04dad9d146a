"""Differentiation over whole graphs of values; the rules of single ops are in `test_ops.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ir import builder as b
from ir import dtypes
from ir.autodiff import gradient_by_decomposition, gradients, unbroadcast
from ir.dims import SymDim
from ir.extract import extract
from ir.graph import Attrs, Graph, Node, Value, Variable
from ir.interpreter import evaluate, run
from ir.opdef import Op
from ir.ops import OPS
from ir.types import TensorType, tensor
from ir.verify import verify
from tests.ir.derivatives import check_second_derivatives

RNG = np.random.default_rng(3)


def leaf(name: str, *shape: int, dtype: str = "f64") -> Value:
    return b.input_value(tensor(dtype, *shape), name)


def at(value: Value | None, feeds: dict[Value, Any]) -> np.ndarray:
    assert value is not None
    return evaluate([value], {v: np.asarray(a, v.type.dtype.numpy) for v, a in feeds.items()})[0]


SCALARS: list[tuple[str, Callable[[Value], Value], Callable[[float], float]]] = [
    ("chain", lambda x: b.unary("exp", b.unary("sin", b.mul(x, x))),
     lambda x: np.exp(np.sin(x * x)) * np.cos(x * x) * 2 * x),
    ("fan out", lambda x: b.add(b.mul(x, b.unary("tanh", x)), x),
     lambda x: np.tanh(x) + x * (1 - np.tanh(x) ** 2) + 1),
    ("used twice by one node", lambda x: b.mul(x, x), lambda x: 2 * x),
    ("used thrice by one node", lambda x: b.select(b.compare("greater", x, 0), x, b.mul(x, x)),
     lambda x: 1.0 if x > 0 else 2 * x),
    ("used on both sides", lambda x: b.div(b.unary("exp", x), b.add(b.unary("exp", x), 1)),
     lambda x: np.exp(x) / (np.exp(x) + 1) ** 2),
    ("a diamond", lambda x: b.mul(b.unary("sin", b.neg(x)), b.unary("cos", b.neg(x))), lambda x: -np.cos(2 * x)),
    ("itself", lambda x: x, lambda x: 1.0),
]  # fmt: skip


@pytest.mark.parametrize("build, slope", [r[1:] for r in SCALARS], ids=[r[0] for r in SCALARS])
@pytest.mark.parametrize("point", [-1.3, 0.4, 2.0])
def test_scalars(build: Callable[[Value], Value], slope: Callable[[float], float], point: float) -> None:
    x = leaf("x")
    (g,) = gradients([build(x)], [x])
    np.testing.assert_allclose(at(g, {x: point}), slope(point), rtol=1e-12)


SHAPES = [
    ((4, 3), ()), ((4, 3), (3,)), ((4, 3), (4, 1)), ((4, 1), (1, 3)), ((2, 1, 3), (4, 1)), ((), ()), ((0, 3), (3,)),
]  # fmt: skip


@pytest.mark.parametrize("left, right", SHAPES)
def test_broadcasting_is_undone(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    x, y = leaf("x", *left), leaf("y", *right)
    a, c = RNG.standard_normal(left), RNG.standard_normal(right)
    dx, dy = gradients([b.mul(x, y)], [x, y])
    full = np.broadcast_shapes(left, right)
    for g, other, like in ((dx, c, a), (dy, a, c)):
        found = at(g, {x: a, y: c})
        wide = np.broadcast_to(other, full)
        lead = tuple(range(len(full) - like.ndim))
        ones = tuple(i for i in range(len(full)) if i not in lead and like.shape[i - len(lead)] != full[i])
        np.testing.assert_allclose(found, wide.sum(lead + ones, keepdims=True).reshape(like.shape), rtol=1e-12)


def test_broadcasting_of_unknown_sizes_is_undone_when_they_are_known() -> None:
    """The axes to sum over depend on which size is 1."""
    n, m = SymDim.fresh("N"), SymDim.fresh("M")
    x, y = b.input_value(tensor("f64", n), "x"), b.input_value(tensor("f64", m), "y")
    found = gradients([b.mul(x, y)], [x, y])
    assert [g.type for g in found if g is not None] == [x.type, y.type]
    a, c = np.array([2.0, 3.0]), np.array([5.0])
    g = extract("g", [x, y], [v for v in found if v is not None], ones=[m])
    dx, dy = run(g, [a, c], {})[0]
    np.testing.assert_array_equal(dx, [5, 5])
    np.testing.assert_array_equal(dy, [5])
    g = extract("g", [x, y], [v for v in found if v is not None])
    dx, dy = run(g, [a, a + 1], {})[0]
    np.testing.assert_array_equal(dx, [3, 4])
    np.testing.assert_array_equal(dy, [2, 3])


def test_unbroadcast() -> None:
    x = leaf("x", 4, 3)
    assert unbroadcast(x, x) is x
    np.testing.assert_array_equal(at(unbroadcast(x, leaf("y", 3)), {x: np.ones((4, 3))}), [4, 4, 4])


def test_several_outputs_sum_and_one_given_twice_counts_twice() -> None:
    x = leaf("x", 3)
    square, cube = b.mul(x, x), b.mul(b.mul(x, x), x)
    a = RNG.standard_normal(3)
    np.testing.assert_allclose(at(gradients([square, cube], [x])[0], {x: a}), 2 * a + 3 * a * a)
    np.testing.assert_allclose(at(gradients([square, square], [x])[0], {x: a}), 4 * a)


def test_start_gradients() -> None:
    x, seed = leaf("x", 3), leaf("seed", 3)
    a = RNG.standard_normal(3)
    square, tripled = b.mul(x, x), b.mul(x, 3.0)
    (g,) = gradients([square, tripled], [x], [seed, None])
    np.testing.assert_allclose(at(g, {x: a, seed: [1, 10, 100]}), 2 * a * [1, 10, 100])
    assert gradients([square, tripled], [x], [None, None]) == [None]


def test_what_nothing_depends_on_has_no_gradient() -> None:
    x, y, n = leaf("x", 3), leaf("y", 3), leaf("n", 3, dtype="i32")
    v = Variable(tensor("f64", 3), "v")
    outputs = [b.mul(x, 2.0)]
    assert gradients(outputs, [y, v.value, n]) == [None, None, None]
    dx, dy = gradients(outputs, [x, y])
    assert dx is not None and dy is None


STOPPED: list[tuple[str, Callable[[Value], Value]]] = [
    ("stop_gradient", lambda x: b.unary("stop_gradient", b.mul(x, x))),
    ("floor", lambda x: b.unary("floor", x)),
    ("comparison", lambda x: b.cast(b.compare("greater", x, 0), dtypes.f64)),
    ("integers", lambda x: b.cast(b.cast(x, dtypes.i32), dtypes.f64)),
    ("argmax", lambda x: b.cast(b.apply1("argmax", x, axis=0), dtypes.f64)),
]


@pytest.mark.parametrize("build", [r[1] for r in STOPPED], ids=[r[0] for r in STOPPED])
def test_gradients_stop(build: Callable[[Value], Value]) -> None:
    x = leaf("x", 3)
    assert gradients([build(x)], [x]) == [None]
    beside = b.add(b.reduce_sum(build(x)), b.reduce_sum(b.mul(x, 3.0)))
    np.testing.assert_array_equal(at(gradients([beside], [x])[0], {x: [1, 2, 3]}), [3, 3, 3])


def test_select_takes_the_gradient_of_the_chosen_branch_only() -> None:
    """Also where the other branch's derivative is infinite but multiplied by nothing that is fed."""
    x, p = leaf("x", 2), leaf("p", 2, dtype="bool")
    y = b.select(p, b.unary("exp", x), b.mul(x, 5.0))
    np.testing.assert_allclose(at(gradients([y], [x])[0], {x: [1.0, 1.0], p: [True, False]}), [np.e, 5])


def test_intermediate_values_and_variables_have_gradients() -> None:
    x, v = leaf("x", 3), Variable(tensor("f64", 3), "v")
    hidden = b.mul(x, v.value)
    dh, dv, dx = gradients([b.mul(hidden, hidden)], [hidden, v.value, x])
    a, w = RNG.standard_normal(3), RNG.standard_normal(3)
    feeds = {x: a, v.value: w}
    np.testing.assert_allclose(at(dh, feeds), 2 * a * w)
    np.testing.assert_allclose(at(dv, feeds), 2 * a * a * w)
    np.testing.assert_allclose(at(dx, feeds), 2 * a * w * w)


def test_stop_at_wrt_takes_values_as_independent() -> None:
    x = leaf("x")
    y = b.mul(x, x)
    z = b.mul(y, x)
    feeds = {x: 3.0}
    plain = [float(at(g, feeds)) for g in gradients([z], [x, y])]
    apart = [float(at(g, feeds)) for g in gradients([z], [x, y], stop_at_wrt=True)]
    assert plain == [27.0, 3.0] and apart == [9.0, 3.0]
    assert float(at(gradients([y, z], [y], stop_at_wrt=True)[0], feeds)) == 4.0


def test_second_and_third_derivatives() -> None:
    x = leaf("x")
    y = b.unary("sin", b.mul(x, x))
    found = []
    for _ in range(3):
        (y_or_none,) = gradients([y], [x])
        assert y_or_none is not None
        y = y_or_none
        found.append(float(at(y, {x: 0.7})))
    s, c = np.sin(0.49), np.cos(0.49)
    np.testing.assert_allclose(found, [1.4 * c, 2 * c - 1.96 * s, -12 * 0.7 * s - 8 * 0.343 * c], rtol=1e-12)


@pytest.mark.parametrize(
    "build, shapes",
    [
        (lambda x, w: b.unary("tanh", b.matmul(x, w)), [(4, 3), (3, 2)]),
        (lambda x, y: b.mul(b.unary("exp", x), y), [(4, 3), (3,)]),
        (lambda x: b.reduce_mean(b.mul(x, b.unary("sigmoid", x)), [1]), [(4, 3)]),
        (lambda x, k, c: b.add(convolution(x, k), c), [(1, 5, 4, 2), (3, 3, 2, 2), (2,)]),
    ],
    ids=["dense", "broadcast", "swish", "conv"],
)
def test_second_derivatives_of_compositions(build: Callable[..., Any], shapes: list[tuple[int, ...]]) -> None:
    check_second_derivatives(build, [RNG.standard_normal(s) for s in shapes])


def convolution(x: Value, kernel: Value) -> Value:
    return b.apply1(
        "conv2d", x, kernel, strides=(1, 1), padding="same", dilation=(1, 1), data_format="channels_last"
    )


def test_gradient_penalty() -> None:
    """The loss of WGAN-GP, (|d critic / d x| - 1)^2, differentiated by its weights (Gulrajani et al., 2017)."""
    x = leaf("x", 5, 3)
    shapes = {"w1": (3, 4), "b1": (4,), "w2": (4, 1)}
    ws = {name: leaf(name, *shape) for name, shape in shapes.items()}
    hidden = b.unary("tanh", b.add(b.matmul(x, ws["w1"]), ws["b1"]))
    critic = b.matmul(hidden, ws["w2"])
    (slope,) = gradients([critic], [x])
    assert slope is not None
    norm = b.unary("sqrt", b.reduce_sum(b.unary("square", slope), [1]))
    penalty = b.reduce_mean(b.unary("square", b.sub(norm, 1.0)))
    feeds: dict[Value, Any] = {x: RNG.standard_normal((5, 3))}
    feeds.update((w, RNG.standard_normal(w.shape)) for w in ws.values())

    def by_hand(w1: np.ndarray, b1: np.ndarray, w2: np.ndarray) -> float:
        h = np.tanh(feeds[x] @ w1 + b1)
        dx = ((1 - h * h) * w2[:, 0]) @ w1.T
        return float(np.mean((np.sqrt((dx * dx).sum(1)) - 1) ** 2))

    values = [feeds[w] for w in ws.values()]
    np.testing.assert_allclose(at(penalty, feeds), by_hand(*values), rtol=1e-10)
    for i, g in enumerate(gradients([penalty], list(ws.values()))):
        step = RNG.standard_normal(values[i].shape)
        ahead, behind = ([v + s * 1e-6 * step if j == i else v for j, v in enumerate(values)] for s in (1, -1))
        expected = (by_hand(*ahead) - by_hand(*behind)) / 2e-6
        np.testing.assert_allclose((at(g, feeds) * step).sum(), expected, rtol=1e-6, atol=1e-9)


class Decomposed(Op):
    """x * y + x, through its decomposition."""

    name = "test_decomposed"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Any) -> tuple[TensorType, ...]:
        return (types[0],)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        return (b.add(b.mul(*inputs), inputs[0]),)


def apply_op(op: Op, *inputs: Value) -> Value:
    return Node(op, inputs, Attrs(), (inputs[0].type,)).output


def test_gradient_by_decomposition() -> None:
    x, y = leaf("x"), leaf("y")
    found = gradients([apply_op(Decomposed(), x, y)], [x, y])
    assert [float(at(g, {x: 3.0, y: 5.0})) for g in found] == [6.0, 3.0]


def test_gradient_by_decomposition_of_an_input_that_stands_twice() -> None:
    x = leaf("x")
    node = apply_op(Decomposed(), x, x).node
    assert node is not None
    first, second = gradient_by_decomposition(node, (b.ones_like(x),))
    assert second is None and float(at(first, {x: 3.0})) == 7.0
    assert float(at(gradients([node.output], [x])[0], {x: 3.0})) == 7.0


def test_an_op_with_neither_gradient_nor_decomposition() -> None:
    class Opaque(Decomposed):
        name = "test_opaque"

        def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> None:  # type: ignore[override]
            return None

    x = leaf("x")
    with pytest.raises(TypeError, match="op test_opaque has neither a gradient nor a decomposition"):
        gradients([apply_op(Opaque(), x)], [x])


def test_gradient_nodes_have_the_origin_of_the_nodes_they_differentiate() -> None:
    x = leaf("x")
    with b.origin(("layer_1",)):
        y = b.unary("tanh", x)
    with b.origin(("layer_2",)):
        z = b.unary("exp", y)
    (g,) = gradients([z], [x])
    assert g is not None and g.node is not None and g.node.origin == ("layer_1",)
    assert b.current_origin() == ()


def deep(layers: int) -> tuple[Graph, np.ndarray]:
    """A chain of `layers` layers and the gradient with respect to its input, and that gradient's value at 1."""
    x = leaf("x", 1)
    y: Value = x
    for i in range(layers):
        y = b.mul(y, 1 + 1e-3 * (i % 7 - 3))
    (g,) = gradients([y], [x])
    assert g is not None
    return extract("deep", [x], [g]), np.prod([1 + 1e-3 * (i % 7 - 3) for i in range(layers)])


@pytest.mark.parametrize("layers", [500, 5000])
def test_deep_chains_do_not_recurse(layers: int) -> None:
    g, expected = deep(layers)
    np.testing.assert_allclose(run(g, [np.ones(1)], {})[0][0], [expected])


def test_a_wide_fan_out() -> None:
    x = leaf("x", 2)
    total = b.mul(x, 0.0)
    for i in range(300):
        total = b.add(total, b.mul(x, float(i)))
    np.testing.assert_array_equal(at(gradients([total], [x])[0], {x: [1, 2]}), [44850] * 2)


def test_gradients_of_a_network_are_a_graph_that_verifies() -> None:
    batch = SymDim.fresh("B")
    x, target = b.input_value(tensor("f32", batch, 6, 6, 2), "x"), b.input_value(tensor("i32", batch), "target")
    weights = [Variable(tensor("f32", *s), f"w{i}") for i, s in enumerate([(3, 3, 2, 4), (4,), (4,), (144, 5), (5,)])]
    kernel, gamma, beta, dense, bias = (w.value for w in weights)
    y = b.apply("batch_norm_train", convolution(x, kernel), gamma, beta, axis=3, epsilon=1e-3)[0]
    y = b.unary("relu", y)
    logits = b.add(b.matmul(b.reshape(y, (batch, 144)), dense), bias)
    loss = b.reduce_mean(b.apply1("sparse_softmax_crossentropy", target, logits))
    found = gradients([loss], [w.value for w in weights])
    g = extract("train", [x, target], [v for v in found if v is not None])
    verify(g)
    assert [o.shape for o in g.outputs] == [w.type.shape for w in weights]
    content = {w: RNG.standard_normal(w.type.shape).astype("f4") for w in weights}
    feeds: Sequence[np.ndarray] = [RNG.standard_normal((3, 6, 6, 2)).astype("f4"), np.array([0, 4, 2], "i4")]
    assert all(np.isfinite(a).all() and a.any() for a in run(g, feeds, content)[0])
    assert OPS["sparse_softmax_crossentropy"].no_gradient is None
