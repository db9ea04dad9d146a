"""`Recurrent`: what recurrent layers of users were made from before there were cells; and `ConvRecurrent2D`.

A subclass writes `build`, in which it sets `units` and `states`, and `step(inputs, states)`. Offered by
`kgraph.legacy.layers` and `kgraph.layers.recurrent`; new code derives from `RNN` or writes a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers.rnn import call_with_extras, standardize_args
from kgraph.utils import conv_utils
from kgraph.utils.generic_utils import to_list


class Recurrent(Layer):
    """Base class of recurrent layers that define a `step`.

    # Arguments
        return_sequences, return_state, go_backwards, stateful, unroll: as of `RNN`.
        implementation: for the subclass to look at.
    """

    units: int
    states: Any = (None,)

    def __init__(
        self,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        implementation: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.implementation = implementation
        self.supports_masking = True
        self.input_spec: Any = [InputSpec(ndim=3)]
        self.state_spec: Any = None
        self.dropout = 0.0
        self.recurrent_dropout = 0.0

    # What subclasses may implement

    def step(self, inputs: Any, states: Any) -> Any:
        """The output and the new states of one step; `states` are the states and then the constants."""
        raise NotImplementedError(f"{type(self).__name__} must implement `step(inputs, states)`")

    def get_constants(self, inputs: Any, training: Any = None) -> list[Any]:
        """Tensors that each step gets after the states."""
        return []

    def preprocess_input(self, inputs: Any, training: Any = None) -> Any:
        """What the steps get in place of the inputs."""
        return inputs

    def get_initial_state(self, inputs: Any) -> list[Any]:
        """Zeros for each state."""
        first = inputs[:, 0]
        batch = K.sum(K.zeros_like(first), axis=tuple(range(1, K.ndim(first))))
        zeros = K.tile(K.expand_dims(K.zeros_like(batch)), [1, self.units])
        return [zeros for _ in self.states]

    # The layer

    def compute_output_shape(self, input_shape: Any) -> Any:
        if isinstance(input_shape, list):
            input_shape = input_shape[0]
        batch = (input_shape[0], self.units)
        shape = (*input_shape[:2], self.units) if self.return_sequences else batch
        return [shape, *(batch for _ in self.states)] if self.return_state else shape

    def compute_mask(self, inputs: Any, mask: Any) -> Any:  # type: ignore[override]
        mask = mask[0] if isinstance(mask, list) else mask
        output_mask = mask if self.return_sequences else None
        return [output_mask, *(None for _ in self.states)] if self.return_state else output_mask

    def __call__(self, inputs: Any, initial_state: Any = None, **kwargs: Any) -> Any:
        inputs, initial_state, _ = standardize_args(inputs, initial_state, None, None)
        if initial_state is None:
            return super().__call__(inputs, **kwargs)
        self.state_spec = [InputSpec(shape=K.int_shape(state)) for state in initial_state]
        return call_with_extras(self, inputs, {"initial_state": initial_state}, kwargs)

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None) -> Any:
        if isinstance(inputs, list):
            inputs, initial_state = inputs[0], inputs[1:]
        if not initial_state:
            initial_state = self.states if self.stateful else self.get_initial_state(inputs)
        if len(initial_state) != len(self.states):
            raise ValueError(f"Layer has {len(self.states)} states but was passed {len(initial_state)} initial states.")
        steps = K.int_shape(inputs)[1]
        if self.unroll and steps is None:
            raise ValueError("Cannot unroll a RNN if the time dimension is undefined.")
        last_output, outputs, states = K.rnn(
            self.step,
            self.preprocess_input(inputs, training=training),
            list(initial_state),
            go_backwards=self.go_backwards,
            mask=mask[0] if isinstance(mask, list) else mask,
            constants=self.get_constants(inputs, training=training),
            unroll=self.unroll,
            input_length=steps,
        )
        if self.stateful:
            self.add_update([K.update(old, new) for old, new in zip(self.states, states, strict=True)], inputs)
        output = outputs if self.return_sequences else last_output
        if last_output._uses_learning_phase or self.dropout + self.recurrent_dropout > 0:
            output._uses_learning_phase = True
        return [output, *states] if self.return_state else output

    def _state_shape(self, batch_size: int) -> tuple[int, ...]:
        return (batch_size, self.units)

    def reset_states(self, states: Any = None) -> None:
        """Set the states of a stateful layer to zeros, or to the arrays given."""
        if not self.stateful:
            raise AttributeError("Layer must be stateful.")
        shape = self.input_spec[0].shape
        if not shape or not shape[0]:
            raise ValueError(
                f"Layer {self.name}: if a RNN is stateful, it needs to know its batch size. Specify the batch size of "
                "your input tensors."
            )
        wanted = self._state_shape(shape[0])
        if self.states[0] is None:
            self.states = [K.zeros(wanted) for _ in self.states]
        values: Sequence[Any] = [np.zeros(wanted)] * len(self.states) if states is None else to_list(states, True)
        if len(values) != len(self.states):
            raise ValueError(
                f"Layer {self.name} expects {len(self.states)} states, but it received {len(values)} state values."
            )
        K.batch_set_value(list(zip(self.states, values, strict=True)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "implementation": self.implementation,
        }


class ConvRecurrent2D(Recurrent):
    """Base class of recurrent layers over images that define a `step`.

    # Arguments
        filters, kernel_size, strides, padding, data_format, dilation_rate: as of `Conv2D`; the others as of `RNN`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        return_sequences: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(return_sequences=return_sequences, go_backwards=go_backwards, stateful=stateful, **kwargs)
        self.filters = filters
        self.kernel_size = conv_utils.normalize_tuple(kernel_size, 2, "kernel_size")
        self.strides = conv_utils.normalize_tuple(strides, 2, "strides")
        self.padding = conv_utils.normalize_padding(padding)
        self.data_format = K.normalize_data_format(data_format)
        self.dilation_rate = conv_utils.normalize_tuple(dilation_rate, 2, "dilation_rate")
        self.input_spec = [InputSpec(ndim=5)]

    def _image_shape(self, input_shape: Any) -> tuple[Any, ...]:
        first = 3 if self.data_format == "channels_first" else 2
        sizes = [
            conv_utils.conv_output_length(
                input_shape[first + i], self.kernel_size[i], self.padding, self.strides[i], self.dilation_rate[i]
            )
            for i in range(2)
        ]
        return (self.filters, *sizes) if self.data_format == "channels_first" else (*sizes, self.filters)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if isinstance(input_shape, list):
            input_shape = input_shape[0]
        image = self._image_shape(input_shape)
        shape = (*input_shape[:2], *image) if self.return_sequences else (input_shape[0], *image)
        return [shape, *((input_shape[0], *image) for _ in self.states)] if self.return_state else shape

    def get_initial_state(self, inputs: Any) -> list[Any]:
        first = inputs[:, 0]
        batch = K.zeros_like(K.sum(first, axis=(1, 2, 3)))
        column = K.reshape(batch, (-1, 1, 1, 1))
        return [K.tile(column, [1, *self._image_shape(K.int_shape(inputs))]) for _ in self.states]

    def _state_shape(self, batch_size: int) -> tuple[int, ...]:
        return (batch_size, *self._image_shape(self.input_spec[0].shape))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }
