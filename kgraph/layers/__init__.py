"""All layers, and configs of layers."""

from __future__ import annotations

from typing import Any

from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.engine.input_layer import Input, InputLayer
from kgraph.layers import advanced_activations, convolutional, core, merge, noise, normalization, pooling
from kgraph.layers.advanced_activations import ELU, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
from kgraph.layers.convolutional import Conv2D, Convolution2D, Cropping2D, UpSampling2D, ZeroPadding2D
from kgraph.layers.core import (
    Activation,
    ActivityRegularization,
    Dense,
    Dropout,
    Flatten,
    Lambda,
    Masking,
    Permute,
    RepeatVector,
    Reshape,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from kgraph.layers.merge import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from kgraph.layers.noise import AlphaDropout, GaussianDropout, GaussianNoise
from kgraph.layers.normalization import BatchNormalization
from kgraph.layers.pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
)
from kgraph.utils.generic_utils import deserialize_keras_object

__all__ = [
    "ELU",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Convolution2D",
    "Cropping2D",
    "Dense",
    "Dot",
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Input",
    "InputLayer",
    "InputSpec",
    "Lambda",
    "Layer",
    "LeakyReLU",
    "Masking",
    "MaxPool2D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "Multiply",
    "PReLU",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Reshape",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "Subtract",
    "ThresholdedReLU",
    "UpSampling2D",
    "ZeroPadding2D",
    "add",
    "advanced_activations",
    "average",
    "concatenate",
    "convolutional",
    "core",
    "deserialize",
    "dot",
    "maximum",
    "merge",
    "minimum",
    "multiply",
    "noise",
    "normalization",
    "pooling",
    "serialize",
    "subtract",
]


def serialize(layer: Layer) -> dict[str, Any]:
    """The config of a layer, with its class."""
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The layer that a config describes; `custom_objects` are users' classes and functions by name."""
    from kgraph import models

    known = {
        **{name: found for name, found in globals().items() if isinstance(found, type) and issubclass(found, Layer)},
        "Model": models.Model,
        "Functional": models.Model,  # what later versions call it
        "Sequential": models.Sequential,
    }
    return deserialize_keras_object(config, known, custom_objects, printable_module_name="layer")
