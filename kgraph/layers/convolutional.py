"""Convolution, padding, cropping and enlarging of images.

Images are (samples, height, width, channels), or (samples, channels, height, width) with `data_format`
"channels_first"; kernels are (height, width, channels in, channels out) in both. Pooling is in `pooling.py`; the
operations behind the layers are in `kgraph.backend.conv` and `kgraph.backend.shaping`.
"""

from __future__ import annotations

from typing import Any

from kgraph import activations, constraints, initializers, regularizers
from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers.pooling import AveragePooling2D, MaxPooling2D
from kgraph.legacy import interfaces
from kgraph.utils import conv_utils
from kgraph.utils.generic_utils import transpose_shape

__all__ = [
    "AveragePooling2D",
    "Conv2D",
    "Convolution2D",
    "Cropping2D",
    "InputSpec",
    "Layer",
    "MaxPooling2D",
    "UpSampling2D",
    "ZeroPadding2D",
    "transpose_shape",
]


class _Conv(Layer):
    """A convolution over `rank` spatial axes; the base of the convolution layers, which say what the arguments mean."""

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rank = rank
        self.filters = filters
        self.kernel_size = conv_utils.normalize_tuple(kernel_size, rank, "kernel_size")
        self.strides = conv_utils.normalize_tuple(strides, rank, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        self.data_format = K.normalize_data_format(data_format)
        self.dilation_rate = conv_utils.normalize_tuple(dilation_rate, rank, "dilation_rate")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.input_spec = InputSpec(ndim=rank + 2)

    def build(self, input_shape: Any) -> None:
        axis = 1 if self.data_format == "channels_first" else -1
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                "The channel dimension of the inputs should be defined. Found `None`. "
                f"(Layer {self.name}, axis {axis} of the input shape {tuple(input_shape)}.)"
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        self.built = True

    def call(self, inputs: Any) -> Any:
        convolve = {1: K.conv1d, 2: K.conv2d}[self.rank]
        outputs = convolve(
            inputs,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        if self.use_bias:
            outputs = K.bias_add(outputs, self.bias, data_format=self.data_format)
        if self.activation is not None:
            outputs = self.activation(outputs)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = _first_spatial_axis(self.data_format)
        sizes = tuple(
            conv_utils.conv_output_length(input_shape[first + i], size, self.padding, stride, dilation)
            for i, (size, stride, dilation) in enumerate(
                zip(self.kernel_size, self.strides, self.dilation_rate, strict=True)
            )
        )
        return _shape(input_shape[0], sizes, self.filters, self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }


class Conv2D(_Conv):
    """Images convolved with learned kernels, plus a bias for each channel, through an activation.

    # Arguments
        filters: number of channels of the output.
        kernel_size, strides, dilation_rate: an integer, or two (height, width).
        padding: "valid" (whole windows only) or "same" (zeros around, so that stride 1 keeps the size).
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
        activation: a name or function; None for the identity.
        use_bias: whether there is a bias.
        kernel_*, bias_*: initializers, regularizers and constraints of the two weights.
        activity_regularizer: regularizer of the output.

    # Input shape
        (samples, height, width, channels); (samples, channels, height, width) for "channels_first".

    # Output shape
        The same order, with new height and width and `filters` channels.
    """

    @interfaces.legacy_conv2d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            rank=2,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("rank")
        return config


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


class ZeroPadding2D(_ZeroPadding):
    """Rows and columns of zeros around images.

    # Arguments
        padding: an integer for all sides, two integers (height, width), or `((top, bottom), (left, right))`.
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    @interfaces.legacy_zeropadding2d_support
    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(_pairs(padding, "padding", "pad"), data_format, **kwargs)

    def call(self, inputs: Any) -> Any:
        return K.spatial_2d_padding(inputs, padding=self.padding, data_format=self.data_format)


class _Cropping(Layer):
    """The middle of the spatial axes; `cropping` holds for each how much goes (before, after)."""

    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = cropping
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=len(cropping) + 2)

    def call(self, inputs: Any) -> Any:
        first = _first_spatial_axis(self.data_format)
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


class Cropping2D(_Cropping):
    """Images without some of their outer rows and columns.

    # Arguments
        cropping: an integer for all sides, two integers (height, width), or `((top, bottom), (left, right))`.
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
    """

    @interfaces.legacy_cropping2d_support
    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(_pairs(cropping, "cropping", "crop"), data_format, **kwargs)


class _UpSampling(Layer):
    """The spatial axes enlarged by the whole factors `size`."""

    def __init__(self, size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.data_format = K.normalize_data_format(data_format)
        self.input_spec = InputSpec(ndim=len(size) + 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = list(input_shape)
        for axis, factor in enumerate(self.size, _first_spatial_axis(self.data_format)):
            shape[axis] = None if shape[axis] is None else shape[axis] * factor
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}


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


def _first_spatial_axis(data_format: str) -> int:
    return 2 if data_format == "channels_first" else 1


def _shape(batch: Any, sizes: tuple[Any, ...], channels: Any, data_format: str) -> tuple[Any, ...]:
    return (batch, channels, *sizes) if data_format == "channels_first" else (batch, *sizes, channels)


def _resized(input_shape: Any, data_format: str, changes: list[int]) -> tuple[Any, ...]:
    """`input_shape` with `changes` added to its spatial sizes, where they are known."""
    shape = list(input_shape)
    for axis, change in enumerate(changes, _first_spatial_axis(data_format)):
        shape[axis] = None if shape[axis] is None else shape[axis] + change
    return tuple(shape)


def _pairs(value: Any, name: str, verb: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The argument `name` of a 2D layer as `((top, bottom), (left, right))`."""
    if isinstance(value, int):
        return (value, value), (value, value)
    if not hasattr(value, "__len__"):
        raise ValueError(
            f"`{name}` should be either an int, a tuple of 2 ints (symmetric_height_{verb}, symmetric_width_{verb}), "
            f"or a tuple of 2 tuples of 2 ints ((top_{verb}, bottom_{verb}), (left_{verb}, right_{verb})). "
            f"Found: {value}"
        )
    if len(value) != 2:
        raise ValueError(f"`{name}` should have two elements. Found: {value}")
    height = conv_utils.normalize_tuple(value[0], 2, f"1st entry of {name}")
    width = conv_utils.normalize_tuple(value[1], 2, f"2nd entry of {name}")
    return height, width


Convolution2D = Conv2D
