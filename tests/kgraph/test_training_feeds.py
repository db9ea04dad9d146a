"""What training is fed: checks that are skipped for arrays of a kind seen before, and batches gathered ahead."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph.engine import training_arrays
from kgraph.layers import Dense
from kgraph.models import Sequential


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()


def model(loss: str = "mse") -> Sequential:
    made = Sequential([Dense(3, activation="softmax", input_shape=(4,))])
    made.compile("sgd", loss)
    return made


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def test_other_arrays_are_checked_after_some_were_accepted() -> None:
    net = model()
    for _ in range(2):
        net.train_on_batch(ones(2, 4), ones(2, 3))
        net.predict_on_batch([ones(2, 4)])
    for x, y, message in (
        (ones(2, 5), ones(2, 3), "to have shape"),
        (ones(2, 4), ones(2, 2), "to have shape"),
        (ones(2, 4), ones(1, 3), "same number of samples"),
        ([ones(2, 4), ones(2, 4)], ones(2, 3), "not the size the model expected"),
        (ones(2, 4).astype(str), ones(2, 3), "to hold numbers"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            net.train_on_batch(x, y)
    with pytest.raises(ValueError, match="sample_weight"):
        net.train_on_batch(ones(2, 4), ones(2, 3), sample_weight=ones(3))


def test_arrays_that_have_to_be_converted_always_are() -> None:
    net = model()
    expected = net.predict_on_batch(ones(2, 4))
    for x in (ones(2, 4, dtype=np.float64), ones(4, 2).T, [[1, 1, 1, 1]] * 2, np.ma.MaskedArray(ones(2, 4))):
        for _ in range(2):
            np.testing.assert_array_equal(net.predict_on_batch(np.asarray(x) if isinstance(x, list) else x), expected)


def test_numbers_in_arrays_of_objects() -> None:
    """Tables with columns of several kinds give such arrays."""
    net, x, y = model(), np.array([[1, 2.5, True, np.float32(3)]] * 2, object), ones(2, 3).astype(object)
    expected = net.predict(x.astype(np.float32))
    np.testing.assert_array_equal(net.predict(x), expected)
    for _ in range(2):
        assert np.isfinite(net.train_on_batch(x, y))
    for wrong in ("dog", [1]):
        x[1, 2] = wrong
        with pytest.raises(TypeError, match="expected dense_1_input to hold numbers, but got an array of dtype object"):
            net.train_on_batch(x, y)


def test_labels_are_always_looked_at() -> None:
    net = model("sparse_categorical_crossentropy")
    net.train_on_batch(ones(2, 4), np.array([[0], [2]], np.float32))
    with pytest.raises(ValueError, match="got the label 3"):
        net.train_on_batch(ones(2, 4), np.array([[0], [3]], np.float32))


def test_another_loss_checks_anew() -> None:
    net = model("sparse_categorical_crossentropy")
    net.train_on_batch(ones(2, 4), ones(2, 1))
    net.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="shape"):
        net.train_on_batch(ones(2, 4), ones(2, 1))


def test_a_large_batch_is_gathered_beside_the_step_before_it() -> None:
    """By another thread, in the same order; what it raises, `fit` raises; and it is gone afterwards."""
    rows = np.arange(4 * 300_000, dtype=np.float32).reshape(4, -1)
    seen: list[tuple[str, np.ndarray]] = []

    class Feed(training_arrays._Gather):
        def __call__(self, start: int, stop: int) -> list[np.ndarray]:
            batch = super().__call__(start, stop)
            seen.append((threading.current_thread().name, batch[0]))
            if stop == 4 and fails:
                raise OSError("no more")
            return batch

    order = np.array([2, 0, 3, 1])
    for fails in (False, True):
        batches = training_arrays._prepared(Feed([rows], order, [1.0]), [(i, i + 1) for i in range(4)])
        with pytest.raises(OSError, match="no more") if fails else contextlib.nullcontext():
            found = [batch for batch, phase in batches]
            assert [batch[0, 0] for batch in found] == [rows[i, 0] for i in order]
    assert all(name.startswith("kgraph-batches") for name, _ in seen)
    assert not any(thread.name.startswith("kgraph-batches") for thread in threading.enumerate())
