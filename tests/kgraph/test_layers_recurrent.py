"""Recurrent layers, embeddings and wrappers: against numpy, in models, with masks, states, dropout and constants."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph import layers
from kgraph.engine.input_layer import Input
from kgraph.engine.sequential import Sequential
from kgraph.engine.training import Model
from kgraph.utils.test_utils import layer_test

Array = np.ndarray
RNNS = [layers.SimpleRNN, layers.GRU, layers.LSTM]
UNITS = 3


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()
    np.random.seed(1)


def random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("f4")


def hard_sigmoid(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)


def steps(
    layer: Any, x: Array, mask: Array | None = None, states: list[Array] | None = None
) -> tuple[Array, list[Array]]:
    """All outputs and the final states, by the equations of the layers."""
    kernel, recurrent, bias = (w.astype("f8") for w in layer.get_weights())
    u, kind = layer.units, type(layer).__name__
    states = states or [np.zeros((len(x), u)) for _ in range(2 if kind == "LSTM" else 1)]
    times = range(x.shape[1])[::-1] if layer.go_backwards else range(x.shape[1])
    outputs: list[Array] = []
    for t in times:
        h = states[0]
        if kind == "SimpleRNN":
            new = [np.tanh(x[:, t] @ kernel + h @ recurrent + bias)]
        elif kind == "LSTM":
            i, f, c, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, -1)
            carry = hard_sigmoid(f) * states[1] + hard_sigmoid(i) * np.tanh(c)
            new = [hard_sigmoid(o) * np.tanh(carry), carry]
        else:
            after = layer.reset_after
            x_z, x_r, x_h = np.split(x[:, t] @ kernel + (bias[0] if after else bias), 3, -1)
            h_z, h_r, h_h = np.split(h @ recurrent + (bias[1] if after else 0), 3, -1)
            z, r = hard_sigmoid(x_z + h_z), hard_sigmoid(x_r + h_r)
            inner = r * h_h if after else (r * h) @ recurrent[:, 2 * u :]
            new = [z * h + (1 - z) * np.tanh(x_h + inner)]
        output = new[0]
        if mask is not None:
            keep = mask[:, t, None]
            output = np.where(keep, output, outputs[-1] if outputs else 0.0)
            new = [np.where(keep, s, old) for s, old in zip(new, states, strict=True)]
        states = new
        outputs.append(output)
    return np.stack(outputs, 1), states


@pytest.mark.parametrize("cls", RNNS)
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"return_sequences": True, "go_backwards": True},
        {"unroll": True, "return_sequences": True},
        {"dropout": 0.1, "recurrent_dropout": 0.1},
        {"kernel_regularizer": "l1", "recurrent_regularizer": "l2", "bias_regularizer": "l2"},
        {"kernel_constraint": "max_norm", "use_bias": False, "activity_regularizer": "l1"},
    ],
    ids=lambda kwargs: "-".join(kwargs) or "plain",
)
def test_layer(cls: Any, kwargs: dict[str, Any]) -> None:
    layer_test(cls, {"units": UNITS, **kwargs}, input_shape=(2, 5, 4))


@pytest.mark.parametrize(
    "cls, kwargs, shape",
    [
        (layers.GRU, {"units": 3, "reset_after": True}, (2, 5, 4)),
        (layers.GRU, {"units": 3, "implementation": 2, "dropout": 0.1, "recurrent_dropout": 0.1}, (2, 5, 4)),
        (layers.LSTM, {"units": 3, "implementation": 2, "dropout": 0.1, "recurrent_dropout": 0.1}, (2, 5, 4)),
        (layers.CuDNNGRU, {"units": 3, "return_sequences": True}, (2, 5, 4)),
        (layers.CuDNNLSTM, {"units": 3}, (2, 5, 4)),
        (layers.ConvLSTM2D, {"filters": 2, "kernel_size": (2, 3), "padding": "same"}, (2, 3, 5, 4, 2)),
        (layers.ConvLSTM2D, {"filters": 2, "kernel_size": 2, "strides": 2, "return_sequences": True}, (1, 3, 5, 5, 2)),
        (
            layers.ConvLSTM2D,
            {"filters": 2, "kernel_size": 2, "data_format": "channels_first", "dropout": 0.1, "recurrent_dropout": 0.1},
            (2, 2, 3, 4, 5),
        ),
        (layers.TimeDistributed, {"layer": layers.Dense(3, name="dense")}, (2, 5, 4)),
        (layers.TimeDistributed, {"layer": layers.Conv2D(2, 2, name="conv")}, (2, 3, 5, 4, 2)),
        (layers.Bidirectional, {"layer": layers.LSTM(3, name="lstm")}, (2, 5, 4)),
        (layers.Bidirectional, {"layer": layers.GRU(3, return_sequences=True), "merge_mode": "ave"}, (2, 5, 4)),
    ],
)
def test_more_layers(cls: Any, kwargs: dict[str, Any], shape: tuple[int, ...]) -> None:
    layer_test(cls, kwargs, input_shape=shape)


@pytest.mark.parametrize("cls", RNNS)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_against_numpy(cls: Any, backwards: bool, masked: bool) -> None:
    x = random(4, 6, 5)
    if masked:
        x[:, 2:4][[0, 2]] = 0
        x[1, :3] = 0
    layer = cls(UNITS, return_sequences=True, return_state=True, go_backwards=backwards, bias_initializer="uniform")
    inputs = Input((None, 5))
    model = Model(inputs, layer(layers.Masking()(inputs) if masked else inputs))
    for length in (6, 1, 3):
        part = x[:, :length]
        mask = (part != 0).any(-1) if masked else None
        outputs, *states = model.predict(part)
        want, final = steps(layer, part, mask)
        assert_allclose(outputs, want, rtol=1e-4, atol=1e-5)
        for got, state in zip(states, final, strict=True):
            assert_allclose(got, state, rtol=1e-4, atol=1e-5)


def test_gru_that_resets_after() -> None:
    layer = layers.GRU(UNITS, reset_after=True, bias_initializer="uniform")
    model = Sequential([layer])
    model.build((None, None, 4))
    assert_allclose(model.predict(random(2, 5, 4)), steps(layer, random(2, 5, 4))[0][:, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", [layers.GRU, layers.LSTM])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_implementations_agree_in_prediction(cls: Any, dropout: float) -> None:
    x = random(3, 4, 5)
    results = []
    for implementation in (1, 2):
        model = Sequential([cls(UNITS, implementation=implementation, dropout=dropout, input_shape=(4, 5))])
        model.set_weights([0.3 * random(*w.shape) for w in model.get_weights()])
        results.append(model.predict(x))
    assert_allclose(*results, rtol=1e-5)


@pytest.mark.parametrize("cls", RNNS)
def test_training_unrolled_or_not_is_the_same(cls: Any) -> None:
    """Losses and weights after three steps with masks: gradients through the loop are those of the written-out one."""
    x, y = random(5, 4, 3), random(5, UNITS)
    x[:3, 1] = 0
    x[4, 3] = 0
    found = []
    for unroll in (False, True):
        model = Sequential([layers.Masking(input_shape=(4, 3)), cls(UNITS, unroll=unroll)])
        model.set_weights([0.4 * random(*w.shape) for w in model.get_weights()])
        model.compile("sgd", "mse")
        losses = [model.train_on_batch(x, y) for _ in range(3)]
        found.append((losses, *model.get_weights()))
    for got, want in zip(*found, strict=True):
        assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cls", RNNS)
def test_stateful_runs_equal_one_long_run(cls: Any) -> None:
    x = random(2, 6, 4)
    model = Sequential([cls(UNITS, stateful=True, return_sequences=True, batch_input_shape=(2, None, 4))])
    whole = model.predict(x, batch_size=2)
    model.reset_states()
    parts = [model.predict(x[:, a:b], batch_size=2) for a, b in ((0, 1), (1, 4), (4, 6))]
    assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-4, atol=1e-6)
    layer = model.layers[0]
    states = [random(2, UNITS) for _ in layer.states]
    layer.reset_states(states)
    for variable, state in zip(layer.states, states, strict=True):
        assert_allclose(K.get_value(variable), state)
    assert_allclose(model.predict(x, batch_size=2), steps(layer, x, states=states)[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="expects .* states"):
        layer.reset_states([*states, states[0]])
    with pytest.raises(ValueError, match="is incompatible"):
        layer.reset_states([s[:, :1] for s in states])


def test_states_advance_in_training_and_evaluation() -> None:
    model = Sequential([layers.SimpleRNN(UNITS, stateful=True, batch_input_shape=(2, 3, 4)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = random(2, 3, 4), random(2, 1)
    model.train_on_batch(x, y)
    first = K.get_value(model.layers[0].states[0])
    model.test_on_batch(x, y)
    second = K.get_value(model.layers[0].states[0])
    assert first.any() and not np.allclose(first, second)


def test_stateful_needs_a_batch_size() -> None:
    with pytest.raises(ValueError, match="batch size"):
        Sequential([layers.LSTM(2, stateful=True, input_shape=(3, 4))])
    with pytest.raises(AttributeError, match="stateful"):
        layers.LSTM(2).reset_states()


def test_unrolling_needs_a_length() -> None:
    with pytest.raises(ValueError, match="Cannot unroll"):
        layers.LSTM(2, unroll=True)(Input((None, 4)))


@pytest.mark.parametrize("cls", RNNS)
def test_initial_states_from_layers_and_from_tensors(cls: Any) -> None:
    x = random(3, 4, 5)
    layer = cls(UNITS)
    count = 2 if cls is layers.LSTM else 1
    values = [random(3, UNITS) + i for i in range(count)]
    inputs, states = Input((4, 5)), [Input((UNITS,)) for _ in range(count)]
    model = Model([inputs, *states], layer(inputs, initial_state=states))
    want = steps(layer, x, states=values)[0][:, -1]
    assert_allclose(model.predict([x, *values]), want, rtol=1e-4, atol=1e-5)
    again = Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert_allclose(again.predict([x, *values]), want, rtol=1e-4, atol=1e-5)
    fixed = Model(inputs, layer(inputs, initial_state=[K.variable(v) for v in values]))
    assert_allclose(fixed.predict(x), want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="mix of Keras tensors"):
        cls(UNITS)(inputs, initial_state=[Input((UNITS,)), K.variable(values[0])])


def test_sequence_to_sequence() -> None:
    encoder, decoder = Input((None, 4)), Input((None, 3))
    _, *states = layers.LSTM(5, return_state=True)(encoder)
    outputs, _, _ = layers.LSTM(5, return_sequences=True, return_state=True)(decoder, initial_state=states)
    model = Model([encoder, decoder], layers.TimeDistributed(layers.Dense(2, activation="softmax"))(outputs))
    model.compile("rmsprop", "categorical_crossentropy")
    y = np.eye(2)[np.random.randint(0, 2, (4, 3))]
    losses = [model.train_on_batch([random(4, 6, 4), random(4, 3, 3)], y) for _ in range(5)]
    assert losses[-1] < losses[0]


class ConstantsCell(layers.Layer):
    """A cell that adds a constant to its state."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape: Any) -> None:
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        self.kernels = [self.add_weight(f"kernel_{i}", (s[-1], self.units)) for i, s in enumerate(shapes)]
        self.built = True

    def call(self, inputs: Any, states: Any, constants: Any) -> Any:
        output = K.dot(inputs, self.kernels[0]) + states[0] + K.dot(constants[0], self.kernels[1])
        return output, [output]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def test_constants() -> None:
    inputs, constant = Input((None, 4)), Input((2,))
    layer = layers.RNN(ConstantsCell(3))
    model = Model([inputs, constant], layer(inputs, constants=constant))
    x, c = random(2, 5, 4), random(2, 2)
    kernel, second = layer.get_weights()
    assert_allclose(model.predict([x, c]), (x @ kernel + (c @ second)[:, None]).sum(1), rtol=1e-4, atol=1e-5)
    model.compile("sgd", "mse")
    model.train_on_batch([x, c], random(2, 3))
    again = Model.from_config(model.get_config(), {"ConstantsCell": ConstantsCell})
    again.set_weights(model.get_weights())
    assert_allclose(again.predict([x, c]), model.predict([x, c]), rtol=1e-5)


