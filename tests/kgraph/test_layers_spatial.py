"""Convolution, pooling and resizing layers of all ranks: values against sums written out, in both data formats, the
contract of layers, names of weights, legacy spellings and errors. Those for images alone have tests of their own
(`test_layers_convolutional.py`, `test_layers_pooling.py`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph import layers, regularizers
from kgraph.engine.input_layer import Input
from kgraph.engine.sequential import Sequential
from kgraph.engine.training import Model
from kgraph.utils.conv_utils import deconv_length
from kgraph.utils.test_utils import layer_test
from tests.kgraph.layer_checks import FIRST, LAST, predicted
from tests.kgraph.windows import convolved, depthwise, local, pooled, transposed, volumes


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()
    np.random.seed(3)


@dataclass(frozen=True)
class Row:
    """A layer on samples of these `sizes` (channels last) must give `wanted(x, weights, order)`, where weights are its
    kernels. It has the format of the row in `orders` (None: it takes no data format)."""

    layer: str
    sizes: tuple[int, ...]
    kwargs: dict[str, Any]
    wanted: Callable[..., Any]
    orders: tuple[str | None, ...] = (LAST, FIRST)
    bias: bool = False

    def __str__(self) -> str:
        given = [f"{value}" for value in self.kwargs.values()]
        return f"{self.layer}-{'-'.join(given)}".replace(" ", "")


def _three(settings: dict[str, Any], rank: int) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
    """Strides, padding and dilation in full."""
    strides, dilation = (settings.get(name, 1) for name in ("strides", "dilation_rate"))
    full = [(n,) * rank if isinstance(n, int) else n for n in (strides, dilation)]
    return full[0], settings.get("padding", "valid"), full[1]


def _conv(layer: str, sizes: tuple[int, ...], **settings: Any) -> Row:
    three = _three(settings, len(sizes) - 2)
    return Row(layer, sizes, settings, lambda x, w, order: convolved(x, *w, *three, order), bias=True)


def _causal(sizes: tuple[int, ...], **settings: Any) -> Row:
    (step,), _, (dilation,) = _three(settings, 1)
    before = (settings["kernel_size"] - 1) * dilation

    def wanted(x: np.ndarray, w: list[np.ndarray], order: str) -> np.ndarray:
        wide = np.pad(x, ((0, 0), (before, 0), (0, 0)))
        return convolved(wide, *w, (step,), "valid", (dilation,), order)

    return Row("Conv1D", sizes, {**settings, "padding": "causal"}, wanted, (LAST,), True)


def _up(layer: str, sizes: tuple[int, ...], **settings: Any) -> Row:
    rank = len(sizes) - 2
    strides, padding, dilation = _three(settings, rank)
    kernel, more = (settings.get(name) for name in ("kernel_size", "output_padding"))
    full = (kernel,) * rank if isinstance(kernel, int) else kernel
    extra = (more,) * rank if more is None or isinstance(more, int) else more
    arguments = zip(sizes[1:-1], strides, full, extra, dilation, strict=True)
    out = [deconv_length(n, s, k, padding, e, d) for n, s, k, e, d in arguments]
    return Row(
        layer, sizes, settings, lambda x, w, order: transposed(x, *w, out, strides, padding, dilation, order), bias=True
    )  # fmt: skip


def _separable(layer: str, sizes: tuple[int, ...], **settings: Any) -> Row:
    rank = len(sizes) - 2
    three, ones = _three(settings, rank), (1,) * rank

    def wanted(x: np.ndarray, w: list[np.ndarray], order: str) -> np.ndarray:
        return convolved(depthwise(x, w[0], *three, order), w[1], ones, "valid", ones, order)

    return Row(layer, sizes, settings, wanted, bias=True)


def _depthwise(sizes: tuple[int, ...], **settings: Any) -> Row:
    three = _three(settings, 2)
    return Row("DepthwiseConv2D", sizes, settings, lambda x, w, order: depthwise(x, *w, *three, order), bias=True)


def _pool(layer: str, sizes: tuple[int, ...], **settings: Any) -> Row:
    rank = len(sizes) - 2
    size, strides = settings.get("pool_size", 2), settings.get("strides")
    full = (size,) * rank if isinstance(size, int) else size
    steps = full if strides is None else (strides,) * rank if isinstance(strides, int) else strides
    mode, padding = "max" if layer.startswith("Max") else "avg", settings.get("padding", "valid")
    return Row(layer, sizes, settings, lambda x, w, order: pooled(x, full, steps, padding, order, mode))


def _everywhere(layer: str, rank: int, reduce: Any) -> Row:
    def wanted(x: np.ndarray, w: list[np.ndarray], order: str) -> np.ndarray:
        first = 2 if order == FIRST else 1
        return reduce(x, axis=tuple(range(first, first + rank)))

    return Row(layer, (3, 4, 5, 3, 2)[: rank + 1] + (2,), {}, wanted)


def _padded(layer: str, sizes: tuple[int, ...], pads: Any, full: Any, orders: Any = (LAST, FIRST)) -> Row:
    def wanted(x: np.ndarray, w: list[np.ndarray], order: str) -> np.ndarray:
        return np.pad(x, ((0, 0), (0, 0), *full) if order == FIRST else ((0, 0), *full, (0, 0)))

    return Row(layer, sizes, {} if pads is None else {"padding": pads}, wanted, orders)


def _cropped(layer: str, sizes: tuple[int, ...], crops: Any, full: Any, orders: Any = (LAST, FIRST)) -> Row:
    def wanted(x: np.ndarray, w: list[np.ndarray], order: str) -> np.ndarray:
        kept = [slice(a, -z or None) for a, z in full]
        return x[(slice(None),) * (2 if order == FIRST else 1) + tuple(kept)]

    return Row(layer, sizes, {} if crops is None else {"cropping": crops}, wanted, orders)


def _enlarged(layer: str, sizes: tuple[int, ...], size: Any, full: Any, orders: Any = (LAST, FIRST)) -> Row:
    def wanted(x: np.ndarray, w: list[np.ndarray], order: str) -> np.ndarray:
        for axis, factor in enumerate(full, 2 if order == FIRST else 1):
            x = x.repeat(factor, axis)
        return x

    return Row(layer, sizes, {} if size is None else {"size": size}, wanted, orders)


_SEQ, _IMG, _VOL = (3, 9, 4), (3, 7, 6, 3), (2, 5, 4, 6, 3)

ROWS: list[Row] = [
    _conv("Conv1D", _SEQ, filters=5, kernel_size=3),
    _conv("Conv1D", _SEQ, filters=2, kernel_size=(4,), strides=2, padding="same"),
    _conv("Conv1D", _SEQ, filters=3, kernel_size=2, padding="same", dilation_rate=3),
    _causal(_SEQ, filters=3, kernel_size=3),
    _causal(_SEQ, filters=3, kernel_size=2, dilation_rate=4),
    _causal(_SEQ, filters=3, kernel_size=3, strides=2),
    _conv("Conv3D", _VOL, filters=4, kernel_size=(2, 3, 2)),
    _conv("Conv3D", _VOL, filters=2, kernel_size=3, strides=(2, 1, 3), padding="same"),
    _conv("Conv3D", _VOL, filters=2, kernel_size=2, padding="same", dilation_rate=(2, 1, 3)),
    _up("Conv2DTranspose", _IMG, filters=2, kernel_size=3, strides=2, padding="same"),
    _up("Conv2DTranspose", _IMG, filters=4, kernel_size=(2, 3), strides=(3, 2)),
    _up("Conv2DTranspose", _IMG, filters=2, kernel_size=3, strides=2, padding="same", output_padding=1),
    _up("Conv2DTranspose", _IMG, filters=2, kernel_size=(3, 2), strides=(2, 3), output_padding=(0, 2)),
    _up("Conv2DTranspose", _IMG, filters=2, kernel_size=2, dilation_rate=(2, 2)),
    _up("Conv3DTranspose", (2, 2, 3, 2, 3), filters=2, kernel_size=(3, 2, 2), strides=2, padding="same"),
    _up("Conv3DTranspose", (2, 2, 3, 2, 3), filters=3, kernel_size=2, strides=(1, 2, 3)),
    _up("Conv3DTranspose", (2, 2, 3, 2, 3), filters=2, kernel_size=3, strides=(2, 2, 3), output_padding=(0, 1, 2)),
    _depthwise(_IMG, kernel_size=3),
    _depthwise(_IMG, kernel_size=(2, 3), strides=2, padding="same", depth_multiplier=2),
    _depthwise(_IMG, kernel_size=2, padding="same", dilation_rate=(2, 3)),
    _separable("SeparableConv1D", _SEQ, filters=5, kernel_size=3),
    _separable("SeparableConv1D", _SEQ, filters=3, kernel_size=2, strides=2, padding="same", depth_multiplier=3),
    _separable("SeparableConv1D", _SEQ, filters=3, kernel_size=2, dilation_rate=2),
    _separable("SeparableConv2D", _IMG, filters=5, kernel_size=(3, 2)),
    _separable("SeparableConv2D", _IMG, filters=2, kernel_size=3, strides=2, padding="same", depth_multiplier=2),
    _separable("SeparableConv2D", _IMG, filters=2, kernel_size=2, padding="same", dilation_rate=(1, 2)),
    *(_pool(f"{name}Pooling1D", _SEQ) for name in ("Max", "Average")),
    *(_pool(f"{name}Pooling1D", _SEQ, pool_size=3, strides=2, padding="same") for name in ("Max", "Average")),
    *(_pool(f"{name}Pooling3D", _VOL) for name in ("Max", "Average")),
    *(
        _pool(f"{name}Pooling3D", _VOL, pool_size=(3, 2, 3), strides=(1, 2, 2), padding="same")
        for name in ("Max", "Average")
    ),
    *(_everywhere(f"GlobalMaxPooling{rank}D", rank, np.max) for rank in (1, 3)),
    *(_everywhere(f"GlobalAveragePooling{rank}D", rank, np.mean) for rank in (1, 3)),
    _padded("ZeroPadding1D", _SEQ, None, ((1, 1),), (None,)),
    _padded("ZeroPadding1D", _SEQ, (0, 3), ((0, 3),), (None,)),
    _padded("ZeroPadding3D", _VOL, None, ((1, 1),) * 3),
    _padded("ZeroPadding3D", _VOL, (2, 0, 1), ((2, 2), (0, 0), (1, 1))),
    _padded("ZeroPadding3D", _VOL, ((1, 0), (0, 2), (1, 1)), ((1, 0), (0, 2), (1, 1))),
    _cropped("Cropping1D", _SEQ, None, ((1, 1),), (None,)),
    _cropped("Cropping1D", _SEQ, (0, 3), ((0, 3),), (None,)),
    _cropped("Cropping3D", _VOL, None, ((1, 1),) * 3),
    _cropped("Cropping3D", _VOL, (2, 0, 1), ((2, 2), (0, 0), (1, 1))),
    _cropped("Cropping3D", _VOL, ((1, 0), (0, 2), (1, 1)), ((1, 0), (0, 2), (1, 1))),
    _enlarged("UpSampling1D", _SEQ, None, (2,), (None,)),
    _enlarged("UpSampling1D", _SEQ, 3, (3,), (None,)),
    _enlarged("UpSampling3D", _VOL, None, (2, 2, 2)),
    _enlarged("UpSampling3D", _VOL, (1, 3, 2), (1, 3, 2)),
]
CASES = [(row, order) for row in ROWS for order in row.orders]


@pytest.mark.parametrize(("row", "order"), CASES, ids=lambda v: str(v))
def test_layer(row: Row, order: str | None) -> None:
    x = volumes(order or LAST, *row.sizes)
    kwargs = row.kwargs if order is None else {**row.kwargs, "data_format": order}
    if row.bias:
        kwargs = {**kwargs, "bias_initializer": "ones"}
    layer = getattr(layers, row.layer)(**kwargs)
    y = predicted(layer, x)
    *kernels, bias = layer.get_weights() if row.bias else (*layer.get_weights(), None)
    wanted = row.wanted(x, kernels, order or LAST) + (0 if bias is None else 1)
    assert y.dtype == np.float32
    assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    assert layer.output_shape[1:] == y.shape[1:]
    # Sizes that are known only when it runs.
    channels = 1 if order == FIRST else x.ndim - 1
    inputs = Input(shape=[d if a == channels else None for a, d in enumerate(x.shape)][1:])
    free = Model(inputs, layer(inputs))
    assert_allclose(free.predict(x, batch_size=2), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("row", "order"), CASES[:: 2], ids=lambda v: str(v))
def test_contract(row: Row, order: str | None) -> None:
    kwargs = row.kwargs if order is None else {**row.kwargs, "data_format": order}
    layer_test(getattr(layers, row.layer), kwargs, input_data=volumes(order or LAST, *row.sizes))


WEIGHTED: list[tuple[str, tuple[int, ...], dict[str, Any], list[str]]] = [
    ("Conv1D", (9, 4), {"filters": 2, "kernel_size": 3}, ["kernel", "bias"]),
    ("Conv3D", (5, 4, 6, 3), {"filters": 2, "kernel_size": 2}, ["kernel", "bias"]),
    ("Conv2DTranspose", (4, 5, 3), {"filters": 2, "kernel_size": 2}, ["kernel", "bias"]),
    ("Conv3DTranspose", (2, 3, 4, 3), {"filters": 2, "kernel_size": 2}, ["kernel", "bias"]),
    ("DepthwiseConv2D", (4, 5, 3), {"kernel_size": 2, "depth_multiplier": 2}, ["depthwise_kernel", "bias"]),
    ("SeparableConv1D", (9, 3), {"filters": 2, "kernel_size": 2},
     ["depthwise_kernel", "pointwise_kernel", "bias"]),
    ("SeparableConv2D", (4, 5, 3), {"filters": 2, "kernel_size": 2},
     ["depthwise_kernel", "pointwise_kernel", "bias"]),
    ("LocallyConnected1D", (9, 4), {"filters": 2, "kernel_size": 3}, ["kernel", "bias"]),
    ("LocallyConnected2D", (4, 5, 3), {"filters": 2, "kernel_size": 2}, ["kernel", "bias"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "kwargs", "weights"), WEIGHTED, ids=[w[0] for w in WEIGHTED])
def test_arguments_of_weights(name: str, shape: Any, kwargs: dict[str, Any], weights: list[str]) -> None:
    """Initializers, regularizers and constraints of each weight, the activation and its regularizer."""
    given: dict[str, Any] = {"activation": "tanh", "activity_regularizer": "l2"}
    for i, weight in enumerate(weights):
        start = weight.removesuffix("_kernel") if weight != "kernel" else "kernel"
        given[f"{start}_initializer"] = "ones" if i else "he_normal"
        given[f"{start}_regularizer"] = regularizers.l2(0.01)
        given[f"{start}_constraint"] = "non_neg"
    layer = getattr(layers, name)(**kwargs, **given, input_shape=shape)
    model = Sequential([layer])
    assert [w.name for w in layer.weights] == [f"{layer.name}/{weight}:0" for weight in weights]
    assert len(model.losses) == len(weights) + 1
    x = volumes(LAST, 4, *shape)
    plain = Sequential([getattr(layers, name)(**kwargs, input_shape=shape)])
    plain.set_weights(model.get_weights())
    assert_allclose(model.predict(x), np.tanh(plain.predict(x)), rtol=1e-4, atol=1e-5)
    model.compile("sgd", "mse")
    model.train_on_batch(x, np.ones((4, *layer.output_shape[1:]), np.float32))
    assert all((w >= 0).all() for w in layer.get_weights())
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    without = getattr(layers, name)(**kwargs, use_bias=False, input_shape=shape)
    Sequential([without])
    assert len(without.weights) == len(weights) - 1 and without.bias is None


@pytest.mark.parametrize("strides", [1, 2])
def test_locally_connected_1d(strides: int) -> None:
    x = volumes(LAST, 3, 8, 2)
    layer = layers.LocallyConnected1D(4, 3, strides=strides, bias_initializer="normal")
    y = predicted(layer, x)
    kernel, bias = layer.get_weights()
    steps = (8 - 3) // strides + 1
    assert kernel.shape == (steps, 6, 4) and bias.shape == (steps, 4)
    assert_allclose(y, local(x, kernel, (3,), (strides,), LAST) + bias, rtol=1e-4, atol=1e-5)
    layer_test(layers.LocallyConnected1D, {"filters": 2, "kernel_size": 3, "strides": strides}, input_data=x)
    layer_test(
        layers.LocallyConnected1D,
        {"filters": 2, "kernel_size": 3, "kernel_regularizer": "l2", "use_bias": False, "activation": "relu"},
        input_data=x,
    )


def test_locally_connected_1d_ignores_data_formats() -> None:
    K.set_image_data_format(FIRST)
    try:
        x = volumes(LAST, 3, 8, 2)
        layer = layers.LocallyConnected1D(4, 3, bias_initializer="normal")
        kernel_and_bias = predicted(layer, x), *layer.get_weights()
    finally:
        K.set_image_data_format(LAST)
    y, kernel, bias = kernel_and_bias
    assert_allclose(y, local(x, kernel, (3,), (1,), LAST) + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", (LAST, FIRST))
def test_locally_connected_2d(order: str) -> None:
    x = volumes(order, 3, 6, 7, 2)
    layer = layers.LocallyConnected2D(5, (2, 3), strides=(2, 1), data_format=order, bias_initializer="normal")
    y = predicted(layer, x)
    kernel, bias = layer.get_weights()
    assert kernel.shape == (15, 12, 5) and bias.shape == (3, 5, 5)
    assert (layer.output_row, layer.output_col) == (3, 5)
    placed = bias.reshape(5, 3, 5) if order == FIRST else bias
    assert_allclose(y, local(x, kernel, (2, 3), (2, 1), order) + placed, rtol=1e-4, atol=1e-5)
    assert layer.output_shape == ((None, 5, 3, 5) if order == FIRST else (None, 3, 5, 5))
    kwargs = {"filters": 3, "kernel_size": 2, "strides": 2, "data_format": order, "activation": "tanh"}
    layer_test(layers.LocallyConnected2D, kwargs, input_data=x)


@pytest.mark.parametrize("order", (LAST, FIRST))
def test_average_over_steps_that_are_not_masked(order: str) -> None:
    x = volumes(LAST, 3, 5, 2)
    x[0, 3:], x[1, :2] = 0, 0
    inputs = Input((5, 2))
    masked = layers.Masking()(inputs)
    if order == FIRST:
        masked = _KeepsMask()(masked)
    model = Model(inputs, layers.GlobalAveragePooling1D(order)(masked))
    wanted = [x[0, :3].mean(0), x[1, 2:].mean(0), x[2].mean(0)]
    assert_allclose(model.predict(x), wanted, rtol=1e-5)
    assert model.layers[-1].output_mask is None


class _KeepsMask(layers.Layer):
    """Swaps steps and features, and keeps the mask of the steps."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        return K.permute_dimensions(inputs, (0, 2, 1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[2], input_shape[1])


