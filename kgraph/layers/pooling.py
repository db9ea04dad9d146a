"""Pooling of images: the maximum or mean of each window, or of each whole image.

The operations behind the layers are in `kgraph.backend.conv`.
"""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.legacy import interfaces
from kgraph.utils import conv_utils

__all__ = [
    "AveragePooling2D",
    "AvgPool2D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "InputSpec",
    "Layer",
    "MaxPool2D",
    "MaxPooling2D",
]


class _Pooling2D(Layer):
    """Windows over images; subclasses say in `_mode` how each is reduced, or override `_pooling_function`."""

    _mode: str

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = conv_utils.normalize_tuple(pool_size, 2, "pool_size")
        self.strides = self.pool_size if strides is None else conv_utils.normalize_tuple(strides, 2, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=4)

    def call(self, inputs: Any) -> Any:
        return self._pooling_function(
            inputs=inputs,
            pool_size=self.pool_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )

    def _pooling_function(self, inputs: Any, pool_size: Any, strides: Any, padding: str, data_format: str) -> Any:
        return K.pool2d(inputs, pool_size, strides, padding, data_format, pool_mode=self._mode)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = list(input_shape)
        first = 2 if self.data_format == "channels_first" else 1
        for i, (size, stride) in enumerate(zip(self.pool_size, self.strides, strict=True)):
            shape[first + i] = conv_utils.conv_output_length(shape[first + i], size, self.padding, stride)
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class MaxPooling2D(_Pooling2D):
    """The maximum of each window of images.

    # Arguments
        pool_size: size of the windows, an integer or two (height, width).
        strides: steps between windows, an integer or two; None for `pool_size`.
        padding: "valid" (whole windows only) or "same" (windows may reach over the edge; padding never counts).
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    _mode = "max"

    @interfaces.legacy_pooling2d_support
    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


class AveragePooling2D(_Pooling2D):
    """The mean of each window of images. Arguments are those of `MaxPooling2D`."""

    _mode = "avg"

    @interfaces.legacy_pooling2d_support
    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


class _GlobalPooling2D(Layer):
    """Whole images reduced to one number for each channel."""

    @interfaces.legacy_global_pooling_support
    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=4)

    @property
    def _spatial_axes(self) -> list[int]:
        return [2, 3] if self.data_format == "channels_first" else [1, 2]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[1 if self.data_format == "channels_first" else 3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each channel of images: (samples, channels).

    # Arguments
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    def call(self, inputs: Any) -> Any:
        return K.mean(inputs, axis=self._spatial_axes)


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The maximum of each channel of images: (samples, channels).

    # Arguments
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    def call(self, inputs: Any) -> Any:
        return K.max(inputs, axis=self._spatial_axes)


AvgPool2D = AveragePooling2D
MaxPool2D = MaxPooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
