"""DenseNet: each block's output joins its input, so that a convolution sees all before it (Huang et al., 2016)."""

from __future__ import annotations

from typing import Any

from kgraph.applications import imagenet_utils
from kgraph.applications.imagenet_utils import decode_predictions
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import KERNELS, Request, channel_axis, channels_of, weight_files
from kgraph.engine.training import Model
from kgraph.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    MaxPooling2D,
    ZeroPadding2D,
)

__all__ = [
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "decode_predictions",
    "keras_modules_injection",
    "preprocess_input",
]

_FOLDER = "https://github.com/keras-team/keras-applications/releases/download/densenet/"
_GROWTH = 32
# Name -> blocks of each stage, hashes of the weights with and without the classifier.
_NETWORKS = {
    "densenet121": ((6, 12, 24, 16), "9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738"),
    "densenet169": ((6, 12, 32, 32), "d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b"),
    "densenet201": ((6, 12, 48, 32), "1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1"),
}


def DenseNet121(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """DenseNet121 for images of 224x224, or at least 32x32 without the classifier. Arguments: see `Request`."""
    return _densenet("densenet121", Request(include_top, weights, input_tensor, input_shape, pooling, classes))


def DenseNet169(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """DenseNet169 for images of 224x224, or at least 32x32 without the classifier. Arguments: see `Request`."""
    return _densenet("densenet169", Request(include_top, weights, input_tensor, input_shape, pooling, classes))


def DenseNet201(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """DenseNet201 for images of 224x224, or at least 32x32 without the classifier. Arguments: see `Request`."""
    return _densenet("densenet201", Request(include_top, weights, input_tensor, input_shape, pooling, classes))


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Images with values 0..255 as these networks want them: `imagenet_utils.preprocess_input` in mode "torch"."""
    return imagenet_utils.preprocess_input(x, data_format, mode="torch")


def _densenet(name: str, request: Request) -> Model:
    stages, top_hash, no_top_hash = _NETWORKS[name]
    image = request.image(request.shape(default_size=224, min_size=32))
    x = ZeroPadding2D(((3, 3), (3, 3)))(image)
    x = Conv2D(64, (7, 7), strides=(2, 2), use_bias=False, name="conv1/conv")(x)
    x = _norm_relu(x, "conv1/bn", "conv1/relu")
    x = ZeroPadding2D(((1, 1), (1, 1)))(x)
    x = MaxPooling2D((3, 3), strides=(2, 2), name="pool1")(x)
    for stage, blocks in enumerate(stages, 2):
        if stage > 2:
            x = _transition(x, f"pool{stage - 1}")
        for number in range(1, blocks + 1):
            x = _block(x, f"conv{stage}_block{number}")
    x = _norm_relu(x, "bn", "relu")
    x = request.classified(x, dense="fc1000") if request.include_top else request.pooled(x, "avg_pool", "max_pool")
    return request.model(image, x, name, weight_files(_FOLDER, name + KERNELS, top_hash, no_top_hash))


def _norm_relu(x: Any, norm: str, relu: str) -> Any:
    x = BatchNormalization(axis=channel_axis(), epsilon=1.001e-5, name=norm)(x)
    return Activation("relu", name=relu)(x)


def _block(x: Any, name: str) -> Any:
    """The input, joined by 32 channels more."""
    y = _norm_relu(x, f"{name}_0_bn", f"{name}_0_relu")
    y = Conv2D(4 * _GROWTH, (1, 1), use_bias=False, name=f"{name}_1_conv")(y)
    y = _norm_relu(y, f"{name}_1_bn", f"{name}_1_relu")
    y = Conv2D(_GROWTH, (3, 3), padding="same", use_bias=False, name=f"{name}_2_conv")(y)
    return Concatenate(axis=channel_axis(), name=f"{name}_concat")([x, y])


def _transition(x: Any, name: str) -> Any:
    """Half the channels, half the height and width."""
    x = _norm_relu(x, f"{name}_bn", f"{name}_relu")
    x = Conv2D(channels_of(x) // 2, (1, 1), use_bias=False, name=f"{name}_conv")(x)
    return AveragePooling2D((2, 2), strides=(2, 2), name=f"{name}_pool")(x)