@pytest.mark.parametrize("order", (LAST, FIRST))
def test_upsampling_bilinear(order: str) -> None:
    x = volumes(order, 2, 3, 4, 2)
    layer = layers.UpSampling2D((2, 3), data_format=order, interpolation="bilinear")
    y = predicted(layer, x)
    rows, columns = (2, 3) if order == FIRST else (1, 2)
    assert layer.output_shape[1:] == y.shape[1:]
    assert_allclose(np.take(np.take(y, range(0, 6, 2), rows), range(0, 12, 3), columns), x, rtol=1e-6)
    between = (np.take(x, [0], rows) + np.take(x, [1], rows)) / 2
    assert_allclose(np.take(np.take(y, [1], rows), range(0, 12, 3), columns), between, rtol=1e-5, atol=1e-6)
    layer_test(layers.UpSampling2D, {"size": 2, "interpolation": "bilinear", "data_format": order}, input_data=x)


def test_aliases_and_default_names() -> None:
    same = {
        "Conv1D": ["Convolution1D"], "Conv2D": ["Convolution2D"], "Conv3D": ["Convolution3D"],
        "Conv2DTranspose": ["Convolution2DTranspose", "Deconvolution2D", "Deconv2D"],
        "Conv3DTranspose": ["Deconvolution3D", "Deconv3D"], "SeparableConv1D": ["SeparableConvolution1D"],
        "SeparableConv2D": ["SeparableConvolution2D"], "MaxPooling1D": ["MaxPool1D"], "MaxPooling3D": ["MaxPool3D"],
        "AveragePooling1D": ["AvgPool1D"], "AveragePooling3D": ["AvgPool3D"],
        "GlobalMaxPooling1D": ["GlobalMaxPool1D"], "GlobalAveragePooling3D": ["GlobalAvgPool3D"],
    }  # fmt: skip
    for name, others in same.items():
        for other in others:
            assert getattr(layers, other) is getattr(layers, name)
    assert layers.SeparableConv1D(1, 1).name == "separable_conv1d_1"
    assert layers.DepthwiseConv2D(1).name == "depthwise_conv2d_1"
    assert layers.Conv3DTranspose(1, 1).name == "conv3d_transpose_1"


