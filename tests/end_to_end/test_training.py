"""What training tells and takes: histories that can be stored, targets that are tensors."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from kgraph import backend as K
from kgraph.layers import Dense, Input
from kgraph.models import Model, Sequential

X, Y = np.random.default_rng(0).random((10, 3), np.float32), np.ones((10, 2), np.float32)


def test_a_history_is_json() -> None:
    model = Sequential([Dense(2, input_shape=(3,))])
    model.compile("sgd", "mse", metrics=["mae"])
    history = model.fit(X, Y, batch_size=4, epochs=2, validation_split=0.3, verbose=0).history
    assert json.loads(json.dumps(history)) == history
    assert set(history) == {"loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error"}
    assert all(type(value) is float for values in history.values() for value in values)


def test_a_target_may_be_a_placeholder_or_a_variable() -> None:
    x = Input((3,))
    model = Model(x, Dense(2, kernel_initializer="zeros")(x))
    model.compile("sgd", "mse", target_tensors=[K.placeholder((None, 2))])
    assert model.test_on_batch(X, 2 * Y) == 4.0
    model.compile("sgd", "mse", target_tensors=[K.variable(3 * Y)])
    assert model.test_on_batch(X, None) == 9.0


def test_the_warning_about_trainable_points_at_the_user() -> None:
    model = Sequential([Dense(2, input_shape=(3,))])
    model.compile("sgd", "mse")
    model.trainable = False
    with pytest.warns(UserWarning, match="Discrepancy between trainable weights") as caught:
        model.train_on_batch(X, Y)
    assert [w.filename for w in caught] == [__file__]
    model.trainable = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.train_on_batch(X, Y)
