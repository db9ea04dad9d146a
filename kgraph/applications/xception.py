"""Xception: separable convolutions with shortcuts around every two or three of them (Chollet, 2016)."""

from __future__ import annotations

from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions
from kgraph.applications.imagenet_utils import scale_input as preprocess_input
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import KERNELS, RELEASES, Request, channel_axis, weight_files
from kgraph.engine.training import Model
from kgraph.layers import Activation, BatchNormalization, Conv2D, MaxPooling2D, SeparableConv2D, add

__all__ = ["Xception", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_FILES = weight_files(
    RELEASES + "v0.4/",
    "xception" + KERNELS,
    "0a58e3b7378bc2990ea3b43d5981f1f6",
    "b0042744bf5b25fce3cb969f33bebb97",
)


def Xception(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """Xception for images of 299x299, or at least 71x71 without the classifier. Arguments: see `Request`."""
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    image = request.image(request.shape(default_size=299, min_size=71))
    x = Conv2D(32, (3, 3), strides=(2, 2), use_bias=False, name="block1_conv1")(image)
    x = _norm_relu(x, "block1_conv1")
    x = Conv2D(64, (3, 3), use_bias=False, name="block1_conv2")(x)
    x = _norm_relu(x, "block1_conv2")
    x = _narrowed(x, 2, 128, 128, relu_first=False)
    x = _narrowed(x, 3, 256, 256)
    x = _narrowed(x, 4, 728, 728)
    for block in range(5, 13):
        y = x
        for number in (1, 2, 3):
            y = _relu_separable(y, 728, f"block{block}_sepconv{number}")
        x = add([y, x])
    x = _narrowed(x, 13, 728, 1024)
    for number, filters in ((1, 1536), (2, 2048)):
        name = f"block14_sepconv{number}"
        x = Activation("relu", name=f"{name}_act")(_separable(x, filters, name))
    return request.model(image, request.classified(x), "xception", _FILES)


def _norm_relu(x: Any, name: str) -> Any:
    x = BatchNormalization(axis=channel_axis(), name=f"{name}_bn")(x)
    return Activation("relu", name=f"{name}_act")(x)


def _separable(x: Any, filters: int, name: str) -> Any:
    """A separable convolution and batch normalisation."""
    x = SeparableConv2D(filters, (3, 3), padding="same", use_bias=False, name=name)(x)
    return BatchNormalization(axis=channel_axis(), name=f"{name}_bn")(x)


def _relu_separable(x: Any, filters: int, name: str) -> Any:
    return _separable(Activation("relu", name=f"{name}_act")(x), filters, name)


def _narrowed(x: Any, block: int, first: int, second: int, relu_first: bool = True) -> Any:
    """Two separable convolutions of so many filters and a pooling, beside a 1x1 convolution: half the size."""
    shortcut = Conv2D(second, (1, 1), strides=(2, 2), padding="same", use_bias=False)(x)
    shortcut = BatchNormalization(axis=channel_axis())(shortcut)
    x = (_relu_separable if relu_first else _separable)(x, first, f"block{block}_sepconv1")
    x = _relu_separable(x, second, f"block{block}_sepconv2")
    x = MaxPooling2D((3, 3), strides=(2, 2), padding="same", name=f"block{block}_pool")(x)
    return add([x, shortcut])
