"""BatchNormalization against direct numpy computations, in training, testing and frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.engine.base_layer import Layer
from kgraph.engine.input_layer import Input
from kgraph.engine.sequential import Sequential
from kgraph.engine.training import Model
from kgraph.initializers import Constant
from kgraph.layers.convolutional import Conv2D
from kgraph.layers.normalization import BatchNormalization
from kgraph.utils.test_utils import layer_test
from tests.kgraph.layer_checks import images, without_tuples

SHAPES_AND_AXES = [
    ((5,), -1), ((9, 7, 3), -1), ((9, 7, 3), 3), ((3, 9, 7), 1), ((4, 6), -1), ((4, 6), 1), ((2, 3, 4), 2)
]  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()
    np.random.seed(3)


def sample(shape: tuple[int, ...], samples: int = 5) -> np.ndarray:
    return (np.random.default_rng(len(shape)).standard_normal((samples, *shape)) * 2 + 3).astype(np.float32)


def others(x: np.ndarray, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(x.ndim) if i != axis % x.ndim)


def along(v: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(v, np.float64).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def normalized(x: np.ndarray, mean: Any, variance: Any, gamma: Any, beta: Any, axis: int, epsilon: float) -> np.ndarray:
    mean, variance, gamma, beta = (along(v, x, axis) for v in (mean, variance, gamma, beta))
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def randomize(layer: Any) -> dict[str, np.ndarray]:
    """Random weights for a built layer, by name; factors and shifts that it has not are 1 and 0."""
    rng = np.random.default_rng(8)
    size = layer.moving_mean.shape.as_list()
    values: dict[str, np.ndarray] = {"gamma": np.ones(size), "beta": np.zeros(size)}
    for weight in layer.weights:
        name = weight.name.split("/")[-1].split(":")[0]
        values[name] = (rng.random(size) + 0.5).astype(np.float32)
        K.set_value(weight, values[name])
    return values


def built(shape: tuple[int, ...], training: Any = None, **kwargs: Any) -> tuple[Any, Any]:
    layer = BatchNormalization(**kwargs)
    inputs = Input(shape=shape)
    return layer, Model(inputs, layer(inputs, **({} if training is None else {"training": training})))


@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize(("shape", "axis"), SHAPES_AND_AXES)
def test_prediction(shape: tuple[int, ...], axis: int, center: bool, scale: bool) -> None:
    layer, model = built(shape, axis=axis, center=center, scale=scale, epsilon=0.01)
    w = randomize(layer)
    x = sample(shape)
    wanted = normalized(x, w["moving_mean"], w["moving_variance"], w["gamma"], w["beta"], axis, 0.01)
    assert_allclose(model.predict(x, batch_size=2), wanted, rtol=1e-4, atol=1e-5)
    assert_allclose(model.predict(x[:1]), wanted[:1], rtol=1e-4, atol=1e-5)
    assert layer.output_shape == (None, *shape)


@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, False)])
@pytest.mark.parametrize(("shape", "axis"), SHAPES_AND_AXES)
def test_training(shape: tuple[int, ...], axis: int, center: bool, scale: bool) -> None:
    """The training phase normalises by the batch and moves the averages, with the sample variance."""
    momentum, epsilon = 0.8, 0.01
    layer, model = built(shape, axis=axis, center=center, scale=scale, momentum=momentum, epsilon=epsilon)
    w = randomize(layer)
    x = sample(shape)
    mean, variance = x.mean(others(x, axis), np.float64), x.var(others(x, axis), np.float64)
    wanted = normalized(x, mean, variance, w["gamma"], w["beta"], axis, epsilon)
    run = K.function([model.input, K.learning_phase()], [model.output], updates=model.updates)
    assert_allclose(run([x, 1])[0], wanted, rtol=1e-4, atol=1e-5)
    count = x.size / mean.size
    sample_variance = variance * count / (count - (1 + epsilon))
    found = [K.get_value(v) for v in (layer.moving_mean, layer.moving_variance)]
    assert_allclose(found[0], momentum * w["moving_mean"] + (1 - momentum) * mean, rtol=1e-5)
    assert_allclose(found[1], momentum * w["moving_variance"] + (1 - momentum) * sample_variance, rtol=1e-5)


def test_training_step_gradients() -> None:
    """One step of plain SGD against differences of the numpy loss, through the batch's statistics."""
    x = sample((3, 4, 2))
    layer = BatchNormalization()
    model = Sequential([Conv2D(2, 1, use_bias=False, input_shape=(3, 4, 2)), layer])
    model.compile("sgd", "mse")
    target = np.random.default_rng(5).standard_normal(x.shape)
    kernel = model.layers[0].get_weights()[0].astype(np.float64)

    def loss(k: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> float:
        y = x.astype(np.float64) @ k[0, 0]
        axes = (0, 1, 2)
        return float(np.mean((normalized(y, y.mean(axes), y.var(axes), gamma, beta, -1, 1e-3) - target) ** 2))

    start = [kernel, np.ones(2), np.zeros(2)]
    slopes = [np.zeros_like(v) for v in start]
    for number, values in enumerate(start):
        for at in np.ndindex(*values.shape):
            low, high = ([v.copy() for v in start] for _ in range(2))
            low[number][at] -= 1e-5
            high[number][at] += 1e-5
            slopes[number][at] = (loss(*high) - loss(*low)) / 2e-5
    assert_allclose(model.train_on_batch(x, target), loss(*start), rtol=1e-5)
    found = [*model.layers[0].get_weights(), *layer.get_weights()[:2]]
    for value, old, slope in zip(found, start, slopes, strict=True):
        assert_allclose(value, old - 0.01 * slope, rtol=1e-4, atol=1e-6)


def test_fit_with_a_partial_batch() -> None:
    """Batches of 2, 2 and 1: the averages move three times, each by its batch, and not in the test phase."""
    layer = BatchNormalization(momentum=0.5, input_shape=(4, 3, 2))
    model = Sequential([layer])
    model.compile("sgd", "mse")
    x = sample((4, 3, 2))
    means, variances = np.zeros(2), np.ones(2)
    for batch in (x[:2], x[2:4], x[4:]):
        count = batch.size / 2
        means = 0.5 * means + 0.5 * batch.mean((0, 1, 2))
        variances = 0.5 * variances + 0.5 * batch.var((0, 1, 2)) * count / (count - 1.001)
    model.fit(x, x, batch_size=2, epochs=1, shuffle=False, verbose=0)
    assert_allclose(layer.get_weights()[2], means, rtol=1e-4)
    assert_allclose(layer.get_weights()[3], variances, rtol=1e-4)
    before = layer.get_weights()
    model.evaluate(x, x, verbose=0)
    model.predict(x)
    for old, new in zip(before, layer.get_weights(), strict=True):
        assert_allclose(old, new, rtol=0)


@pytest.mark.parametrize("training", [False, 0])
def test_called_with_training_false(training: Any) -> None:
    layer, model = built((4,), training=training)
    w = randomize(layer)
    x = sample((4,))
    wanted = normalized(x, w["moving_mean"], w["moving_variance"], w["gamma"], w["beta"], -1, 1e-3)
    assert not layer.updates and not model.uses_learning_phase
    run = K.function([model.input, K.learning_phase()], [model.output])
    for phase in (0, 1):
        assert_allclose(run([x, phase])[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, 1])
def test_called_with_training_true(training: Any) -> None:
    layer, model = built((4,), training=training)
    w = randomize(layer)
    x = sample((4,))
    wanted = normalized(x, x.mean(0), x.var(0), w["gamma"], w["beta"], -1, 1e-3)
    assert len(layer.updates) == 2 and not model.uses_learning_phase
    assert_allclose(model.predict(x), wanted, rtol=1e-4, atol=1e-5)


def test_called_with_a_tensor() -> None:
    layer = BatchNormalization()
    inputs, flag = K.placeholder(shape=(None, 4)), K.placeholder(shape=(), dtype="bool")
    layer.build((None, 4))
    outputs = layer.call(inputs, training=flag)
    x = sample((4,))
    run = K.function([inputs, flag], [outputs])
    assert_allclose(run([x, False])[0], x / np.sqrt(1.001), rtol=1e-4)
    assert_allclose(run([x, True])[0], normalized(x, x.mean(0), x.var(0), 1, 0, -1, 1e-3), rtol=1e-4, atol=1e-5)


def test_frozen_uses_the_batch_but_moves_nothing() -> None:
    layer = BatchNormalization(trainable=False)
    model = Sequential([Factor(input_shape=(4,)), layer])
    model.compile("sgd", "mse")
    x = sample((4,))
    assert not layer.updates and not layer.trainable_weights and len(layer.non_trainable_weights) == 4
    before = layer.get_weights()
    y = x * 2
    loss = model.train_on_batch(x, np.zeros_like(x))
    assert_allclose(loss, np.mean(normalized(y, y.mean(0), y.var(0), 1, 0, -1, 1e-3) ** 2), rtol=1e-4)
    for old, new in zip(before, layer.get_weights(), strict=True):
        assert_allclose(new, old, rtol=0)
    assert_allclose(model.test_on_batch(x, np.zeros_like(x)), np.mean(model.predict(x) ** 2), rtol=1e-4)


class Factor(Layer):
    """A layer with one trainable weight."""

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight(name="factor", shape=(), initializer=Constant(2))
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


def test_weights_names_and_order() -> None:
    layer, model = built((3,))
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [w.name for w in model.weights] == [f"batch_normalization_1/{name}:0" for name in names]
    assert [w.tolist() for w in layer.get_weights()] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]
    assert layer.count_params() == 12 and len(layer.trainable_weights) == 2
    plain, _ = built((3,), center=False, scale=False)
    assert [w.name.split("/")[1] for w in plain.weights] == ["moving_mean:0", "moving_variance:0"]
    assert plain.gamma is None and plain.beta is None and not plain.trainable_weights


