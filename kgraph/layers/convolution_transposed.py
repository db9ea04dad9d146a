"""Transposed convolutions of images and volumes: the gradient of a convolution as a layer, which enlarges.

Before it comes `convolution.py`; `convolutional.py` is where users find these layers.
"""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec
from kgraph.layers import weight_settings
from kgraph.layers.convolution import Conv2D, Conv3D, _Conv, channels_shape, first_spatial_axis
from kgraph.legacy import interfaces
from kgraph.utils import conv_utils


class _Transposed(_Conv):
    """Stands before a convolution layer among the bases and takes over its shapes. Kernels are (*kernel_size, filters,
    channels in)."""

    output_padding: Any

    def _set_output_padding(self, output_padding: Any) -> None:
        self.output_padding = output_padding
        if output_padding is None:
            return
        self.output_padding = conv_utils.normalize_tuple(output_padding, self.rank, "output_padding")
        if any(pad >= stride for pad, stride in zip(self.output_padding, self.strides, strict=True)):
            raise ValueError(f"Stride {self.strides} must be greater than output padding {self.output_padding}")

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != self.rank + 2:
            raise ValueError(
                f"Inputs should have rank {self.rank + 2}; Received input shape: {tuple(input_shape)}"
            )
        axis, channels = self._channels(input_shape)
        self.kernel = weight_settings.add(self, "kernel", (*self.kernel_size, self.filters, channels))
        self._add_bias((self.filters,))
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        self.built = True

    def _sizes(self, sizes: Any) -> tuple[Any, ...]:
        """The spatial sizes of the output; sizes are numbers, None or scalar tensors."""
        padding = (None,) * self.rank if self.output_padding is None else self.output_padding
        arguments = zip(sizes, self.strides, self.kernel_size, padding, self.dilation_rate, strict=True)
        return tuple(
            conv_utils.deconv_length(size, stride, kernel, self.padding, more, dilation)
            for size, stride, kernel, more, dilation in arguments
        )

    def call(self, inputs: Any) -> Any:
        known, live = K.int_shape(inputs), K.shape(inputs)
        first = first_spatial_axis(self.data_format)
        axes = range(first, first + self.rank)
        sizes = self._sizes([live[axis] if known[axis] is None else known[axis] for axis in axes])
        shape = channels_shape(live[0], sizes, self.filters, self.data_format)
        settings: dict[str, Any] = {"padding": self.padding, "data_format": self.data_format}
        if self.rank == 2:
            settings["dilation_rate"] = self.dilation_rate
        convolve = {2: K.conv2d_transpose, 3: K.conv3d_transpose}[self.rank]
        return self._finished(convolve(inputs, self.kernel, shape, self.strides, **settings))

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = first_spatial_axis(self.data_format)
        sizes = self._sizes(input_shape[first : first + self.rank])
        return channels_shape(input_shape[0], sizes, self.filters, self.data_format)


class Conv2DTranspose(_Transposed, Conv2D):
    """Images enlarged by the transpose of a convolution with learned kernels, plus a bias, through an activation.

    # Arguments
        output_padding: an integer or two (height, width), less than `strides`: what is added to the size of the output.
            None for the usual size: `strides` times that of the input with padding "same".

    The others are those of `Conv2D`.
    """

    @interfaces.legacy_deconv2d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        output_padding: Any = None,
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
        self._set_output_padding(output_padding)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_padding": self.output_padding}


class Conv3DTranspose(_Transposed, Conv3D):
    """Volumes enlarged by the transpose of a convolution with learned kernels, plus a bias, through an activation.

    # Arguments
        output_padding: an integer or three (depth, height, width), less than `strides`: what is added to the size of
            the output. None for the usual size: `strides` times that of the input with padding "same".

    The others are those of `Conv3D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: str = "valid",
        output_padding: Any = None,
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
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
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
        self._set_output_padding(output_padding)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dilation_rate")
        return {**config, "output_padding": self.output_padding}
