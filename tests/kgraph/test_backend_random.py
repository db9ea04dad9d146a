"""Random tensors: distributions, seeds, dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K

pytestmark = pytest.mark.usefixtures("reference_session")

SHAPE = (100, 50)
ROWS: list[tuple[str, Callable[[], Any], float, float, float, float]] = [  # mean, deviation, lowest, highest
    ("normal", lambda: K.random_normal(SHAPE, 2.0, 0.5, seed=1), 2, 0.5, -10, 10),
    ("uniform", lambda: K.random_uniform(SHAPE, -1, 3, seed=1), 1, 4 / 12**0.5, -1, 3),
    ("truncated", lambda: K.truncated_normal(SHAPE, 1.0, 2.0, seed=1), 1, 2 * 0.8796, -3, 5),
    ("binomial", lambda: K.random_binomial(SHAPE, 0.25, seed=1), 0.25, 0.433, 0, 1),
    ("integers", lambda: K.random_uniform(SHAPE, 0, 4, "int32", seed=1), 1.5, 1.118, 0, 3),
    ("float64", lambda: K.random_uniform(SHAPE, dtype="float64", seed=1), 0.5, 12**-0.5, 0, 1),
    ("uniform variable", lambda: K.random_uniform_variable(SHAPE, 0, 1, seed=1), 0.5, 12**-0.5, 0, 1),
    ("normal variable", lambda: K.random_normal_variable(SHAPE, 0, 1, seed=1), 0, 1, -10, 10),
]


@pytest.mark.parametrize("row", ROWS, ids=[r[0] for r in ROWS])
def test_distribution(row: tuple[str, Callable[[], Any], float, float, float, float]) -> None:
    _, make, mean, deviation, lowest, highest = row
    found = K.eval(make())
    assert found.shape == SHAPE
    assert abs(found.mean() - mean) < 0.06 and abs(found.std() - deviation) < 0.06
    assert found.min() >= lowest and found.max() <= highest
    np.testing.assert_array_equal(found, K.eval(make()))


def test_seeds_come_from_numpy() -> None:
    def draw() -> list[np.ndarray]:
        return [K.eval(K.random_normal((3,))) for _ in range(2)]

    np.random.seed(5)
    first = draw()
    np.random.seed(5)
    again = draw()
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, again)


def test_shape_follows_an_input() -> None:
    x = K.placeholder((None, 3))
    noise = K.random_normal(K.shape(x))
    pairs = K.random_normal((K.shape(x)[0], 2))
    found = K.function([x], [x + noise, pairs])([np.zeros((5, 3))])
    assert found[0].shape == (5, 3) and found[1].shape == (5, 2)


def test_dropout() -> None:
    x = K.placeholder((None, 200))
    run = K.function([x], [K.dropout(x, 0.25, seed=2), K.dropout(x, 0.25, noise_shape=(None, 1)), K.dropout(x, 0.0)])
    plain, rows, kept = run([np.ones((60, 200))])
    assert set(np.unique(plain)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((plain == 0).mean() - 0.25) < 0.02
    assert (rows == rows[:, :1]).all() and 0 < (rows[:, 0] == 0).sum() < 60
    assert (kept == 1).all()


def test_dropout_gradient_has_the_same_mask() -> None:
    x = K.placeholder((None, 20))
    y = K.dropout(x, 0.5)
    out, grad = K.function([x], [y, K.gradients(y, x)[0]])([np.ones((5, 20))])
    np.testing.assert_array_equal(out, grad)