def test_initializers_regularizers_constraints() -> None:
    layer = BatchNormalization(
        beta_initializer="ones",
        gamma_initializer="zeros",
        moving_mean_initializer="ones",
        moving_variance_initializer="zeros",
        beta_regularizer="l2",
        gamma_regularizer="l1",
        beta_constraint="non_neg",
        gamma_constraint="max_norm",
        input_shape=(3,),
    )
    model = Sequential([layer])
    model.compile("sgd", "mse")
    assert [w.tolist() for w in layer.get_weights()] == [[0] * 3, [1] * 3, [1] * 3, [0] * 3]
    x = sample((3,))
    assert_allclose(model.train_on_batch(x, np.ones_like(x)), 0.01 * 3, rtol=1e-4)
    layer.set_weights([np.full(3, 4.0), np.zeros(3), np.zeros(3), np.ones(3)])
    model.train_on_batch(x, np.full_like(x, -1000))
    assert layer.get_weights()[1].min() == 0
    assert np.linalg.norm(layer.get_weights()[0]) <= 2.001
    config = layer.get_config()
    assert BatchNormalization.from_config(config).get_config() == config


CONFIG = {
    "name": "batch_normalization_1", "trainable": True, "axis": 1, "momentum": 0.9, "epsilon": 0.01, "center": False,
    "scale": False, "beta_initializer": {"class_name": "Zeros", "config": {}},
    "gamma_initializer": {"class_name": "Ones", "config": {}},
    "moving_mean_initializer": {"class_name": "Zeros", "config": {}},
    "moving_variance_initializer": {"class_name": "Ones", "config": {}}, "beta_regularizer": None,
    "gamma_regularizer": None, "beta_constraint": None, "gamma_constraint": None,
}  # fmt: skip


