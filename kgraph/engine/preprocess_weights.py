"""Weights as other versions, backends and sibling layers stored them, in the form that a layer of this library takes.

`weights_file.py` calls `preprocess_weights_for_loading` for each layer that it loads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.utils.conv_utils import convert_kernel

Weights = list[Any]

# How many leading weights of a layer are convolution kernels, which Theano mirrors. Layers with depthwise kernels and
# locally connected ones are the same on all backends.
_KERNELS = {"Conv1D": 1, "Conv2D": 1, "Conv3D": 1, "Conv2DTranspose": 1, "ConvLSTM2D": 2}
_MIRRORING_BACKENDS = ("theano",)


def preprocess_weights_for_loading(
    layer: Any,
    weights: Weights,
    original_keras_version: str | None = None,
    original_backend: str | None = None,
    reshape: bool = False,
) -> Weights:
    """The weights of `layer` from those that a file holds for it.

    # Arguments
        layer: the layer that will take the weights.
        weights: arrays in the file's order.
        original_keras_version: version of Keras that wrote them; those of version 1 are converted.
        original_backend: its backend; kernels written with "theano" are mirrored.
        reshape: give a convolution's kernel the layer's shape where the number of elements agrees.
    """
    kind = type(layer).__name__
    weights = list(weights)

    def convert(part: Any, values: Weights) -> Weights:
        return preprocess_weights_for_loading(part, values, original_keras_version, original_backend, reshape)

    if kind == "Bidirectional":
        half = len(weights) // 2
        weights = convert(layer.forward_layer, weights[:half]) + convert(layer.backward_layer, weights[half:])
    elif kind == "TimeDistributed":
        weights = convert(layer.layer, weights)
    elif kind in ("Model", "Sequential"):
        weights = _convert_model(layer, weights, convert)
    if original_keras_version == "1" and weights and kind in _FROM_VERSION_1:
        weights = _FROM_VERSION_1[kind](layer, weights)
    if kind in _KERNELS and weights:
        weights = _convert_kernels(layer, weights, _KERNELS[kind], original_backend in _MIRRORING_BACKENDS, reshape)
    return _convert_recurrent(layer, weights)


def mirrored_variables(layers: Iterable[Any]) -> set[int]:
    """The ids of all variables in these layers that Theano's files hold mirrored."""
    found: set[int] = set()
    waiting = list(layers)
    while waiting:
        layer = waiting.pop()
        waiting += getattr(layer, "layers", None) or []
        inner = (getattr(layer, name, None) for name in ("layer", "forward_layer", "backward_layer"))
        waiting += [x for x in inner if x is not None]
        found.update(id(x) for x in layer.weights[: _KERNELS.get(type(layer).__name__, 0)])
    return found


def _convert_model(model: Any, weights: Weights, convert: Callable[[Any, Weights], Weights]) -> Weights:
    """A model inside a model lists all trainable weights first, so those of one layer may stand apart."""
    variables = model.weights
    if len(weights) != len(variables):
        return weights
    values = {id(variable): value for variable, value in zip(variables, weights, strict=True)}
    for layer in model.layers:
        ids = [id(variable) for variable in layer.weights]
        values.update(zip(ids, convert(layer, [values[i] for i in ids]), strict=True))
    return [values[id(variable)] for variable in variables]


def _convert_kernels(layer: Any, weights: Weights, kernels: int, mirror: bool, reshape: bool) -> Weights:
    for i in range(min(kernels, len(weights))):
        kernel = np.asarray(weights[i])
        if mirror and 3 <= kernel.ndim <= 5:
            kernel = convert_kernel(kernel)
        wanted: Any = K.int_shape(layer.weights[i]) if i < len(layer.weights) else kernel.shape
        if kernel.shape != wanted and reshape and i == 0:
            if kernel.size != np.prod(wanted):
                raise ValueError(
                    "Weights must be of equal size to apply a reshape operation. "
                    f"Layer {layer.name}'s weights have shape {wanted} and size {np.prod(wanted)}. "
                    f"The weights for loading have shape {kernel.shape} and size {kernel.size}. "
                )
            kernel = kernel.reshape(wanted)
        elif kernel.shape != wanted and kernel.ndim == 4 and kernel.transpose(3, 2, 0, 1).shape == wanted:
            kernel = kernel.transpose(3, 2, 0, 1)  # channels of Theano's own ordering stood first
        weights[i] = kernel
    return weights


