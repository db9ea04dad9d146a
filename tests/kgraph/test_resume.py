"""A run that stops and goes on from its file ends with the same bits as one that never stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import kgraph
from kgraph import backend as K
from kgraph import callbacks, optimizers, regularizers
from kgraph.layers import (
    LSTM,
    Activation,
    Add,
    AlphaDropout,
    BatchNormalization,
    Dense,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    Input,
)
from kgraph.models import Model, Sequential, load_model
from kgraph.utils import Sequence

EPOCHS = 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 20, 3)).astype("float32")
Y = RNG.standard_normal((40, 2)).astype("float32")


def noisy(optimizer: Any) -> Any:
    """Every layer that draws numbers, in branches whose later one is built first."""
    x = Input((20, 3))
    late = Dropout(0.3, name="late")
    first = GaussianDropout(0.2)(Dense(6)(x))
    second = late(GaussianNoise(0.1)(Dense(6, kernel_regularizer=regularizers.l2(1e-3))(x)))
    merged = BatchNormalization()(AlphaDropout(0.1)(Add()([second, first])))
    out = Dense(2)(LSTM(5, dropout=0.2, recurrent_dropout=0.2)(late(merged)))
    model = Model(x, out)
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def remembering() -> Any:
    model = Sequential([LSTM(5, stateful=True, batch_input_shape=(4, 20, 3)), Dropout(0.5), Dense(2)])
    model.compile("adam", "mse")
    return model


def nested() -> Any:
    inner = Sequential([Dense(4, input_shape=(20, 3)), Dropout(0.5), Activation("tanh")])
    model = Sequential([inner, LSTM(3), Dense(2)])
    model.compile("sgd", "mse")
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "adam": lambda: noisy(optimizers.Adam(0.01, decay=0.01, amsgrad=True)),
    "nadam": lambda: noisy("nadam"),
    "rmsprop with decay": lambda: noisy(optimizers.RMSprop(0.01, decay=0.1, clipnorm=1.0)),
    "stateful": remembering,
    "nested": nested,
}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    K.clear_session()
    before = kgraph.get_num_threads()
    yield
    kgraph.set_num_threads(before)


def result(model: Any) -> list[np.ndarray]:
    """Weights, the optimizer's state, and predictions."""
    return [*model.get_weights(), *model.optimizer.get_weights(), model.predict(X, batch_size=4)]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def fit(model: Any, **kwargs: Any) -> Any:
    return model.fit(X, Y, batch_size=4, epochs=kwargs.pop("epochs", EPOCHS), verbose=0, **kwargs)


def without_a_stop(make: Callable[[], Any], **kwargs: Any) -> tuple[list[np.ndarray], dict[str, list[float]]]:
    np.random.seed(3)
    model = make()
    history = fit(model, **kwargs).history
    return result(model), history


@pytest.mark.parametrize("name", MODELS)
def test_stop_and_go_on(name: str, tmp_path: Path) -> None:
    kgraph.set_num_threads(1)
    expected, history = without_a_stop(MODELS[name], validation_split=0.1)
    kgraph.set_num_threads(2)
    np.random.seed(3)
    stopped = MODELS[name]()
    fit(stopped, epochs=2, validation_split=0.1)
    stopped.save(tmp_path / "m.h5")
    np.random.seed(99)  # another process has other random numbers
    model = load_model(tmp_path / "m.h5")
    continued = fit(model, initial_epoch=2, validation_split=0.1)
    assert same(result(model), expected)
    assert {key: values[2:] for key, values in history.items()} == continued.history


@pytest.mark.parametrize("shuffle", [False, "batch", True])
def test_from_a_checkpoint(shuffle: Any, tmp_path: Path) -> None:
    make = MODELS["adam"]
    expected, _ = without_a_stop(make, shuffle=shuffle)
    np.random.seed(3)
    keep = callbacks.ModelCheckpoint(str(tmp_path / "{epoch:d}.h5"))
    fit(make(), epochs=3, shuffle=shuffle, callbacks=[keep])
    for epoch in (1, 3):
        model = load_model(tmp_path / f"{epoch}.h5")
        fit(model, initial_epoch=epoch, shuffle=shuffle)
        assert same(result(model), expected)


def test_twice(tmp_path: Path) -> None:
    make = MODELS["nadam"]
    expected, _ = without_a_stop(make)
    np.random.seed(3)
    model = make()
    for epoch in range(EPOCHS):
        fit(model, initial_epoch=epoch, epochs=epoch + 1)
        model.save(tmp_path / "m.h5")
        model = load_model(tmp_path / "m.h5")
    assert same(result(model), expected)


