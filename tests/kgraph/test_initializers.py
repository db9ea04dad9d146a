"""Initializers: values and look-up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph import initializers

pytestmark = pytest.mark.usefixtures("reference_session")

@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("zeros", 0, 0),
        ("ones", 1, 0),
        ("uniform", 0, 0.05 / 3**0.5),
        ("normal", 0, 0.05),
        ("truncated_normal", 0, 0.05 * 0.8796),
        ("glorot_uniform", 0, (2 / 300) ** 0.5),
        ("glorot_normal", 0, (2 / 300) ** 0.5),
        ("he_uniform", 0, (2 / 100) ** 0.5),
        ("he_normal", 0, (2 / 100) ** 0.5),
        ("lecun_uniform", 0, (1 / 100) ** 0.5),
        ("lecun_normal", 0, (1 / 100) ** 0.5),
        ("orthogonal", 0, (1 / 200) ** 0.5),
    ],
)
def test_values(name: str, mean: float, deviation: float) -> None:
    np.random.seed(0)
    found = K.get_value(K.variable(initializers.get(name)((100, 200))))
    assert found.shape == (100, 200) and found.dtype == np.float32
    assert abs(found.mean() - mean) < 0.003 and abs(found.std() - deviation) < 0.003


def test_seed_fixes_the_values() -> None:
    for make in (initializers.glorot_uniform, initializers.he_normal, initializers.Orthogonal):
        a, b, c = (K.get_value(K.variable(make(seed=s)((4, 3)))) for s in (1, 1, 2))
        assert np.array_equal(a, b) and not np.array_equal(a, c)
    drawn = []
    for _ in range(2):
        np.random.seed(9)
        drawn.append(K.get_value(K.variable(initializers.glorot_uniform()((4, 3)))))
    np.testing.assert_array_equal(*drawn)


def test_special_values() -> None:
    assert K.get_value(K.variable(initializers.Constant(2.5)((2,)))).tolist() == [2.5, 2.5]
    assert K.get_value(K.variable(initializers.Identity(2.0)((2, 3)))).tolist() == [[2, 0, 0], [0, 2, 0]]
    for shape in ((3, 5), (5, 3), (2, 2, 3)):
        q = np.asarray(initializers.Orthogonal(gain=2.0)(shape)).reshape(-1, shape[-1]) / 2
        gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "data_format", "fans"),
    [
        ((3, 4), "channels_last", (3, 4)),
        ((3, 3, 4, 5), "channels_last", (36, 45)),
        ((5, 4, 3, 3), "channels_first", (36, 45)),
        ((2, 4, 5), "channels_last", (8, 10)),
        ((9,), "channels_last", (3, 3)),
    ],
)
def test_fans(shape: tuple[int, ...], data_format: str, fans: tuple[float, float]) -> None:
    assert initializers._compute_fans(shape, data_format) == fans


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initializers.get("nope"), "Unknown initializer: nope"),
        (lambda: initializers.get(3), "Could not interpret initializer identifier: 3"),
        (lambda: initializers.VarianceScaling(scale=0), "must be a positive float"),
        (lambda: initializers.VarianceScaling(mode="x"), "Invalid `mode`"),
        (lambda: initializers.VarianceScaling(distribution="x"), "Invalid `distribution`"),
        (lambda: initializers.Identity()((2, 3, 4)), "2D matrices"),
        (lambda: initializers.Orthogonal()((4,)), "rank 2 or more"),
        (lambda: initializers._compute_fans((1, 2, 3), "x"), "Invalid data_format: x"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


def test_functions_and_own_classes() -> None:
    def mine(shape: Any, dtype: Any = None) -> Any:
        return K.random_normal(shape, dtype=dtype)

    assert initializers.get(mine) is mine
    assert initializers.Zeros.from_config({"dtype": "float32"}).get_config() == {}

    class Mine(initializers.Initializer):
        pass

    with pytest.raises(TypeError, match="Mine does not define"):
        Mine()((2,))
