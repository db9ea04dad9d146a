"""Activations, regularizers and constraints against numpy, and their look-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kgraph import activations, constraints, regularizers
from kgraph import backend as K

pytestmark = pytest.mark.usefixtures("reference_session")

X = np.random.RandomState(2).randn(3, 4).astype("float32")
CUBE = np.random.RandomState(3).randn(2, 3, 4).astype("float32")


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def norm(x: np.ndarray, axis: Any = 0) -> np.ndarray:
    return np.sqrt((x**2).sum(axis, keepdims=True))


ACTIVATIONS: list[tuple[str, np.ndarray]] = [
    ("softmax", softmax(X)),
    ("elu", np.where(X > 0, X, np.expm1(X))),
    ("selu", 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * np.expm1(X))),
    ("softplus", np.log1p(np.exp(X))),
    ("softsign", X / (1 + abs(X))),
    ("relu", np.maximum(X, 0)),
    ("tanh", np.tanh(X)),
    ("sigmoid", 1 / (1 + np.exp(-X))),
    ("hard_sigmoid", np.clip(0.2 * X + 0.5, 0, 1)),
    ("exponential", np.exp(X)),
    ("linear", X),
]


@pytest.mark.parametrize("row", ACTIVATIONS, ids=[r[0] for r in ACTIVATIONS])
def test_activations(row: tuple[str, np.ndarray]) -> None:
    name, expected = row
    function = activations.get(name)
    assert activations.serialize(function) == name
    np.testing.assert_allclose(K.eval(function(K.constant(X))), expected, rtol=1e-5, atol=1e-6)


def test_softmax_of_other_ranks() -> None:
    np.testing.assert_allclose(K.eval(activations.softmax(K.constant(CUBE), axis=1)), softmax(CUBE, 1), rtol=1e-5)
    with pytest.raises(ValueError, match="1D"):
        activations.softmax(K.zeros((3,)))


def test_activation_look_up() -> None:
    assert activations.get(None) is activations.linear and activations.get(K.tanh) is K.tanh
    for identifier, message in (("nope", "Unknown activation function:nope"), (3, "Could not interpret activation")):
        with pytest.raises(ValueError, match=message):
            activations.get(identifier)


REGULARIZERS: list[tuple[Callable[[], Any], float]] = [
    (lambda: regularizers.l1(0.5), 0.5 * abs(X).sum()),
    (lambda: regularizers.l2(0.5), 0.5 * (X**2).sum()),
    (lambda: regularizers.l1_l2(0.1, 0.2), 0.1 * abs(X).sum() + 0.2 * (X**2).sum()),
    (lambda: regularizers.get("l2"), 0.01 * (X**2).sum()),
]


@pytest.mark.parametrize("row", REGULARIZERS, ids=range(len(REGULARIZERS)))
def test_regularizers(row: tuple[Callable[[], Any], float]) -> None:
    make, expected = row
    assert K.eval(make()(K.variable(X))) == pytest.approx(expected, rel=1e-5)


CONSTRAINTS: list[tuple[Callable[[], Any], np.ndarray]] = [
    (lambda: constraints.max_norm(1.0), X * np.clip(norm(X), 0, 1) / norm(X)),
    (lambda: constraints.non_neg(), np.maximum(X, 0)),
    (lambda: constraints.unit_norm(axis=1), X / norm(X, 1)),
    (lambda: constraints.min_max_norm(0.5, 1.0, 0.5), X * (0.5 * np.clip(norm(X), 0.5, 1) + 0.5 * norm(X)) / norm(X)),
    (lambda: constraints.Constraint(), X),
]


@pytest.mark.parametrize("row", CONSTRAINTS, ids=range(len(CONSTRAINTS)))
def test_constraints(row: tuple[Callable[[], Any], np.ndarray]) -> None:
    make, expected = row
    np.testing.assert_allclose(K.eval(make()(K.variable(X))), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("module", [regularizers, constraints])
def test_look_up(module: Any) -> None:
    word = module.__name__.rsplit(".", 1)[-1].removesuffix("s")
    assert module.get(None) is None and module.get(len) is len
    with pytest.raises(ValueError, match=f"Unknown {word}: nope"):
        module.get("nope")
    with pytest.raises(ValueError, match=f"Could not interpret {word} identifier: 3"):
        module.get(3)
