"""What runs in Python in the middle of a function: printing, decoding and the parts of sparse tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph.backend import session
from kgraph.backend.config import Config
from kgraph.engine.input_layer import Input
from kgraph.engine.training import Model
from kgraph.layers import Dense, Dropout, Lambda

SAID = np.random.default_rng(0).dirichlet(np.ones(4), (3, 6)).astype(np.float32)
COUNTS = np.array([6, 4, 1], np.int32)


@pytest.fixture(params=["reference", "cpu"], autouse=True)
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """A session of its own for each target."""
    before = session.current()
    fresh = session.Session(Config())
    fresh.target = request.param
    session.set_session(fresh)
    yield request.param
    session.set_session(before)


# Printing


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1.0, 2.0, 3.0, 4.0], "[1 2 3...]"),
        ([[1, 2], [3, 4]], "[[1 2][3...]...]"),
        ([[1, 2, 3, 4], [5, 6, 7, 8]], "[[1 2 3...]...]"),
        ([[[0.123456784, 1e-9]]], "[[[0.123456784 1e-09]]]"),
        (0.1, "[0.1]"),
        (np.float64(1 / 3), "[0.33333333333333331]"),
        ([True, False], "[1 0]"),
        (np.zeros((0, 3)), "[]"),
        ([float("nan"), float("-inf")], "[nan -inf]"),
        (np.array([0.5, 2], "float16"), "[0.5 2]"),
    ],
)
def test_text(value: Any, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As TensorFlow 1 writes it."""
    array = np.asarray(value, None if isinstance(value, (np.ndarray, np.generic, list)) else "float32")
    if array.dtype == np.float64 and isinstance(value, list):
        array = array.astype("float32")
    x = K.placeholder(array.shape, dtype=array.dtype.name)
    found = K.function([x], [K.print_tensor(x, "here: ")])([array])[0]
    np.testing.assert_array_equal(found, array)
    assert capsys.readouterr().err == f"here: {text}\n"


def test_prints_each_time_it_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    v, x = K.variable([1.0, 2.0]), K.placeholder((None,))
    K.print_tensor(x, "not used ")
    run = K.function([x], [x + K.print_tensor(v * 2, "a ") + K.print_tensor(v * 2, "a ")])
    for _ in range(2):
        assert run([[1, 1]])[0].tolist() == [5, 9]
    assert capsys.readouterr().err == "a [2 4]\n" * 4


def test_prints_in_steps_branches_and_training(capsys: pytest.CaptureFixture[str]) -> None:
    x = K.placeholder((None, 3, 2))

    def step(e: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        new = K.print_tensor(states[0] * e, "step ")
        return new, [new]

    last, _, _ = K.rnn(step, x, [K.ones_like(x[:, 0])])
    slope = K.gradients(last, [x])[0]
    K.function([x], [last, slope])([np.full((1, 3, 2), 2.0)])
    assert capsys.readouterr().err == "step [[2 2]]\nstep [[4 4]]\nstep [[8 8]]\n"
    a = K.placeholder(())
    run = K.function([a], [K.switch(a > 0, lambda: K.print_tensor(a, "up "), lambda: K.print_tensor(-a, "down "))])
    run([1.0])
    run([-2.0])
    assert capsys.readouterr().err == "up [1]\ndown [2]\n"
    inputs = Input((2,))
    model = Model(inputs, Lambda(lambda t: K.print_tensor(t, "layer "))(Dense(1, kernel_initializer="ones")(inputs)))
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((1, 2)), np.ones((1, 1)))
    assert capsys.readouterr().err == "layer [[2]]\n"


# Decoding


def test_decode() -> None:
    y, n = K.placeholder((None, None, 4)), K.placeholder((None,), dtype="int32")
    (greedy,), score = K.ctc_decode(y, n)
    decoded, logs = K.ctc_decode(y, n, greedy=False, beam_width=500, top_paths=2)
    assert K.int_shape(greedy) == (None, None) and greedy.dtype == "int64" and K.int_shape(logs) == (None, 2)
    best, number, *paths, log_p = K.function([y, n], [greedy, score, *decoded, logs])([SAID, COUNTS])
    for i, (said, count) in enumerate(zip(SAID, COUNTS, strict=True)):
        classes = said[:count].argmax(1)
        labels = [int(c) for t, c in enumerate(classes) if c != 3 and (t == 0 or c != classes[t - 1])]
        assert [c for c in best[i] if c >= 0] == labels and (best[i, len(labels) :] == -1).all()
        assert number[i, 0] == pytest.approx(-np.log(said[:count].max(1) + 1e-7).sum(), rel=1e-5)
    labels, counts = K.placeholder((None, None)), K.placeholder((None, 1))
    cost = K.function([labels, y, n, counts], [K.ctc_batch_cost(labels, y, K.expand_dims(n), counts)])
    for path, log in zip(paths, log_p.T, strict=True):  # the log probability is minus the cost
        lengths = (path >= 0).sum(1, keepdims=True)
        np.testing.assert_allclose(cost([np.maximum(path, 0), SAID, COUNTS, lengths])[0][:, 0], -log, rtol=1e-4)
    assert (log_p[:, 0] >= log_p[:, 1]).all()


