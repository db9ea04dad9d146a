"""Layers that change sizes without computing: zeros around the spatial axes, less of them, or each element repeated.

`convolutional.py` is where users find them. The operations behind them are in `kgraph.backend.shaping`.
"""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers.convolution import first_spatial_axis
from kgraph.legacy import interfaces
from kgraph.utils import conv_utils


class _ZeroPadding(Layer):
    """Zeros around the spatial axes; `padding` holds a pair (before, after) for each."""

    def __init__(self, padding: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = padding
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=len(padding) + 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return _resized(input_shape, self.data_format, [before + after for before, after in self.padding])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class ZeroPadding1D(_ZeroPadding):
    """Steps of zeros before and after sequences (samples, steps, features).

    # Arguments
        padding: an integer for both ends, or two (before, after).
    """

    def __init__(self, padding: Any = 1, **kwargs: Any) -> None:
        super().__init__((conv_utils.normalize_tuple(padding, 2, "padding"),), "channels_last", **kwargs)

    def call(self, inputs: Any) -> Any:
        return K.temporal_padding(inputs, padding=self.padding[0])

    def get_config(self) -> dict[str, Any]:
        return _of_sequences(super().get_config(), "padding")


class ZeroPadding2D(_ZeroPadding):
    """Rows and columns of zeros around images.

    # Arguments
        padding: an integer for all sides, two integers (height, width), or `((top, bottom), (left, right))`.
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    @interfaces.legacy_zeropadding2d_support
    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(_pairs(padding, 2, "padding", "pad"), data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        return K.spatial_2d_padding(inputs, padding=self.padding, data_format=self.data_format)


class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes.

    # Arguments
        padding: an integer for all sides, three integers (depth, height, width), or three pairs (before, after).
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    @interfaces.legacy_zeropadding3d_support
    def __init__(self, padding: Any = (1, 1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(_pairs(padding, 3, "padding", "pad"), data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        return K.spatial_3d_padding(inputs, padding=self.padding, data_format=self.data_format)


class _Cropping(Layer):
    """The middle of the spatial axes; `cropping` holds for each how much goes (before, after)."""

    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = cropping
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=len(cropping) + 2)

    def call(self, inputs: Any) -> Any:
        first = first_spatial_axis(self.data_format)
        sizes = K.int_shape(inputs)[first : first + len(self.cropping)]
        for size, (before, after) in zip(sizes, self.cropping, strict=True):
            if size is not None and before + after > size:
                raise ValueError(
                    f"Layer {self.name}: `cropping` {self.cropping} takes more than there is of an input of shape "
                    f"{K.int_shape(inputs)} ({self.data_format})."
                )
        kept = [slice(before, -after or None) for before, after in self.cropping]
        return inputs[(slice(None),) * first + tuple(kept)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return _resized(input_shape, self.data_format, [-before - after for before, after in self.cropping])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self.cropping, "data_format": self.data_format}


class Cropping1D(_Cropping):
    """Sequences (samples, steps, features) without some of their first and last steps.

    # Arguments
        cropping: an integer for both ends, or two (before, after).
    """

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__((conv_utils.normalize_tuple(cropping, 2, "cropping"),), "channels_last", **kwargs)

    def get_config(self) -> dict[str, Any]:
        return _of_sequences(super().get_config(), "cropping")


class Cropping2D(_Cropping):
    """Images without some of their outer rows and columns.

    # Arguments
        cropping: an integer for all sides, two integers (height, width), or `((top, bottom), (left, right))`.
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    @interfaces.legacy_cropping2d_support
    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(_pairs(cropping, 2, "cropping", "crop"), data_format, **kwargs)


class Cropping3D(_Cropping):
    """The middle of volumes.

    # Arguments
        cropping: an integer for all sides, three integers (depth, height, width), or three pairs (before, after).
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    @interfaces.legacy_cropping3d_support
    def __init__(
        self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(_pairs(cropping, 3, "cropping", "crop"), data_format, **kwargs)


class _UpSampling(Layer):
    """The spatial axes enlarged by the whole factors `size`."""

    def __init__(self, size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=len(size) + 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = list(input_shape)
        for axis, factor in enumerate(self.size, first_spatial_axis(self.data_format)):
            shape[axis] = None if shape[axis] is None else shape[axis] * factor
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}


class UpSampling1D(_UpSampling):
    """Sequences (samples, steps, features) with each step repeated `size` times."""

    @interfaces.legacy_upsampling1d_support
    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__((int(size),), "channels_last", **kwargs)

    def call(self, inputs: Any) -> Any:
        return K.repeat_elements(inputs, self.size[0], axis=1)

    def get_config(self) -> dict[str, Any]:
        return _of_sequences(super().get_config(), "size")


class UpSampling2D(_UpSampling):
    """Images enlarged by whole factors.

    # Arguments
        size: an integer, or two factors (height, width).
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
        interpolation: "nearest" (repeats pixels) or "bilinear".
    """

    @interfaces.legacy_upsampling2d_support
    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(conv_utils.normalize_tuple(size, 2, "size"), data_format, **kwargs)
        if interpolation not in ("nearest", "bilinear"):
            raise ValueError(
                f'interpolation should be one of "nearest" or "bilinear". Received: {interpolation!r}'
            )
        self.interpolation = interpolation

    def call(self, inputs: Any) -> Any:
        return K.resize_images(inputs, self.size[0], self.size[1], self.data_format, self.interpolation)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "interpolation": self.interpolation}


class UpSampling3D(_UpSampling):
    """Volumes enlarged by whole factors, by repeating elements.

    # Arguments
        size: an integer, or three factors (depth, height, width).
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    @interfaces.legacy_upsampling3d_support
    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(conv_utils.normalize_tuple(size, 3, "size"), data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        return K.resize_volumes(inputs, self.size[0], self.size[1], self.size[2], self.data_format)


def _resized(input_shape: Any, data_format: str, changes: list[int]) -> tuple[Any, ...]:
    """`input_shape` with `changes` added to its spatial sizes, where they are known."""
    shape = list(input_shape)
    for axis, change in enumerate(changes, first_spatial_axis(data_format)):
        shape[axis] = None if shape[axis] is None else shape[axis] + change
    return tuple(shape)


def _of_sequences(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The config of a layer for sequences: the argument `name` for its only spatial axis, no data format."""
    config.pop("data_format")
    return {**config, name: config[name][0]}


def _pairs(value: Any, rank: int, name: str, verb: str) -> tuple[tuple[int, ...], ...]:
    """The argument `name` of a layer of 2 or 3 spatial axes as a pair (before, after) for each."""
    if isinstance(value, int):
        return ((value, value),) * rank
    if not hasattr(value, "__len__"):
        raise ValueError(f"`{name}` should be {_forms(rank, verb)}. Found: {value}")
    if len(value) != rank:
        raise ValueError(f"`{name}` should have {'two' if rank == 2 else '3'} elements. Found: {value}")
    words = ("1st", "2nd", "3rd")
    return tuple(
        conv_utils.normalize_tuple(entry, 2, f"{words[i]} entry of {name}") for i, entry in enumerate(value)
    )


def _forms(rank: int, verb: str) -> str:
    """In words, what the argument may be."""
    if rank == 2:
        return (
            f"either an int, a tuple of 2 ints (symmetric_height_{verb}, symmetric_width_{verb}), "
            f"or a tuple of 2 tuples of 2 ints ((top_{verb}, bottom_{verb}), (left_{verb}, right_{verb}))"
        )
    axes = [f"dim{i}_{verb}" for i in (1, 2, 3)]
    return (
        f"either an int, a tuple of 3 ints ({', '.join(f'symmetric_{axis}' for axis in axes)}), "
        f"or a tuple of 3 tuples of 2 ints ({', '.join(f'(left_{axis}, right_{axis})' for axis in axes)})"
    )
