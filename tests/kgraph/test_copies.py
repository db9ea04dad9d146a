"""Deep copies and pickles of models."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph.layers import BatchNormalization, Dense, Dropout, Input, Layer, add
from kgraph.models import Model, Sequential
from kgraph.utils import CustomObjectScope

pytestmark = pytest.mark.usefixtures("reference_session")
COPIES = [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))]
COPIERS = pytest.mark.parametrize("copier", COPIES, ids=["deepcopy", "copy", "pickle"])


def functional() -> Model:
    x = Input((4,), name="x")
    inner = Sequential([Dense(4, activation="tanh", input_shape=(4,)), BatchNormalization()], name="inner")
    return Model(x, Dense(2, name="y")(add([inner(x), Dropout(0.5)(x)])), name="outer")


def sequential() -> Sequential:
    return Sequential([Dense(3, activation="relu", input_shape=(4,)), Dense(2)], name="chain")


@COPIERS
@pytest.mark.parametrize("make", [functional, sequential])
def test_a_trained_model(make: Callable[[], Any], copier: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(11, 4)), rng.normal(size=(11, 2))
    model = make()
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(x, y, batch_size=4, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copied = copier(model)
    assert type(copied) is type(model) and copied is not model and copied.name == model.name
    assert copied.to_json() == model.to_json()
    assert_allclose(copied.predict(x), model.predict(x), rtol=1e-6)
    assert copied.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
    for one, other in zip(copied.optimizer.get_weights(), model.optimizer.get_weights(), strict=True):
        assert_array_equal(one, other)
    before = model.get_weights()
    copied.train_on_batch(x, y)
    for one, other in zip(model.get_weights(), before, strict=True):
        assert_array_equal(one, other)
    called = Model(new := Input((4,)), copied(new))
    assert_allclose(called.predict(x), copied.predict(x), rtol=1e-6)


@COPIERS
def test_a_model_that_is_not_compiled(copier: Callable[[Any], Any]) -> None:
    model = sequential()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copied = copier(model)
    assert copied.optimizer is None
    copied.add(Dense(5))
    assert copied.output_shape == (None, 5) and model.output_shape == (None, 2)


def test_models_inside_other_objects() -> None:
    model = sequential()
    copied = copy.deepcopy({"models": [model, model]})["models"]
    assert copied[0] is copied[1] and copied[0] is not model
    again = pickle.loads(pickle.dumps((model, model)))
    assert again[0] is again[1]


class Twice(Layer):
    def call(self, inputs: Any) -> Any:
        return inputs * K.constant(2.0)


def test_custom_layers() -> None:
    x = Input((3,))
    model = Model(x, Twice()(x))
    with pytest.raises(ValueError, match="Unknown layer: Twice"):
        copy.deepcopy(model)
    with CustomObjectScope({"Twice": Twice}):
        copied = copy.deepcopy(model)
    assert_array_equal(copied.predict(np.ones((2, 3))), np.full((2, 3), 2.0))


def test_a_model_that_computes_its_outputs_in_call() -> None:
    class Own(Model):
        def call(self, inputs: Any, mask: Any = None) -> Any:
            return inputs

    with pytest.raises(NotImplementedError, match="Own computes its outputs in `call`"):
        pickle.dumps(Own())
