"""MobileNetV2: blocks that widen by a 1x1 convolution, filter depthwise, and narrow again (Sandler et al., 2018)."""

from __future__ import annotations

from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions
from kgraph.applications.imagenet_utils import scale_input as preprocess_input
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.mobilenet import trained_size, usual_size
from kgraph.applications.request import (
    KERNELS,
    Request,
    channel_axis,
    channels_of,
    height_and_width,
    same_padding,
    weight_files,
)
from kgraph.backend import int_shape, is_keras_tensor
from kgraph.engine.training import Model
from kgraph.layers import BatchNormalization, Conv2D, DepthwiseConv2D, ReLU, ZeroPadding2D, add

__all__ = ["MobileNetV2", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_FOLDER = "https://github.com/JonathanCMitchell/mobilenet_v2_keras/releases/download/v1.1/"
_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # of the published weights
_SIZES = (96, 128, 160, 192, 224)
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""Filters, blocks, and the stride of the first block."""
_EXPANSION = 6


def MobileNetV2(
    input_shape: Any = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """MobileNetV2 for images of 224x224, or of another size of at least 32x32. Further arguments: see `Request`.

    # Arguments
        alpha: what the numbers of filters are multiplied by.

    # Raises
        ValueError: for an alpha that there are no published weights for, where these are wanted, or for an input
            tensor that does not have `input_shape`.
    """
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    shape = request.shape(usual_size(_asked_shape(input_shape, input_tensor), _SIZES), min_size=32)
    rows = height_and_width(shape)[0]
    if request.trained:
        if alpha not in _ALPHAS:
            raise ValueError(
                "If imagenet weights are being loaded, alpha can be one of `0.35`, `0.50`, `0.75`, `1.0`, `1.3` or "
                "`1.4` only."
            )
        rows = trained_size(shape, _SIZES)
    image = request.image(shape)
    x = ZeroPadding2D(same_padding(image, 3), name="Conv1_pad")(image)
    x = Conv2D(_divisible(32 * alpha), (3, 3), strides=(2, 2), use_bias=False, name="Conv1")(x)
    x = _norm(x, "bn_Conv1", "Conv1_relu")
    number = 0
    for filters, blocks, first_stride in _STAGES:
        for i in range(blocks):
            x = _block(x, _divisible(filters * alpha), 1 if i else first_stride, number)
            number += 1
    x = Conv2D(_divisible(1280 * max(alpha, 1.0)), (1, 1), use_bias=False, name="Conv_1")(x)
    x = _norm(x, "Conv_1_bn", "out_relu")
    x = request.classified(x, dense="Logits", average=None)
    files = weight_files(_FOLDER, f"mobilenet_v2{KERNELS}_{float(alpha)}_{rows}", None, None, end="_no_top")
    return request.model(image, x, f"mobilenetv2_{alpha:0.2f}_{rows}", files)


def _asked_shape(input_shape: Any, input_tensor: Any) -> Any:
    """The shape that was asked for in one way or the other; None for none."""
    if input_tensor is None or not is_keras_tensor(input_tensor):
        return input_shape
    given = int_shape(input_tensor)[1:]
    if input_shape is not None and height_and_width(input_shape) != height_and_width(given):
        raise ValueError(
            f"input_shape: {input_shape} and input_tensor: {input_tensor} of shape {given} do not meet the same shape "
            "requirements"
        )
    return input_shape or given


def _divisible(filters: float, divisor: int = 8) -> int:
    """The nearest multiple of 8, but at least 8, and not below nine tenths of `filters`."""
    nearest = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * filters else nearest


def _norm(x: Any, name: str, relu: str | None = None) -> Any:
    """Batch normalisation, and a relu up to 6 if it has a name."""
    x = BatchNormalization(axis=channel_axis(), epsilon=1e-3, momentum=0.999, name=name)(x)
    return ReLU(6.0, name=relu)(x) if relu else x


def _block(x: Any, filters: int, stride: int, number: int) -> Any:
    """Widen (but for block 0), filter, narrow; added to the input where the shapes agree."""
    channels = channels_of(x)
    name = f"block_{number}" if number else "expanded_conv"
    y = x
    if number:
        y = Conv2D(_EXPANSION * channels, (1, 1), padding="same", use_bias=False, name=f"{name}_expand")(y)
        y = _norm(y, f"{name}_expand_BN", f"{name}_expand_relu")
    if stride == 2:
        y = ZeroPadding2D(same_padding(y, 3), name=f"{name}_pad")(y)
    padding = "same" if stride == 1 else "valid"
    y = DepthwiseConv2D(
        (3, 3), strides=(stride, stride), padding=padding, use_bias=False, name=f"{name}_depthwise"
    )(y)
    y = _norm(y, f"{name}_depthwise_BN", f"{name}_depthwise_relu")
    y = Conv2D(filters, (1, 1), padding="same", use_bias=False, name=f"{name}_project")(y)
    y = _norm(y, f"{name}_project_BN")
    return add([x, y], name=f"{name}_add") if stride == 1 and filters == channels else y