def test_decode_goes_on_in_the_function() -> None:
    """Sizes that only a run tells; host ops after host ops; random numbers that both parts use; updates."""
    y, v = K.placeholder((None, None, 4)), K.variable(0.0)
    noisy = y + K.random_uniform(K.shape(y), 0, 1e-3)
    n = K.sum(K.ones_like(y[:, :, 0], "int32"), axis=1)
    (decoded,), _ = K.ctc_decode(noisy, n)
    sparse = K.ctc_label_dense_to_sparse(decoded, K.sum(K.cast(decoded >= 0, "int32"), axis=1))
    run = K.function(
        [y], [decoded, sparse.values, K.shape(decoded)[1] * 2, K.one_hot(decoded + 1, 5), noisy, K.sum(noisy)],
        updates=[K.update_add(v, K.cast(K.max(decoded), "float32"))],
    )  # fmt: skip
    found, values, width, one_hot, said, total = run([SAID])
    assert width == 2 * found.shape[1] and one_hot.shape == (*found.shape, 5)
    assert values.tolist() == [c for row in found for c in row if c >= 0]
    assert total == pytest.approx(said.sum(), rel=1e-5) and (said > SAID).any()
    assert K.get_value(v) == found.max()
    assert not np.array_equal(run([SAID])[4], said)
    assert run([SAID[:1, :2]])[0].shape[0] == 1


def test_decode_alone_and_in_models() -> None:
    decoded, logs = K.ctc_decode(K.constant(SAID), K.constant(COUNTS, "int32"), greedy=False, top_paths=3)
    assert len(decoded) == 3 and K.eval(logs).shape == (3, 3) and K.eval(decoded[0] + 1).min() >= 0
    inputs = Input((6, 4))
    dropped = Dropout(0.5)(inputs)
    model = Model(inputs, Lambda(lambda x: K.ctc_decode(x, K.sum(K.ones_like(x[:, :, 0]), axis=1))[0][0])(dropped))
    classes = SAID.argmax(2)
    widest = max(sum(c != 3 and (t == 0 or c != row[t - 1]) for t, c in enumerate(row)) for row in classes)
    assert model.predict(SAID).shape == (3, widest)


def test_decode_errors() -> None:
    with pytest.raises(ValueError, match="rank 3"):
        K.ctc_decode(K.zeros((2, 3)), K.zeros((2,), "int32"))
    with pytest.raises(ValueError, match="from 1 to beam_width"):
        K.ctc_decode(K.constant(SAID), COUNTS, greedy=False, beam_width=2, top_paths=3)
    with pytest.raises(ValueError, match="cannot stand in a loop"):
        K.map_fn(lambda x: K.ctc_decode(K.expand_dims(x, 0), [6])[0][0], K.constant(SAID))


# Cost


def test_cost_of_labels_that_cannot_be() -> None:
    """Too few steps: infinite, with no gradient; labels that are no class: NaN; blanks at the end do not count."""
    labels, y = K.placeholder((None, None)), K.placeholder((None, None, 4))
    n, counts = K.placeholder((None, 1), dtype="int32"), K.placeholder((None, 1), dtype="int32")
    cost = K.ctc_batch_cost(labels, y, n, counts)
    run = K.function([labels, y, n, counts], [cost, *K.gradients(cost, [y])])
    rows = np.array([[1, 1, 2], [0, -1, 1], [0, 3, 1], [2, 3, 3], [2, 0, 0], [2, 9, 9]])
    said = np.repeat(SAID[:1], 6, 0)
    found, slopes = run([rows, said, [[3], [6], [6], [6], [6], [6]], [[3], [3], [3], [3], [1], [3]]])
    assert found[0] == np.inf and not slopes[0].any()
    assert np.isnan(found[1:3]).all()
    assert np.isfinite(found[3:]).all() and found[3] == found[4] == found[5]
    np.testing.assert_array_equal(slopes[3], slopes[4])
    empty, _ = run([np.zeros((2, 0)), SAID[:2], [[6], [4]], [[0], [0]]])
    np.testing.assert_allclose(empty[:, 0], [-np.log(SAID[0, :, 3]).sum(), -np.log(SAID[1, :4, 3]).sum()], rtol=1e-4)
    assert run([np.zeros((0, 2)), SAID[:0], np.zeros((0, 1)), np.zeros((0, 1))])[0].shape == (0, 1)
    with pytest.raises(ValueError, match="rank 2 and predictions of rank 3"):
        K.ctc_batch_cost(K.zeros((2, 3)), K.zeros((2, 3)), n, counts)


def test_cost_trains() -> None:
    """The usual model: a Lambda that computes the cost, and a loss that hands it on."""
    np.random.seed(0)
    inputs, labels = Input((8, 5)), Input((3,))
    n, counts = Input((1,), dtype="int64"), Input((1,), dtype="int64")
    said = Dense(4, activation="softmax")(inputs)
    cost = Lambda(lambda args: K.ctc_batch_cost(*args), output_shape=(1,), name="ctc")([labels, said, n, counts])
    model = Model([inputs, labels, n, counts], cost)
    model.compile("adam", {"ctc": lambda y_true, y_pred: y_pred})
    x, ones = np.random.rand(4, 8, 5), np.ones((4, 1))
    fed = [x, np.array([[0, 1, 2], [2, 2, 0], [1, 0, 0], [0, 0, 0]]), 8 * ones, np.array([[3], [2], [1], [0]])]
    losses = [model.train_on_batch(fed, ones) for _ in range(40)]
    assert losses[-1] < losses[0]
