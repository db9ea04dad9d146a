"""`compile`: every optimizer with its options, and losses, metrics and weights in each form that they may be given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph import losses, metrics, optimizers
from kgraph.layers import Dense, Input
from kgraph.models import Model, Sequential

pytestmark = pytest.mark.usefixtures("reference_session")

NAMES = ("SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam")
X = np.array([[3.0, -4.0, 0.0], [9.0, -2.0, 0.5]], "float32")
Y = np.zeros((2, 1), "float32")


def linear(optimizer: Any) -> Any:
    """A model whose gradient is the mean of its inputs, whatever its weights."""
    model = Sequential([Dense(1, use_bias=False, kernel_initializer="ones", input_dim=3)])
    model.compile(optimizer, lambda y_true, y_pred: K.mean(y_pred, axis=-1))
    return model


def trained(optimizer: Any, x: np.ndarray = X, rates: Any = None) -> np.ndarray:
    model = linear(optimizer)
    for step in range(4):
        if rates is not None:
            K.set_value(model.optimizer.lr, rates(step))
        model.train_on_batch(x, Y)
    return model.get_weights()[0]


# Optimizers


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Nadam"])
def test_decay_counts_updates(name: str) -> None:
    """It does to the weights what setting the rate by hand does, and leaves the rate itself alone."""
    kind = getattr(optimizers, name)
    optimizer = kind(lr=0.1, decay=0.5)
    found = trained(optimizer)
    assert_allclose(found, trained(kind(lr=7.0), rates=lambda step: 0.1 / (1 + 0.5 * step)), rtol=1e-6)
    assert not np.allclose(found, trained(kind(lr=0.1)))
    assert float(K.get_value(optimizer.lr)) == np.float32(0.1)


@pytest.mark.parametrize("name", NAMES)
def test_clipping(name: str) -> None:
    kind = getattr(optimizers, name)
    mean = X.mean(0, keepdims=True)
    for limits, gradient in (
        ({"clipnorm": 1.0}, mean / np.linalg.norm(mean)),
        ({"clipvalue": 0.5}, np.clip(mean, -0.5, 0.5)),
        ({"clipnorm": 2.0, "clipvalue": 0.5}, np.clip(2 * mean / np.linalg.norm(mean), -0.5, 0.5)),
        ({"clipnorm": 1e6}, mean),
    ):
        expected = trained(kind(lr=0.1), np.repeat(gradient, 2, 0))
        assert_allclose(trained(kind(lr=0.1, **limits)), expected, rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_setting_the_rate_needs_no_compilation(name: str) -> None:
    model = linear(getattr(optimizers, name)(lr=0.1))
    model.train_on_batch(X, Y)
    function = model.train_function
    before = model.get_weights()[0]
    K.set_value(model.optimizer.lr, 0.0)
    model.train_on_batch(X, Y)
    assert_array_equal(model.get_weights()[0], before)
    K.set_value(model.optimizer.lr, 0.1)
    model.train_on_batch(X, Y)
    assert (model.get_weights()[0] != before).any() and model.train_function is function


@pytest.mark.parametrize("name", NAMES)
def test_ways_to_name_an_optimizer(name: str) -> None:
    config = getattr(optimizers, name)().get_config()
    for given in (name, name.lower(), {"class_name": name, "config": config}, getattr(optimizers, name)()):
        model = linear(given)
        assert type(model.optimizer).__name__ == name and model.optimizer.get_config() == config


def test_amsgrad_never_forgets_a_large_gradient() -> None:
    def moved(amsgrad: bool) -> float:
        model = linear(optimizers.Adam(lr=0.1, beta_1=0.0, beta_2=0.5, amsgrad=amsgrad))
        model.train_on_batch(100 * X, Y)
        for _ in range(12):
            before = model.get_weights()[0]
            model.train_on_batch(X, Y)
        return float(np.abs(model.get_weights()[0] - before).max())

    assert moved(True) < 0.01 < moved(False)


# Losses and metrics of two outputs

BATCH = np.sin(np.arange(18.0)).reshape(6, 3).astype("float32")
LABELS = np.eye(2, dtype="float32")[np.arange(6) % 2]
NUMBERS = np.cos(np.arange(6.0)).reshape(6, 1).astype("float32")
WEIGHTS = np.array([1, 0, 2, 0.5, 0, 3], "float32")


def two() -> Any:
    x = Input((3,), name="x")
    kind = Dense(2, activation="softmax", kernel_initializer="ones", bias_initializer="ones", name="kind")(x)
    size = Dense(1, kernel_initializer="ones", name="size")(Dense(2, kernel_initializer="ones")(x))
    return Model(x, [kind, size])


def results(**settings: Any) -> dict[str, float]:
    model = two()
    model.compile("sgd", **settings)
    targets = {"kind": LABELS, "size": NUMBERS}
    values = model.evaluate(BATCH, {n: targets[n] for n in model._feed_output_names}, batch_size=6, verbose=0)
    return dict(zip(model.metrics_names, np.ravel(values).tolist(), strict=True))


CROSSENTROPY = float(np.log(2))
SQUARES = float(np.square(2 * (BATCH.sum(1, keepdims=True)) - NUMBERS).mean())
ABSOLUTES = float(np.abs(2 * (BATCH.sum(1, keepdims=True)) - NUMBERS).mean())
MIXED = {"kind": "categorical_crossentropy", "size": "mse"}


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", [0.25, SQUARES]),
        (losses.mean_squared_error, [0.25, SQUARES]),
        (["categorical_crossentropy", "mse"], [CROSSENTROPY, SQUARES]),
        ([losses.categorical_crossentropy, losses.mse], [CROSSENTROPY, SQUARES]),
        (MIXED, [CROSSENTROPY, SQUARES]),
        ({"kind": losses.categorical_crossentropy, "size": lambda a, b: K.abs(a - b)}, [CROSSENTROPY, ABSOLUTES]),
        (["categorical_crossentropy", None], [CROSSENTROPY]),
        ([None, "mse"], [SQUARES]),
    ],
)
def test_losses(loss: Any, expected: list[float]) -> None:
    found = results(loss=loss)
    alone = ["kind_loss", "size_loss"]
    if len(expected) == 1:
        alone = ["kind_loss"] if loss[0] else ["size_loss"]
    assert_allclose([found[name] for name in alone if name in found], expected, rtol=1e-4)
    assert found["loss"] == pytest.approx(sum(expected), rel=1e-4)


def test_a_dictionary_of_losses_may_leave_outputs_out() -> None:
    with pytest.warns(UserWarning, match='Output "size" missing from loss dictionary'):
        found = results(loss={"kind": "categorical_crossentropy"})
    assert found["loss"] == pytest.approx(CROSSENTROPY, rel=1e-4)


@pytest.mark.parametrize("weights", [[0.5, 3.0], {"kind": 0.5, "size": 3.0}])
def test_loss_weights(weights: Any) -> None:
    found = results(loss=MIXED, loss_weights=weights)
    assert found["loss"] == pytest.approx(0.5 * CROSSENTROPY + 3 * SQUARES, rel=1e-4)
    assert found["kind_loss"] == pytest.approx(CROSSENTROPY, rel=1e-4), "shown without its weight"


def test_loss_weights_left_out_are_one() -> None:
    found = results(loss=MIXED, loss_weights={"size": 2.0})
    assert found["loss"] == pytest.approx(CROSSENTROPY + 2 * SQUARES, rel=1e-4)


def spread(y_true: Any, y_pred: Any) -> Any:
    return K.max(y_pred) - K.min(y_pred)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["mae"], ["kind_mean_absolute_error", "size_mean_absolute_error"]),
        ([metrics.mae, spread], ["kind_mean_absolute_error", "kind_spread", "size_mean_absolute_error", "size_spread"]),
        ({"size": "mae"}, ["size_mean_absolute_error"]),
        ({"kind": ["accuracy"], "size": ["mae", spread]}, ["kind_acc", "size_mean_absolute_error", "size_spread"]),
        ({"kind": ["acc", "mse"]}, ["kind_acc", "kind_mean_squared_error"]),
        (["ce"], ["kind_ce", "size_ce"]),
    ],
)
def test_metrics(given: Any, names: list[str]) -> None:
    found = results(loss=MIXED, metrics=given)
    assert list(found)[3:] == names
    known = {"acc": {"kind": 0.5}, "ce": {"kind": CROSSENTROPY}}
    known["mean_absolute_error"] = {"kind": 0.5, "size": ABSOLUTES}
    for name in names:
        output, _, metric = name.partition("_")
        expected = known.get(metric, {}).get(output)
        assert expected is None or found[name] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", ["list", "dictionary"])
def test_weighted_metrics(form: str) -> None:
    model = two()
    weighted: Any = ["mae"] if form == "list" else {"size": "mae"}
    model.compile("sgd", MIXED, metrics={"size": "mae"}, weighted_metrics=weighted)
    values = model.evaluate(
        BATCH, [LABELS, NUMBERS], batch_size=6, verbose=0, sample_weight={"size": WEIGHTS, "kind": np.ones(6)}
    )
    found = dict(zip(model.metrics_names, values, strict=True))
    errors = np.abs(2 * BATCH.sum(1) - NUMBERS[:, 0])
    assert found["size_mean_absolute_error"] == pytest.approx(errors.mean(), rel=1e-5)
    assert found["size_weighted_mean_absolute_error"] == pytest.approx(
        (errors * WEIGHTS).sum() / np.count_nonzero(WEIGHTS), rel=1e-5
    )
    assert ("kind_weighted_mean_absolute_error" in found) == (form == "list")


@pytest.mark.parametrize("mode", [[None, "temporal"], {"size": "temporal"}])
def test_weights_of_timesteps_for_one_output(mode: Any) -> None:
    x = Input((4, 3))
    outputs = [Dense(1, kernel_initializer="ones", name=name)(x) for name in ("kind", "size")]
    model = Model(x, outputs)
    model.compile("sgd", "mae", sample_weight_mode=mode)
    data, zero = np.ones((2, 4, 3)), np.zeros((2, 4, 1))
    weights = np.array([[1.0, 0, 0, 2], [0, 0, 0, 1]])
    found = model.evaluate(data, [zero, zero], verbose=0, sample_weight={"kind": np.array([1.0, 3]), "size": weights})
    assert_allclose(found[1:], [3 * (1 + 3) / 2, 3 * 4 / 3], rtol=1e-6)
    with pytest.raises(ValueError, match="temporal"):
        model.evaluate(data, [zero, zero], verbose=0, sample_weight={"kind": weights, "size": weights})


@pytest.mark.parametrize("form", ["list", "dictionary", "one"])
def test_targets_that_are_tensors(form: str) -> None:
    model = two()
    tensors: Any = [K.constant(LABELS), K.constant(NUMBERS)]
    if form == "dictionary":
        tensors = {"kind": tensors[0], "size": tensors[1]}
    elif form == "one":
        model = Model(model.input, model.outputs[1])
        tensors = tensors[1]
    model.compile("sgd", "mse", target_tensors=tensors)
    start = model.train_on_batch(BATCH, None)
    start = start if form == "one" else start[0]
    assert start == pytest.approx(SQUARES + (0 if form == "one" else 0.25), rel=1e-4)
    model.fit(BATCH, epochs=2, batch_size=6, verbose=0)
    end = model.evaluate(BATCH, None, batch_size=6, verbose=0)
    assert (end if form == "one" else end[0]) < start


def test_only_losses_of_layers() -> None:
    x = Input((3,))
    y = Dense(2, activity_regularizer="l2", kernel_initializer="ones")(x)
    model = Model(x, y)
    model.compile("sgd", None)
    assert model.metrics_names == ["loss"]
    expected = 0.01 * 2 * np.square(BATCH.sum(1)).sum()
    assert model.evaluate(BATCH, None, batch_size=6, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert model.fit(BATCH, epochs=3, verbose=0).history["loss"][-1] < expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": {"other": "mse"}}, "other"),
        ({"loss": ["mse"]}, "it should have one entry per model output"),
        ({"loss": MIXED, "loss_weights": [1.0]}, "it should have one entry per model output"),
        ({"loss": MIXED, "loss_weights": {"other": 1.0}}, "other"),
        ({"loss": MIXED, "loss_weights": 3.0}, "Could not interpret loss_weights"),
        ({"loss": MIXED, "sample_weight_mode": ["temporal"]}, "it should have one entry per model output"),
        ({"loss": MIXED, "metrics": "mae"}, "list"),
        ({"loss": MIXED, "metrics": ["nonsense"]}, "nonsense"),
        ({"loss": MIXED, "metrics": [["acc"], ["mae"]]}, "metric function identifier"),  # later versions took these
        ({"loss": MIXED, "target_tensors": [K.ones((2, 2))]}, "target_tensors"),
    ],
)
def test_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        two().compile("sgd", **settings)
