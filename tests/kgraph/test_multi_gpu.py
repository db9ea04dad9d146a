"""Data parallel models, and weights in other layouts."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from codegen.cpu import threads
from kgraph import backend as K
from kgraph.layers import BatchNormalization, Conv2D, Dense, Flatten, Input, concatenate
from kgraph.models import Model, Sequential, load_model
from kgraph.optimizers import SGD
from kgraph.utils import convert_all_kernels_in_model, multi_gpu_model
from kgraph.utils.layer_utils import convert_dense_weights_data_format

pytestmark = pytest.mark.usefixtures("reference_session")


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda: 4)


def template(norm: bool = False) -> Model:
    a, b = Input((5,), name="a"), Input((2, 2), name="b")
    h = concatenate([Dense(6, activation="relu", name="d")(a), Flatten()(b)])
    if norm:
        h = BatchNormalization(name="norm")(h)
    return Model([a, b], [Dense(2, name="p")(h), Dense(3, activation="softmax", name="q")(h)], name="template")


def data(n: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(n)
    x = [rng.normal(size=(n, 5)), rng.normal(size=(n, 2, 2))]
    return x, [rng.normal(size=(n, 2)), np.eye(3)[rng.integers(3, size=n)]]


@pytest.mark.parametrize("gpus", [2, 3, [0, 3], None])
def test_the_same_outputs(gpus: Any) -> None:
    model = template()
    parallel = multi_gpu_model(model, gpus=gpus)
    assert parallel.output_names == ["p", "q"] and [K.int_shape(x) for x in parallel.outputs] == [(None, 2), (None, 3)]
    assert parallel.trainable_weights == model.trainable_weights
    for n in (1, 2, 3, 7, 12):
        for one, other in zip(model.predict(data(n)[0]), parallel.predict(data(n)[0]), strict=True):
            assert_allclose(one, other, rtol=1e-5)


def test_the_same_training() -> None:
    alone = template()
    parallel = multi_gpu_model(copy.deepcopy(alone), gpus=2)
    x, y = data(9)
    for model in (alone, parallel):
        model.compile("adam", ["mse", "categorical_crossentropy"], metrics={"q": "acc"})
        model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    assert alone.metrics_names == parallel.metrics_names
    assert_allclose(alone.evaluate(x, y, verbose=0), parallel.evaluate(x, y, verbose=0), rtol=1e-4)
    for one, other in zip(alone.get_weights(), parallel.get_weights(), strict=True):
        assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_every_replica_moves_the_averages() -> None:
    model = template(norm=True)
    parallel = multi_gpu_model(model, gpus=2)
    parallel.compile(SGD(lr=0.0), "mse")
    x, y = data(8)
    parallel.train_on_batch(x, y)
    hidden = Model(model.inputs, model.get_layer("norm").input).predict(x)
    mean = np.zeros(10)
    for part in (hidden[:4], hidden[4:]):
        mean = 0.99 * mean + 0.01 * part.mean(axis=0)
    assert_allclose(model.get_layer("norm").get_weights()[2], mean, rtol=1e-4, atol=1e-7)


def test_files_hold_the_template(tmp_path: Path) -> None:
    model = template()
    parallel = multi_gpu_model(model, gpus=2)
    parallel.compile("adam", ["mse", "categorical_crossentropy"], metrics={"q": "acc"})
    x, y = data(6)
    parallel.fit(x, y, verbose=0)
    parallel.save(tmp_path / "m.h5")
    for copied in (load_model(tmp_path / "m.h5"), pickle.loads(pickle.dumps(parallel)), copy.deepcopy(parallel)):
        assert [layer.name for layer in copied.layers] == [layer.name for layer in model.layers]
        for one, other in zip(copied.get_weights(), model.get_weights(), strict=True):
            assert_array_equal(one, other)
        for one, other in zip(copied.optimizer.get_weights(), parallel.optimizer.get_weights(), strict=True):
            assert_array_equal(one, other)
        assert_allclose(copied.evaluate(x, y, verbose=0), parallel.evaluate(x, y, verbose=0), rtol=1e-5)
    parallel.save_weights(tmp_path / "w.h5")
    fresh = template()
    for other in (fresh, multi_gpu_model(fresh, gpus=2)):
        other.set_weights([w * 0 for w in other.get_weights()])
        other.load_weights(tmp_path / "w.h5")
        assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_a_relocated_copy_has_weights_of_its_own() -> None:
    model = template()
    parallel = multi_gpu_model(model, gpus=2, cpu_relocation=True)
    assert not set(parallel.trainable_weights) & set(model.trainable_weights)
    assert [w.shape for w in parallel.get_weights()] == [w.shape for w in model.get_weights()]


def test_names_of_the_same_layer_twice() -> None:
    x = Input((3,))
    shared = Dense(2, name="twin")
    parallel = multi_gpu_model(Model(x, [shared(x), shared(Dense(3)(x))]), gpus=2)
    assert parallel.output_names == ["twin_1", "twin_2"]


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        (1, r"`gpus >= 2`. Received: `gpus=1`"),
        ([2], r"`len\(gpus\) >= 2`. Received: `gpus=\[2\]`"),
        (5, r"`gpus=5`.*'/cpu:4'\]. However this machine only has: \['/cpu:0', '/cpu:1', '/cpu:2', '/cpu:3'\]"),
        ([0, 7], r"\['/cpu:0', '/cpu:7'\]. However this machine only has"),
    ],
)
def test_too_few_devices(gpus: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multi_gpu_model(template(), gpus=gpus)


def test_all_of_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda: 1)
    with pytest.raises(ValueError, match="Received: `gpus=1`"):
        multi_gpu_model(template())


def test_convert_all_kernels() -> None:
    model = Sequential([Conv2D(2, (3, 2), input_shape=(5, 5, 2)), Flatten(), Dense(2)])
    before = model.get_weights()
    convert_all_kernels_in_model(model)
    after = model.get_weights()
    assert_array_equal(after[0], before[0][::-1, ::-1])
    for one, other in zip(after[1:], before[1:], strict=True):
        assert_array_equal(one, other)
    convert_all_kernels_in_model(model)
    assert_array_equal(model.get_weights()[0], before[0])


def test_convert_dense_weights() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")  # channels last
    first, last = np.moveaxis(x, -1, 1).reshape(2, -1), x.reshape(2, -1)
    model = Sequential([Dense(3, input_shape=(60,))])
    expected = model.predict(last)
    convert_dense_weights_data_format(model.layers[0], (5, 3, 4), "channels_first")
    assert_allclose(model.predict(first), expected, rtol=1e-4, atol=1e-5)
    convert_dense_weights_data_format(model.layers[0], (3, 4, 5), "channels_last")
    assert_allclose(model.predict(last), expected, rtol=1e-4, atol=1e-5)
