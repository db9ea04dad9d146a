"""The cells of SimpleRNN, GRU and LSTM: one step of each.

The gates of a step come from one matrix product; only where each gate has a dropout mask of its own (implementation 1
with dropout) are there as many products as gates. The products with inputs are done for all steps at once when the
loop is compiled.
"""

from __future__ import annotations

from typing import Any

from kgraph import activations
from kgraph import backend as K
from kgraph.engine.base_layer import Layer
from kgraph.layers import weight_settings


def dropout_masks(ones: Any, rate: float, training: Any, count: int) -> list[Any]:
    """`count` masks for a tensor of ones: of dropout in training, else the ones."""
    return [K.in_train_phase(lambda: K.dropout(ones, rate), ones, training=training) for _ in range(count)]


WEIGHTS = ("kernel", "recurrent", "bias")


class _Cell(Layer):
    """What the cells share: arguments, dropout masks and configs."""

    _gates = 1
    recurrent_activation: Any
    implementation: int
    kernel: Any
    recurrent_kernel: Any
    bias: Any
    bias_initializer: Any

    def _configure(
        self,
        units: int,
        activation: Any,
        use_bias: bool,
        initializer: tuple[Any, Any, Any],
        regularizer: tuple[Any, Any, Any],
        constraint: tuple[Any, Any, Any],
        dropout: float,
        recurrent_dropout: float,
    ) -> None:
        self.units = units
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        for kind, *settings in zip(WEIGHTS, initializer, regularizer, constraint, strict=True):
            weight_settings.keep(self, kind, *settings)
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        self.state_size: Any = units
        self.output_size = units
        self._dropout_mask: Any = None
        self._recurrent_dropout_mask: Any = None

    def build(self, input_shape: Any) -> None:
        input_dim = (input_shape[0] if isinstance(input_shape, list) else input_shape)[-1]
        width = self._gates * self.units
        self.kernel = weight_settings.add(self, "kernel", (input_dim, width))
        self.recurrent_kernel = weight_settings.add(self, "recurrent", (self.units, width), "recurrent_kernel")
        self.bias = self._add_bias() if self.use_bias else None
        self.built = True

    def _bias_shape(self) -> tuple[int, ...]:
        return (self._gates * self.units,)

    def _add_bias(self) -> Any:
        return weight_settings.add(self, "bias", self._bias_shape())

    def _dropped(self, inputs: Any, state: Any, training: Any) -> tuple[Any, list[Any], Any, list[Any]]:
        """Inputs and state with the dropout masks for their products, one for each gate, where these differ; masks
        that all gates share are applied here. Masks are made once a sequence."""
        own = getattr(self, "implementation", 2) != 2
        count = self._gates if own else 1
        if 0 < self.dropout < 1 and self._dropout_mask is None:
            self._dropout_mask = dropout_masks(K.ones_like(inputs), self.dropout, training, count)
        if 0 < self.recurrent_dropout < 1 and self._recurrent_dropout_mask is None:
            self._recurrent_dropout_mask = dropout_masks(K.ones_like(state), self.recurrent_dropout, training, count)
        masks, recurrent_masks = self._dropout_mask or [], self._recurrent_dropout_mask or []
        if own:
            return inputs, masks, state, recurrent_masks
        return inputs * masks[0] if masks else inputs, [], state * recurrent_masks[0] if recurrent_masks else state, []

    def _product(self, x: Any, kernel: Any, masks: list[Any], bias: Any = None) -> Any:
        """`x` times the columns of some gates, plus their biases; each gate under its mask, where there are masks."""
        if masks:
            parts = self._split(kernel, len(masks))
            y = K.concatenate([K.dot(x * mask, part) for mask, part in zip(masks, parts, strict=True)])
        else:
            y = K.dot(x, kernel)
        return y if bias is None else K.bias_add(y, bias)

    def _split(self, x: Any, gates: int) -> list[Any]:
        """The parts of each gate along the last axis."""
        u = self.units
        return [x[..., i * u : (i + 1) * u] for i in range(gates)]

    def _result(self, output: Any, states: list[Any], training: Any) -> Any:
        if self.dropout + self.recurrent_dropout > 0 and training is None:
            output._uses_learning_phase = True
        return output, states

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **cell_config(self)}


def cell_config(cell: Any, activity: bool = False) -> dict[str, Any]:
    """A cell's own part of a config; that of the layer made of it has an activity regularizer too."""
    config = {"units": cell.units, "activation": activations.serialize(cell.activation)}
    if hasattr(cell, "recurrent_activation"):
        config["recurrent_activation"] = activations.serialize(cell.recurrent_activation)
    config |= {"use_bias": cell.use_bias, **weight_settings.config(cell, *WEIGHTS, activity=activity)}
    config |= {"dropout": cell.dropout, "recurrent_dropout": cell.recurrent_dropout}
    for name in ("implementation", "reset_after"):
        if hasattr(cell, name):
            config[name] = getattr(cell, name)
    return config