def test_stacked_cells() -> None:
    cells = [layers.LSTMCell(3), layers.GRUCell(2), layers.SimpleRNNCell(4)]
    layer = layers.RNN(cells, return_state=True, return_sequences=True)
    inputs = Input((None, 5))
    model = Model(inputs, layer(inputs))
    x = random(2, 6, 5)
    outputs, *states = model.predict(x)
    assert [s.shape[1] for s in states] == [4, 2, 3, 3], "states stand in the reverse order of the cells"
    assert_allclose(outputs[:, -1], states[0], rtol=1e-5)
    single = [layers.LSTM(3, return_sequences=True), layers.GRU(2, return_sequences=True), layers.SimpleRNN(4)]
    apart = Sequential([layers.InputLayer((None, 5)), *single])
    apart.set_weights(layer.get_weights())
    assert_allclose(apart.predict(x), states[0], rtol=1e-4, atol=1e-6)
    again = Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert_allclose(again.predict(x)[0], outputs, rtol=1e-5)


class PlainCell:
    """Not a layer at all."""

    state_size = 4

    def call(self, inputs: Any, states: Any) -> Any:
        return states[0] + inputs, [states[0] + inputs]


def test_any_cell() -> None:
    x = random(3, 5, 4)
    model = Sequential([layers.RNN(PlainCell(), input_shape=(None, 4))])
    assert_allclose(model.predict(x), x.sum(1), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="call"):
        layers.RNN(object())