def test_config() -> None:
    layer = BatchNormalization(axis=1, momentum=0.9, epsilon=0.01, center=False, scale=False)
    assert layer.get_config() == CONFIG and list(layer.get_config()) == list(CONFIG)
    assert BatchNormalization.from_config(without_tuples(CONFIG)).get_config() == CONFIG
    defaults = BatchNormalization().get_config()
    assert (defaults["axis"], defaults["momentum"], defaults["epsilon"]) == (-1, 0.99, 1e-3)
    assert defaults["center"] is defaults["scale"] is True


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"axis": 1, "momentum": 0.9}, {"center": False}, {"scale": False, "epsilon": 0.1}, {"beta_regularizer": "l2"}],
)
def test_layer_contract(kwargs: dict[str, Any]) -> None:
    layer_test(BatchNormalization, kwargs, input_data=sample((4, 3, 2), 3))
    layer_test(BatchNormalization, kwargs, input_shape=(3, 4))
    layer_test(BatchNormalization, kwargs, input_shape=(2, 4), fixed_batch_size=True)


def test_shared_by_two_inputs() -> None:
    """Each call has its updates; the averages move once for each, in order."""
    layer = BatchNormalization(momentum=0.5)
    first, second = Input(shape=(3,)), Input(shape=(3,))
    outputs = [layer(first), layer(second)]
    model = Model([first, second], outputs)
    model.compile("sgd", "mse")
    assert len(layer.updates) == 4
    assert [len(layer.get_updates_for(x)) for x in (first, second, None)] == [2, 2, 0]
    a, b = sample((3,)), sample((3,)) * 2 + 1
    model.train_on_batch([a, b], [a, b])
    assert_allclose(layer.get_weights()[2], (a.mean(0) * 0.5) * 0.5 + b.mean(0) * 0.5, rtol=1e-5)
    one = Model(first, outputs[0])
    assert len(one.updates) == 2


