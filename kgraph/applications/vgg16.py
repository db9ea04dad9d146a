"""VGG16: thirteen 3x3 convolutions in five blocks, two dense layers of 4096 (Simonyan and Zisserman, 2014)."""

from __future__ import annotations

from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions, preprocess_input
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import KERNELS, RELEASES, Files, Request, weight_files
from kgraph.engine.training import Model
from kgraph.layers import Conv2D, Dense, Flatten, MaxPooling2D

__all__ = ["VGG16", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_FILES = weight_files(
    RELEASES + "v0.1/",
    "vgg16" + KERNELS,
    "64373286793e3c8b2b4e3219cbf3544b",
    "6d6bbae143d832006294945121d1f1fc",
)
_FILTERS = (64, 128, 256, 512, 512)


def VGG16(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """VGG16 for images of 224x224, or at least 32x32 without the classifier. Arguments: see `Request`."""
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    return vgg("vgg16", (2, 2, 3, 3, 3), request, _FILES)


def vgg(name: str, convolutions: tuple[int, ...], request: Request, files: Files) -> Model:
    """A network of the family, with so many convolutions in each block."""
    x = image = request.image(request.shape(default_size=224, min_size=32))
    for block, (filters, count) in enumerate(zip(_FILTERS, convolutions, strict=True), 1):
        for number in range(1, count + 1):
            label = f"block{block}_conv{number}"
            x = Conv2D(filters, (3, 3), activation="relu", padding="same", name=label)(x)
        x = MaxPooling2D((2, 2), strides=(2, 2), name=f"block{block}_pool")(x)
    if not request.include_top:
        return request.model(image, request.pooled(x), name, files)
    x = Flatten(name="flatten")(x)
    x = Dense(4096, activation="relu", name="fc1")(x)
    x = Dense(4096, activation="relu", name="fc2")(x)
    x = Dense(request.classes, activation="softmax", name="predictions")(x)
    return request.model(image, x, name, files)
