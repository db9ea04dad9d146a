"""What the networks trained on ImageNet share outside of the network: image values, input shapes, names of classes."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.applications.injection import keras_modules_injection
from kgraph.utils.data_utils import get_file

__all__ = ["decode_predictions", "keras_modules_injection", "preprocess_input"]

_CLASSES = 1000
_CLASS_INDEX_URL = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
_CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"

_CAFFE_MEANS = (103.939, 116.779, 123.68)  # of blue, green, red in 0..255
_TORCH_MEANS = (0.485, 0.456, 0.406)  # of red, green, blue in 0..1
_TORCH_DEVIATIONS = (0.229, 0.224, 0.225)


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Images with values 0..255 as a network wants them.

    # Arguments
        x: one image or a batch, RGB; an array or a tensor. An array of floats is overwritten, so pass a copy of what is
            still needed.
        data_format: "channels_last", "channels_first", or None for the default.
        mode: "caffe" makes them BGR and subtracts ImageNet's means; "tf" scales them to -1..1; "torch" scales them to
            0..1, subtracts ImageNet's means and divides by its standard deviations.

    # Raises
        ValueError: for an unknown format or mode.
    """
    if data_format is None:
        data_format = K.image_data_format()
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(f"Unknown data_format {data_format}")
    if mode not in ("caffe", "tf", "torch"):
        raise ValueError(f"Unknown mode {mode!r}; it must be 'caffe', 'tf' or 'torch'")
    if isinstance(x, np.ndarray) and not np.issubdtype(x.dtype, np.floating):
        x = x.astype(K.floatx())
    if mode == "tf":
        x /= 127.5
        x -= 1.0
        return x
    axis = -1 if data_format == "channels_last" else -3
    if mode == "torch":
        x /= 255.0
        x -= _per_channel(x, _TORCH_MEANS, axis)
        x /= _per_channel(x, _TORCH_DEVIATIONS, axis)
        return x
    x = x[..., ::-1] if axis == -1 else x[..., ::-1, :, :]
    x -= _per_channel(x, _CAFFE_MEANS, axis)
    return x


def scale_input(x: Any) -> Any:
    """`preprocess_input` in mode "tf": images with values 0..255 scaled to -1..1, an array of floats in place."""
    return preprocess_input(x, mode="tf")


def _per_channel(x: Any, values: tuple[float, ...], axis: int) -> Any:
    """One number per channel, in the shape and dtype that go with the images `x`."""
    shape = (len(values),) + (1,) * (-1 - axis)
    if isinstance(x, np.ndarray):
        return np.asarray(values, dtype=x.dtype).reshape(shape)
    return K.constant(np.reshape(values, shape), dtype=K.dtype(x))


def decode_predictions(preds: np.ndarray, top: int = 5) -> list[list[tuple[str, str, Any]]]:
    """The likeliest classes of each row of predictions (samples, 1000).

    # Returns
        For each sample, a list of `top` tuples (WordNet id, name, score), likeliest first.

    # Raises
        ValueError: for predictions of another shape.
        Exception: where the list of names is neither in the cache nor can be downloaded.
    """
    if len(preds.shape) != 2 or preds.shape[1] != _CLASSES:
        raise ValueError(
            "`decode_predictions` expects a batch of predictions (i.e. a 2D array of shape (samples, 1000)). "
            f"Found array with shape: {preds.shape}"
        )
    path = get_file(
        "imagenet_class_index.json", _CLASS_INDEX_URL, cache_subdir="models", file_hash=_CLASS_INDEX_MD5
    )
    with open(path, encoding="utf-8") as file:
        classes = json.load(file)
    best = np.argsort(preds, axis=1, kind="stable")[:, ::-1][:, :top]
    return [[(*classes[str(i)], row[i]) for i in indices] for row, indices in zip(preds, best, strict=True)]


def _obtain_input_shape(
    input_shape: Any,
    default_size: int,
    min_size: int,
    data_format: str,
    require_flatten: bool,
    weights: str | None = None,
) -> tuple[int | None, ...]:
    """The shape of a network's images, without the batch axis.

    # Arguments
        input_shape: what the user asked for, or None.
        default_size, min_size: height and width where nothing was asked for, and the least that the network takes.
        data_format: "channels_last" or "channels_first".
        require_flatten: whether the network works for one size only, as those with a classifier do.
        weights: the user's choice; "imagenet" is for three channels.

    # Raises
        ValueError: for a shape that does not fit.
    """
    channel = 0 if data_format == "channels_first" else 2
    trained = weights == "imagenet"
    channels = 3
    if not trained and input_shape and len(input_shape) == 3:
        channels = input_shape[channel]
        if channels not in (1, 3):
            warnings.warn(
                "This model usually expects 1 or 3 input channels. However, it was passed an input_shape with "
                f"{channels} input channels.",
                stacklevel=4,
            )
    default = _with_channels((default_size, default_size), channels, channel)
    if trained and require_flatten:
        if input_shape is not None and tuple(input_shape) != default:
            raise ValueError(
                "When setting `include_top=True` and loading `imagenet` weights, `input_shape` should be "
                f"{default}."
            )
        return default
    if not input_shape:
        return default if require_flatten else _with_channels((None, None), 3, channel)
    input_shape = tuple(input_shape)
    if len(input_shape) != 3:
        raise ValueError("`input_shape` must be a tuple of three integers.")
    if trained and input_shape[channel] != 3:
        raise ValueError(f"The input must have 3 channels; got `input_shape={input_shape}`")
    sizes = [size for axis, size in enumerate(input_shape) if axis != channel]
    if any(size is not None and size < min_size for size in sizes):
        raise ValueError(f"Input size must be at least {min_size}x{min_size}; got `input_shape={input_shape}`")
    if require_flatten and None in input_shape:
        raise ValueError(
            "If `include_top` is True, you should specify a static `input_shape`. "
            f"Got `input_shape={input_shape}`"
        )
    return input_shape


def _with_channels(sizes: tuple[Any, Any], channels: Any, axis: int) -> tuple[Any, ...]:
    return (channels, *sizes) if axis == 0 else (*sizes, channels)
