"""Convolution layers over sequences, images and volumes, and what all convolution layers share.

After it come `convolution_transposed.py` and `convolution_separable.py`; `convolutional.py` is where users find them
all. The operations behind the layers are in `kgraph.backend.conv`.
"""

from __future__ import annotations

from typing import Any

from kgraph import activations, regularizers
from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers import weight_settings
from kgraph.legacy import interfaces
from kgraph.utils import conv_utils


class _Conv(Layer):
    """A convolution over `rank` spatial axes; the base of the convolution layers, which say what the arguments mean."""

    def __init__(
        self,
        rank: int,
        filters: int | None,
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
        self.filters: Any = filters
        self.kernel_size = conv_utils.normalize_tuple(kernel_size, rank, "kernel_size")
        self.strides = conv_utils.normalize_tuple(strides, rank, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        self.data_format = K.normalize_data_format(data_format)
        self.dilation_rate = conv_utils.normalize_tuple(dilation_rate, rank, "dilation_rate")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        weight_settings.keep(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        weight_settings.keep(self, "bias", bias_initializer, bias_regularizer, bias_constraint)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.input_spec = InputSpec(ndim=rank + 2)

    def build(self, input_shape: Any) -> None:
        axis, channels = self._channels(input_shape)
        self.kernel = weight_settings.add(self, "kernel", (*self.kernel_size, channels, self.filters))
        self._add_bias((self.filters,))
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        self.built = True

    def _channels(self, input_shape: Any) -> tuple[int, int]:
        """The axis and the number of the input's channels."""
        axis = 1 if self.data_format == "channels_first" else -1
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                "The channel dimension of the inputs should be defined. Found `None`. "
                f"(Layer {self.name}, axis {axis} of the input shape {tuple(input_shape)}.)"
            )
        return axis, channels

    def _add_bias(self, shape: tuple[int, ...]) -> None:
        self.bias = None
        if self.use_bias:
            self.bias = weight_settings.add(self, "bias", shape)

    def call(self, inputs: Any) -> Any:
        convolve = {1: K.conv1d, 2: K.conv2d, 3: K.conv3d}[self.rank]
        outputs = convolve(
            inputs,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        return self._finished(outputs)

    def _finished(self, outputs: Any) -> Any:
        """What follows the convolution: the bias and the activation."""
        if self.use_bias:
            outputs = K.bias_add(outputs, self.bias, data_format=self.data_format)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = first_spatial_axis(self.data_format)
        sizes = tuple(
            conv_utils.conv_output_length(input_shape[first + i], size, self.padding, stride, dilation)
            for i, (size, stride, dilation) in enumerate(
                zip(self.kernel_size, self.strides, self.dilation_rate, strict=True)
            )
        )
        return channels_shape(input_shape[0], sizes, self.filters, self.data_format)

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
            **weight_settings.config(self, "kernel", "bias"),
        }


class Conv1D(_Conv):
    """Sequences convolved with learned kernels, plus a bias for each channel, through an activation.

    # Arguments
        filters: number of channels of the output.
        kernel_size, strides, dilation_rate: an integer, or a tuple of one.
        padding: "valid" (whole windows only), "same" (zeros around, so that stride 1 keeps the length) or "causal"
            (zeros before, so that no output step sees later input; for "channels_last" only).
        data_format: "channels_last" or "channels_first".

    The others are those of `Conv2D`.

    # Input shape
        (samples, steps, channels); (samples, channels, steps) for "channels_first".

    # Output shape
        The same order, with new steps and `filters` channels.
    """

    @interfaces.legacy_conv1d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str = "channels_last",
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
        if padding == "causal" and data_format != "channels_last":
            raise ValueError(
                "When using causal padding in `Conv1D`, `data_format` must be \"channels_last\" (temporal data)."
            )
        super().__init__(
            rank=1,
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
        filters: int | None,
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


class Conv3D(_Conv):
    """Volumes convolved with learned kernels, plus a bias for each channel, through an activation.

    # Arguments
        filters: number of channels of the output.
        kernel_size, strides, dilation_rate: an integer, or three (depth, height, width).

    The others are those of `Conv2D`.

    # Input shape
        (samples, depth, height, width, channels); (samples, channels, depth, height, width) for "channels_first".

    # Output shape
        The same order, with new spatial sizes and `filters` channels.
    """

    @interfaces.legacy_conv3d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1, 1),
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
            rank=3,
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


def first_spatial_axis(data_format: str) -> int:
    """The first axis that is neither samples nor channels."""
    return 2 if data_format == "channels_first" else 1


def channels_shape(batch: Any, sizes: tuple[Any, ...], channels: Any, data_format: str) -> tuple[Any, ...]:
    """The shape of samples with these spatial sizes and channels."""
    return (batch, channels, *sizes) if data_format == "channels_first" else (batch, *sizes, channels)
