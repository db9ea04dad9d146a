"""CuDNNGRU and CuDNNLSTM: the same layers, weights and files as those that ran on CuDNN, here on every target.

Their weights lie as CuDNN reads them: the kernel of each gate is stored in the shape `(inputs, units)` but holds the
elements of a `(units, inputs)` matrix in order, and there are biases for inputs and for states.
"""

from __future__ import annotations

from typing import Any

from kgraph import backend as K
from kgraph import regularizers
from kgraph.engine.base_layer import InputSpec
from kgraph.layers import weight_settings
from kgraph.layers.rnn import RNN
from kgraph.layers.rnn_cells import WEIGHTS, forget_bias

__all__ = ["CuDNNGRU", "CuDNNLSTM", "InputSpec", "RNN"]


class _Cell:
    """What stands for the cell: only the sizes of its states."""

    def __init__(self, state_size: Any) -> None:
        self.state_size = state_size

    def call(self, inputs: Any, states: Any) -> Any:
        raise TypeError("the layer runs all steps itself")


class _CuDNNRNN(RNN):
    """What both share: weights, masks (there are none) and states."""

    _gates: int

    kernel: Any
    recurrent_kernel: Any
    bias: Any
    bias_initializer: Any

    def __init__(
        self,
        state_size: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(_Cell(state_size), return_sequences, return_state, go_backwards, stateful, **kwargs)
        self.supports_masking = False

    def _configure(
        self, units: int, initializer: tuple[Any, ...], regularizer: tuple[Any, ...], constraint: tuple[Any, ...]
    ) -> None:
        self.units = units
        for kind, *settings in zip(WEIGHTS, initializer, regularizer, constraint, strict=True):
            weight_settings.keep(self, kind, *settings)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        features = (input_shape[0] if isinstance(input_shape, list) else input_shape)[-1]
        width = self._gates * self.units
        self.kernel = weight_settings.add(self, "kernel", (features, width))
        self.recurrent_kernel = weight_settings.add(self, "recurrent", (self.units, width), "recurrent_kernel")
        self.bias = weight_settings.add(self, "bias", (2 * width,), initializer=self._bias_initializer())

    def _bias_initializer(self) -> Any:
        return self.bias_initializer

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None) -> Any:
        mask = mask[0] if isinstance(mask, list) else mask
        if mask is not None:
            raise ValueError("Masking is not supported for CuDNN RNNs.")
        if isinstance(inputs, list):
            inputs, initial_state = inputs[0], inputs[1:]
        if not initial_state:
            initial_state = self.states if self.stateful else self.get_initial_state(inputs)
        if len(initial_state) != len(self.states):
            raise ValueError(f"Layer has {len(self.states)} states but was passed {len(initial_state)} initial states.")
        kernels = self._columns(self.kernel), self._columns(self.recurrent_kernel)
        half = self._gates * self.units
        biases = self.bias[:half], self.bias[half:]

        def step(x: Any, states: Any) -> Any:
            return self._step_of(x, states, kernels, biases)

        results = K.rnn(step, inputs, list(initial_state), go_backwards=self.go_backwards)
        return self._finished(inputs, *results)

    def _columns(self, kernel: Any) -> Any:
        """The kernel whose product with a row vector CuDNN computes."""
        rows, units = kernel.shape[0].value, self.units
        parts = [kernel[:, i * units : (i + 1) * units] for i in range(self._gates)]
        return K.concatenate([K.transpose(K.reshape(part, (units, rows))) for part in parts])

    def _step_of(self, x: Any, states: Any, kernels: tuple[Any, Any], biases: tuple[Any, Any]) -> Any:
        raise TypeError(f"{type(self).__name__} has no step")

    def _split(self, x: Any) -> list[Any]:
        return [x[:, i * self.units : (i + 1) * self.units] for i in range(self._gates)]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["unroll"]
        return config

    def _cell_config(self) -> dict[str, Any]:
        return {"units": self.units, **weight_settings.config(self, *WEIGHTS)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:  # type: ignore[override]
        return cls(**config)

    @property  # type: ignore[misc]
    def trainable_weights(self) -> list[Any]:
        return self._trainable_weights if self.trainable else []

    @property  # type: ignore[misc]
    def non_trainable_weights(self) -> list[Any]:
        return self._non_trainable_weights + ([] if self.trainable else self._trainable_weights)

    @property
    def losses(self) -> list[Any]:
        return self._losses


class CuDNNGRU(_CuDNNRNN):
    """GRU as CuDNN computes it: `GRU(reset_after=True, recurrent_activation="sigmoid")`, its weights in CuDNN's order.

    # Arguments
        See `GRU`.
    """

    _gates = 3

    def __init__(
        self,
        units: int,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, return_sequences=return_sequences, return_state=return_state, stateful=stateful, **kwargs
        )
        self._configure(
            units,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint),
        )
        self.activity_regularizer = regularizers.get(activity_regularizer)

    def _step_of(self, x: Any, states: Any, kernels: tuple[Any, Any], biases: tuple[Any, Any]) -> Any:
        (h,) = states
        x_z, x_r, x_h = self._split(K.bias_add(K.dot(x, kernels[0]), biases[0]))
        h_z, h_r, h_h = self._split(K.bias_add(K.dot(h, kernels[1]), biases[1]))
        z, r = K.sigmoid(x_z + h_z), K.sigmoid(x_r + h_r)
        new = z * h + (1 - z) * K.tanh(x_h + r * h_h)
        return new, [new]


class CuDNNLSTM(_CuDNNRNN):
    """LSTM as CuDNN computes it: `LSTM(recurrent_activation="sigmoid")` with its weights in CuDNN's order.

    # Arguments
        See `LSTM`.
    """

    _gates = 4

    def __init__(
        self,
        units: int,
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
        return_state: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            (units, units), return_sequences=return_sequences, return_state=return_state, stateful=stateful, **kwargs
        )
        self._configure(
            units,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint),
        )
        self.unit_forget_bias = unit_forget_bias
        self.activity_regularizer = regularizers.get(activity_regularizer)

    def _bias_initializer(self) -> Any:
        initializer = super()._bias_initializer()
        return forget_bias(initializer, self.units, before=5) if self.unit_forget_bias else initializer

    def _step_of(self, x: Any, states: Any, kernels: tuple[Any, Any], biases: tuple[Any, Any]) -> Any:
        h, c = states
        z = K.bias_add(K.dot(x, kernels[0]), biases[0] + biases[1]) + K.dot(h, kernels[1])
        i, f, g, o = self._split(z)
        carry = K.sigmoid(f) * c + K.sigmoid(i) * K.tanh(g)
        new = K.sigmoid(o) * K.tanh(carry)
        return new, [new, carry]
