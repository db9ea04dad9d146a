"""ResNet50: four stages of bottleneck blocks, each a sum of three convolutions and a shortcut (He et al., 2015)."""

from __future__ import annotations

import warnings
from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions, preprocess_input
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import KERNELS, RELEASES, Request, channel_axis, weight_files
from kgraph.engine.training import Model
from kgraph.layers import Activation, BatchNormalization, Conv2D, MaxPooling2D, ZeroPadding2D, add

__all__ = ["ResNet50", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_FILES = weight_files(
    RELEASES + "v0.2/",
    "resnet50" + KERNELS,
    "a7b3fe01876f51b976af0dea6bc144eb",
    "a268eb855778b3df3c7506639542a6af",
)
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # filters, blocks


def ResNet50(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """ResNet50 for images of 224x224, or at least 32x32 without the classifier. Arguments: see `Request`."""
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    image = request.image(request.shape(default_size=224, min_size=32))
    x = ZeroPadding2D((3, 3), name="conv1_pad")(image)
    x = _normalised(x, 64, 7, "conv1", "bn_conv1", stride=2)
    x = Activation("relu")(x)
    x = ZeroPadding2D((1, 1), name="pool1_pad")(x)
    x = MaxPooling2D((3, 3), strides=(2, 2))(x)
    for stage, (filters, blocks) in enumerate(_STAGES, 2):
        for number in range(blocks):
            stride = 2 if stage > 2 and not number else 1
            x = _block(x, filters, f"{stage}{chr(ord('a') + number)}", stride, projected=not number)
    if not include_top and pooling not in ("avg", "max"):
        warnings.warn(
            "The output shape of `ResNet50(include_top=False)` has been changed since Keras 2.2.0.", stacklevel=2
        )
    return request.model(image, request.classified(x, dense="fc1000"), "resnet50", _FILES)


def _normalised(x: Any, filters: int, size: int, conv: str, norm: str, stride: int = 1, padding: str = "valid") -> Any:
    """A convolution with bias, and batch normalisation, called `conv` and `norm`."""
    x = Conv2D(
        filters, (size, size), strides=(stride, stride), padding=padding, kernel_initializer="he_normal", name=conv
    )(x)
    return BatchNormalization(axis=channel_axis(), name=norm)(x)


def _block(x: Any, filters: int, label: str, stride: int, projected: bool) -> Any:
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, which is a 1x1 convolution if `projected`."""

    def branch(x: Any, filters: int, size: int, end: str, stride: int = 1) -> Any:
        return _normalised(x, filters, size, f"res{label}_branch{end}", f"bn{label}_branch{end}", stride, "same")

    y = Activation("relu")(branch(x, filters, 1, "2a", stride))
    y = Activation("relu")(branch(y, filters, 3, "2b"))
    y = branch(y, 4 * filters, 1, "2c")
    shortcut = branch(x, 4 * filters, 1, "1", stride) if projected else x
    return Activation("relu")(add([y, shortcut]))