def test_dropout_masks_are_the_same_in_all_steps_and_off_in_prediction() -> None:
    layer = layers.SimpleRNN(
        6, dropout=0.5, activation=None, kernel_initializer="identity", recurrent_initializer="zeros",
        return_sequences=True,
    )  # fmt: skip
    inputs = Input((5, 6))
    outputs = layer(inputs)
    assert outputs._uses_learning_phase
    run = K.function([inputs, K.learning_phase()], [outputs])
    ones = np.ones((3, 5, 6), "f4")
    (trained,), (predicted,) = run([ones, 1]), run([ones, 0])
    assert_allclose(predicted, ones)
    assert set(np.unique(trained)) == {0.0, 2.0}
    assert (trained == trained[:, :1]).all(), "one mask for all steps"


def test_random_numbers_of_a_step_function_differ() -> None:
    x = K.placeholder((None, 4, 3))

    def step(inputs: Any, states: Any) -> Any:
        return K.dropout(inputs, 0.5), []

    _, outputs, _ = K.rnn(step, x, [])
    (found,) = K.function([x], [outputs])([np.ones((50, 4, 3), "f4")])
    assert set(np.unique(found)) == {0.0, 2.0}
    assert not (found == found[:, :1]).all()


# Embedding


def test_embedding() -> None:
    x = np.random.randint(0, 7, (3, 4)).astype("int32")
    layer_test(layers.Embedding, {"input_dim": 7, "output_dim": 2}, input_data=x, expected_output_dtype="float32")
    layer = layers.Embedding(7, 2, input_length=4, embeddings_regularizer="l2")
    model = Sequential([layer, layers.Flatten()])
    assert model.output_shape == (None, 8)
    assert_allclose(model.predict(x), layer.get_weights()[0][x].reshape(3, 8))
    with pytest.raises(ValueError, match="input_length"):
        layer.compute_output_shape((None, 5))


