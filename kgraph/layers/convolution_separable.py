"""Convolutions that keep channels apart, alone (depthwise) or with a mixing of channels after (separable).

Before it comes `convolution.py`; `convolutional.py` is where users find these layers.
"""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec
from kgraph.layers import weight_settings
from kgraph.layers.convolution import Conv2D, _Conv, channels_shape, first_spatial_axis
from kgraph.legacy import interfaces
from kgraph.utils import conv_utils

_KERNEL_SETTINGS = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")


class _SeparableConv(_Conv):
    """A depthwise convolution over `rank` spatial axes, then one of single pixels; the base of the separable layers."""

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            rank=rank,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.depth_multiplier = depth_multiplier
        weight_settings.keep(self, "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint)
        weight_settings.keep(self, "pointwise", pointwise_initializer, pointwise_regularizer, pointwise_constraint)

    def build(self, input_shape: Any) -> None:
        axis, channels = self._channels(input_shape)
        depthwise = (*self.kernel_size, channels, self.depth_multiplier)
        pointwise = (*(1,) * self.rank, self.depth_multiplier * channels, self.filters)
        self.depthwise_kernel = weight_settings.add(self, "depthwise", depthwise, "depthwise_kernel")
        self.pointwise_kernel = weight_settings.add(self, "pointwise", pointwise, "pointwise_kernel")
        self._add_bias((self.filters,))
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        self.built = True

    def call(self, inputs: Any) -> Any:
        convolve = {1: K.separable_conv1d, 2: K.separable_conv2d}[self.rank]
        outputs = convolve(
            inputs,
            self.depthwise_kernel,
            self.pointwise_kernel,
            data_format=self.data_format,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        return self._finished(outputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("rank", *_KERNEL_SETTINGS):
            config.pop(name)
        return {
            **config,
            "depth_multiplier": self.depth_multiplier,
            **weight_settings.config(self, "depthwise", "pointwise", activity=False),
        }


class SeparableConv1D(_SeparableConv):
    """Sequences convolved channel by channel, then mixed by a convolution of single steps.

    # Arguments
        filters: number of channels of the output.
        kernel_size, strides, dilation_rate: an integer, or a tuple of one.
        padding: "valid" or "same".
        data_format: "channels_last" or "channels_first".
        depth_multiplier: results for each input channel before the mixing.
        depthwise_*, pointwise_*, bias_*: initializers, regularizers and constraints of the three weights.

    The others are those of `Conv1D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            rank=1,
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            depth_multiplier=depth_multiplier,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )


class SeparableConv2D(_SeparableConv):
    """Images convolved channel by channel, then mixed by a convolution of single pixels.

    # Arguments
        filters: number of channels of the output.
        kernel_size, strides, dilation_rate: an integer, or two (height, width).
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
        depth_multiplier: results for each input channel before the mixing.
        depthwise_*, pointwise_*, bias_*: initializers, regularizers and constraints of the three weights.

    The others are those of `Conv2D`.
    """

    @interfaces.legacy_separable_conv2d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
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
            depth_multiplier=depth_multiplier,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )


class DepthwiseConv2D(Conv2D):
    """Each channel of images convolved by itself; channels are not mixed.

    # Arguments
        kernel_size, strides: an integer, or two (height, width).
        padding: "valid" or "same".
        depth_multiplier: results for each input channel; the output has `channels * depth_multiplier` channels.
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
        activation: a name or function; None for the identity.
        use_bias: whether there is a bias.
        depthwise_*, bias_*: initializers, regularizers and constraints of the two weights.
        activity_regularizer: regularizer of the output.
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=None,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.depth_multiplier = depth_multiplier
        weight_settings.keep(self, "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 4:
            raise ValueError(
                f"Inputs to `DepthwiseConv2D` should have rank 4. Received input shape: {tuple(input_shape)}"
            )
        axis, channels = self._channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.depthwise_kernel = weight_settings.add(self, "depthwise", shape, "depthwise_kernel")
        self._add_bias((channels * self.depth_multiplier,))
        self.input_spec = InputSpec(ndim=4, axes={axis: channels})
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        outputs = K.depthwise_conv2d(
            inputs,
            self.depthwise_kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._finished(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = first_spatial_axis(self.data_format)
        arguments = zip(
            input_shape[first : first + 2], self.kernel_size, self.strides, self.dilation_rate, strict=True
        )
        sizes = tuple(
            conv_utils.conv_output_length(size, kernel, self.padding, stride, dilation)
            for size, kernel, stride, dilation in arguments
        )
        channels = input_shape[1 if self.data_format == "channels_first" else -1]
        return channels_shape(input_shape[0], sizes, channels * self.depth_multiplier, self.data_format)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("filters", *_KERNEL_SETTINGS):
            config.pop(name)
        return {
            **config,
            "depth_multiplier": self.depth_multiplier,
            **weight_settings.config(self, "depthwise", activity=False),
        }