# Version 1


def _conv1d_from_1(layer: Any, weights: Weights) -> Weights:
    kernel = weights[0]  # (length, 1, in, out); before 1.1 (out, in, length, 1)
    if kernel.shape[:2] != (layer.kernel_size[0], 1) or kernel.shape[3] != layer.filters:
        kernel = kernel.transpose(2, 3, 1, 0)
    return [kernel[:, 0, :, :], *weights[1:]]


def _conv_from_1(layer: Any, weights: Weights) -> Weights:
    if layer.data_format != "channels_first":
        return weights
    spatial = range(2, weights[0].ndim)  # (out, in, *spatial)
    return [weights[0].transpose(*spatial, 1, 0), *weights[1:]]


def _conv_transpose_from_1(layer: Any, weights: Weights) -> Weights:
    order = (0, 1, 3, 2) if layer.data_format == "channels_last" else (2, 3, 0, 1)
    return [weights[0].transpose(order), *weights[1:]]


def _merge_gates(weights: Weights, gates: tuple[int, ...]) -> Weights:
    """Kernel, recurrent kernel and bias from three weights per gate; `gates` numbers the stored gates in our order."""
    if len(weights) != 3 * len(gates):
        return weights
    return [np.concatenate([weights[3 * gate + part] for gate in gates], axis=-1) for part in range(3)]


def _gru_from_1(layer: Any, weights: Weights) -> Weights:
    return _merge_gates(weights, (0, 1, 2))


def _lstm_from_1(layer: Any, weights: Weights) -> Weights:
    return _merge_gates(weights, (0, 2, 1, 3))  # stored: input, cell, forget, output


def _conv_lstm_from_1(layer: Any, weights: Weights) -> Weights:
    merged = _lstm_from_1(layer, weights)
    if layer.data_format == "channels_first" and len(weights) == 12:
        merged[:2] = [kernel.transpose(2, 3, 1, 0) for kernel in merged[:2]]
    return merged


_FROM_VERSION_1: dict[str, Callable[[Any, Weights], Weights]] = {
    "Conv1D": _conv1d_from_1,
    "Conv2D": _conv_from_1,
    "Conv3D": _conv_from_1,
    "Conv2DTranspose": _conv_transpose_from_1,
    "GRU": _gru_from_1,
    "LSTM": _lstm_from_1,
    "ConvLSTM2D": _conv_lstm_from_1,
}


# Recurrent layers and their CuDNN siblings


def _convert_recurrent(layer: Any, weights: Weights) -> Weights:
    kind = type(layer).__name__
    if len(weights) != 3 or kind not in ("LSTM", "CuDNNLSTM", "GRU", "CuDNNGRU"):
        return weights
    units, bias = weights[1].shape[0], weights[2].shape
    if "LSTM" in kind:
        sources: dict[Any, str] = {(8 * units,): "CuDNNLSTM", (4 * units,): "LSTM"}
        target = kind
    else:
        plain, double = "GRU(reset_after=False)", "GRU(reset_after=True)"
        sources = {(6 * units,): "CuDNNGRU", (2, 3 * units): double, (3 * units,): plain}
        target = kind if kind == "CuDNNGRU" else double if layer.reset_after else plain
    if bias not in sources:
        raise ValueError(f"Invalid bias shape: {bias}")
    source = sources[bias]
    if source == target:
        return weights
    if "GRU(reset_after=False)" in (source, target):
        raise ValueError(f"{source} is not compatible with {target}")
    return _between_cudnn(weights, 4 if "LSTM" in kind else 3, from_cudnn=source.startswith("CuDNN"))


def _between_cudnn(weights: Weights, gates: int, from_cudnn: bool) -> Weights:
    """CuDNN keeps each gate's kernels transposed, input kernels in Fortran's order, and two sets of biases."""
    order: Any = "F" if from_cudnn else "C"
    kernel, recurrent, bias = weights
    kernel = np.hstack([k.T.reshape(k.shape, order=order) for k in np.hsplit(kernel, gates)])
    recurrent = np.hstack([k.T for k in np.hsplit(recurrent, gates)])
    if gates == 3:
        bias = bias.reshape((2, -1) if from_cudnn else -1)
    else:
        bias = np.sum(np.split(bias, 2), axis=0) if from_cudnn else np.tile(0.5 * bias, 2)
    return [kernel, recurrent, bias]
