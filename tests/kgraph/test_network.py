"""Models as graphs of layers: topology, sharing, nesting, weights, configs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.engine.base_layer import Node
from kgraph.engine.topology import get_source_inputs
from kgraph.layers import Activation, BatchNormalization, Dense, Dropout, Input, Lambda, Layer, add, concatenate
from kgraph.models import Model, Sequential, clone_model, model_from_config, model_from_json, model_from_yaml


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()
    np.random.seed(1)


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def two_towers() -> Model:
    shared = Dense(5, activation="tanh", name="shared")
    left, right = Input((3,), name="left"), Input((3,), name="right")
    both = concatenate([shared(left), shared(right)], name="both")
    return Model([left, right], [Dense(2, name="out")(both), add([shared.get_output_at(0), shared.get_output_at(1)])])


def test_layers_and_nodes() -> None:
    model = two_towers()
    assert [layer.name for layer in model.layers] == ["left", "right", "shared", "both", "out", "add_1"]
    assert model.input_names == ["left", "right"] and model.output_names == ["out", "add_1"]
    shared = model.get_layer("shared")
    assert len(shared._inbound_nodes) == 2
    assert shared.get_input_shape_at(1) == (None, 3) and shared.output_shape == (None, 5)
    assert isinstance(shared._inbound_nodes[0], Node)
    with pytest.raises(AttributeError, match="multiple inbound nodes"):
        shared.output  # noqa: B018
    assert model.count_params() == 3 * 5 + 5 + 10 * 2 + 2
    assert get_source_inputs(model.outputs[0]) == model.inputs


def test_shared_weights_train_together() -> None:
    model = two_towers()
    model.compile("sgd", "mse")
    x, y = [data(4, 3), data(4, 3) * 2], [data(4, 2), data(4, 5)]
    before = model.evaluate(x, y, verbose=0)[0]
    model.fit(x, y, epochs=5, verbose=0)
    assert model.evaluate(x, y, verbose=0)[0] < before
    assert len(model.get_weights()) == 4


@pytest.mark.parametrize("through", ["config", "json", "yaml", "clone"])
def test_round_trip(through: str) -> None:
    inner = Sequential([Dense(4, input_shape=(3,), activation="relu"), BatchNormalization()], name="inner")
    a, b = Input((3,)), Input((3,))
    model = Model([a, b], Dense(1)(add([inner(a), inner(b)])))
    if through == "config":
        again = Model.from_config(model.get_config())
    elif through == "clone":
        again = clone_model(model)
    else:
        again = model_from_json(model.to_json()) if through == "json" else model_from_yaml(model.to_yaml())
    assert again.get_config() == model.get_config()
    again.set_weights(model.get_weights())
    x = [data(4, 3), data(4, 3) + 1]
    assert_allclose(again.predict(x), model.predict(x))
    assert again.layers[2] is not model.layers[2]


def test_config_counts_a_nested_models_own_node() -> None:
    inner = Sequential([Dense(4, input_shape=(3,))], name="inner")
    a, b = Input((3,)), Input((3,))
    config = Model([a, b], add([inner(a), inner(b)])).get_config()
    assert config["layers"][2]["inbound_nodes"] == [[["input_1", 0, 0, {}]], [["input_2", 0, 0, {}]]]
    assert config["layers"][3]["inbound_nodes"] == [[["inner", 1, 0, {}], ["inner", 2, 0, {}]]]


def test_calling_a_model_on_other_inputs() -> None:
    model = Sequential([Dense(4, input_shape=(3,), kernel_regularizer="l2"), Dropout(0.5), BatchNormalization()])
    x = Input((3,))
    outer = Model(x, Activation("tanh")(model(x)))
    assert len(outer.losses) == 1 and len(outer.updates) == 2
    outer.compile("sgd", "mse")
    values = data(6, 3)
    assert_allclose(outer.predict(values), np.tanh(model.predict(values)), rtol=1e-5)
    means = model.layers[2].get_weights()[2]
    outer.train_on_batch(values, data(6, 4))
    assert (model.layers[2].get_weights()[2] != means).any()
    again = outer(x)
    assert again is not outer.outputs[0]
    assert outer.outputs[0]._keras_history[0] is outer.layers[-1]


def test_model_as_first_layer() -> None:
    inner = Sequential([Dense(4, input_shape=(3,))], name="inner")
    model = Sequential([inner, Dense(2)])
    assert [layer.name for layer in model.layers] == ["inner", "dense_2"]
    assert model.output_shape == (None, 2) and model.predict(data(2, 3)).shape == (2, 2)


def test_sequential_add_and_pop() -> None:
    model = Sequential()
    assert not model.built and model.layers == []
    model.add(Dense(4, input_dim=3))
    model.add(Dense(2))
    assert model.built and model.output_shape == (None, 2)
    model.pop()
    assert model.output_shape == (None, 4) and [layer.name for layer in model.layers] == ["dense_1"]
    model.add(Dense(5))
    assert model.predict(data(2, 3)).shape == (2, 5)
    for _ in range(2):
        model.pop()
    assert model.outputs is None


def test_predict_function_survives_pop() -> None:
    model = Sequential([Dense(4, input_shape=(3,)), Dense(2)])
    assert model.predict(data(2, 3)).shape == (2, 2)
    model.pop()
    assert model.predict(data(2, 3)).shape == (2, 2)
    model.compile("sgd", "mse")
    assert model.predict(data(2, 3)).shape == (2, 4)


def test_deferred_build() -> None:
    model = Sequential([Dense(4), Dense(2)])
    assert not model.built
    model.compile("sgd", "mse")
    model.fit(data(5, 3), data(5, 2), verbose=0)
    assert model.built and model.input_shape == (None, 3)
    other = Sequential([Dense(4)])
    other.build((None, 7))
    assert other.count_params() == 32
    assert Sequential.from_config(other.get_config()).built


def test_frozen_layers() -> None:
    model = Sequential([Dense(4, input_shape=(3,)), BatchNormalization(), Dense(2)])
    model.layers[0].trainable = False
    assert len(model.trainable_weights) == 4 and len(model.non_trainable_weights) == 4
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(data(6, 3), data(6, 2), verbose=0)
    after = model.get_weights()
    changed = [bool((a != b).any()) for a, b in zip(before, after, strict=True)]
    assert changed == [False, False, True, True, True, True, True, True]
    model.trainable = False
    assert model.trainable_weights == [] and len(model.non_trainable_weights) == 8


def test_frozen_batch_normalization_still_uses_the_batch() -> None:
    layer = BatchNormalization(input_shape=(3,))
    model = Sequential([layer])
    layer.trainable = False
    model.compile("sgd", "mse")
    x = data(8, 3) * 5 + 2
    target = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)
    assert model.updates == []
    assert_allclose(model.train_on_batch(x, target), 0, atol=1e-8)
    assert model.test_on_batch(x, target) > 1


def test_batch_normalization_averages() -> None:
    layer = BatchNormalization(momentum=0.9, input_shape=(3,))
    model = Sequential([layer])
    model.compile("sgd", "mse")
    x = data(8, 3) * 2 + 1
    model.train_on_batch(x, x)
    _, _, mean, variance = layer.get_weights()
    assert_allclose(mean, 0.1 * x.mean(0), rtol=1e-5)
    assert_allclose(variance, 0.9 + 0.1 * x.var(0) * 8 / (8 - 1.001), rtol=1e-5)


def test_weights_order_puts_trainable_first_in_weights_only() -> None:
    model = Sequential([BatchNormalization(input_shape=(3,)), Dense(2)])
    names = [w.name.split("/")[1] for w in model.weights]
    assert names == ["gamma:0", "beta:0", "kernel:0", "bias:0", "moving_mean:0", "moving_variance:0"]
    assert [w.shape for w in model.get_weights()] == [(3,), (3,), (3,), (3,), (3, 2), (2,)]


def test_deep_models_do_not_recurse() -> None:
    x = y = Input((2,))
    for _ in range(1200):
        y = Activation("relu")(y)
    model = Model(x, y)
    assert len(model.layers) == 1201
    assert model(Input((2,))).shape.as_list() == [None, 2]
    assert len(Model.from_config(model.get_config()).layers) == 1201
    assert_allclose(model.predict(np.ones((1, 2))), 1)


def test_output_that_is_an_input() -> None:
    x = Input((3,))
    model = Model(x, [x, Lambda(lambda t: t)(x)])
    first, second = model.predict(data(2, 3))
    assert_allclose(first, second)


def test_subclassed_model() -> None:
    class Net(Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.first = Dense(4, activation="relu")
            self.second = Dense(2)

        def call(self, inputs: Any) -> Any:
            return self.second(self.first(inputs))

    net = Net()
    net.compile("sgd", "mse", metrics=["mae"])
    history = net.fit(data(6, 3), data(6, 2), verbose=0, epochs=2)
    assert len(history.history["loss"]) == 2 and len(net.get_weights()) == 4
    assert net.predict(data(6, 3)).shape == (6, 2)
    with pytest.raises(NotImplementedError, match="no config"):
        net.get_config()

    class Forgetful(Model):
        def __init__(self) -> None:
            self.first = Dense(4)

    with pytest.raises(RuntimeError, match="forgot to call"):
        Forgetful()


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda: Input(), ValueError, "Please provide to Input"),
    (lambda: Input(3), TypeError, "must be a tuple"),
    (lambda: Model(Input((2,)), np.zeros(3)), ValueError, "must be the output of a Keras `Layer`"),
    (lambda: Model(K.placeholder((None, 2)), Dense(2)(Input((2,)))), ValueError, "must come from"),
    (lambda: Dense(2)(None), ValueError, "isn't a symbolic tensor"),
    (lambda: Dense(2)([Input((2,)), Input((2,))]), ValueError, "expects 1 inputs"),
    (lambda: Layer(colour=1), TypeError, "Keyword argument not understood"),
    (lambda: two_towers().set_weights([np.zeros(3)]), ValueError, "expecting 4 weights"),
    (lambda: two_towers().get_layer(index=9), ValueError, "only has 6 layers"),
    (lambda: Sequential([Lambda(lambda x: [x, x], input_shape=(2,))]), ValueError, "single output tensor"),
    (lambda: model_from_config([]), TypeError, "expects a dictionary"),
    (lambda: Lambda(lambda x: 3)(Input((2,))), ValueError, "must return a tensor"),
]


@pytest.mark.parametrize("make, kind, message", ERRORS)
def test_errors(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_redundant_inputs() -> None:
    x = Input((2,))
    with pytest.raises(ValueError, match="redundant"):
        Model([x, x], Dense(2)(x))