LEGACY: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
    (
        lambda: layers.Conv1D(4, filter_length=3, subsample_length=2, border_mode="same", input_dim=5, input_length=9),
        lambda: layers.Conv1D(4, 3, strides=2, padding="same", input_shape=(9, 5)),
    ),
    (
        lambda: layers.Conv1D(nb_filter=4, filter_length=3, input_dim=5),
        lambda: layers.Conv1D(4, 3, input_shape=(None, 5)),
    ),
    (
        lambda: layers.Conv3D(4, 3, 2, 1, subsample=(1, 2, 1), dim_ordering="th", init="normal"),
        lambda: layers.Conv3D(4, (3, 2, 1), strides=(1, 2, 1), data_format=FIRST, kernel_initializer="normal"),
    ),
    (lambda: layers.Conv3D(4, 3, 2, kernel_dim3=5), lambda: layers.Conv3D(4, (3, 2, 5))),
    (lambda: layers.Conv3D(4, kernel_dim1=3, kernel_dim2=2, kernel_dim3=5), lambda: layers.Conv3D(4, (3, 2, 5))),
    (
        lambda: layers.Deconvolution2D(4, 3, 2, (None, 9, 9, 4), subsample=(2, 2), border_mode="same"),
        lambda: layers.Conv2DTranspose(4, (3, 2), strides=(2, 2), padding="same"),
    ),
    (
        lambda: layers.Deconvolution2D(4, 3, 2, output_shape=(None, 9, 9, 4)),
        lambda: layers.Conv2DTranspose(4, (3, 2)),
    ),
    (
        lambda: layers.SeparableConvolution2D(4, 3, 2, init="normal", bias=False),
        lambda: layers.SeparableConv2D(
            4, (3, 2), depthwise_initializer="normal", pointwise_initializer="normal", use_bias=False
        ),
    ),
    (lambda: layers.LocallyConnected1D(4, filter_length=3), lambda: layers.LocallyConnected1D(4, 3)),
    (
        lambda: layers.LocallyConnected2D(4, 3, 2, bias=False),
        lambda: layers.LocallyConnected2D(4, (3, 2), use_bias=False),
    ),
    (lambda: layers.UpSampling1D(length=3), lambda: layers.UpSampling1D(3)),
    (lambda: layers.UpSampling3D(dim_ordering="th"), lambda: layers.UpSampling3D(data_format=FIRST)),
    (lambda: layers.ZeroPadding3D(2, dim_ordering="tf"), lambda: layers.ZeroPadding3D(2)),
    (lambda: layers.Cropping3D(1, dim_ordering="th"), lambda: layers.Cropping3D(1, data_format=FIRST)),
    (
        lambda: layers.MaxPooling1D(pool_length=3, stride=2, border_mode="same"),
        lambda: layers.MaxPooling1D(3, 2, "same"),
    ),
    (lambda: layers.AveragePooling3D(border_mode="same"), lambda: layers.AveragePooling3D(padding="same")),
    (lambda: layers.GlobalMaxPooling3D(dim_ordering="th"), lambda: layers.GlobalMaxPooling3D(FIRST)),
    (lambda: layers.AtrousConvolution1D(4, 3, atrous_rate=2), lambda: layers.Conv1D(4, 3, dilation_rate=2)),
    (
        lambda: layers.AtrousConvolution2D(4, 3, 3, atrous_rate=(2, 2)),
        lambda: layers.Conv2D(4, (3, 3), dilation_rate=(2, 2)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), LEGACY, ids=range(len(LEGACY)))