class SimpleRNNCell(_Cell):
    """Cell of `SimpleRNN`: the output is `activation(inputs . kernel + bias + state . recurrent_kernel)`."""

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._configure(
            units,
            activation,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint),
            dropout,
            recurrent_dropout,
        )

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        inputs, masks, previous, recurrent_masks = self._dropped(inputs, states[0], training)
        h = self._product(inputs, self.kernel, masks, self.bias)
        h = h + self._product(previous, self.recurrent_kernel, recurrent_masks)
        output = h if self.activation is None else self.activation(h)
        return self._result(output, [output], training)


class GRUCell(_Cell):
    """Cell of `GRU`.

    # Arguments
        implementation: 1: each gate has its own dropout masks; 2: they share one.
        reset_after: whether the reset gate works on the product of the state (as CuDNN does) or on the state.
    """

    _gates = 3

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 1,
        reset_after: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._configure(
            units,
            activation,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint),
            dropout,
            recurrent_dropout,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.implementation = implementation
        self.reset_after = reset_after

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        inputs, masks, previous, recurrent_masks = self._dropped(inputs, states[0], training)
        x_gates, x_h = self._gates_and_candidate(inputs, self.kernel, masks, self._bias_of(0))
        kernel, last = self._parts(self.recurrent_kernel)
        bias, last_bias = self._parts(self._bias_of(1))
        gates = x_gates + self._product(previous, kernel, recurrent_masks[:2], bias)
        z, r = self._split(self.recurrent_activation(gates), 2)
        if self.reset_after:
            inner = r * self._product(previous, last, recurrent_masks[2:], last_bias)
        else:
            inner = self._product(r * previous, last, recurrent_masks[2:])
        candidate = x_h + inner
        if self.activation is not None:
            candidate = self.activation(candidate)
        h = z * previous + (1 - z) * candidate
        return self._result(h, [h], training)

    def _gates_and_candidate(self, x: Any, kernel: Any, masks: list[Any], bias: Any) -> tuple[Any, Any]:
        """The products of `x` for the update and reset gates, and for the candidate."""
        (first, last), (bias, last_bias) = self._parts(kernel), self._parts(bias)
        return self._product(x, first, masks[:2], bias), self._product(x, last, masks[2:], last_bias)

    def _parts(self, x: Any) -> tuple[Any, Any]:
        """The columns of the gates, and those of the candidate."""
        return (None, None) if x is None else (x[..., : 2 * self.units], x[..., 2 * self.units :])

    def _bias_of(self, row: int) -> Any:
        """The biases of the products of inputs (row 0) or of states (row 1)."""
        if self.bias is None or not self.reset_after:
            return None if row else self.bias
        return self.bias[row]


class LSTMCell(_Cell):
    """Cell of `LSTM`.

    # Arguments
        unit_forget_bias: whether the bias of the forget gate starts at 1.
        implementation: 1: each gate has its own dropout masks; 2: they share one.
    """

    _gates = 4

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
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._configure(
            units,
            activation,
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            (kernel_regularizer, recurrent_regularizer, bias_regularizer),
            (kernel_constraint, recurrent_constraint, bias_constraint),
            dropout,
            recurrent_dropout,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.implementation = implementation
        self.state_size = (units, units)

    def _add_bias(self) -> Any:
        if not self.unit_forget_bias:
            return super()._add_bias()
        initializer = forget_bias(self.bias_initializer, self.units)
        return weight_settings.add(self, "bias", self._bias_shape(), initializer=initializer)

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        inputs, masks, previous, recurrent_masks = self._dropped(inputs, states[0], training)
        z = self._product(inputs, self.kernel, masks, self.bias)
        i, f, c, o = self._split(z + self._product(previous, self.recurrent_kernel, recurrent_masks), 4)
        activation = self.activation
        carry = self.recurrent_activation(f) * states[1] + self.recurrent_activation(i) * activation(c)
        h = self.recurrent_activation(o) * activation(carry)
        return self._result(h, [h, carry], training)


def forget_bias(initializer: Any, units: int, before: int = 1) -> Any:
    """An initializer of biases: ones for the forget gate, which stands behind `before` others, else `initializer`'s."""

    def initial(shape: Any, dtype: Any = None) -> Any:
        rest = shape[0] - (before + 1) * units
        return K.concatenate([initializer((before * units,)), K.ones((units,)), initializer((rest,))])

    return initial
