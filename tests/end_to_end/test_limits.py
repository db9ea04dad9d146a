"""Unusual use: variables that swap, large and empty arrays, deep models, threads, forks."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph.layers import Activation, BatchNormalization, Conv2D, Dense, Flatten, Input
from kgraph.models import Model, Sequential
from kgraph.optimizers import SGD


def test_variables_swap() -> None:
    a, b = K.variable(np.arange(5.0)), K.variable(-np.arange(5.0))
    swap = K.function([], [a + b], updates=[(a, b), (b, a)])
    swap([])
    assert_array_equal(K.get_value(a), -np.arange(5.0))
    assert_array_equal(K.get_value(b), np.arange(5.0))
    swap([])
    assert_array_equal(K.get_value(a), np.arange(5.0))


def test_three_variables_turn_round_while_read() -> None:
    a, b, c = (K.variable(np.full((3, 4), i, "float32")) for i in (1.0, 2.0, 3.0))
    turn = K.function([], [a, K.sum(b * c)], updates=[K.update(a, b), K.update(b, c), K.update(c, a * 10)])
    first, total = turn([])
    assert (first == 1).all() and total == 72
    assert [float(K.get_value(v)[0, 0]) for v in (a, b, c)] == [2.0, 3.0, 10.0]
    turn([])
    assert (first == 1).all(), "an output changed after the run"
    assert [float(K.get_value(v)[0, 0]) for v in (a, b, c)] == [3.0, 10.0, 20.0]


def test_softmax_of_a_million() -> None:
    x = Input((1_000_000,))
    row = np.random.default_rng(0).normal(size=(1, 1_000_000)).astype(np.float32) * 5
    result = Model(x, Activation("softmax")(x)).predict(row)
    exact = np.exp(row.astype(np.float64) - row.max())
    assert_allclose(result, exact / exact.sum(), rtol=1e-4)
    assert abs(float(result.sum(dtype=np.float64)) - 1) < 1e-5


@pytest.fixture
def small() -> Sequential:
    model = Sequential()
    model.add(Conv2D(4, 3, activation="relu", input_shape=(6, 6, 2)))
    model.add(BatchNormalization())
    model.add(Flatten())
    model.add(Dense(3, activation="softmax"))
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


def test_no_rows(small: Sequential) -> None:
    nothing = np.zeros((0, 6, 6, 2), np.float32)
    assert small.predict(nothing).shape == (0, 3)
    assert small.predict_on_batch(nothing).shape == (0, 3)
    loss, accuracy = small.test_on_batch(nothing, np.zeros((0, 3)))
    assert np.isnan(loss) and np.isnan(accuracy)


def test_rows_of_nothing() -> None:
    a, b = K.placeholder((None, 4)), K.placeholder((None, 4))
    f = K.function([a, b], [K.concatenate([a, b], axis=0), K.sum(a, axis=0), K.dot(K.transpose(a), a)])
    joined, total, square = f([np.zeros((0, 4)), np.ones((2, 4))])
    assert joined.shape == (2, 4) and joined.all()
    assert_array_equal(total, np.zeros(4))
    assert_array_equal(square, np.zeros((4, 4)))


def test_five_hundred_layers() -> None:
    """Building, compiling and a training step of a model of 500 layers."""
    start = time.perf_counter()
    model = Sequential([Dense(8, input_shape=(8,), kernel_initializer="identity")])
    for _ in range(499):
        model.add(Dense(8, kernel_initializer="identity"))
    built = time.perf_counter()
    model.compile(SGD(0.001), "mse")
    compiled = time.perf_counter()
    x = np.random.rand(4, 8)
    loss = model.train_on_batch(x, x + 0.1)
    trained = time.perf_counter()
    predicted = model.predict(x)
    seconds = {
        "build": built - start,
        "compile": compiled - built,
        "first training step": trained - compiled,
        "first prediction": time.perf_counter() - trained,
    }
    print({what: round(s, 2) for what, s in seconds.items()})
    assert loss == pytest.approx(0.01, rel=1e-3)
    assert predicted.shape == (4, 8) and np.isfinite(predicted).all()
    assert np.square(predicted - x - 0.1).mean() < loss
    assert sum(seconds.values()) < 30, seconds


def test_threads_predict_at_once(small: Sequential) -> None:
    data = [np.random.default_rng(i).random((1 + 7 * i, 6, 6, 2), np.float32) for i in range(8)]
    expected = [small.predict(x) for x in data]
    wrong: list[Any] = []
    gate = threading.Barrier(8)

    def work(number: int) -> None:
        gate.wait()
        for turn in range(25):
            i = (number + turn) % 8
            if not np.array_equal(small.predict(data[i]), expected[i]):
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads) and wrong == []


def test_first_use_from_threads() -> None:
    """Threads that meet at a model which nobody has run yet; some train while others predict."""
    model = Sequential([Dense(31, activation="tanh", input_shape=(9,)), Dense(2)])
    model.compile("sgd", "mse")
    x, failures = np.random.rand(20, 9), []
    gate = threading.Barrier(6)

    def work(number: int) -> None:
        gate.wait()
        try:
            for _ in range(10):
                result = model.train_on_batch(x, x[:, :2]) if number % 2 else model.predict(x)
                assert np.isfinite(result).all()
        except BaseException as error:  # what fails in a thread must fail the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads) and failures == []
    assert K.get_value(model.optimizer.iterations) == 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_predicts(small: Sequential) -> None:
    x = np.random.default_rng(3).random((700, 6, 6, 2), np.float32)
    expected = small.predict(x, batch_size=350)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def child() -> None:
        theirs.send(small.predict(x, batch_size=350))
        theirs.close()

    process = context.Process(target=child)
    process.start()
    assert ours.poll(60), "the child hangs"
    assert_array_equal(ours.recv(), expected)
    process.join(10)
    assert process.exitcode == 0
    assert_array_equal(small.predict(x, batch_size=350), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_another_thread_trains(small: Sequential) -> None:
    """The thread does not exist in the child, so neither do the runs that it was in."""
    model = Sequential([Dense(300, input_shape=(300,)), Dense(300)])
    model.compile("sgd", "mse")
    x = np.zeros((64, 300), np.float32)
    model.train_on_batch(x, x)
    expected = model.predict(x)
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            model.train_on_batch(x, x)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(10):
            child = multiprocessing.get_context("fork").Process(target=model.predict, args=(x,))
            child.start()
            child.join(60)
            hangs = child.is_alive()
            child.kill()
            assert not hangs and child.exitcode == 0
    finally:
        done.set()
        thread.join()
    assert_array_equal(model.predict(x), expected)


def test_deep_expressions_do_not_recurse() -> None:
    depth = 2 * sys.getrecursionlimit()
    x = K.variable(1.0)
    y = x
    for _ in range(depth):
        y = y * 1.0001
    (slope,) = K.function([], K.gradients(y, [x]))([])
    assert_allclose(slope, 1.0001**depth, rtol=1e-3)
