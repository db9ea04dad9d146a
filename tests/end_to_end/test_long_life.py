"""Long use keeps memory flat: many steps, many predictions, many models."""

from __future__ import annotations

import copy
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import long_life
from kgraph import backend as K
from kgraph.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Lambda
from kgraph.models import Sequential, load_model
from kgraph.optimizers import SGD

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 6, 6, 1)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(3, size=7)]


def build() -> Sequential:
    model = Sequential([Conv2D(2, 3, activation="relu", input_shape=(6, 6, 1)), BatchNormalization(), Dropout(0.3)])
    model.add(Flatten())
    model.add(Dense(3, activation="softmax"))
    model.compile(SGD(momentum=0.5), "categorical_crossentropy", metrics=["accuracy"])
    return model


def growth(action: Callable[[], Any], times: int, warm_up: int = 3) -> tuple[int, int]:
    """Bytes of Python's and numpy's memory, and live objects, that `times` calls leave behind."""
    for _ in range(warm_up):
        action()
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    try:
        action()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            action()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before, len(gc.get_objects()) - objects
    finally:
        tracemalloc.stop()


def resident() -> int:
    """Bytes of memory that this process holds, native memory included."""
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


@pytest.mark.parametrize("action", ["train_on_batch", "test_on_batch", "predict", "predict_on_batch"])
def test_steps(action: str) -> None:
    model = build()
    arguments = (X,) if action.startswith("predict") else (X, Y)
    bytes_left, objects_left = growth(lambda: getattr(model, action)(*arguments), 300)
    assert bytes_left < 20_000 and objects_left < 200


@pytest.mark.parametrize("name", ["train_on_batch", "predict", "build, fit, clear_session"])
def test_benchmark(name: str) -> None:
    """`python -m benchmarks.long_life` for a short while: nothing grows, but for what fills up slowly."""
    action, turns = long_life.actions()[name]
    left = long_life.growth(action, turns // 20)
    assert (left.arenas, left.kernels) == (0, 0)
    assert left.traced < 50_000 and left.objects < 300


def test_fits_and_evaluations() -> None:
    model = build()

    def action() -> None:
        model.fit(X, Y, batch_size=3, epochs=2, validation_data=(X, Y), verbose=0)
        model.evaluate(X, Y, verbose=0)

    bytes_left, objects_left = growth(action, 10)
    assert bytes_left < 20_000 and objects_left < 200


def test_ever_new_batch_sizes() -> None:
    model = build()
    sizes = iter(range(1, 1000))
    bytes_left, objects_left = growth(lambda: model.predict_on_batch(np.repeat(X[:1], next(sizes), 0)), 40, warm_up=40)
    assert bytes_left < 2_000_000 and objects_left < 2000


def test_weights_and_learning_rates_that_are_set() -> None:
    model = build()
    weights = model.get_weights()

    def action() -> None:
        model.set_weights(weights)
        K.set_value(model.optimizer.lr, 0.1)
        model.get_weights()

    bytes_left, objects_left = growth(action, 300)
    assert bytes_left < 20_000 and objects_left < 200


def _build_fit_clear() -> None:
    model = build()
    model.fit(X, Y, batch_size=4, verbose=0)
    model.predict(X)
    K.clear_session()


def test_models_that_come_and_go() -> None:
    bytes_left, objects_left = growth(_build_fit_clear, 4)
    assert bytes_left < 100_000 and objects_left < 500


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell resident memory")
def test_resident_memory_of_models_that_come_and_go() -> None:
    for _ in range(5):
        _build_fit_clear()
    gc.collect()
    before = resident()
    for _ in range(12):
        _build_fit_clear()
    gc.collect()
    assert resident() - before < 20e6


def test_a_cleared_session_frees_arrays() -> None:
    def action() -> None:
        model = Sequential([Dense(1000, input_shape=(1000,))])
        model.compile("adam", "mse")
        model.train_on_batch(np.ones((2, 1000)), np.ones((2, 1000)))
        K.clear_session()

    bytes_left, _ = growth(action, 4, warm_up=1)
    assert bytes_left < 4e6, "one kernel alone has 4 MB"


def test_copies_and_files(tmp_path: Path) -> None:
    def action() -> None:
        model = Sequential([Lambda(lambda x: x * 2, input_shape=(4,)), Dense(2)])
        model.compile("sgd", "mse")
        model.train_on_batch(np.ones((3, 4)), np.ones((3, 2)))
        copy.deepcopy(model)
        model.save(tmp_path / "m.h5")
        load_model(tmp_path / "m.h5")
        K.clear_session()

    bytes_left, objects_left = growth(action, 6)
    assert bytes_left < 100_000 and objects_left < 500


def test_functions_that_come_and_go() -> None:
    def action() -> None:
        x = K.placeholder((None, 3))
        state = K.variable(np.ones(3))
        K.function([x], [K.sum(x * state)], updates=[K.update_add(state, K.ones((3,)))])([np.ones((2, 3))])
        K.eval(state * 2)
        K.clear_session()

    bytes_left, objects_left = growth(action, 10)
    assert bytes_left < 50_000 and objects_left < 300
