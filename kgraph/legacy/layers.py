"""Layers of Keras 1 that Keras 2 still accepted, and other names for layers of today."""

from __future__ import annotations

import warnings
from typing import Any

from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers.convolution import Conv1D, Conv2D
from kgraph.legacy.dense import Highway, MaxoutDense
from kgraph.legacy.recurrent import ConvRecurrent2D, Recurrent
from kgraph.utils.generic_utils import to_list

__all__ = [
    "AtrousConvolution1D",
    "AtrousConvolution2D",
    "ConvRecurrent2D",
    "Highway",
    "InputSpec",
    "Layer",
    "MaxoutDense",
    "Recurrent",
    "to_list",
]


def _dilated(layer: type[Conv1D] | type[Conv2D], old: str, args: Any, kwargs: dict[str, Any]) -> Any:
    if "atrous_rate" in kwargs:
        kwargs["dilation_rate"] = kwargs.pop("atrous_rate")
    warnings.warn(
        f"The `{old}` layer  has been deprecated. "
        f"Use instead the `{layer.__name__}` layer with the `dilation_rate` argument.",
        stacklevel=3,
    )
    return layer(*args, **kwargs)


def AtrousConvolution1D(*args: Any, **kwargs: Any) -> Conv1D:  # noqa: N802
    """A `Conv1D` whose `dilation_rate` may be called `atrous_rate`."""
    return _dilated(Conv1D, "AtrousConvolution1D", args, kwargs)


def AtrousConvolution2D(*args: Any, **kwargs: Any) -> Conv2D:  # noqa: N802
    """A `Conv2D` whose `dilation_rate` may be called `atrous_rate`."""
    return _dilated(Conv2D, "AtrousConvolution2D", args, kwargs)