def test_only_the_rows_that_are_read_are_trained() -> None:
    model = Sequential([layers.Embedding(6, 2, input_length=3)])
    model.compile("sgd", "mse")
    (before,) = model.get_weights()
    model.train_on_batch(np.array([[1, 1, 4]]), np.ones((1, 3, 2)))
    (after,) = model.get_weights()
    assert (before == after).all(1).tolist() == [True, False, True, True, False, True]


def test_masks_travel_from_the_embedding_to_the_loss() -> None:
    x = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [2, 1, 4, 3]])
    model = Sequential([layers.Embedding(5, 3, mask_zero=True), layers.LSTM(2, return_sequences=True)])
    model.compile("sgd", "mse")
    y = random(3, 4, 2)
    predicted = model.predict(x)
    assert_allclose(predicted[0, 2:], np.repeat(predicted[0, 1:2], 2, 0))
    mask = x != 0
    per_step = ((predicted - y) ** 2).mean(-1) * mask / mask.mean()
    assert_allclose(model.test_on_batch(x, y), per_step.mean(), rtol=1e-4)


# Wrappers


def test_time_distributed_sees_every_step() -> None:
    x = random(2, 3, 8, 8, 1)
    model = Sequential(
        [
            layers.TimeDistributed(layers.Conv2D(2, 3), input_shape=(3, 8, 8, 1)),
            layers.TimeDistributed(layers.BatchNormalization()),
            layers.TimeDistributed(layers.Flatten()),
            layers.LSTM(2),
        ]
    )
    model.compile("sgd", "mse")
    moving = model.layers[1].layer.moving_mean
    before = K.get_value(moving)
    model.train_on_batch(x, random(2, 2))
    assert not np.allclose(before, K.get_value(moving)), "the updates of the layer inside run"
    inner = Sequential([layers.Conv2D(2, 3, input_shape=(8, 8, 1))])
    inner.set_weights(model.layers[0].get_weights())
    outer = Model(model.input, model.layers[0].output)
    assert_allclose(outer.predict(x)[:, 1], inner.predict(x[:, 1]), rtol=1e-4, atol=1e-5)


