"""Locally connected layers: convolutions whose weights differ from place to place.

The operations behind them are in `kgraph.backend.local`.
"""

from __future__ import annotations

from typing import Any

from kgraph import activations, regularizers
from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers import weight_settings
from kgraph.layers.convolution import channels_shape, first_spatial_axis
from kgraph.legacy import interfaces
from kgraph.utils import conv_utils

__all__ = ["InputSpec", "Layer", "LocallyConnected1D", "LocallyConnected2D"]


class _LocallyConnected(Layer):
    """What both layers share; `_rank` counts the spatial axes."""

    _rank: int

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = conv_utils.normalize_tuple(kernel_size, self._rank, "kernel_size")
        self.strides = conv_utils.normalize_tuple(strides, self._rank, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        if self.padding != "valid":
            raise ValueError(
                f'Invalid border mode for {type(self).__name__} (only "valid" is supported): {padding}'
            )
        self.data_format = K.normalize_data_format(data_format)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        weight_settings.keep(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        weight_settings.keep(self, "bias", bias_initializer, bias_regularizer, bias_constraint)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.input_spec = InputSpec(ndim=self._rank + 2)

    @property
    def _order(self) -> str:
        """Where the channels of samples stand."""
        return self.data_format

    def _sizes(self, input_shape: Any) -> tuple[int | None, ...]:
        """The spatial sizes of the output."""
        first = first_spatial_axis(self._order)
        arguments = zip(input_shape[first : first + self._rank], self.kernel_size, self.strides, strict=True)
        return tuple(conv_utils.conv_output_length(size, k, self.padding, s) for size, k, s in arguments)

    def build(self, input_shape: Any) -> None:
        sizes = self._sizes(input_shape)
        axis = 1 if self._order == "channels_first" else self._rank + 1
        channels = input_shape[axis]
        if None in sizes or channels is None:
            raise ValueError(
                f"The sizes of the inputs to {type(self).__name__} should be fully-defined, but layer {self.name} "
                f"received an input of shape {tuple(input_shape)}"
            )
        places = 1
        for size in (n for n in sizes if n is not None):
            places *= size
        window = channels
        for size in self.kernel_size:
            window *= size
        self.kernel_shape = (places, window, self.filters)
        self.kernel = weight_settings.add(self, "kernel", self.kernel_shape)
        self.bias = None
        if self.use_bias:
            self.bias = weight_settings.add(self, "bias", (*sizes, self.filters))
        self.input_spec = InputSpec(ndim=self._rank + 2, axes={axis: channels})
        self.built = True

    def _finished(self, outputs: Any) -> Any:
        """What follows the products: the bias and the activation."""
        if self.use_bias:
            outputs = K.bias_add(outputs, self.bias, data_format=self._order)
        return self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return channels_shape(input_shape[0], self._sizes(input_shape), self.filters, self._order)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **weight_settings.config(self, "kernel", "bias"),
        }


class LocallyConnected1D(_LocallyConnected):
    """Sequences convolved with weights of their own at each output step, plus a bias for each output element.

    # Arguments
        filters: number of channels of the output.
        kernel_size, strides: an integer, or a tuple of one.
        padding: "valid", the only one there is.
        data_format: accepted, but sequences are (samples, steps, channels) whatever it says, as in Keras.
        activation: a name or function; None for the identity.
        use_bias: whether there is a bias.
        kernel_*, bias_*: initializers, regularizers and constraints of the two weights.
        activity_regularizer: regularizer of the output.

    # Input shape
        (samples, steps, channels), with a known number of steps.

    # Output shape
        (samples, new steps, filters).
    """

    _rank = 1

    @interfaces.legacy_conv1d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
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
            filters, kernel_size, strides, padding, data_format, activation, use_bias, kernel_initializer,
            bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint,
            bias_constraint, **kwargs,
        )  # fmt: skip

    @property
    def _order(self) -> str:
        return "channels_last"

    def call(self, inputs: Any) -> Any:
        return self._finished(K.local_conv1d(inputs, self.kernel, self.kernel_size, self.strides))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("data_format")
        return config


class LocallyConnected2D(_LocallyConnected):
    """Images convolved with weights of their own at each output pixel, plus a bias for each output element.

    # Arguments
        filters: number of channels of the output.
        kernel_size, strides: an integer, or two (height, width).
        padding: "valid", the only one there is.
        data_format: "channels_last", "channels_first", or None for `K.image_data_format()`.
        activation: a name or function; None for the identity.
        use_bias: whether there is a bias.
        kernel_*, bias_*: initializers, regularizers and constraints of the two weights.
        activity_regularizer: regularizer of the output.

    # Input shape
        (samples, height, width, channels), or (samples, channels, height, width) for "channels_first", with known
        height and width.

    # Output shape
        The same order, with new height and width and `filters` channels.
    """

    _rank = 2

    @interfaces.legacy_conv2d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
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
            filters, kernel_size, strides, padding, data_format, activation, use_bias, kernel_initializer,
            bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer, kernel_constraint,
            bias_constraint, **kwargs,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.output_row, self.output_col = self._sizes(input_shape)

    def call(self, inputs: Any) -> Any:
        output_shape = (self.output_row, self.output_col)
        outputs = K.local_conv2d(
            inputs, self.kernel, self.kernel_size, self.strides, output_shape, self.data_format
        )  # fmt: skip
        return self._finished(outputs)
