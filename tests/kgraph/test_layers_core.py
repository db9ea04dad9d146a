"""Basic layers against direct numpy computations, and through the checks that every layer must pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph import layers, regularizers
from kgraph.models import Model, Sequential
from kgraph.utils.test_utils import layer_test


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()
    np.random.seed(5)


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def run(layer: Any, *inputs: np.ndarray) -> np.ndarray:
    tensors = [layers.Input(x.shape[1:]) for x in inputs]
    model = Model(tensors, layer(tensors if len(tensors) > 1 else tensors[0]))
    return model.predict(list(inputs), batch_size=2)


ELEMENTWISE: list[tuple[Any, Any]] = [
    (layers.Activation("relu"), lambda x: np.maximum(x, 0)),
    (layers.Activation("linear"), lambda x: x),
    (layers.LeakyReLU(0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
    (layers.ELU(0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    (layers.ThresholdedReLU(0.7), lambda x: np.where(x > 0.7, x, 0)),
    (layers.ReLU(max_value=1.0), lambda x: np.clip(x, 0, 1)),
    (layers.ReLU(negative_slope=0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    (layers.ReLU(threshold=0.5), lambda x: np.where(x > 0.5, x, 0)),
    (layers.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    (layers.Softmax(axis=1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    (layers.Dropout(0.5), lambda x: x),
    (layers.GaussianNoise(0.5), lambda x: x),
    (layers.GaussianDropout(0.5), lambda x: x),
    (layers.AlphaDropout(0.5), lambda x: x),
    (layers.SpatialDropout1D(0.5), lambda x: x),
    (layers.ActivityRegularization(0.1, 0.2), lambda x: x),
    (layers.Masking(0.0), lambda x: x),
    (layers.Permute((2, 1)), lambda x: x.transpose(0, 2, 1)),
    (layers.Flatten(), lambda x: x.reshape(len(x), -1)),
    (layers.Flatten(data_format="channels_first"), lambda x: x.transpose(0, 2, 1).reshape(len(x), -1)),
    (layers.Reshape((5, 3)), lambda x: x.reshape(-1, 5, 3)),
    (layers.Reshape((-1,)), lambda x: x.reshape(len(x), -1)),
    (layers.Lambda(lambda x: x**2 + 1), lambda x: x**2 + 1),
    (layers.Lambda(lambda x, k: x * k, arguments={"k": 3.0}), lambda x: x * 3),
    (layers.Lambda(lambda x: K.sum(x, axis=1), output_shape=(5,)), lambda x: x.sum(1)),
]


@pytest.mark.parametrize("layer, meaning", ELEMENTWISE, ids=lambda v: getattr(v, "name", "")[:20] or "f")
def test_prediction(layer: Any, meaning: Any) -> None:
    layer = type(layer).from_config(layer.get_config())
    x = data(3, 3, 5)
    got = run(layer, x)
    assert_allclose(got, meaning(x), rtol=1e-5, atol=1e-6)
    assert layer.output_shape == (None, *got.shape[1:])


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4), (3, 2, 5, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_dense(shape: tuple[int, ...], bias: bool) -> None:
    layer = layers.Dense(6, activation="tanh", use_bias=bias, bias_initializer="uniform")
    x = data(*shape)
    kernel_and_bias = (got := run(layer, x)) is not None and layer.get_weights()
    expected = x @ kernel_and_bias[0] + (kernel_and_bias[1] if bias else 0)
    assert_allclose(got, np.tanh(expected), rtol=1e-5, atol=1e-6)
    assert [w.name for w in layer.weights] == [f"{layer.name}/kernel:0", f"{layer.name}/bias:0"][: 1 + bias]


MERGES: list[tuple[Any, Any]] = [
    (layers.Add, lambda a, b: a + b),
    (layers.Subtract, lambda a, b: a - b),
    (layers.Multiply, lambda a, b: a * b),
    (layers.Average, lambda a, b: (a + b) / 2),
    (layers.Maximum, np.maximum),
    (layers.Minimum, np.minimum),
    (layers.Concatenate, lambda a, b: np.concatenate([a, b], -1)),
]


@pytest.mark.parametrize("layer, meaning", MERGES, ids=lambda v: v.__name__)
def test_merge(layer: Any, meaning: Any) -> None:
    a, b = data(3, 2, 4), data(3, 2, 4)[::-1].copy()
    assert_allclose(run(layer(), a, b), meaning(a, b), rtol=1e-6)


@pytest.mark.parametrize("layer, meaning", MERGES[:6], ids=lambda v: v.__name__)
def test_merge_broadcasts(layer: Any, meaning: Any) -> None:
    a, b = data(3, 2, 4), data(3, 4)
    made = layer()
    assert_allclose(run(made, a, b), meaning(a, b[:, None]), rtol=1e-6)
    assert made.output_shape == (None, 2, 4)


def test_three_inputs() -> None:
    a, b, c = data(3, 4), data(3, 4) * 2, data(3, 4) - 1
    assert_allclose(run(layers.Average(), a, b, c), (a + b + c) / 3, rtol=1e-6)
    assert_allclose(run(layers.Concatenate(axis=1), a, b, c), np.concatenate([a, b, c], 1))


@pytest.mark.parametrize("normalize", [False, True])
def test_dot(normalize: bool) -> None:
    a, b = data(3, 5), data(3, 5)[::-1].copy()
    layer = layers.Dot(axes=1, normalize=normalize)
    if normalize:
        expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    else:
        expected = (a * b).sum(1)
    assert_allclose(run(layer, a, b), expected[:, None], rtol=1e-5)
    assert layer.output_shape == (None, 1)


def test_dot_of_matrices() -> None:
    a, b = data(3, 2, 5), data(3, 4, 5)
    layer = layers.Dot(axes=(2, 2))
    assert_allclose(run(layer, a, b), np.einsum("nik,njk->nij", a, b), rtol=1e-5, atol=1e-6)
    assert layer.output_shape == (None, 2, 4)


CHECKED: list[tuple[Any, dict[str, Any], tuple[int, ...]]] = [
    (layers.Dense, {"units": 3, "kernel_regularizer": "l2", "activity_regularizer": "l1"}, (3, 2)),
    (layers.Dense, {"units": 3, "kernel_constraint": "maxnorm"}, (3, 4, 2)),
    (layers.Dropout, {"rate": 0.5}, (3, 2)),
    (layers.Dropout, {"rate": 0.5, "noise_shape": [3, 1]}, (3, 2)),
    (layers.SpatialDropout1D, {"rate": 0.5}, (2, 3, 4)),
    (layers.SpatialDropout2D, {"rate": 0.5, "data_format": "channels_first"}, (2, 3, 4, 5)),
    (layers.SpatialDropout3D, {"rate": 0.5}, (2, 3, 4, 4, 5)),
    (layers.Activation, {"activation": "softmax"}, (3, 2)),
    (layers.Reshape, {"target_shape": (8, 1)}, (3, 2, 4)),
    (layers.Reshape, {"target_shape": (-1, 1)}, (3, 2, 4)),
    (layers.Permute, {"dims": (2, 1)}, (3, 2, 4)),
    (layers.Flatten, {}, (3, 2, 4)),
    (layers.RepeatVector, {"n": 3}, (3, 2)),
    (layers.Masking, {}, (3, 2, 3)),
    (layers.PReLU, {}, (2, 3, 4)),
    (layers.PReLU, {"shared_axes": 1}, (2, 3, 4)),
    (layers.LeakyReLU, {"alpha": 0.5}, (2, 3, 4)),
    (layers.GaussianNoise, {"stddev": 1.0}, (3, 2, 3)),
    (layers.GaussianDropout, {"rate": 0.5}, (3, 2, 3)),
    (layers.AlphaDropout, {"rate": 0.2}, (3, 2, 3)),
    (layers.ActivityRegularization, {"l1": 0.01, "l2": 0.1}, (3, 2, 3)),
]


@pytest.mark.parametrize("layer, kwargs, shape", CHECKED, ids=lambda v: getattr(v, "__name__", str(v)))
def test_every_layer_must(layer: Any, kwargs: dict[str, Any], shape: tuple[int, ...]) -> None:
    layer_test(layer, kwargs=kwargs, input_shape=shape)


def test_dropout_in_training() -> None:
    x = np.ones((50, 40), np.float32)
    layer = layers.Dropout(0.25, noise_shape=(None, 1))
    inputs = layers.Input((40,))
    f = K.function([inputs, K.learning_phase()], [layer(inputs)])
    (y,) = f([x, 1])
    assert set(np.unique(np.round(y, 4))) == {0.0, np.float32(1.3333)}
    assert (y == y[:, :1]).all()
    assert 0.05 < (y == 0).mean() < 0.5
    assert (f([x, 0])[0] == x).all()
    assert (f([x, 1])[0] != y).any()


def test_activity_penalty_is_not_divided_by_the_batch() -> None:
    model = Sequential([layers.ActivityRegularization(l1=0.1, l2=0.2, input_shape=(3,))])
    model.compile("sgd", "mse")
    x = data(4, 3)
    assert_allclose(model.evaluate(x, x, verbose=0), 0.1 * abs(x).sum() + 0.2 * (x**2).sum(), rtol=1e-5)


def test_weight_penalties_count_in_evaluate() -> None:
    model = Sequential([layers.Dense(2, input_shape=(3,), kernel_regularizer=regularizers.l2(0.5))])
    model.compile("sgd", "mse")
    x = data(4, 3)
    y = model.predict(x)
    assert_allclose(model.evaluate(x, y, verbose=0), 0.5 * (model.get_weights()[0] ** 2).sum(), rtol=1e-4)


def test_layer_with_several_outputs_and_inputs() -> None:
    class Split(layers.Layer):
        def call(self, inputs: Any) -> Any:
            a, b = inputs
            return [a + b, a - b]

        def compute_output_shape(self, input_shape: Any) -> Any:
            return list(input_shape)

    tensors = [layers.Input((3,)), layers.Input((3,))]
    total, difference = Split()(tensors)
    model = Model(tensors, [total, difference])
    a, b = data(5, 3), data(5, 3) * 2
    got = model.predict([a, b], batch_size=2)
    assert_allclose(got[0], a + b)
    assert_allclose(got[1], a - b)


def test_masks_reach_later_layers() -> None:
    x = np.ones((2, 3, 4), np.float32)
    x[0, 1] = 0
    inputs = layers.Input((3, 4))
    masked = layers.Masking()(inputs)
    seen: list[Any] = []

    class Count(layers.Layer):
        supports = True

        def __init__(self) -> None:
            super().__init__()
            self.supports_masking = True

        def call(self, inputs: Any, mask: Any = None) -> Any:
            seen.append(mask)
            return inputs * K.expand_dims(K.cast(mask, "float32"))

        def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
            return None

    model = Model(inputs, Count()(masked))
    assert seen[0] is not None
    assert_allclose(model.predict(x)[0, 1], 0)
    assert_allclose(model.predict(x)[1], 1)
    with pytest.raises(TypeError, match="does not support masking"):
        layers.Reshape((12,))(masked)