def test_legacy_spellings(old: Callable[[], Any], new: Callable[[], Any]) -> None:
    with pytest.warns(UserWarning):
        found = old()
    K.clear_session()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted = new()
    config, expected = found.get_config(), wanted.get_config()
    assert {**config, "name": ""} == {**expected, "name": ""}
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv1D(2, 3, padding="causal", data_format=FIRST), "causal padding in `Conv1D`"),
        (lambda: layers.Conv1D(2, 3)(Input((5, 5, 2))), "conv1d_1: expected ndim=3, found ndim=4"),
        (lambda: layers.Conv1D(2, 3)(Input((5, None))), "channel dimension of the inputs should be defined"),
        (lambda: layers.Conv3D(2, (3, 3)), r"`kernel_size` argument must be a tuple of 3 integers. Received: \(3, 3\)"),
        (lambda: layers.Conv3D(2, 5)(Input((4, 6, 6, 1))), "conv3d_1"),
        (lambda: layers.Conv3D(2, 3, 3, padding="same"), "Keras 2 reads as"),
        (lambda: layers.Conv2DTranspose(2, 3, strides=2, output_padding=2), "must be greater than output padding"),
        (lambda: layers.Conv2DTranspose(2, 3, output_padding=(1, 1, 1)), "`output_padding` argument must be a tuple"),
        (lambda: layers.DepthwiseConv2D(3)(Input((5, 5))), "depthwise_conv2d_1"),
        (lambda: layers.SeparableConv1D(2, 3, padding="causal")(Input((5, 2))), "Invalid padding: causal"),
        (lambda: layers.LocallyConnected1D(2, 3, padding="same"),
         'LocallyConnected1D .only "valid" is supported.: same'),
        (lambda: layers.LocallyConnected2D(2, 3)(Input((None, 5, 2))), r"fully-defined.*\(None, None, 5, 2\)"),
        (lambda: layers.Cropping1D((5, 5))(Input((9, 2))), "cropping1d_1"),
        (lambda: layers.Cropping3D((1, 2)), "`cropping` should have 3 elements. Found:"),
        (lambda: layers.ZeroPadding3D(1.5), "either an int, a tuple of 3 ints"),
        (lambda: layers.ZeroPadding1D((1, 2, 3)), "`padding` argument must be a tuple of 2 integers"),
        (lambda: layers.MaxPooling3D(6)(Input((5, 5, 5, 1))), "max_pooling3d_1"),
        (lambda: layers.MaxPooling1D((2, 2)), "`pool_size` argument must be a tuple of 1 integers"),
    ],
)  # fmt: skip
def test_bad_arguments(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
