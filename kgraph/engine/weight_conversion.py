"""Weights of other Keras versions and backends, brought into this one's form. `saving.py` calls it per layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.utils.conv_utils import convert_kernel

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D")


def preprocess_weights_for_loading(
    layer: Any,
    weights: Sequence[Any],
    original_keras_version: str | None = None,
    original_backend: str | None = None,
    reshape: bool = False,
) -> list[Any]:
    """The stored weights of a layer, or of a nested model, as `layer` takes them.

    # Arguments
        layer: the layer.
        weights: stored arrays, in the order of `layer.weights`.
        original_keras_version: the version that wrote them; "1" changes layouts.
        original_backend: the backend that wrote them; Theano mirrors the kernels of convolutions.
        reshape: whether arrays of the right number of elements are reshaped.
    """

    def convert(part: Any, values: list[Any]) -> list[Any]:
        return preprocess_weights_for_loading(part, values, original_keras_version, original_backend, reshape)

    weights = list(weights)
    if hasattr(layer, "layers"):
        return _nested(layer, weights, convert)
    name = type(layer).__name__
    if name == "TimeDistributed":
        return convert(layer.layer, weights)
    if name == "Bidirectional":
        half = len(weights) // 2
        return convert(layer.forward_layer, weights[:half]) + convert(layer.backward_layer, weights[half:])
    if original_keras_version == "1" and name == "Conv2D" and weights:
        weights = _conv2d_of_keras_1(layer, weights)
    if original_backend == "theano" and name in _CONVOLUTIONS and weights:
        weights[0] = convert_kernel(weights[0])
        if name == "ConvLSTM2D":
            weights[1] = convert_kernel(weights[1])
    if reshape:
        weights = [_reshaped(w, value) for w, value in zip(layer.weights, weights, strict=False)]
    return weights


def _nested(model: Any, weights: list[Any], convert: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """The weights of a model within a model: its trainable ones come first, then the others."""
    trainable = weights[: len(model.trainable_weights)]
    frozen = weights[len(model.trainable_weights) :]
    new_trainable: list[Any] = []
    new_frozen: list[Any] = []
    for layer in model.layers:
        count, rest = len(layer.trainable_weights), len(layer.non_trainable_weights)
        if not model.trainable:
            # Everything stands under the second heading: what would be trainable first.
            continue
        values = convert(layer, trainable[:count] + frozen[:rest])
        new_trainable += values[:count]
        new_frozen += values[count:]
        trainable, frozen = trainable[count:], frozen[rest:]
    if not model.trainable:
        return _nested_frozen(model, weights, convert)
    return new_trainable + new_frozen + trainable + frozen


def _nested_frozen(model: Any, weights: list[Any], convert: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """As `_nested`, for a model with `trainable = False`: the layers still list theirs as trainable."""
    model.trainable = True
    try:
        return _nested(model, weights, convert)
    finally:
        model.trainable = False


def _conv2d_of_keras_1(layer: Any, weights: list[Any]) -> list[Any]:
    """Keras 1 with channels first kept kernels as (filters, channels, rows, columns)."""
    shape = weights[0].shape
    if shape[:2] != tuple(layer.kernel_size) or shape[3] != layer.filters:
        weights[0] = np.transpose(weights[0], (2, 3, 1, 0))
    return weights


def _reshaped(weight: Any, value: Any) -> Any:
    shape = K.int_shape(weight)
    return np.reshape(value, shape) if np.size(value) == int(np.prod(shape)) else value
