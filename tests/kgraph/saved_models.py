"""A small model and data for tests of saving."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_array_equal

from kgraph.layers import Dense
from kgraph.models import Sequential


def mlp(optimizer: Any = "adam", **settings: Any) -> Any:
    model = Sequential([Dense(5, activation="tanh", input_shape=(4,), name="first"), Dense(2, name="last")], name="mlp")
    if optimizer:
        model.compile(optimizer, "mse", **settings)
    return model


def data(rows: int = 8) -> tuple[np.ndarray, np.ndarray]:
    x = np.sin(np.arange(rows * 4, dtype=np.float32)).reshape(rows, 4)
    return x, x[:, :2] ** 2


def equal_weights(a: Any, b: Any) -> None:
    for x, y in zip(a, b, strict=True):
        assert_array_equal(x, y)
