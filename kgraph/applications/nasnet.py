"""NASNet: two kinds of cells that a search found, stacked; each takes the outputs of the two cells before it
(Zoph et al., 2017)."""

from __future__ import annotations

from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions
from kgraph.applications.imagenet_utils import scale_input as preprocess_input
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import (
    Files,
    Request,
    WeightFile,
    channel_axis,
    channels_of,
    height_and_width,
    same_padding,
)
from kgraph.backend import int_shape
from kgraph.engine.training import Model
from kgraph.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Cropping2D,
    MaxPooling2D,
    SeparableConv2D,
    ZeroPadding2D,
    add,
    concatenate,
)

__all__ = ["NASNetLarge", "NASNetMobile", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_FOLDER = "https://github.com/titu1994/Keras-NASNet/releases/download/v1.2/"
_MOBILE_FILES: Files = {
    True: WeightFile("nasnet_mobile.h5", _FOLDER + "NASNet-mobile.h5", "020fb642bf7360b370c678b08e0adf61"),
    False: WeightFile(
        "nasnet_mobile_no_top.h5", _FOLDER + "NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63"
    ),
}
_LARGE_FILES: Files = {
    True: WeightFile("nasnet_large.h5", _FOLDER + "NASNet-large.h5", "11577c9a518f0070763c2b964a382f17"),
    False: WeightFile(
        "nasnet_large_no_top.h5", _FOLDER + "NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5"
    ),
}


def NASNetLarge(
    input_shape: Any = None,
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """NASNet-A (6 @ 4032) for images of 331x331, or of another known size of at least 32x32.

    Arguments: see `Request`.
    """
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    return _nasnet(request, 331, 168, 6, 96, True, _LARGE_FILES)


def NASNetMobile(
    input_shape: Any = None,
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """NASNet-A (4 @ 1056) for images of 224x224, or of another known size of at least 32x32.

    Arguments: see `Request`.
    """
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    return _nasnet(request, 224, 44, 4, 32, False, _MOBILE_FILES)


def _nasnet(
    request: Request, size: int, filters: int, blocks: int, stem_filters: int, skip_reduction: bool, files: Files
) -> Model:
    """Three stages of `blocks` normal cells, with reductions before each; every stage doubles `filters`.

    `skip_reduction`: whether the first cell of a stage takes, beside the reduction's output, what the reduction before
    it took.
    """
    if request.trained and request.input_shape is not None and None in tuple(request.input_shape):
        raise ValueError(
            "When specifying the input shape of a NASNet and loading `ImageNet` weights, the input_shape argument must "
            f"be static (no None entries). Got: `input_shape={request.input_shape}`."
        )
    image = request.image(request.shape(size, min_size=32, one_size=True))
    x = Conv2D(
        stem_filters, (3, 3), strides=(2, 2), use_bias=False, kernel_initializer="he_normal", name="stem_conv1"
    )(image)
    x = _norm(x, "stem_bn1")
    x, before = _reduction_cell(x, None, filters // 4, "stem_1")
    x, before = _reduction_cell(x, before, filters // 2, "stem_2")
    for stage in range(3):
        first = stage * blocks + (stage > 0)
        if stage:
            filters *= 2
            x, taken = _reduction_cell(x, before, filters, f"reduce_{stage * blocks}")
            before = before if skip_reduction else taken
        for number in range(blocks):
            x, before = _normal_cell(x, before, filters, str(first + number))
    x = Activation("relu")(x)
    return request.model(image, request.classified(x, average=None), "NASNet", files)


def _norm(x: Any, name: str) -> Any:
    return BatchNormalization(axis=channel_axis(), momentum=0.9997, epsilon=1e-3, name=name)(x)


def _pointwise(x: Any, filters: int, conv: str, norm: str | None = None) -> Any:
    """A 1x1 convolution, and batch normalisation if it has a name."""
    x = Conv2D(filters, (1, 1), padding="same", use_bias=False, kernel_initializer="he_normal", name=conv)(x)
    return _norm(x, norm) if norm else x


def _separable(x: Any, filters: int, size: int, name: str, stride: int = 1) -> Any:
    """Twice a relu, a separable convolution and batch normalisation; the first one strides."""
    x = Activation("relu")(x)
    if stride == 2:
        x = ZeroPadding2D(same_padding(x, size), name=f"separable_conv_1_pad_{name}")(x)
    for number, step in ((1, stride), (2, 1)):
        if number == 2:
            x = Activation("relu")(x)
        x = SeparableConv2D(
            filters,
            (size, size),
            strides=(step, step),
            padding="same" if step == 1 else "valid",
            use_bias=False,
            name=f"separable_conv_{number}_{name}",
        )(x)
        x = _norm(x, f"separable_conv_{number}_bn_{name}")
    return x


def _adjusted(before: Any, x: Any, filters: int, label: str) -> Any:
    """`before`, what the cell before took, in the size of `x` and with so many filters."""
    if before is None:
        return x
    if height_and_width(int_shape(before)[1:])[1] != height_and_width(int_shape(x)[1:])[1]:
        before = Activation("relu", name=f"adjust_relu_1_{label}")(before)
        even = _every_second(before, 1, filters // 2, label)
        shifted = Cropping2D(((1, 0), (1, 0)))(ZeroPadding2D(((0, 1), (0, 1)))(before))
        odd = _every_second(shifted, 2, filters // 2, label)
        return _norm(concatenate([even, odd], axis=channel_axis()), f"adjust_bn_{label}")
    if channels_of(before) != filters:
        before = Activation("relu")(before)
        return _pointwise(before, filters, f"adjust_conv_projection_{label}", f"adjust_bn_{label}")
    return before


def _every_second(x: Any, number: int, filters: int, label: str) -> Any:
    """Every second pixel of every second row, with so many filters."""
    x = AveragePooling2D((1, 1), strides=(2, 2), name=f"adjust_avg_pool_{number}_{label}")(x)
    return _pointwise(x, filters, f"adjust_conv_{number}_{label}")


def _normal_cell(x: Any, before: Any, filters: int, label: str) -> tuple[Any, Any]:
    """A cell that keeps the size. Returns its output, and `x` for the cell after the next."""
    p = _adjusted(before, x, filters, label)
    h = _pointwise(Activation("relu")(x), filters, f"normal_conv_1_{label}", f"normal_bn_1_{label}")

    def separable(y: Any, size: int, name: str) -> Any:
        return _separable(y, filters, size, f"normal_{name}_{label}")

    def average(y: Any, name: str) -> Any:
        return AveragePooling2D((3, 3), strides=(1, 1), padding="same", name=f"normal_{name}_{label}")(y)

    pairs = (
        lambda: [separable(h, 5, "left1"), separable(p, 3, "right1")],
        lambda: [separable(p, 5, "left2"), separable(p, 3, "right2")],
        lambda: [average(h, "left3"), p],
        lambda: [average(p, "left4"), average(p, "right4")],
        lambda: [separable(h, 3, "left5"), h],
    )
    sums = [add(pair(), name=f"normal_add_{i}_{label}") for i, pair in enumerate(pairs, 1)]
    return concatenate([p, *sums], axis=channel_axis(), name=f"normal_concat_{label}"), x


def _reduction_cell(x: Any, before: Any, filters: int, label: str) -> tuple[Any, Any]:
    """A cell that halves height and width. Returns its output, and `x` for the cell after the next."""
    p = _adjusted(before, x, filters, label)
    h = _pointwise(Activation("relu")(x), filters, f"reduction_conv_1_{label}", f"reduction_bn_1_{label}")
    padded = ZeroPadding2D(same_padding(h, 3), name=f"reduction_pad_1_{label}")(h)

    def separable(y: Any, size: int, name: str, stride: int = 2) -> Any:
        return _separable(y, filters, size, f"reduction_{name}_{label}", stride)

    def pooled(layer: Any, name: str) -> Any:
        return layer((3, 3), strides=(2, 2), name=f"reduction_{name}_{label}")(padded)

    x1 = add([separable(h, 5, "left1"), separable(p, 7, "right1")], name=f"reduction_add_1_{label}")
    x2 = add([pooled(MaxPooling2D, "left2"), separable(p, 7, "right2")], name=f"reduction_add_2_{label}")
    x3 = add([pooled(AveragePooling2D, "left3"), separable(p, 5, "right3")], name=f"reduction_add3_{label}")
    x4 = AveragePooling2D((3, 3), strides=(1, 1), padding="same", name=f"reduction_left4_{label}")(x1)
    x4 = add([x2, x4])
    x5 = add(
        [separable(x1, 3, "left4", stride=1), pooled(MaxPooling2D, "right5")], name=f"reduction_add4_{label}"
    )
    return concatenate([x2, x3, x4, x5], axis=channel_axis(), name=f"reduction_concat_{label}"), x
