"""`ConvLSTM2D`: an LSTM over images whose products are convolutions; `ConvRNN2D` is `RNN` for such cells."""

from __future__ import annotations

from typing import Any

from kgraph import activations, regularizers
from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers import weight_settings
from kgraph.layers.rnn import RNN, of_cell, state_sizes
from kgraph.layers.rnn_cells import WEIGHTS, dropout_masks, forget_bias
from kgraph.legacy import interfaces
from kgraph.legacy.recurrent import ConvRecurrent2D, Recurrent
from kgraph.utils import conv_utils
from kgraph.utils.generic_utils import has_arg, to_list, transpose_shape

__all__ = [
    "ConvLSTM2D", "ConvLSTM2DCell", "ConvRNN2D", "ConvRecurrent2D", "InputSpec", "Layer", "RNN", "Recurrent",
    "has_arg", "to_list", "transpose_shape",
]  # fmt: skip

Shape = tuple[Any, ...]


class ConvRNN2D(RNN):
    """`RNN` over images, `(batch, steps, rows, columns, channels)`, for cells that convolve.

    # Arguments
        cell: a cell with `input_conv`, `filters` and the arguments of a convolution; the others are those of `RNN`.
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **kwargs: Any,
    ) -> None:
        if unroll:
            raise TypeError("Unrolling isn't possible with convolutional RNNs.")
        if isinstance(cell, (list, tuple)):
            raise TypeError("It is not possible at the moment to stack convolutional cells.")
        super().__init__(cell, return_sequences, return_state, go_backwards, stateful, unroll, **kwargs)
        self.input_spec = [InputSpec(ndim=5)]

    def _image_shape(self, input_shape: Shape) -> Shape:
        """The shape of one output image."""
        cell = self.cell
        first = 3 if cell.data_format == "channels_first" else 2
        sizes = [
            conv_utils.conv_output_length(
                input_shape[first + i], cell.kernel_size[i], cell.padding, cell.strides[i], cell.dilation_rate[i]
            )
            for i in range(2)
        ]
        return (cell.filters, *sizes) if cell.data_format == "channels_first" else (*sizes, cell.filters)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if isinstance(input_shape, list):
            input_shape = input_shape[0]
        image = self._image_shape(input_shape)
        shape = (*input_shape[:2], *image) if self.return_sequences else (input_shape[0], *image)
        return [shape, *((input_shape[0], *image) for _ in state_sizes(self.cell))] if self.return_state else shape

    def _spec_for(self, batch_size: int | None, input_shape: Shape) -> InputSpec:
        return InputSpec(shape=(batch_size, None, *input_shape[2:5]))

    def _check_state_spec(self) -> None:
        sizes = state_sizes(self.cell)
        channels = 1 if self.cell.data_format == "channels_first" else 3
        if self.state_spec is None:
            self.state_spec = [
                InputSpec(shape=tuple(size if i == channels else None for i in range(4))) for size in sizes
            ]
        elif [spec.shape[channels] for spec in self.state_spec] != sizes:
            raise ValueError(
                "An initial_state was passed that is not compatible with `cell.state_size`. Received "
                f"`state_spec`={[spec.shape for spec in self.state_spec]}; However `cell.state_size` is "
                f"{self.cell.state_size}"
            )

    def get_initial_state(self, inputs: Any) -> list[Any]:
        """Zeros of the shape of an output image for each state."""
        zeros = K.zeros_like(self.cell.input_conv(inputs[:, 0], self.cell.kernel, padding=self.cell.padding))
        channels = 1 if self.cell.data_format == "channels_first" else 3
        count = self.cell.filters
        state = zeros[:, :count] if channels == 1 else zeros[..., :count]
        return [K.zeros_like(state) for _ in state_sizes(self.cell)]

    def _state_shapes(self, batch_size: int) -> list[Shape]:
        image = self._image_shape(self.input_spec[0].shape)
        if None in image:
            raise ValueError(
                f"Layer {self.name}: a stateful convolutional RNN needs to know the size of its images, got "
                f"{self.input_spec[0].shape}"
            )
        return [(batch_size, *image) for _ in state_sizes(self.cell)]


class ConvLSTM2DCell(Layer):
    """Cell of `ConvLSTM2D`; its arguments are those of the layer."""

    bias_initializer: Any

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = conv_utils.normalize_tuple(kernel_size, 2, "kernel_size")
        self.strides = conv_utils.normalize_tuple(strides, 2, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        self.data_format = K.normalize_data_format(data_format)
        self.dilation_rate = conv_utils.normalize_tuple(dilation_rate, 2, "dilation_rate")
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        weight_settings.keep(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        weight_settings.keep(self, "recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint)
        weight_settings.keep(self, "bias", bias_initializer, bias_regularizer, bias_constraint)
        self.unit_forget_bias = unit_forget_bias
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        self.state_size = (filters, filters)
        self._dropout_mask: Any = None
        self._recurrent_dropout_mask: Any = None

    def build(self, input_shape: Any) -> None:
        channels = input_shape[1 if self.data_format == "channels_first" else -1]
        if channels is None:
            raise ValueError("The channel dimension of the inputs should be defined. Found `None`.")
        initial_bias = self.bias_initializer
        if self.unit_forget_bias:
            initial_bias = forget_bias(initial_bias, self.filters)
        self.kernel_shape = (*self.kernel_size, channels, 4 * self.filters)
        self.kernel = weight_settings.add(self, "kernel", self.kernel_shape)
        recurrent_shape = (*self.kernel_size, self.filters, 4 * self.filters)
        self.recurrent_kernel = weight_settings.add(self, "recurrent", recurrent_shape, "recurrent_kernel")
        self.bias = None
        if self.use_bias:
            self.bias = weight_settings.add(self, "bias", (4 * self.filters,), initializer=initial_bias)
        self.built = True

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        previous, carry = states
        if 0 < self.dropout < 1 and self._dropout_mask is None:
            self._dropout_mask = dropout_masks(K.ones_like(inputs), self.dropout, training, 4)
        if 0 < self.recurrent_dropout < 1 and self._recurrent_dropout_mask is None:
            ones = K.ones_like(previous)
            self._recurrent_dropout_mask = dropout_masks(ones, self.recurrent_dropout, training, 4)
        z = self._masked(self._dropout_mask, inputs, self.kernel, self._input_conv)
        if self.bias is not None:
            z = K.bias_add(z, self.bias, data_format=self.data_format)
        z = z + self._masked(self._recurrent_dropout_mask, previous, self.recurrent_kernel, self.recurrent_conv)
        i, f, c, o = self._gates(z)
        activation = self.activation
        carry = self.recurrent_activation(f) * carry + self.recurrent_activation(i) * activation(c)
        h = self.recurrent_activation(o) * activation(carry)
        if self.dropout + self.recurrent_dropout > 0 and training is None:
            h._uses_learning_phase = True
        return h, [h, carry]

    def _masked(self, masks: Any, x: Any, kernel: Any, conv: Any) -> Any:
        """The convolutions of all gates, each under its own dropout mask, where there are masks."""
        if not masks:
            return conv(x, kernel)
        n = self.filters
        parts = [conv(x * mask, kernel[..., i * n : (i + 1) * n]) for i, mask in enumerate(masks)]
        return K.concatenate(parts, axis=1 if self.data_format == "channels_first" else -1)

    def _gates(self, z: Any) -> list[Any]:
        n = self.filters
        if self.data_format == "channels_first":
            return [z[:, i * n : (i + 1) * n] for i in range(4)]
        return [z[..., i * n : (i + 1) * n] for i in range(4)]

    def _input_conv(self, x: Any, w: Any) -> Any:
        return self.input_conv(x, w, padding=self.padding)

    def input_conv(self, x: Any, w: Any, b: Any = None, padding: str = "valid") -> Any:
        """The convolution of an input."""
        y = K.conv2d(
            x,
            w,
            strides=self.strides,
            padding=padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        return y if b is None else K.bias_add(y, b, data_format=self.data_format)

    def recurrent_conv(self, x: Any, w: Any) -> Any:
        """The convolution of a state, whose size it keeps."""
        return K.conv2d(x, w, strides=(1, 1), padding="same", data_format=self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_config(self)}


def _config(cell: Any, activity: bool = False) -> dict[str, Any]:
    return {
        "filters": cell.filters,
        "kernel_size": cell.kernel_size,
        "strides": cell.strides,
        "padding": cell.padding,
        "data_format": cell.data_format,
        "dilation_rate": cell.dilation_rate,
        "activation": activations.serialize(cell.activation),
        "recurrent_activation": activations.serialize(cell.recurrent_activation),
        "use_bias": cell.use_bias,
        **weight_settings.config(cell, *WEIGHTS, activity=activity),
        "dropout": cell.dropout,
        "recurrent_dropout": cell.recurrent_dropout,
    }


_OF_CELL = (
    "filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation",
    "recurrent_activation", "use_bias", "kernel_initializer", "recurrent_initializer", "bias_initializer",
    "unit_forget_bias", "kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "kernel_constraint",
    "recurrent_constraint", "bias_constraint", "dropout", "recurrent_dropout",
)  # fmt: skip


class ConvLSTM2D(ConvRNN2D):
    """LSTM over images: `(batch, steps, rows, columns, channels)`, or channels before rows.

    # Arguments
        filters, kernel_size, strides, padding, data_format, dilation_rate: of the convolution of inputs, as of
            `Conv2D`; states are convolved with the same kernel size and keep their size.
        The others are those of `LSTM`.
    """

    @interfaces.legacy_convlstm2d_support
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        return_sequences: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        cell = ConvLSTM2DCell(
            filters, kernel_size, strides, padding, data_format, dilation_rate, activation, recurrent_activation,
            use_bias, kernel_initializer, recurrent_initializer, bias_initializer, unit_forget_bias, kernel_regularizer,
            recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
            recurrent_dropout,
        )  # fmt: skip
        super().__init__(
            cell, return_sequences=return_sequences, go_backwards=go_backwards, stateful=stateful, **kwargs
        )
        self.activity_regularizer = regularizers.get(activity_regularizer)

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None) -> Any:
        return super().call(inputs, mask=mask, training=training, initial_state=initial_state)

    def _cell_config(self) -> dict[str, Any]:
        return _config(self, activity=True)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:  # type: ignore[override]
        return cls(**config)


for _name in _OF_CELL:
    setattr(ConvLSTM2D, _name, of_cell(_name))
