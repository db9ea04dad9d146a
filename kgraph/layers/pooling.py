"""Pooling of sequences, images and volumes: the maximum or mean of each window, or of each whole sample.

The operations behind the layers are in `kgraph.backend.conv`.
"""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.legacy import interfaces
from kgraph.utils import conv_utils


class _Pooling(Layer):
    """Windows over `_rank` spatial axes; subclasses say in `_mode` how each is reduced, or override
    `_pooling_function`."""

    _mode: str
    _rank: int

    def __init__(self, pool_size: Any, strides: Any, padding: str, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size = conv_utils.normalize_tuple(pool_size, self._rank, "pool_size")
        steps = self.pool_size if strides is None else strides
        self.strides = conv_utils.normalize_tuple(steps, self._rank, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._rank + 2)

    def call(self, inputs: Any) -> Any:
        return self._pooling_function(
            inputs=inputs,
            pool_size=self.pool_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )

    def _pooling_function(self, inputs: Any, pool_size: Any, strides: Any, padding: str, data_format: str) -> Any:
        pool = K.pool3d if self._rank == 3 else K.pool2d
        return pool(inputs, pool_size, strides, padding, data_format, pool_mode=self._mode)

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


class _Pooling1D(_Pooling):
    """Sequences are images of one column."""

    _rank = 1

    def call(self, inputs: Any) -> Any:
        column = 3 if self.data_format == "channels_first" else 2
        outputs = self._pooling_function(
            inputs=K.expand_dims(inputs, column),
            pool_size=(*self.pool_size, 1),
            strides=(*self.strides, 1),
            padding=self.padding,
            data_format=self.data_format,
        )
        return K.squeeze(outputs, column)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        last = {name: config.pop(name) for name in ("strides", "pool_size", "padding", "data_format")}
        return {**config, **last}


class _Pooling2D(_Pooling):
    _rank = 2


class _Pooling3D(_Pooling):
    _rank = 3


class MaxPooling1D(_Pooling1D):
    """The maximum of each window of sequences.

    # Arguments
        pool_size: length of the windows.
        strides: step between windows; None for `pool_size`.
        padding: "valid" (whole windows only) or "same" (windows may reach over the end; padding never counts).
        data_format: "channels_last" (samples, steps, features) or "channels_first" (samples, features, steps).
    """

    _mode = "max"

    @interfaces.legacy_pooling1d_support
    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = "channels_last",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


class AveragePooling1D(_Pooling1D):
    """The mean of each window of sequences. Arguments are those of `MaxPooling1D`."""

    _mode = "avg"

    @interfaces.legacy_pooling1d_support
    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = "channels_last",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


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


class MaxPooling3D(_Pooling3D):
    """The maximum of each window of volumes.

    # Arguments
        pool_size: size of the windows, an integer or three (depth, height, width).
        strides: steps between windows, an integer or three; None for `pool_size`.
        padding: "valid" (whole windows only) or "same" (windows may reach over the edge; padding never counts).
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    _mode = "max"

    @interfaces.legacy_pooling3d_support
    def __init__(
        self,
        pool_size: Any = (2, 2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


class AveragePooling3D(_Pooling3D):
    """The mean of each window of volumes. Arguments are those of `MaxPooling3D`."""

    _mode = "avg"

    @interfaces.legacy_pooling3d_support
    def __init__(
        self,
        pool_size: Any = (2, 2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)


class _GlobalPooling(Layer):
    """Whole samples reduced to one number for each channel: (samples, channels)."""

    _rank: int
    data_format: str

    @property
    def _spatial_axes(self) -> list[int]:
        first = 2 if self.data_format == "channels_first" else 1
        return list(range(first, first + self._rank))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[1 if self.data_format == "channels_first" else self._rank + 1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class _GlobalPooling1D(_GlobalPooling):
    _rank = 1

    def __init__(self, data_format: str | None = "channels_last", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=3)


class _GlobalPooling2D(_GlobalPooling):
    _rank = 2

    @interfaces.legacy_global_pooling_support
    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=4)


class _GlobalPooling3D(_GlobalPooling):
    _rank = 3

    @interfaces.legacy_global_pooling_support
    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=5)


class GlobalAveragePooling1D(_GlobalPooling1D):
    """The mean of each feature of sequences over the steps that are not masked.

    # Arguments
        data_format: "channels_last" (samples, steps, features) or "channels_first" (samples, features, steps).
    """

    def __init__(self, data_format: str | None = "channels_last", **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        (steps,) = self._spatial_axes
        if mask is None:
            return K.mean(inputs, axis=steps)
        weights = K.expand_dims(K.cast(mask, K.dtype(inputs)), 3 - steps)
        return K.sum(inputs * weights, axis=steps) / K.sum(weights, axis=steps)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None


class GlobalMaxPooling1D(_GlobalPooling1D):
    """The maximum of each feature of sequences.

    # Arguments
        data_format: "channels_last" (samples, steps, features) or "channels_first" (samples, features, steps).
    """

    def call(self, inputs: Any) -> Any:
        return K.max(inputs, axis=self._spatial_axes)


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each channel of images.

    # Arguments
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    def call(self, inputs: Any) -> Any:
        return K.mean(inputs, axis=self._spatial_axes)


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The maximum of each channel of images.

    # Arguments
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    def call(self, inputs: Any) -> Any:
        return K.max(inputs, axis=self._spatial_axes)


class GlobalAveragePooling3D(_GlobalPooling3D):
    """The mean of each channel of volumes.

    # Arguments
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    def call(self, inputs: Any) -> Any:
        return K.mean(inputs, axis=self._spatial_axes)


class GlobalMaxPooling3D(_GlobalPooling3D):
    """The maximum of each channel of volumes.

    # Arguments
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    def call(self, inputs: Any) -> Any:
        return K.max(inputs, axis=self._spatial_axes)


AvgPool1D = AveragePooling1D
MaxPool1D = MaxPooling1D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalMaxPool1D = GlobalMaxPooling1D
AvgPool2D = AveragePooling2D
MaxPool2D = MaxPooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
AvgPool3D = AveragePooling3D
MaxPool3D = MaxPooling3D
GlobalAvgPool3D = GlobalAveragePooling3D
GlobalMaxPool3D = GlobalMaxPooling3D

__all__ = [
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "AvgPool1D", "AvgPool2D", "AvgPool3D",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalAvgPool1D",
    "GlobalAvgPool2D", "GlobalAvgPool3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "InputSpec", "Layer", "MaxPool1D",
    "MaxPool2D", "MaxPool3D", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
]  # fmt: skip
