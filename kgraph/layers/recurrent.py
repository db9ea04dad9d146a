"""Recurrent layers: SimpleRNN, GRU and LSTM, which are `RNN` (`rnn.py`) over one of the cells of `rnn_cells.py`."""

from __future__ import annotations

import warnings
from typing import Any

from kgraph import regularizers
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers.rnn import RNN, StackedRNNCells, of_cell
from kgraph.layers.rnn_cells import GRUCell, LSTMCell, SimpleRNNCell, cell_config
from kgraph.legacy import interfaces
from kgraph.legacy.recurrent import Recurrent
from kgraph.utils.generic_utils import has_arg, to_list

__all__ = [
    "GRU", "GRUCell", "InputSpec", "LSTM", "LSTMCell", "Layer", "RNN", "Recurrent", "SimpleRNN", "SimpleRNNCell",
    "StackedRNNCells", "has_arg", "to_list",
]  # fmt: skip


class _CellLayer(RNN):
    """An RNN whose config is that of its cell and its own in one."""

    units = of_cell("units")
    activation = of_cell("activation")
    use_bias = of_cell("use_bias")
    kernel_initializer = of_cell("kernel_initializer")
    recurrent_initializer = of_cell("recurrent_initializer")
    bias_initializer = of_cell("bias_initializer")
    kernel_regularizer = of_cell("kernel_regularizer")
    recurrent_regularizer = of_cell("recurrent_regularizer")
    bias_regularizer = of_cell("bias_regularizer")
    kernel_constraint = of_cell("kernel_constraint")
    recurrent_constraint = of_cell("recurrent_constraint")
    bias_constraint = of_cell("bias_constraint")
    dropout = of_cell("dropout")
    recurrent_dropout = of_cell("recurrent_dropout")

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None) -> Any:
        return super().call(inputs, mask=mask, training=training, initial_state=initial_state)

    def _cell_config(self) -> dict[str, Any]:
        return cell_config(self, activity=True)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:  # type: ignore[override]
        config = dict(config)
        if config.get("implementation") == 0:
            config["implementation"] = 1
        return cls(**config)


def _known_implementation(implementation: int) -> int:
    if implementation == 0:
        warnings.warn(
            "`implementation=0` has been deprecated, and now defaults to `implementation=1`."
            "Please update your layer call.",
            stacklevel=4,
        )
        return 1
    return implementation


class SimpleRNN(_CellLayer):
    """Fully connected recurrent layer whose output is fed back to its input.

    # Arguments
        units: width of the output.
        activation, use_bias: as of `Dense`.
        kernel_*, recurrent_*, bias_*: initializer, regularizer and constraint of the weights.
        activity_regularizer: of the output.
        dropout, recurrent_dropout: fraction of the inputs and of the states to drop; the same ones in all steps.
        return_sequences, return_state, go_backwards, stateful, unroll: as of `RNN`.
    """

    @interfaces.legacy_recurrent_support
    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
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
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **kwargs: Any,
    ) -> None:
        if "implementation" in kwargs:
            kwargs.pop("implementation")
            warnings.warn(
                "The `implementation` argument in `SimpleRNN` has been deprecated. "
                "Please remove it from your layer call.",
                stacklevel=3,
            )
        cell = SimpleRNNCell(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
            kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, dropout, recurrent_dropout,
        )  # fmt: skip
        super().__init__(cell, return_sequences, return_state, go_backwards, stateful, unroll, **kwargs)
        self.activity_regularizer = regularizers.get(activity_regularizer)


class GRU(_CellLayer):
    """Gated recurrent unit.

    # Arguments
        recurrent_activation: of the gates.
        implementation: 1: each gate has its own dropout masks; 2: they share one.
        reset_after: whether the reset gate is applied after the product with the recurrent kernel, as CuDNN does.
        The others are those of `SimpleRNN`.
    """

    recurrent_activation = of_cell("recurrent_activation")
    implementation = of_cell("implementation")
    reset_after = of_cell("reset_after")

    @interfaces.legacy_recurrent_support
    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
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
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 1,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = False,
        **kwargs: Any,
    ) -> None:
        cell = GRUCell(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
            recurrent_constraint, bias_constraint, dropout, recurrent_dropout, _known_implementation(implementation),
            reset_after,
        )  # fmt: skip
        super().__init__(cell, return_sequences, return_state, go_backwards, stateful, unroll, **kwargs)
        self.activity_regularizer = regularizers.get(activity_regularizer)


class LSTM(_CellLayer):
    """Long short-term memory.

    # Arguments
        recurrent_activation: of the gates.
        unit_forget_bias: whether the bias of the forget gate starts at 1.
        implementation: 1: each gate has its own dropout masks; 2: they share one.
        The others are those of `SimpleRNN`.
    """

    recurrent_activation = of_cell("recurrent_activation")
    implementation = of_cell("implementation")
    unit_forget_bias = of_cell("unit_forget_bias")

    @interfaces.legacy_recurrent_support
    def __init__(
        self,
        units: int,
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
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 1,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        **kwargs: Any,
    ) -> None:
        cell = LSTMCell(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
            _known_implementation(implementation),
        )  # fmt: skip
        super().__init__(cell, return_sequences, return_state, go_backwards, stateful, unroll, **kwargs)
        self.activity_regularizer = regularizers.get(activity_regularizer)