class Batches(Sequence):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        rows = slice(4 * index, 4 * index + 4)
        return X[rows], Y[rows]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_fit_generator(workers: int, tmp_path: Path) -> None:
    def run(model: Any, **kwargs: Any) -> None:
        model.fit_generator(Batches(), verbose=0, workers=workers, **kwargs)

    np.random.seed(3)
    whole = MODELS["adam"]()
    run(whole, epochs=4)
    np.random.seed(3)
    run(MODELS["adam"](), epochs=2, callbacks=[callbacks.ModelCheckpoint(str(tmp_path / "m.h5"))])
    model = load_model(tmp_path / "m.h5")
    run(model, epochs=4, initial_epoch=2)
    assert same(result(model), result(whole))


def test_single_steps(tmp_path: Path) -> None:
    whole = MODELS["rmsprop with decay"]()
    for _ in range(3):
        whole.train_on_batch(X, Y)
    whole.save(tmp_path / "m.h5")
    model = load_model(tmp_path / "m.h5")
    for _ in range(3):
        assert model.train_on_batch(X, Y) == whole.train_on_batch(X, Y)
    assert same(result(model), result(whole))


def test_own_optimizer_with_variables_that_keras_would_not_save(tmp_path: Path) -> None:
    class Slowing(optimizers.Optimizer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.rate = K.variable(0.1, name="rate")

        def get_updates(self, loss: Any, params: Any) -> list[Any]:
            grads = self.get_gradients(loss, params)
            noise = [K.random_normal(K.int_shape(p), stddev=1e-3) for p in params]
            steps = [(p, p - self.rate * (g + n)) for p, g, n in zip(params, grads, noise, strict=True)]
            return [*steps, K.update(self.rate, self.rate * 0.9)]

    def make() -> Any:
        return noisy(Slowing())

    expected, _ = without_a_stop(make)
    np.random.seed(3)
    model = make()
    fit(model, epochs=1)
    model.save(tmp_path / "m.h5")
    model = load_model(tmp_path / "m.h5", custom_objects={"Slowing": Slowing})
    fit(model, initial_epoch=1)
    assert same(result(model), expected)


# What else a loaded model does


def test_another_epoch_starts_afresh(tmp_path: Path) -> None:
    stopped = remembering()
    fit(stopped, epochs=2)
    states = [K.get_value(s) for s in stopped.layers[0].states]
    stopped.save(tmp_path / "m.h5")
    model = load_model(tmp_path / "m.h5")
    assert all(not K.get_value(s).any() for s in model.layers[0].states), "Keras saves no states"
    np.random.seed(8)
    expected = np.random.permutation(1000)
    np.random.seed(8)
    fit(model, epochs=0)
    assert np.array_equal(np.random.permutation(1000), expected), "numpy's random numbers are the user's"
    model = load_model(tmp_path / "m.h5")
    fit(model, initial_epoch=2, epochs=2)  # no epoch is left to do
    for state, value in zip(model.layers[0].states, states, strict=True):
        np.testing.assert_array_equal(K.get_value(state), value)


def test_a_model_never_trained_has_nothing_more_in_its_file(tmp_path: Path) -> None:
    remembering().save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as f:
        assert sorted(f.attrs) == ["backend", "keras_version", "model_config", "training_config"]
        assert sorted(f) == ["model_weights"]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"random_states": [[1, 2]]}',
        '{"random_states": [[-1, 0], [1.5, 0], [0, 0], [0, 0]], "epochs": "2", "numpy": 3}',
        '{"random_states": {}, "epochs": 2, "numpy": ["MT19937", [1, 2], 3, 0, 0.0]}',
        '{"random_states": null, "epochs": 2, "numpy": ["MT19937", "x", {}, 0, 0.0]}',
    ],
)
def test_what_does_not_fit_is_left_out(text: str, tmp_path: Path) -> None:
    stopped = remembering()
    fit(stopped, epochs=1)
    stopped.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as f:
        f.attrs["kgraph_state"] = text
        del f["kgraph_layer_states"]
    model = load_model(tmp_path / "m.h5")
    np.testing.assert_array_equal(model.get_weights()[0], stopped.get_weights()[0])
    assert np.isfinite(fit(model, initial_epoch=1, epochs=2).history["loss"][0])


def test_shuffles_follow_each_other_as_in_keras() -> None:
    """Each epoch shuffles the order that the epoch before it left."""

    def number(true: Any, predicted: Any) -> Any:
        return K.mean(true)

    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile("sgd", "mse", metrics=[number])
    taken: list[float] = []
    watch = callbacks.LambdaCallback(on_batch_end=lambda batch, logs: taken.append(float(logs["number"])))
    np.random.seed(5)
    model.fit(np.zeros((6, 1)), np.arange(6.0), batch_size=1, epochs=3, verbose=0, callbacks=[watch])
    np.random.seed(5)
    order, expected = np.arange(6), []
    for _ in range(3):
        np.random.shuffle(order)
        expected += order.tolist()
    assert taken == expected
