"""Derivatives of recurrent layers against differences in float64, with masks; loops in loops; any length from one
compilation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codegen import targets
from kgraph import backend as K
from kgraph import layers

LAYERS: dict[str, Any] = {
    "SimpleRNN": lambda **kw: layers.SimpleRNN(3, **kw),
    "GRU": lambda **kw: layers.GRU(3, **kw),
    "GRU, implementation 2": lambda **kw: layers.GRU(3, implementation=2, **kw),
    "GRU that resets after": lambda **kw: layers.GRU(3, reset_after=True, **kw),
    "LSTM": lambda **kw: layers.LSTM(3, **kw),
    "LSTM, implementation 2": lambda **kw: layers.LSTM(3, implementation=2, **kw),
    "stacked cells": lambda **kw: layers.RNN([layers.GRUCell(4), layers.LSTMCell(3)], **kw),
    "bidirectional": lambda return_sequences, **kw: layers.Bidirectional(
        layers.LSTM(3, return_sequences=return_sequences)
    ),
    "ConvLSTM2D": lambda **kw: layers.ConvLSTM2D(2, 2, **kw),
    "CuDNNGRU": lambda return_sequences, **kw: layers.CuDNNGRU(3, return_sequences=return_sequences),
    "CuDNNLSTM": lambda return_sequences, **kw: layers.CuDNNLSTM(3, return_sequences=return_sequences),
}
MASK = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]])


def slopes_agree(inputs: list[Any], arrays: list[np.ndarray], total: Any, variables: list[Any]) -> None:
    """The derivatives of `total` with respect to the first input and the variables, along one random direction."""
    rng = np.random.default_rng(0)
    run = K.function(inputs, [total, *K.gradients(total, [inputs[0], *variables])])
    _, *slopes = run(arrays)
    directions = [rng.standard_normal(np.shape(g)) for g in slopes]
    slope = sum(float(np.vdot(d, g)) for d, g in zip(directions, slopes, strict=True))
    before, ends = K.batch_get_value(variables), []
    for step in (1e-6, -1e-6):
        K.batch_set_value([(v, x + step * d) for v, x, d in zip(variables, before, directions[1:], strict=True)])
        ends.append(run([arrays[0] + step * directions[0], *arrays[1:]])[0])
    K.batch_set_value(list(zip(variables, before, strict=True)))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-7)


@pytest.mark.usefixtures("reference_session")
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name: str, backwards: bool, masked: bool, sequences: bool) -> None:
    if name in ("bidirectional", "CuDNNGRU", "CuDNNLSTM") and (backwards or masked and name != "bidirectional"):
        return  # they go both ways, or take no mask
    K.set_floatx("float64")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 4, 3, 4, 2) if name == "ConvLSTM2D" else (3, 4, 2))
    inputs, mask = K.placeholder((None, None, *x.shape[2:])), K.placeholder((None, None))
    layer = LAYERS[name](return_sequences=sequences, go_backwards=backwards)
    layer.build((None, None, *x.shape[2:]))
    # Hard sigmoids have corners; small weights stay away from them.
    layer.set_weights([0.4 * rng.standard_normal(w.shape) for w in layer.get_weights()])
    output = layer.call(inputs, mask=mask) if masked else layer.call(inputs)
    total = K.sum(K.square(output))
    slopes_agree([inputs, mask] if masked else [inputs], [x, MASK] if masked else [x], total, layer.weights)


@pytest.mark.parametrize("target", ["reference", "cpu"])
@pytest.mark.parametrize("masked", [False, True])
def test_one_compilation_serves_any_length(target: str, masked: bool, reference_session: Any) -> None:
    """Lengths 0 and 1 too, in both directions of a training step."""
    reference_session.target = target
    layer = layers.LSTM(3, return_sequences=True)
    layer.build((None, None, 2))
    x, mask = K.placeholder((None, None, 2)), K.placeholder((None, None))
    output = layer.call(x, mask=mask) if masked else layer.call(x)
    grads = K.gradients(K.sum(K.square(output)), [x, *layer.weights])
    run = K.function([x, mask], [output, *grads])
    cache = getattr(targets.get("cpu"), "cache")  # noqa: B009
    compiled = None
    for batch, length in ((3, 4), (2, 1), (2, 0), (0, 3), (1, 9), (33, 2)):
        fed = np.random.default_rng(length).standard_normal((batch, length, 2)).astype("float32")
        marks = (np.arange(length) % 3 != 1) * np.ones((batch, 1))
        found, slope, *weights = run([fed, marks])
        assert found.shape == (batch, length, 3) and slope.shape == fed.shape
        assert all(np.isfinite(w).all() for w in weights)
        if not fed.size:
            assert not any(w.any() for w in weights)
        assert compiled in (None, cache.compiled)
        compiled = cache.compiled


@pytest.mark.parametrize("target", ["reference", "cpu"])
def test_loops_in_loops(target: str, reference_session: Any) -> None:
    """A map over samples whose function is a loop over steps, whose steps fold their elements; and its derivative."""
    reference_session.target = target
    x = K.placeholder((None, None, 4))

    def step(e: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        folded = K.foldl(lambda total, element: K.tanh(total + element), K.transpose(e), K.sum(0 * e, axis=1))
        new = states[0] * 0.5 + K.expand_dims(folded)
        return new, [new]

    def sample(rows: Any) -> Any:
        return K.rnn(step, K.expand_dims(rows, 0), [K.zeros((1, 1))])[0][0, 0]

    y = K.map_fn(sample, x)
    run = K.function([x], [y, K.gradients(K.sum(K.square(y)), x)[0]])
    for shape in ((3, 5, 4), (2, 1, 4), (0, 2, 4)):
        fed = np.random.default_rng(1).standard_normal(shape).astype("float32")
        wanted = [value(rows) for rows in fed]
        found, slope = run([fed])
        np.testing.assert_allclose(found, np.array(wanted).reshape(shape[0]), rtol=1e-5, atol=1e-6)
        if fed.size:
            moved = fed.astype("float64")
            moved[1, 0, 2] += 1e-5
            rise = (sum(value(r) ** 2 for r in moved) - sum(value(r) ** 2 for r in fed.astype("float64"))) / 1e-5
            np.testing.assert_allclose(slope[1, 0, 2], rise, rtol=1e-3, atol=1e-4)


def value(rows: np.ndarray) -> float:
    """What `sample` computes."""
    state = 0.0
    for row in rows:
        total = 0.0
        for element in row:
            total = np.tanh(total + element)
        state = state * 0.5 + total
    return float(state)


def test_stateful_conv_lstm_equals_one_long_run(reference_session: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 3, 1)).astype("float32")
    inputs = layers.Input(batch_shape=(2, None, 4, 3, 1))
    layer = layers.ConvLSTM2D(2, 2, stateful=True, return_sequences=True)
    run = K.function([inputs], [layer(inputs)], updates=layer.updates)
    (whole,) = run([x])
    layer.reset_states()
    parts = [run([x[:, a:b]])[0] for a, b in ((0, 1), (1, 4), (4, 6))]
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-5, atol=1e-6)
