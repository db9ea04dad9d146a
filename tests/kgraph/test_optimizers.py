"""Optimizers against the same formulas in numpy (float64), step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph import constraints, optimizers

pytestmark = pytest.mark.usefixtures("reference_session")

Step = Callable[[np.ndarray], np.ndarray]  # gradient -> change of the weight
EPS = 1e-7


def sgd(lr: float = 0.01, momentum: float = 0.0, decay: float = 0.0, nesterov: bool = False) -> Iterator[Any]:
    v: Any = 0.0
    change: Any = None
    n = 0
    while True:
        g = yield change
        rate = lr / (1 + decay * n)
        v = momentum * v - rate * g
        change = momentum * v - rate * g if nesterov else v
        n += 1


def rmsprop(lr: float = 0.001, rho: float = 0.9, decay: float = 0.0) -> Iterator[Any]:
    a: Any = 0.0
    change: Any = None
    n = 0
    while True:
        g = yield change
        a = rho * a + (1 - rho) * g**2
        change = -lr / (1 + decay * n) * g / (np.sqrt(a) + EPS)
        n += 1


def adagrad(lr: float = 0.01) -> Iterator[Any]:
    a: Any = 0.0
    change: Any = None
    while True:
        g = yield change
        a = a + g**2
        change = -lr * g / (np.sqrt(a) + EPS)


def adadelta(lr: float = 1.0, rho: float = 0.95) -> Iterator[Any]:
    a: Any = 0.0
    d: Any = 0.0
    change: Any = None
    while True:
        g = yield change
        a = rho * a + (1 - rho) * g**2
        step = g * np.sqrt(d + EPS) / np.sqrt(a + EPS)
        d = rho * d + (1 - rho) * step**2
        change = -lr * step


def adam(lr: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, amsgrad: bool = False) -> Iterator[Any]:
    m: Any = 0.0
    v: Any = 0.0
    top: Any = 0.0
    change: Any = None
    t = 0
    while True:
        g = yield change
        t += 1
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        top = np.maximum(top, v) if amsgrad else v
        change = -lr * np.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (np.sqrt(top) + EPS)


def adamax(lr: float = 0.002, beta_1: float = 0.9, beta_2: float = 0.999) -> Iterator[Any]:
    m: Any = 0.0
    u: Any = 0.0
    change: Any = None
    t = 0
    while True:
        g = yield change
        t += 1
        m = beta_1 * m + (1 - beta_1) * g
        u = np.maximum(beta_2 * u, abs(g))
        change = -lr / (1 - beta_1**t) * m / (u + EPS)


def nadam(
    lr: float = 0.002, beta_1: float = 0.9, beta_2: float = 0.999, schedule_decay: float = 0.004
) -> Iterator[Any]:
    m: Any = 0.0
    v: Any = 0.0
    change: Any = None
    product = 1.0
    t = 0
    while True:
        g = yield change
        t += 1
        now, following = (beta_1 * (1 - 0.5 * 0.96 ** (s * schedule_decay)) for s in (t, t + 1))
        product *= now
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        mean = (1 - now) * g / (1 - product) + following * m / (1 - product * following)
        change = -lr * mean / (np.sqrt(v / (1 - beta_2**t)) + EPS)


CASES: list[tuple[Any, Iterator[Any], int]] = [  # the optimizer, its formula, its number of weights for one parameter
    (lambda: optimizers.SGD(), sgd(), 2),
    (lambda: optimizers.SGD(0.1, 0.9, 0.01), sgd(0.1, 0.9, 0.01), 2),
    (lambda: optimizers.SGD(0.1, 0.9, nesterov=True), sgd(0.1, 0.9, nesterov=True), 2),
    (lambda: optimizers.RMSprop(0.01, decay=0.1), rmsprop(0.01, decay=0.1), 1),
    (lambda: optimizers.Adagrad(0.1), adagrad(0.1), 1),
    (lambda: optimizers.Adadelta(), adadelta(), 2),
    (lambda: optimizers.Adam(0.01), adam(0.01), 4),
    (lambda: optimizers.Adam(0.01, beta_2=0.5, amsgrad=True), adam(0.01, beta_2=0.5, amsgrad=True), 4),
    (lambda: optimizers.Adamax(), adamax(), 3),
    (lambda: optimizers.Nadam(), nadam(), 3),
]
START = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -1.0]])


def quadratic(w: Any) -> tuple[Any, Any]:
    """A loss whose gradient is x * w, and its input x."""
    x = K.placeholder(())
    return x, K.sum(K.square(w)) * x / 2.0


@pytest.mark.parametrize("row", CASES, ids=range(len(CASES)))
def test_formula(row: tuple[Any, Any, int]) -> None:
    make, formula, weights = row
    optimizer = make()
    w = K.variable(START)
    x, loss = quadratic(w)
    run = K.function([x], [loss], updates=optimizer.get_updates(loss, [w]))
    assert len(optimizer.weights) == weights
    expected = START.copy()
    next(formula)
    for size in (1.0, 0.5, 3.0, -1.0):
        run([size])
        expected = expected + formula.send(size * expected)
        np.testing.assert_allclose(K.get_value(w), expected, rtol=2e-5, atol=1e-6)
    assert K.get_value(optimizer.iterations) == 4


def test_weights_round_trip() -> None:
    optimizer = optimizers.Adam()
    w = K.variable(START)
    x, loss = quadratic(w)
    run = K.function([x], [], updates=optimizer.get_updates(loss, [w]))
    run([1.0])
    state = optimizer.get_weights()
    assert [np.shape(s) for s in state] == [(), (2, 3), (2, 3), (1,)] and state[0] == 1
    run([1.0])
    optimizer.set_weights(state)
    for a, b in zip(optimizer.get_weights(), state, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"weight list \(1\) does not match .* optimizer \(4\)"):
        optimizer.set_weights(state[:1])
    with pytest.raises(ValueError, match="not compatible with provided weight shape"):
        optimizer.set_weights([state[0], state[1].T, *state[2:]])


def test_clipping() -> None:
    a, b = K.variable([3.0, 0.0]), K.variable([0.0, 4.0])
    loss = K.sum(K.square(a) + K.square(b)) / 2.0
    for clip, expected in (({"clipnorm": 1.0}, ([0.6, 0], [0, 0.8])), ({"clipnorm": 9.0}, ([3, 0], [0, 4]))):
        grads = optimizers.SGD(**clip).get_gradients(loss, [a, b])
        for g, e in zip(grads, expected, strict=True):
            np.testing.assert_allclose(K.eval(g), e, rtol=1e-6)
    grads = optimizers.SGD(clipvalue=2.0).get_gradients(loss, [a, b])
    assert K.eval(grads[1]).tolist() == [0, 2]
    zero = K.variable([0.0])
    assert K.eval(optimizers.SGD(clipnorm=1.0).get_gradients(K.sum(K.square(zero)), [zero])[0]) == 0


def test_constraints_apply() -> None:
    w = K.variable(START, constraint=constraints.non_neg())
    x, loss = quadratic(w)
    K.function([x], [], updates=optimizers.SGD(0.1).get_updates(loss, [w]))([1.0])
    np.testing.assert_allclose(K.get_value(w), np.maximum(START, 0) * 0.9, rtol=1e-6)


def test_missing_gradient() -> None:
    w, other = K.variable(START), K.variable(1.0)
    with pytest.raises(ValueError, match="An operation has `None` for gradient"):
        optimizers.SGD().get_updates(K.sum(w), [other])


def test_old_order_of_arguments() -> None:
    w = K.variable(START)
    x, loss = quadratic(w)
    for updates in (
        optimizers.SGD(0.1).get_updates([w], [], loss),
        optimizers.SGD(0.1).get_updates([w], {}, loss=loss),
        optimizers.SGD(0.1).get_updates(params=[w], loss=loss),
    ):
        K.set_value(w, START)
        K.function([x], [], updates=updates)([1.0])
        np.testing.assert_allclose(K.get_value(w), START * 0.9, rtol=1e-6)


def test_own_optimizer() -> None:
    class Signs(optimizers.Optimizer):
        def __init__(self, lr: float = 0.5, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.lr = K.variable(lr)

        def get_updates(self, loss: Any, params: Any) -> list[Any]:
            grads = self.get_gradients(loss, params)
            self.updates = [(p, p - self.lr * K.sign(g)) for p, g in zip(params, grads, strict=True)]
            return self.updates

    w = K.variable(START)
    x, loss = quadratic(w)
    K.function([x], [], updates=Signs().get_updates(loss, [w]))([1.0])
    np.testing.assert_array_equal(K.get_value(w), START - 0.5 * np.sign(START))
    with pytest.raises(TypeError, match="does not define get_updates"):
        optimizers.Optimizer().get_updates(loss, [w])


def test_look_up() -> None:
    assert isinstance(optimizers.get("SGD"), optimizers.SGD) and isinstance(optimizers.get("sgd"), optimizers.SGD)
    made = optimizers.get({"class_name": "RMSprop", "config": {"lr": 0.5}})
    assert K.get_value(made.lr) == 0.5 and optimizers.get(made) is made
    assert optimizers.serialize(made)["class_name"] == "RMSprop"


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: optimizers.get("nope"), ValueError, "Unknown optimizer: nope"),
        (lambda: optimizers.get(3), ValueError, "Could not interpret optimizer identifier: 3"),
        (lambda: optimizers.SGD(colour=1), TypeError, "Unexpected keyword argument passed to optimizer: colour"),
    ],
)
def test_errors(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