def test_time_distributed_masks_and_losses() -> None:
    x = np.array([[1, 2, 0], [3, 0, 0]])
    model = Sequential(
        [
            layers.Embedding(5, 3, mask_zero=True),
            layers.TimeDistributed(layers.Dense(2, kernel_regularizer="l1", activity_regularizer="l2")),
            layers.LSTM(2),
        ]
    )
    assert len(model.losses) == 2
    found = model.predict(x)
    assert_allclose(model.predict(x[:1, :2]), found[:1], rtol=1e-5)
    with pytest.raises(ValueError, match="rank 3"):
        layers.TimeDistributed(layers.Dense(2))(Input((4,)))


MERGES: dict[Any, Any] = {
    "sum": lambda f, b: f + b,
    "mul": lambda f, b: f * b,
    "ave": lambda f, b: (f + b) / 2,
    "concat": lambda f, b: np.concatenate([f, b], -1),
    None: lambda f, b: [f, b],
}


@pytest.mark.parametrize("mode", MERGES)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_bidirectional(mode: str | None, sequences: bool, states: bool) -> None:
    x = random(2, 5, 4)
    layer = layers.Bidirectional(
        layers.GRU(UNITS, return_sequences=sequences, return_state=states), merge_mode=mode
    )
    inputs = Input((5, 4))
    model = Model(inputs, layer(inputs))
    results = model.predict(x)
    results = results if isinstance(results, list) else [results]
    shapes = model.output_shape if isinstance(model.output_shape, list) else [model.output_shape]
    assert [r.shape[1:] for r in results] == [s[1:] for s in shapes]
    forward, f_states = steps(layer.forward_layer, x)
    backward, b_states = steps(layer.backward_layer, x)
    pair = (forward, backward[:, ::-1]) if sequences else (forward[:, -1], backward[:, -1])
    merged = MERGES[mode](*pair)
    want = [*(merged if mode is None else [merged]), *([*f_states, *b_states] if states else [])]
    for got, expected in zip(results, want, strict=True):
        assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_bidirectional_weights_states_and_trainable() -> None:
    layer = layers.Bidirectional(layers.LSTM(UNITS, stateful=True), batch_input_shape=(2, 3, 4))
    model = Sequential([layer])
    assert [w.name.split("/")[1] for w in model.weights[::3]] == ["forward_lstm_1", "backward_lstm_1"]
    model.compile("sgd", "mse")
    x = random(2, 3, 4)
    first = model.predict(x, batch_size=2)
    assert not np.allclose(first, model.predict(x, batch_size=2))
    model.reset_states()
    assert_allclose(model.predict(x, batch_size=2), first, rtol=1e-5)
    weights = [random(*w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    for got, want in zip(model.get_weights(), weights, strict=True):
        assert_allclose(got, want)
    layer.trainable = False
    assert not layer.trainable_weights and len(layer.non_trainable_weights) == 6


def test_bidirectional_initial_state_and_mask() -> None:
    x, values = random(2, 5, 4), [random(2, UNITS), random(2, UNITS) + 1]
    x[0, 3:] = 0
    inputs, states = Input((5, 4)), [Input((UNITS,)), Input((UNITS,))]
    layer = layers.Bidirectional(layers.SimpleRNN(UNITS, return_sequences=True))
    model = Model([inputs, *states], layer(layers.Masking()(inputs), initial_state=states))
    mask = (x != 0).any(-1)
    forward = steps(layer.forward_layer, x, mask, [values[0]])[0]
    backward = steps(layer.backward_layer, x, mask, [values[1]])[0][:, ::-1]
    found = model.predict([x, *values])
    assert_allclose(found, np.concatenate([forward, backward], -1), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="underlying RNNs"):
        layer(inputs, initial_state=[states[0]])


def test_conv_lstm_against_its_cell() -> None:
    """Weights that touch one pixel make it an LSTM for each pixel."""
    x = random(2, 4, 3, 3, 2)
    layer = layers.ConvLSTM2D(UNITS, 1, return_sequences=True, bias_initializer="uniform")
    model = Sequential([layer])
    model.build((None, 4, 3, 3, 2))
    lstm = layers.LSTM(UNITS, return_sequences=True)
    plain = Sequential([lstm])
    plain.build((None, 4, 2))
    kernel, recurrent, bias = layer.get_weights()
    plain.set_weights([kernel[0, 0], recurrent[0, 0], bias])
    pixels = np.moveaxis(x, 1, 3).reshape(18, 4, 2)
    want = np.moveaxis(plain.predict(pixels).reshape(2, 3, 3, 4, UNITS), 3, 1)
    assert_allclose(model.predict(x), want, rtol=1e-4, atol=1e-5)


def test_conv_lstm_states() -> None:
    model = Sequential(
        [layers.ConvLSTM2D(2, 2, stateful=True, return_sequences=True, batch_input_shape=(2, None, 4, 4, 1))]
    )
    x = random(2, 4, 4, 4, 1)
    whole = model.predict(x, batch_size=2)
    model.reset_states()
    parts = [model.predict(x[:, a:b], batch_size=2) for a, b in ((0, 3), (3, 4))]
    assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-4, atol=1e-5)
    inputs = Input((3, 4, 4, 1))
    assert Model(inputs, layers.ConvLSTM2D(2, 3, return_state=True)(inputs)).output_shape == [(None, 2, 2, 2)] * 3


@pytest.mark.parametrize("plain, cudnn", [(layers.GRU, layers.CuDNNGRU), (layers.LSTM, layers.CuDNNLSTM)])
def test_cudnn_layers_are_the_plain_ones_with_other_weights(plain: Any, cudnn: Any) -> None:
    from kgraph.engine.preprocess_weights import preprocess_weights_for_loading

    kwargs = {"reset_after": True} if plain is layers.GRU else {}
    x = random(3, 5, 4)
    source = Sequential([cudnn(UNITS, input_shape=(None, 4), bias_initializer="uniform")])
    target = Sequential([plain(UNITS, input_shape=(None, 4), recurrent_activation="sigmoid", **kwargs)])
    for one, other in ((source, target), (target, source)):
        weights = preprocess_weights_for_loading(other.layers[0], [random(*w.shape) for w in one.get_weights()])
        one.set_weights([random(*w.shape) for w in one.get_weights()])
        other.set_weights(weights)
        assert_allclose(other.predict(x), one.predict(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="Masking is not supported"):
        cudnn(2)(layers.Masking()(Input((3, 4))))


class OldStyle(layers.Recurrent):
    """A layer as users wrote them before there were cells."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.input_spec = [layers.InputSpec(shape=input_shape)]
        self.states = [None]
        if self.stateful:
            self.reset_states()
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.units))
        self.built = True

    def get_constants(self, inputs: Any, training: Any = None) -> list[Any]:
        return [K.ones_like(inputs[:, 0, :1])]

    def step(self, inputs: Any, states: Any) -> Any:
        new = 0.5 * states[0] + K.dot(inputs, self.kernel) + states[1]
        return new, [new]


def test_layers_that_define_a_step() -> None:
    x = random(2, 5, 4)
    model = Sequential([OldStyle(3, stateful=True, return_sequences=True, batch_input_shape=(2, 5, 4))])
    (kernel,) = model.get_weights()
    want, state = [], np.zeros((2, 3))
    for t in range(5):
        state = 0.5 * state + x[:, t] @ kernel + 1
        want.append(state)
    assert_allclose(model.predict(x, batch_size=2), np.stack(want, 1), rtol=1e-4, atol=1e-5)
    assert_allclose(K.get_value(model.layers[0].states[0]), state, rtol=1e-4, atol=1e-5)
    model.compile("sgd", "mse")
    model.train_on_batch(x, np.stack(want, 1))


def test_legacy_arguments() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer = layers.LSTM(
            output_dim=3, inner_activation="sigmoid", dropout_W=0.1, consume_less="gpu", forget_bias_init="one",
            input_dim=4,
        )  # fmt: skip
        embedding = layers.Embedding(5, 2, init="ones", dropout=0.2)
    assert (layer.units, layer.dropout, layer.implementation, layer.unit_forget_bias) == (3, 0.1, 2, True)
    assert layer.batch_input_shape == (None, None, 4)
    texts = [str(w.message) for w in caught]
    for name in ("LSTM", "Embedding"):
        assert any(f"Update your `{name}` call" in text for text in texts)
    assert embedding.get_config()["embeddings_initializer"]["class_name"] == "Ones"


def test_maps_folds_and_cumulative_functions() -> None:
    x = K.placeholder((None, 3))
    outputs = [
        K.map_fn(lambda row: K.sum(row) * 2, x),
        K.foldl(lambda total, row: 0.5 * total + row, x),
        K.foldr(lambda total, row: 0.5 * total + row, x, initializer=K.zeros((3,))),
        K.cumsum(x, axis=1),
        K.cumprod(x),
        K.gradients(K.sum(K.square(K.cumprod(x))), x)[0],
        K.map_fn(lambda pair: [pair[0] + pair[1], pair[0]], [x, x], dtype=["float32", "float64"])[1],
    ]
    run = K.function([x], outputs)
    for length in (1, 4):
        value = random(length, 3)
        mapped, left, right, sums, products, gradient, cast = run([value])
        assert_allclose(mapped, 2 * value.sum(1), rtol=1e-5)
        total = value[0]
        for row in value[1:]:
            total = 0.5 * total + row
        assert_allclose(left, total, rtol=1e-5, atol=1e-6)
        total = np.zeros(3)
        for row in value[::-1]:
            total = 0.5 * total + row
        assert_allclose(right, total, rtol=1e-5, atol=1e-6)
        assert_allclose(sums, np.cumsum(value, 1), rtol=1e-5, atol=1e-6)
        assert_allclose(products, np.cumprod(value, 0), rtol=1e-5, atol=1e-6)
        want = np.stack([2 * (np.cumprod(value, 0)[i:] ** 2).sum(0) / value[i] for i in range(length)])
        assert_allclose(gradient, want, rtol=1e-4, atol=1e-5)
        assert cast.dtype == np.float64


def test_switch_runs_one_branch() -> None:
    condition, x = K.placeholder(()), K.placeholder((None, 2))
    chosen = K.switch(condition > 0, lambda: K.square(x), lambda: 3.0 * x)
    assert chosen.value.node is not None and chosen.value.node.op.name == "cond"
    run = K.function([condition, x], [chosen, K.gradients(K.sum(chosen), x)[0]])
    value = random(4, 2)
    for number, want, slope in ((1.0, value**2, 2 * value), (-1.0, 3 * value, np.full((4, 2), 3.0))):
        found, gradient = run([number, value])
        assert_allclose(found, want, rtol=1e-5)
        assert_allclose(gradient, slope, rtol=1e-5)
