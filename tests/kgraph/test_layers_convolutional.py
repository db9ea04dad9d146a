"""Conv2D, ZeroPadding2D, Cropping2D and UpSampling2D against direct numpy computations."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.engine.input_layer import Input
from kgraph.engine.sequential import Sequential
from kgraph.engine.training import Model
from kgraph.layers.convolutional import Conv2D, Convolution2D, Cropping2D, UpSampling2D, ZeroPadding2D
from kgraph.utils.test_utils import layer_test
from tests.kgraph.layer_checks import FIRST, LAST, from_last, images, margins, predicted, to_last, without_tuples

FORMATS = (LAST, FIRST)


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    K.clear_session()
    np.random.seed(3)


def convolved(
    x: np.ndarray, kernel: np.ndarray, strides: tuple[int, int], padding: str, dilation: tuple[int, int], order: str
) -> np.ndarray:
    """A convolution, one output pixel at a time."""
    x = to_last(x, order).astype(np.float64)
    kh, kw = ((k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True))
    top, bottom, rows = margins(x.shape[1], kh, strides[0], padding)
    left, right, columns = margins(x.shape[2], kw, strides[1], padding)
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    out = np.zeros((len(x), rows, columns, kernel.shape[3]))
    for i, j in itertools.product(range(rows), range(columns)):
        p, q = i * strides[0], j * strides[1]
        window = x[:, p : p + kh : dilation[0], q : q + kw : dilation[1]]
        out[:, i, j] = np.einsum("nhwc,hwco->no", window, kernel)
    return from_last(out, order)


GEOMETRIES = [
    # kernel, strides, padding, dilation
    ((3, 3), (1, 1), "valid", (1, 1)),
    ((3, 3), (1, 1), "same", (1, 1)),
    ((2, 4), (1, 1), "same", (1, 1)),
    ((3, 2), (2, 3), "same", (1, 1)),
    ((3, 2), (2, 3), "valid", (1, 1)),
    ((3, 2), (1, 1), "valid", (2, 3)),
    ((3, 3), (1, 1), "same", (2, 1)),
    ((1, 1), (1, 1), "valid", (1, 1)),
    ((1, 1), (2, 2), "same", (1, 1)),
    ((9, 7), (1, 1), "valid", (1, 1)),
]


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize(("kernel", "strides", "padding", "dilation"), GEOMETRIES)
def test_conv2d_values(kernel: Any, strides: Any, padding: str, dilation: Any, order: str) -> None:
    x = images(order)
    layer = Conv2D(
        4, kernel, strides=strides, padding=padding, dilation_rate=dilation, data_format=order,
        bias_initializer="ones",
    )  # fmt: skip
    y = predicted(layer, x)
    weights, bias = layer.get_weights()
    assert weights.shape == (*kernel, 3, 4) and bias.tolist() == [1, 1, 1, 1]
    wanted = convolved(x, weights, strides, padding, dilation, order) + 1
    assert y.dtype == np.float32
    assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    assert layer.output_shape[1:] == y.shape[1:]
    assert_allclose(predicted(layer, x[:1]), y[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize(("kernel", "strides", "padding", "dilation"), GEOMETRIES[:6])
def test_conv2d_contract(kernel: Any, strides: Any, padding: str, dilation: Any, order: str) -> None:
    kwargs = {
        "filters": 2, "kernel_size": kernel, "strides": strides, "padding": padding, "dilation_rate": dilation,
        "data_format": order, "use_bias": False,
    }  # fmt: skip
    layer_test(Conv2D, kwargs, input_data=images(order, samples=3))


def test_conv2d_activation_and_no_bias() -> None:
    x = images(LAST)
    layer = Conv2D(4, 3, activation="relu", use_bias=False)
    y = predicted(layer, x)
    (kernel,) = layer.get_weights()
    assert layer.bias is None
    assert_allclose(y, np.maximum(convolved(x, kernel, (1, 1), "valid", (1, 1), LAST), 0), rtol=1e-4, atol=1e-5)
    layer_test(Conv2D, {"filters": 2, "kernel_size": 3, "activation": "tanh"}, input_shape=(2, 5, 4, 3))


def test_conv2d_sizes_known_only_when_it_runs() -> None:
    inputs = Input(shape=(None, None, 3))
    layer = Conv2D(2, 3, strides=2, padding="same")
    model = Model(inputs, layer(inputs))
    assert layer.output_shape == (None, None, None, 2)
    for size in ((4, 6), (5, 3), (1, 1)):
        x = images(LAST, 3, *size)
        wanted = convolved(x, layer.get_weights()[0], (2, 2), "same", (1, 1), LAST)
        assert_allclose(model.predict(x, batch_size=2), wanted, rtol=1e-4, atol=1e-5)


def test_conv2d_weights_names_and_order() -> None:
    layer = Conv2D(4, 3, input_shape=(9, 7, 3))
    model = Sequential([layer])
    assert [w.name for w in model.weights] == ["conv2d_1/kernel:0", "conv2d_1/bias:0"]
    assert layer.count_params() == 4 * 27 + 4
    kernel, bias = layer.get_weights()
    limit = np.sqrt(6 / (27 + 36))
    assert np.abs(kernel).max() <= limit < 1.1 * np.abs(kernel).max() and not bias.any()
    other = Conv2D(4, 3, weights=[kernel, bias + 2], input_shape=(9, 7, 3))
    Sequential([other])
    assert_allclose(other.get_weights()[1], 2)


def test_conv2d_regularizers_in_the_loss() -> None:
    """Loss of a step = mean square error + penalties; the activity penalty is a sum over the whole batch."""
    layer = Conv2D(
        2, 2, kernel_regularizer="l2", bias_regularizer="l1", activity_regularizer="l2", bias_initializer="ones",
        input_shape=(4, 3, 1),
    )  # fmt: skip
    model = Sequential([layer])
    model.compile("sgd", "mse")
    kernel, bias = layer.get_weights()
    x = images(LAST, 3, 4, 3, 1)
    y = convolved(x, kernel, (1, 1), "valid", (1, 1), LAST) + bias
    assert len(model.losses) == 3
    wanted = np.mean(y**2) + 0.01 * (np.sum(kernel**2) + np.sum(np.abs(bias)) + np.sum(y**2))
    assert_allclose(model.test_on_batch(x, np.zeros_like(y)), wanted, rtol=1e-4)
    config = layer.get_config()
    assert config["kernel_regularizer"]["class_name"] == "L1L2"
    assert Conv2D.from_config(config).get_config() == config


def test_conv2d_constraints_hold_after_a_step() -> None:
    layer = Conv2D(2, 2, kernel_constraint="unit_norm", bias_constraint="non_neg", input_shape=(4, 3, 1))
    model = Sequential([layer])
    model.compile("sgd", "mse")
    x = images(LAST, 3, 4, 3, 1)
    model.train_on_batch(x, -np.ones((3, 3, 2, 2)))
    kernel, bias = layer.get_weights()
    assert_allclose(np.sqrt(np.sum(kernel**2, axis=0)), 1, rtol=1e-4)
    assert bias.min() >= 0


@pytest.mark.parametrize("order", FORMATS)
def test_conv2d_step_of_sgd(order: str) -> None:
    """One step against finite differences of the numpy loss."""
    layer = Conv2D(
        2, (2, 3), strides=(2, 1), padding="same", data_format=order, input_shape=images(order, 3, 4, 3, 2).shape[1:]
    )
    model = Sequential([layer])
    model.compile("sgd", "mse")
    x = images(order, 3, 4, 3, 2)
    kernel = layer.get_weights()[0].astype(np.float64)
    target = np.ones(convolved(x, kernel, (2, 1), "same", (1, 1), order).shape)

    def loss(w: np.ndarray) -> float:
        return float(np.mean((convolved(x, w, (2, 1), "same", (1, 1), order) - target) ** 2))

    slope = np.zeros_like(kernel)
    for at in np.ndindex(*kernel.shape):
        step = np.zeros_like(kernel)
        step[at] = 1e-4
        slope[at] = (loss(kernel + step) - loss(kernel - step)) / 2e-4
    assert_allclose(model.train_on_batch(x, target), loss(kernel), rtol=1e-5)
    assert_allclose(layer.get_weights()[0], kernel - 0.01 * slope, rtol=1e-4, atol=1e-6)


def test_conv2d_legacy_spelling() -> None:
    with pytest.warns(UserWarning, match=r"Update your `Conv2D` call") as caught:
        layer = Convolution2D(32, 3, 3, border_mode="same", dim_ordering="tf", subsample=(2, 2))
    assert str(caught[0].message) == (
        'Update your `Conv2D` call to the Keras 2 API: `Conv2D(32, (3, 3), strides=(2, 2), padding="same", '
        'data_format="channels_last")`'
    )
    assert (layer.kernel_size, layer.padding, layer.data_format, layer.strides) == ((3, 3), "same", LAST, (2, 2))


VARIANCE_SCALING = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None},
}
CONV2D_CONFIG = {
    "name": "conv2d_1", "trainable": True, "batch_input_shape": (None, 3, 8, 8), "dtype": "float32", "filters": 4,
    "kernel_size": (3, 2), "strides": (2, 1), "padding": "same", "data_format": "channels_first",
    "dilation_rate": (1, 1), "activation": "tanh", "use_bias": True, "kernel_initializer": VARIANCE_SCALING,
    "bias_initializer": {"class_name": "Zeros", "config": {}}, "kernel_regularizer": None, "bias_regularizer": None,
    "activity_regularizer": None, "kernel_constraint": None, "bias_constraint": None,
}  # fmt: skip


def test_conv2d_config() -> None:
    layer = Conv2D(
        4, (3, 2), strides=(2, 1), padding="same", data_format="channels_first", dilation_rate=1, activation="tanh",
        input_shape=(3, 8, 8),
    )  # fmt: skip
    assert layer.get_config() == CONV2D_CONFIG
    assert list(layer.get_config()) == list(CONV2D_CONFIG)
    again = Conv2D.from_config(without_tuples(CONV2D_CONFIG))
    assert again.get_config() == CONV2D_CONFIG


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"kernel_size": (3, 3, 3)}, "The `kernel_size` argument must be a tuple of 2 integers. Received: (3, 3, 3)"),
        ({"strides": (1, 2, 3)}, "The `strides` argument must be a tuple of 2 integers. Received: (1, 2, 3)"),
        (
            {"padding": "half"},
            'The `padding` argument must be one of "valid", "same" (or "causal" for Conv1D). Received: half',
        ),
        (
            {"data_format": "nchw"},
            'The `data_format` argument must be one of "channels_first", "channels_last". Received: nchw',
        ),
        ({"activation": "nonsense"}, "nonsense"),
        ({"filter": 3}, "filter"),
    ],
)
def test_conv2d_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        Conv2D(**{"filters": 3, "kernel_size": 3, **kwargs})
    assert str(caught.value) == message if " " in message else message in str(caught.value)


def test_conv2d_bad_inputs() -> None:
    with pytest.raises(ValueError, match=r"channel dimension of the inputs should be defined.*conv2d_1"):
        Conv2D(3, 3)(Input(shape=(5, 5, None)))
    with pytest.raises(ValueError, match=r"Input 0 is incompatible with layer conv2d_2: expected ndim=4, found ndim=3"):
        Conv2D(3, 3)(Input(shape=(5, 5)))
    layer = Conv2D(3, 3)
    layer(Input(shape=(5, 5, 2)))
    with pytest.raises(ValueError, match=r"conv2d_3: expected axis -1 of input shape to have value 2 but got"):
        layer(Input(shape=(5, 5, 1)))
    with pytest.raises(ValueError, match=r"causal"):
        Conv2D(3, 3, padding="causal")(Input(shape=(5, 5, 2)))
    with pytest.raises(ValueError, match=r"conv2d_5"):
        Conv2D(3, 6)(Input(shape=(5, 5, 2)))


# Padding, cropping, enlarging


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize(
    ("padding", "full"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 3), ((1, 1), (3, 3))),
        (((0, 2), (3, 1)), ((0, 2), (3, 1))),
        (((0, 0), (0, 0)), ((0, 0), (0, 0))),
    ],
)
def test_zero_padding(padding: Any, full: Any, order: str) -> None:
    x = images(order, samples=3)
    wanted = from_last(np.pad(to_last(x, order), ((0, 0), *full, (0, 0))), order)
    layer = ZeroPadding2D(padding, data_format=order)
    assert layer.padding == full and layer.get_config()["padding"] == full
    assert_allclose(predicted(layer, x), wanted)
    layer_test(ZeroPadding2D, {"padding": padding, "data_format": order}, input_data=x, expected_output=wanted)


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize(
    ("cropping", "full"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 3), ((1, 1), (3, 3))),
        (((0, 2), (3, 1)), ((0, 2), (3, 1))),
        (((0, 0), (0, 0)), ((0, 0), (0, 0))),
    ],
)
def test_cropping(cropping: Any, full: Any, order: str) -> None:
    x = images(order, samples=3)
    (top, bottom), (left, right) = full
    wanted = from_last(to_last(x, order)[:, top : 9 - bottom, left : 7 - right], order)
    layer = Cropping2D(cropping, data_format=order)
    assert layer.cropping == full and layer.get_config()["cropping"] == full
    assert_allclose(predicted(layer, x), wanted)
    layer_test(Cropping2D, {"cropping": cropping, "data_format": order}, input_data=x, expected_output=wanted)


@pytest.mark.parametrize("layer_class", [ZeroPadding2D, Cropping2D, UpSampling2D])
def test_sizes_known_only_when_it_runs(layer_class: Any) -> None:
    inputs = Input(shape=(None, None, 2))
    layer = layer_class(2)
    model = Model(inputs, layer(inputs))
    assert layer.output_shape == (None, None, None, 2)
    fixed = layer_class(2)
    for size in ((5, 6), (7, 5)):
        x = images(LAST, 3, *size, 2)
        assert_allclose(model.predict(x), predicted(fixed, x))


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize("size", [2, (2, 3), (1, 2)])
def test_up_sampling_nearest(size: Any, order: str) -> None:
    x = images(order, samples=3, height=3, width=5)
    rows, columns = (size, size) if isinstance(size, int) else size
    wanted = from_last(to_last(x, order).repeat(rows, axis=1).repeat(columns, axis=2), order)
    assert_allclose(predicted(UpSampling2D(size, data_format=order), x), wanted)
    layer_test(UpSampling2D, {"size": size, "data_format": order}, input_data=x, expected_output=wanted)


def bilinear(x: np.ndarray, factor: int, axis: int) -> np.ndarray:
    """Pixel i of the result lies at i / factor of the source; beyond the last pixel its value goes on."""
    at = np.arange(x.shape[axis] * factor) / factor
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (at - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return x.take(low, axis) * (1 - share) + x.take(high, axis) * share


@pytest.mark.parametrize("order", FORMATS)
@pytest.mark.parametrize("size", [2, (2, 3), (3, 1)])
def test_up_sampling_bilinear(size: Any, order: str) -> None:
    x = images(order, samples=3, height=3, width=4)
    rows, columns = (size, size) if isinstance(size, int) else size
    wanted = from_last(bilinear(bilinear(to_last(x, order).astype(np.float64), rows, 1), columns, 2), order)
    kwargs = {"size": size, "data_format": order, "interpolation": "bilinear"}
    assert_allclose(predicted(UpSampling2D(**kwargs), x), wanted, rtol=1e-5, atol=1e-6)
    layer_test(UpSampling2D, kwargs, input_data=x)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: UpSampling2D(), {"size": (2, 2), "data_format": LAST, "interpolation": "nearest"}),
        (
            lambda: UpSampling2D((2, 3), interpolation="bilinear"),
            {"size": (2, 3), "data_format": LAST, "interpolation": "bilinear"},
        ),
        (lambda: ZeroPadding2D(), {"padding": ((1, 1), (1, 1)), "data_format": LAST}),
        (lambda: ZeroPadding2D([[1, 2], [3, 4]]), {"padding": ((1, 2), (3, 4)), "data_format": LAST}),
        (lambda: Cropping2D(), {"cropping": ((0, 0), (0, 0)), "data_format": LAST}),
        (lambda: Cropping2D(2, data_format="channels_first"), {"cropping": ((2, 2), (2, 2)), "data_format": FIRST}),
    ],
)
def test_configs(make: Any, wanted: dict[str, Any]) -> None:
    layer = make()
    config = layer.get_config()
    assert config == {"name": layer.name, "trainable": True, **wanted}
    assert list(config) == ["name", "trainable", *wanted]
    assert type(layer).from_config(without_tuples(config)).get_config() == config


def test_data_format_follows_the_global_setting() -> None:
    K.set_image_data_format("channels_first")
    try:
        made = [Conv2D(2, 3), ZeroPadding2D(), Cropping2D(), UpSampling2D()]
        assert {layer.data_format for layer in made} == {FIRST}
    finally:
        K.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ZeroPadding2D((1, 2, 3)), "`padding` should have two elements. Found: (1, 2, 3)"),
        (
            lambda: ZeroPadding2D(((1, 2, 3), 1)),
            "The `1st entry of padding` argument must be a tuple of 2 integers. Received: (1, 2, 3)",
        ),
        (
            lambda: ZeroPadding2D(1.5),
            "`padding` should be either an int, a tuple of 2 ints (symmetric_height_pad, symmetric_width_pad), or a "
            "tuple of 2 tuples of 2 ints ((top_pad, bottom_pad), (left_pad, right_pad)). Found: 1.5",
        ),
        (lambda: Cropping2D((1,)), "`cropping` should have two elements. Found: (1,)"),
        (
            lambda: Cropping2D((1, (2,))),
            "The `2nd entry of cropping` argument must be a tuple of 2 integers. Received: (2,)",
        ),
        (lambda: UpSampling2D((1, 2, 3)), "The `size` argument must be a tuple of 2 integers. Received: (1, 2, 3)"),
        (
            lambda: UpSampling2D(2, interpolation="cubic"),
            "interpolation should be one of \"nearest\" or \"bilinear\". Received: 'cubic'",
        ),
        (
            lambda: Cropping2D(4)(Input(shape=(9, 7, 3))),
            "Layer cropping2d_1: `cropping` ((4, 4), (4, 4)) takes more than there is of an input of shape "
            "(None, 9, 7, 3) (channels_last).",
        ),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


def test_legacy_spellings() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        padded = ZeroPadding2D(padding={"top_pad": 1, "left_pad": 2}, dim_ordering="th")
        cropped = Cropping2D(1, dim_ordering="tf")
        enlarged = UpSampling2D(3, dim_ordering="default")
    assert padded.padding == ((1, 0), (2, 0)) and padded.data_format == FIRST
    assert cropped.data_format == LAST and enlarged.data_format == LAST
    assert [w.category for w in caught] == [UserWarning] * 4
