"""What users write themselves: layers, cells, merges and Lambdas in the backend's functions and operators; and masks on
their way through models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph import layers, regularizers
from kgraph.backend import session
from kgraph.backend.config import Config
from kgraph.engine.base_layer import Layer
from kgraph.layers.merge import _Merge
from kgraph.models import Model, Sequential, load_model
from kgraph.utils.test_utils import layer_test

X = np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")


@pytest.fixture(params=["reference", "cpu"])
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """A session of its own for each target."""
    before = session.current()
    fresh = session.Session(Config())
    fresh.target = request.param
    session.set_session(fresh)
    yield request.param
    session.set_session(before)


def predicted(function: Any, *arrays: np.ndarray) -> np.ndarray:
    """What a model of one Lambda gives, its number of samples unknown."""
    inputs = [layers.Input(x.shape[1:], dtype=x.dtype.name) for x in arrays]
    given = inputs if len(inputs) > 1 else inputs[0]
    found: np.ndarray = Model(inputs, layers.Lambda(function)(given)).predict(list(arrays), batch_size=3)
    return found


OPERATORS: dict[str, tuple[Any, Any]] = {
    "column": (lambda x: x[:, 0], X[:, 0]),
    "reversed": (lambda x: x[..., ::-1], X[..., ::-1]),
    "part": (lambda x: x[:, 1:-1, None, 2], X[:, 1:-1, None, 2]),
    "every other": (lambda x: x[:, ::2, 1:], X[:, ::2, 1:]),
    "last": (lambda x: x[:, -1, :], X[:, -1]),
    "matrix product": (lambda x: x @ K.constant(np.arange(6).reshape(3, 2)), X @ np.arange(6).reshape(3, 2)),
    "signs": (lambda x: -x + abs(x) - (+1) * x, -X + abs(X) - X),
    "powers": (lambda x: x**2 + 2.0**x + x**-1, X**2 + 2.0**X + 1 / X),
    "division": (lambda x: x // 0.5 + x % 0.5 + 1 / x, X // 0.5 + X % 0.5 + 1 / X),
    "comparisons": (
        lambda x: K.cast((x > 0) & ~(x >= 1) | (x < -1) ^ (x <= -2), "float32"),
        ((X > 0) & ~(X >= 1) | (X < -1) ^ (X <= -2)).astype("float32"),
    ),
    "chosen": (lambda x: K.switch(x > x[:, :1], x, 0 * x), np.where(X > X[:, :1], X, 0)),
    "numpy beside": (lambda x: np.float32(2) * x + np.arange(3) - np.ones((5, 1)), 2 * X + np.arange(3) - 1),
    "shape": (lambda x: K.reshape(x, (-1, x.shape[1].value * int(x.shape[2]))), X.reshape(4, 15)),
    "shape of a run": (lambda x: K.reshape(x, (K.shape(x)[0], -1)) / K.cast(K.shape(x)[1], "float32"),
                       X.reshape(4, 15) / 5),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_in_lambdas(name: str, target: str) -> None:
    function, wanted = OPERATORS[name]
    assert_allclose(predicted(function, X), wanted, rtol=2e-5, atol=1e-5)


def test_products_of_two_inputs(target: str) -> None:
    found = predicted(lambda xs: xs[0] @ K.permute_dimensions(xs[1], (0, 2, 1)), X, X)
    assert_allclose(found, X @ X.swapaxes(1, 2), rtol=1e-5, atol=1e-5)


class Scale(Layer):
    """Scales features, penalises the scales' sum, and counts the samples seen in training."""

    def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        assert K.int_shape(K.placeholder(input_shape)) == input_shape
        self.scale = self.add_weight("scale", (input_shape[-1],), initializer="ones", regularizer=regularizers.l1(0.01))
        self.seen = self.add_weight(name="seen", shape=(), initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        assert inputs._keras_shape == K.int_shape(inputs)
        rows = K.cast(K.shape(inputs)[0], "float32")
        self.add_update(K.update_add(self.seen, rows), inputs)
        self.add_loss(0.1 * K.mean(K.square(inputs)), inputs)
        return inputs * self.scale * self.factor

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def test_layer(target: str, tmp_path: Any) -> None:
    layer_test(Scale, {"factor": 3.0}, input_shape=(2, 4))
    model = Sequential([Scale(3.0, input_shape=(5, 3), name="mine"), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    y = np.ones((4, 1))
    loss = model.evaluate(X, y, verbose=0)
    plain = float(np.mean((model.predict(X) - y) ** 2))
    assert loss == pytest.approx(plain + 0.01 * 3 + 0.1 * float((X**2).mean()), rel=1e-5)
    model.fit(X, y, batch_size=3, epochs=2, verbose=0)
    assert K.get_value(model.layers[0].seen) == 8 and not np.array_equal(K.get_value(model.layers[0].scale), np.ones(3))
    model.save(tmp_path / "model.h5")
    again = load_model(tmp_path / "model.h5", custom_objects={"Scale": Scale})
    assert again.layers[0].factor == 3.0 and again.layers[0].name == "mine"
    assert_allclose(again.predict(X), model.predict(X), rtol=1e-6)
    frozen = model.layers[0]
    frozen.trainable = False
    assert frozen.updates == [] and len(frozen.non_trainable_weights) == 2


class Decay(Layer):
    """A cell: the state fades, by a rate that constants may change."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape: Any) -> None:
        first = input_shape[0] if isinstance(input_shape, list) else input_shape
        self.kernel = self.add_weight(name="kernel", shape=(first[-1], self.units), initializer="glorot_uniform")
        self.built = True

    def call(self, inputs: Any, states: Any, constants: Any = None) -> Any:
        rate = 0.5 if constants is None else constants[0]
        new = K.dot(inputs, self.kernel) + rate * states[0]
        return new, [new]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def faded(kernel: np.ndarray, rate: Any, mask: np.ndarray | None = None) -> np.ndarray:
    state = np.zeros((4, kernel.shape[1]))
    for t in range(5):
        new = X[:, t] @ kernel + rate * state
        state = new if mask is None else np.where(mask[:, t, None], new, state)
    return state


def test_cell(target: str) -> None:
    inputs, rate = layers.Input((None, 3)), layers.Input((1,))
    plain, given = layers.RNN(Decay(2)), layers.RNN(Decay(2))
    masked = layers.RNN(Decay(2))(layers.Masking()(inputs))
    model = Model([inputs, rate], [plain(inputs), given(inputs, constants=rate), masked])
    kernels = [w for w in model.get_weights()]
    x, rates = X.copy(), np.array([[0.1], [0.5], [0.9], [0.0]])
    mask = np.ones((4, 5), bool)
    mask[1, 2:4] = mask[3, 0] = False
    found = model.predict([x, rates])
    assert_allclose(found[0], faded(kernels[0], 0.5), rtol=1e-4, atol=1e-5)
    assert_allclose(found[1], faded(kernels[1], rates), rtol=1e-4, atol=1e-5)
    x[~mask] = 0
    assert_allclose(model.predict([x, rates])[2], faded(kernels[2], 0.5, mask), rtol=1e-4, atol=1e-5)
    again = Model.from_config(model.get_config(), custom_objects={"Decay": Decay})
    again.set_weights(kernels)
    assert_allclose(again.predict([X, rates])[1], found[1], rtol=1e-6)


class Mix(_Merge):
    """Half of the first input, and the rest equally of the others."""

    def _merge_function(self, inputs: list[Any]) -> Any:
        total = sum(inputs[1:], 0 * inputs[0])
        return inputs[0] / 2 + total / (2 * (len(inputs) - 1))


def test_merge(target: str) -> None:
    first, second = layers.Input((5, 3)), layers.Input((1, 3))
    model = Model([first, second], Mix()([first, second]))
    assert model.output_shape == (None, 5, 3)
    assert_allclose(model.predict([X, X[:, :1]]), X / 2 + X[:, :1] / 2, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="list"):
        Mix()(first)


class Shorter(Layer):
    """Drops the first step, of the mask too."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return inputs[:, 1:] * K.cast(K.expand_dims(mask[:, 1:]), "float32")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[:, 1:]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[1] - 1, *input_shape[2:])


def test_masks_on_their_way(target: str) -> None:
    """Made by an embedding, kept by a Dropout, changed by a user's layer, used by a recurrent layer and by the loss."""
    words = np.array([[1, 2, 0, 0, 0], [3, 0, 1, 2, 0], [1, 1, 1, 1, 1], [0, 0, 2, 0, 0]])
    inputs = layers.Input((5,), dtype="int32")
    embedded = layers.Embedding(4, 3, mask_zero=True)(inputs)
    shorter = Shorter()(layers.Dropout(0.3)(embedded))
    states = layers.SimpleRNN(2, return_sequences=True)(shorter)
    output = layers.TimeDistributed(layers.Dense(1))(states)
    model = Model(inputs, output)
    (mask,) = K.function([inputs], [model.layers[-1].output_mask])([words])
    np.testing.assert_array_equal(mask, words[:, 1:] != 0)
    model.compile("sgd", "mse")
    y = np.zeros((4, 4, 1))
    losses = ((model.predict(words) - y) ** 2)[..., 0] * mask / mask.mean()
    assert model.evaluate(words, y, verbose=0) == pytest.approx(losses.mean(), rel=1e-4)
    with pytest.raises(TypeError, match="does not support masking"):
        layers.Flatten()(shorter)


def test_masks_of_merges(target: str) -> None:
    """Concatenation joins masks, sums ask for all of them; what only one input has counts for the other as present."""
    x = X.copy()
    x[1, 2] = x[2, 4] = 0
    a, b = layers.Input((5, 3)), layers.Input((5, 3))
    masked, also = layers.Masking()(a), layers.Masking()(b)
    both = layers.add([masked, also])
    joined = layers.concatenate([masked, b], axis=1)
    run = K.function([a, b], [both._keras_history[0].output_mask, joined._keras_history[0].output_mask])
    added, one_after_the_other = run([x, X])
    np.testing.assert_array_equal(added, x.any(2) & X.any(2))
    np.testing.assert_array_equal(one_after_the_other, np.concatenate([x.any(2), np.ones((4, 5), bool)], 1))


def test_lambda_masks_and_shapes(target: str) -> None:
    inputs = layers.Input((None, 3))
    masked = layers.Masking()(inputs)
    doubled = layers.Lambda(lambda x, factor: x * factor, arguments={"factor": 2}, mask=lambda x, m: m)(masked)
    assert doubled._keras_history[0].output_mask is not None
    pooled = layers.Lambda(lambda x, mask: K.sum(x * K.cast(K.expand_dims(mask), "float32"), axis=1),
                           output_shape=lambda s: (s[0], s[2]))(doubled)  # fmt: skip
    assert K.int_shape(pooled) == (None, 3)
    assert_allclose(Model(inputs, pooled).predict(X), 2 * X.sum(1), rtol=1e-4, atol=1e-5)
    shaped = layers.Lambda(lambda x: x, output_shape=lambda s: (s[0], s[1], s[2]))(inputs)
    assert K.int_shape(shaped) == (None, None, 3)
