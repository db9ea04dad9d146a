"""MobileNet: depthwise 3x3 convolutions, each followed by a 1x1 one (Howard et al., 2017)."""

from __future__ import annotations

import warnings
from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions
from kgraph.applications.imagenet_utils import scale_input as preprocess_input
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import (
    RELEASES,
    Request,
    channel_axis,
    channels_of,
    height_and_width,
    weight_files,
)
from kgraph.engine.training import Model
from kgraph.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    DepthwiseConv2D,
    Dropout,
    GlobalAveragePooling2D,
    ReLU,
    Reshape,
    ZeroPadding2D,
)

__all__ = ["MobileNet", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}  # of the published weights, as their files spell them
_SIZES = (128, 160, 192, 224)
# Filters and stride of each block.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


def MobileNet(
    input_shape: Any = None,
    alpha: float = 1.0,
    depth_multiplier: int = 1,
    dropout: float = 1e-3,
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """MobileNet for images of 224x224, or of another size of at least 32x32. Further arguments: see `Request`.

    # Arguments
        alpha: what the numbers of filters are multiplied by.
        depth_multiplier: outputs of the depthwise convolutions per channel.
        dropout: rate of dropout before the classifier.

    # Raises
        ValueError: for an alpha or depth multiplier that there are no published weights for, where these are wanted.
    """
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    shape = request.shape(usual_size(input_shape, _SIZES), min_size=32)
    rows = height_and_width(shape)[0]
    if request.trained:
        if depth_multiplier != 1:
            raise ValueError("If imagenet weights are being loaded, depth multiplier must be 1")
        if alpha not in _ALPHAS:
            raise ValueError(
                "If imagenet weights are being loaded, alpha can be one of `0.25`, `0.50`, `0.75` or `1.0` only."
            )
        rows = trained_size(shape, _SIZES)
    image = request.image(shape)
    x = ZeroPadding2D(((0, 1), (0, 1)), name="conv1_pad")(image)
    x = Conv2D(int(32 * alpha), (3, 3), strides=(2, 2), use_bias=False, name="conv1")(x)
    x = _norm_relu(x, "conv1")
    for number, (filters, stride) in enumerate(_BLOCKS, 1):
        x = _block(x, int(filters * alpha), depth_multiplier, stride, number)
    x = _classified(x, dropout, classes) if include_top else request.pooled(x)
    stem = f"mobilenet_{_ALPHAS.get(alpha)}_{rows}_tf"
    files = weight_files(RELEASES + "v0.6/", stem, None, None, end="_no_top")
    return request.model(image, x, f"mobilenet_{alpha:0.2f}_{rows}", files)


def usual_size(input_shape: Any, sizes: tuple[int, ...]) -> int:
    """The height and width of `input_shape` if weights were published for them, else 224."""
    if input_shape is None or len(input_shape) != 3:
        return 224
    rows, columns = height_and_width(input_shape)
    return rows if rows == columns and rows in sizes else 224


def trained_size(shape: Any, sizes: tuple[int, ...]) -> int:
    """The size of the images whose published weights are for images of this shape; warns where it is another."""
    rows, columns = height_and_width(shape)
    if rows == columns and rows in sizes:
        return int(rows)
    warnings.warn(
        "MobileNet shape is undefined. Weights for input shape (224, 224) will be loaded.",
        stacklevel=3,
    )
    return 224


def _norm_relu(x: Any, name: str) -> Any:
    x = BatchNormalization(axis=channel_axis(), name=f"{name}_bn")(x)
    return ReLU(6.0, name=f"{name}_relu")(x)


def _block(x: Any, filters: int, depth_multiplier: int, stride: int, number: int) -> Any:
    """A depthwise 3x3 convolution and a 1x1 one."""
    if stride == 2:
        x = ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{number}")(x)
    x = DepthwiseConv2D(
        (3, 3),
        strides=(stride, stride),
        padding="same" if stride == 1 else "valid",
        depth_multiplier=depth_multiplier,
        use_bias=False,
        name=f"conv_dw_{number}",
    )(x)
    x = _norm_relu(x, f"conv_dw_{number}")
    x = Conv2D(filters, (1, 1), padding="same", use_bias=False, name=f"conv_pw_{number}")(x)
    return _norm_relu(x, f"conv_pw_{number}")


def _classified(x: Any, dropout: float, classes: int) -> Any:
    """The classifier: a 1x1 convolution of the average."""
    channels = channels_of(x)
    x = GlobalAveragePooling2D()(x)
    x = Reshape((channels, 1, 1) if channel_axis() == 1 else (1, 1, channels), name="reshape_1")(x)
    x = Dropout(dropout, name="dropout")(x)
    x = Conv2D(classes, (1, 1), padding="same", name="conv_preds")(x)
    x = Reshape((classes,), name="reshape_2")(x)
    return Activation("softmax", name="act_softmax")(x)