def test_fixed_learning_phase() -> None:
    x = sample((3,))
    for phase, wanted in ((0, x / np.sqrt(1.001)), (1, normalized(x, x.mean(0), x.var(0), 1, 0, -1, 1e-3))):
        K.clear_session()
        K.set_learning_phase(phase)
        model = Sequential([BatchNormalization(input_shape=(3,))])
        assert_allclose(model.predict(x), wanted, rtol=1e-4, atol=1e-5)
    K.clear_session()


def test_one_node_for_each_phase() -> None:
    """Passes recognise batch normalisation as one node, whatever the axis and the parameters."""
    for shape, axis in SHAPES_AND_AXES:
        for scale in (True, False):
            _, model = built(shape, axis=axis, center=scale, scale=scale)
            ops = ops_behind(model.output)
            assert [ops.count(op) for op in ("batch_norm_train", "batch_norm", "select")] == [1, 1, 1]
            assert set(ops) <= {"batch_norm_train", "batch_norm", "select", "reshape", "constant", "broadcast_to"}


def ops_behind(tensor: Any) -> list[str]:
    """The names of the ops that make a tensor."""
    seen: set[int] = set()
    names: list[str] = []
    waiting = [tensor.value]
    while waiting:
        node = waiting.pop().node
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            names.append(node.op.name)
            waiting += node.inputs
    return names


def test_after_a_convolution() -> None:
    x = images("channels_first", 5, 6, 5, 2)
    model = Sequential(
        [
            Conv2D(3, 3, padding="same", data_format="channels_first", input_shape=(2, 6, 5)),
            BatchNormalization(axis=1),
        ]
    )
    plain = Sequential([model.layers[0]])
    w = randomize(model.layers[1])
    y = plain.predict(x)
    wanted = normalized(y, w["moving_mean"], w["moving_variance"], w["gamma"], w["beta"], 1, 1e-3)
    assert_allclose(model.predict(x, batch_size=2), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchNormalization(axis=1)(Input(shape=(None, 3))), r"Axis 1 of input tensor should have a defined"),
        (lambda: BatchNormalization(axis=4)(Input(shape=(5, 3))), r"batch_normalization_1: axis 4 does not exist"),
        (lambda: BatchNormalization(epsilom=1), r"Keyword argument not understood"),
        (lambda: BatchNormalization(1), r"`BatchNormalization` can accept only 0 positional arguments"),
        (lambda: BatchNormalization(mode=1), r"`mode` argument of `BatchNormalization` no longer exists"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_legacy_spelling() -> None:
    with pytest.warns(UserWarning, match="Update your `BatchNormalization` call"):
        layer = BatchNormalization(mode=0, beta_init="ones", gamma_init="zeros")
    assert type(layer.beta_initializer).__name__ == "Ones" and type(layer.gamma_initializer).__name__ == "Zeros"


def test_passes_masks_on() -> None:
    assert BatchNormalization().supports_masking
