"""Ctrl-C during training leaves the model with the weights of the last finished step, ready for anything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kgraph import backend as K
from kgraph import callbacks
from kgraph.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten
from kgraph.models import Sequential
from kgraph.utils import Sequence

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 9, 9, 2)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(3, size=48)]


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C reaches Python, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """A minute for each test: a lock that stays closed would block for ever."""

    def late(*args: Any) -> None:
        raise TimeoutError("a lock was not released")

    K.clear_session()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert not [t for t in threading.enumerate() if t.name.startswith("batches_")]
    assert not multiprocessing.active_children()


def build() -> Any:
    """A model whose prediction folds a normalisation into weights, which must notice that they changed."""
    np.random.seed(4)
    model = Sequential([Conv2D(4, 3, input_shape=(9, 9, 2)), BatchNormalization(), Dropout(0.2), Flatten()])
    model.add(Dense(3, activation="softmax"))
    model.compile("adam", "categorical_crossentropy")
    return model


def steps_of(model: Any) -> int:
    return int(K.get_value(model.optimizer.iterations))


def check(model: Any, batches: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The model is as after its last finished step, and works in this thread and others."""
    expected = build()
    for i in range(steps_of(model)):
        expected.train_on_batch(*batches[i % len(batches)])
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert_array_equal(a, b)
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(model.predict(X)))
    thread.start()
    thread.join()
    assert_array_equal(results[0], expected.predict(X))
    assert model.train_on_batch(*batches[0]) == expected.train_on_batch(*batches[0])
    assert_array_equal(model.predict(X), expected.predict(X))


BATCHES = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 48, 8)]


class Send(callbacks.Callback):
    """Sends this process the signal at one batch's beginning or end."""

    def __init__(self, when: str, batch: int) -> None:
        super().__init__()
        self.when, self.batch = when, batch

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.when == "begin" and batch == self.batch:
            signal.raise_signal(signal.SIGINT)

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.when == "end" and batch == self.batch:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("when", "done"), [("begin", 2), ("end", 3)])
def test_from_a_callback(when: str, done: int) -> None:
    model = build()
    model.predict(X)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[Send(when, 2)])
    assert steps_of(model) == done
    check(model, BATCHES)


def test_at_any_moment() -> None:
    """Signals from another thread, at moments spread over steps, validation and what lies between."""
    build().fit(X, Y, batch_size=8, shuffle=False, verbose=0, validation_data=(X, Y))  # compiles
    finished = set()
    for i in range(12):
        model = build()
        model.fit(X[:8], Y[:8], verbose=0, shuffle=False)
        timer = threading.Timer(0.02 + 0.0037 * i, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            while True:
                model.fit(X, Y, batch_size=8, epochs=50, shuffle=False, verbose=0, validation_data=(X, Y))
        timer.join()
        finished.add(steps_of(model))
        check(model, _after_one(BATCHES, steps_of(model)))
    assert len(finished) > 1


def _after_one(batches: list[tuple[np.ndarray, np.ndarray]], steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batches of a first step on the first one and then of whole epochs."""
    return [batches[0], *(batches[i % len(batches)] for i in range(steps))]


class Batches(Sequence):
    def __len__(self) -> int:
        return len(BATCHES)

    def __getitem__(self, index: int) -> Any:
        return BATCHES[index]


@pytest.mark.parametrize(("workers", "processes"), [(0, False), (2, False), (1, True)])
def test_workers_end(workers: int, processes: bool) -> None:
    if processes and "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    model = build()
    model.train_on_batch(*BATCHES[0])
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        model.fit_generator(
            Batches(), epochs=10**6, shuffle=False, verbose=0, workers=workers, use_multiprocessing=processes
        )
    timer.join()
    check(model, _after_one(BATCHES, steps_of(model)))


SCRIPT = """\
import sys
import numpy as np
from kgraph.layers import Dense
from kgraph.models import Sequential

def endless():
    while True:
        yield np.ones((4, 3)), np.ones((4, 2))

model = Sequential([Dense(2, input_shape=(3,))])
model.compile("sgd", "mse")
model.train_on_batch(*next(endless()))
print("ready", flush=True)
try:
    if sys.argv[1] == "fit":
        model.fit(np.ones((4, 3)), np.ones((4, 2)), epochs=10**7, verbose=0)
    else:
        model.fit_generator(endless(), 10**7, verbose=0, use_multiprocessing=sys.argv[1] == "processes")
except KeyboardInterrupt:
    print("interrupted", np.isfinite(model.predict(np.ones((2, 3)))).all(), flush=True)
if len(sys.argv) > 2:
    model.fit(np.ones((4, 3)), np.ones((4, 2)), epochs=10**7, verbose=0)
"""


@pytest.mark.parametrize("arguments", [("fit",), ("threads",), ("processes",), ("fit", "twice")])
def test_a_script(arguments: tuple[str, ...]) -> None:
    """The second Ctrl-C of `twice` is not caught: the process ends at once."""
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert script.stdout is not None
        assert script.stdout.readline() == "ready\n"
        time.sleep(0.3)
        script.send_signal(signal.SIGINT)
        assert script.stdout.readline() == "interrupted True\n"
        if "twice" in arguments:
            time.sleep(0.2)
            script.send_signal(signal.SIGINT)
        _, errors = script.communicate(timeout=20)
    finally:
        script.kill()
    assert (script.returncode, errors.strip().endswith("KeyboardInterrupt")) == (
        (-signal.SIGINT, True) if "twice" in arguments else (0, False)
    )
