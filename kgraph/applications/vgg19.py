"""VGG19: sixteen 3x3 convolutions in five blocks, two dense layers of 4096 (Simonyan and Zisserman, 2014)."""

from __future__ import annotations

from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions, preprocess_input
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import KERNELS, RELEASES, Request, weight_files
from kgraph.applications.vgg16 import vgg
from kgraph.engine.training import Model

__all__ = ["VGG19", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_FILES = weight_files(
    RELEASES + "v0.1/",
    "vgg19" + KERNELS,
    "cbe5617147190e668d6c5d5026f83318",
    "253f8cb515780f3b799900260a226db6",
)


def VGG19(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """VGG19 for images of 224x224, or at least 32x32 without the classifier. Arguments: see `Request`."""
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    return vgg("vgg19", (2, 2, 4, 4, 4), request, _FILES)
