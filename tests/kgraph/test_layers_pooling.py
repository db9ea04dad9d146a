"""Pooling layers against direct numpy computations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.engine.input_layer import Input
from kgraph.engine.sequential import Sequential
from kgraph.engine.training import Model
from kgraph.layers import pooling
from kgraph.layers.pooling import AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D
from kgraph.utils.test_utils import layer_test
from tests.kgraph.layer_checks import FIRST, LAST, from_last, images, margins, predicted, to_last, without_tuples

FORMATS = (LAST, FIRST)


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()
    np.random.seed(3)


def pooled(
    x: np.ndarray, size: tuple[int, int], strides: tuple[int, int], padding: str, order: str, reduce: Any
) -> np.ndarray:
    """Pooling one window at a time; padding is NaN, which `reduce` leaves out."""
    x = to_last(x, order)
    top, bottom, rows = margins(x.shape[1], size[0], strides[0], padding)
    left, right, columns = margins(x.shape[2], size[1], strides[1], padding)
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=np.nan)
    out = np.zeros((len(x), rows, columns, x.shape[3]))
    for i, j in itertools.product(range(rows), range(columns)):
        p, q = i * strides[0], j * strides[1]
        out[:, i, j] = reduce(x[:, p : p + size[0], q : q + size[1]], axis=(1, 2))
    return from_last(out, order)


GEOMETRIES = [
    # pool_size, strides, padding
    (2, None, "valid"),
    (2, None, "same"),
    ((3, 2), None, "same"),
    ((3, 2), (1, 2), "valid"),
    (3, 2, "same"),
    ((2, 3), (3, 1), "same"),
    (1, 2, "valid"),
    ((9, 7), None, "valid"),
]


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize(("size", "strides", "padding"), GEOMETRIES)
@pytest.mark.parametrize(("layer_class", "reduce"), [(MaxPooling2D, np.nanmax), (AveragePooling2D, np.nanmean)])
def test_values(layer_class: Any, reduce: Any, size: Any, strides: Any, padding: str, order: str) -> None:
    x = images(order)
    layer = layer_class(size, strides, padding, data_format=order)
    full = (size, size) if isinstance(size, int) else size
    steps = full if strides is None else (strides, strides) if isinstance(strides, int) else strides
    wanted = pooled(x, full, steps, padding, order, reduce)
    y = predicted(layer, x)
    assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)
    assert layer.output_shape[1:] == y.shape[1:] and layer.strides == steps
    assert_allclose(predicted(layer, x[:1]), y[:1])
    kwargs = {"pool_size": size, "strides": strides, "padding": padding, "data_format": order}
    layer_test(layer_class, kwargs, input_data=x, expected_output=wanted)


def test_padding_wins_no_maximum() -> None:
    x = -np.ones((1, 3, 3, 1), np.float32)
    assert predicted(MaxPooling2D(2, padding="same"), x).max() == -1
    assert predicted(AveragePooling2D(2, padding="same"), x).max() == -1


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize(
    ("layer_class", "reduce"), [(GlobalMaxPooling2D, np.max), (GlobalAveragePooling2D, np.mean)]
)
def test_global_pooling(layer_class: Any, reduce: Any, order: str) -> None:
    x = images(order)
    wanted = reduce(to_last(x, order), axis=(1, 2))
    layer = layer_class(data_format=order)
    assert_allclose(predicted(layer, x), wanted, rtol=1e-5, atol=1e-6)
    assert layer.output_shape == (None, 3)
    layer_test(layer_class, {"data_format": order}, input_data=x, expected_output=wanted)


@pytest.mark.parametrize(
    ("layer_class", "wanted"),
    [(MaxPooling2D, (None, None, None, 2)), (AveragePooling2D, (None, None, None, 2)), (GlobalMaxPooling2D, (None, 2)),
     (GlobalAveragePooling2D, (None, 2))],
)  # fmt: skip
def test_sizes_known_only_when_it_runs(layer_class: Any, wanted: Any) -> None:
    inputs = Input(shape=(None, None, 2))
    layer = layer_class()
    model = Model(inputs, layer(inputs))
    assert layer.output_shape == wanted
    for size in ((4, 6), (5, 3)):
        x = images(LAST, 3, *size, 2)
        assert_allclose(model.predict(x), predicted(layer_class(), x), rtol=1e-6)


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize("layer_class", [MaxPooling2D, AveragePooling2D, GlobalMaxPooling2D, GlobalAveragePooling2D])
def test_gradient(layer_class: Any, order: str) -> None:
    """The gradient of sum(y * weights) against differences of the forward pass."""
    kwargs: dict[str, Any] = {"data_format": order}
    if layer_class in (MaxPooling2D, AveragePooling2D):
        kwargs.update(pool_size=(3, 2), strides=(2, 1), padding="same")
    x = images(order, 2, 5, 4, 2)
    inputs = Input(shape=x.shape[1:])
    y = layer_class(**kwargs)(inputs)
    factor = np.random.default_rng(1).standard_normal(y._keras_shape[1:]).astype(np.float32)
    total = K.sum(y * K.constant(factor))
    both = K.function([inputs], [total, *K.gradients(total, [inputs])])
    slope = both([x])[1]
    for at in itertools.islice(np.ndindex(*x.shape), 0, None, 7):
        step = np.zeros_like(x)
        step[at] = 1e-2
        difference = (both([x + step])[0] - both([x - step])[0]) / 2e-2
        assert_allclose(slope[at], difference, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (
            lambda: MaxPooling2D(),
            {"pool_size": (2, 2), "padding": "valid", "strides": (2, 2), "data_format": LAST},
        ),
        (
            lambda: MaxPooling2D((2, 3), strides=1, padding="same", data_format="channels_first"),
            {"pool_size": (2, 3), "padding": "same", "strides": (1, 1), "data_format": FIRST},
        ),
        (
            lambda: AveragePooling2D(3, (1, 2)),
            {"pool_size": (3, 3), "padding": "valid", "strides": (1, 2), "data_format": LAST},
        ),
        (lambda: GlobalMaxPooling2D(), {"data_format": LAST}),
        (lambda: GlobalAveragePooling2D("channels_first"), {"data_format": FIRST}),
    ],
)
def test_configs(make: Any, wanted: dict[str, Any]) -> None:
    layer = make()
    config = layer.get_config()
    assert config == {"name": layer.name, "trainable": True, **wanted}
    assert list(config) == ["name", "trainable", *wanted]
    assert type(layer).from_config(without_tuples(config)).get_config() == config


def test_names() -> None:
    assert pooling.MaxPool2D is MaxPooling2D and pooling.AvgPool2D is AveragePooling2D
    assert pooling.GlobalMaxPool2D is GlobalMaxPooling2D and pooling.GlobalAvgPool2D is GlobalAveragePooling2D
    names = [c().name for c in (MaxPooling2D, AveragePooling2D, GlobalMaxPooling2D, GlobalAveragePooling2D)]
    assert names == [
        "max_pooling2d_1", "average_pooling2d_1", "global_max_pooling2d_1", "global_average_pooling2d_1"
    ]  # fmt: skip
    assert not MaxPooling2D(input_shape=(4, 4, 1)).weights


def test_legacy_spellings() -> None:
    with pytest.warns(UserWarning) as caught:
        layer = MaxPooling2D((2, 2), border_mode="same", dim_ordering="th")
        everywhere = GlobalAveragePooling2D(dim_ordering="th")
    assert (layer.padding, layer.data_format, everywhere.data_format) == ("same", FIRST, FIRST)
    assert str(caught[0].message) == (
        'Update your `MaxPooling2D` call to the Keras 2 API: `MaxPooling2D((2, 2), padding="same", '
        'data_format="channels_first")`'
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxPooling2D((1, 2, 3)), r"`pool_size` argument must be a tuple of 2 integers. Received: \(1, 2, 3\)"),
        (lambda: MaxPooling2D(2, strides="a"), r"`strides` argument must be a tuple of 2 integers. Received: a"),
        (lambda: AveragePooling2D(padding="half"), r'must be one of "valid", "same".*Received: half'),
        (lambda: GlobalMaxPooling2D(data_format="nchw"), r'"channels_first", "channels_last". Received: nchw'),
        (lambda: MaxPooling2D()(Input(shape=(5, 5))), r"max_pooling2d_1: expected ndim=4, found ndim=3"),
        (lambda: MaxPooling2D(6)(Input(shape=(5, 5, 1))), r"max_pooling2d_1"),
        (lambda: MaxPooling2D(padding="causal")(Input(shape=(5, 5, 1))), r"causal"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_in_a_sequential_model() -> None:
    model = Sequential([MaxPooling2D(2, input_shape=(6, 6, 2)), AveragePooling2D(), GlobalMaxPooling2D()])
    x = images(LAST, 3, 6, 6, 2)
    first = pooled(x, (2, 2), (2, 2), "valid", LAST, np.nanmax)
    wanted = pooled(first, (2, 2), (2, 2), "valid", LAST, np.nanmean).max(axis=(1, 2))
    assert_allclose(model.predict(x, batch_size=2), wanted, rtol=1e-5)
