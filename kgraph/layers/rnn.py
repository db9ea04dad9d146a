"""`RNN` runs a cell over the time axis; `StackedRNNCells` makes one cell of several.

A cell is anything with `call(inputs, states)` and `state_size`; those of Keras are in `rnn_cells.py`, the layers made
of them in `recurrent.py`, which is the module that scripts import from. The loop itself is `K.rnn`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.utils.generic_utils import has_arg, to_list

Shape = tuple[Any, ...]


def state_sizes(cell: Any) -> list[int]:
    """The width of each state of a cell."""
    return list(cell.state_size) if hasattr(cell.state_size, "__len__") else [cell.state_size]


def output_size(cell: Any) -> int:
    """The width of a cell's output: by default that of its first state."""
    size = getattr(cell, "output_size", None)
    return state_sizes(cell)[0] if size is None else int(size)


def of_cell(name: str) -> Any:
    """A property of a layer: that of its cell."""
    return property(lambda self: getattr(self.cell, name), doc=f"`{name}` of the cell.")


def serialized(layer: Any) -> dict[str, Any]:
    """The config of a layer inside another one's."""
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialized(config: dict[str, Any], custom_objects: dict[str, Any] | None) -> Any:
    from kgraph.layers import deserialize

    return deserialize(config, custom_objects=custom_objects)


def standardize_args(
    inputs: Any, initial_state: Any, constants: Any, num_constants: int | None
) -> tuple[Any, list[Any] | None, list[Any] | None]:
    """The input, the states and the constants of a call, which may come in one list."""
    if isinstance(inputs, list):
        if initial_state is not None or constants is not None:
            raise ValueError("Pass initial states and constants in the list of inputs or as arguments, not both.")
        if num_constants:
            constants, inputs = inputs[-num_constants:], inputs[:-num_constants]
        initial_state, inputs = inputs[1:] or None, inputs[0]
    return inputs, _as_list(initial_state), _as_list(constants)


def _as_list(x: Any) -> list[Any] | None:
    return None if x is None or x == [] else to_list(x, allow_tuple=True)


def call_with_extras(layer: Any, inputs: Any, extras: dict[str, list[Any] | None], kwargs: dict[str, Any]) -> Any:
    """Calls an RNN or a wrapper of one. Where the `extras` (initial states, constants) are outputs of layers they
    become inputs of this one, else they are arguments of the call."""
    given = {name: tensors for name, tensors in extras.items() if tensors}
    tensors = [x for group in given.values() for x in group]
    from_layers = [K.is_keras_tensor(x) for x in tensors]
    if any(from_layers) != all(from_layers):
        raise ValueError(
            "The initial state or constants of an RNN layer cannot be specified with a mix of Keras tensors and "
            "non-Keras tensors (a \"Keras tensor\" is a tensor that was returned by a Keras layer, or by `Input`)"
        )
    if not any(from_layers):
        return Layer.__call__(layer, inputs, **given, **kwargs)
    plain = layer.input_spec
    layer.input_spec = [
        *to_list(plain, allow_tuple=True), *(InputSpec(shape=(None, *K.int_shape(x)[1:])) for x in tensors)
    ]  # fmt: skip
    try:
        return Layer.__call__(layer, [inputs, *tensors], **kwargs)
    finally:
        # Building fixes what the layer demands of its first input.
        layer.input_spec = to_list(layer.input_spec, allow_tuple=True)[: len(to_list(plain, allow_tuple=True))]


def forget_dropout_masks(cell: Any) -> None:
    """A call of a layer draws masks of its own."""
    for name in ("_dropout_mask", "_recurrent_dropout_mask"):
        if hasattr(cell, name):
            setattr(cell, name, None)
    for inner in getattr(cell, "cells", ()):
        forget_dropout_masks(inner)


class StackedRNNCells(Layer):
    """Several cells as one: each takes the output of the one before.

    # Arguments
        cells: list of cells. The states stand in the reverse order of the cells.
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        for cell in cells:
            if not hasattr(cell, "call"):
                raise ValueError("All cells must have a `call` method. received cells:", cells)
            if not hasattr(cell, "state_size"):
                raise ValueError("All cells must have a `state_size` attribute. received cells:", cells)
        self.cells = cells
        super().__init__(**kwargs)

    @property
    def state_size(self) -> Shape:
        return tuple(size for cell in self.cells[::-1] for size in state_sizes(cell))

    @property
    def output_size(self) -> int:
        return output_size(self.cells[-1])

    @property
    def _layers(self) -> list[Layer]:
        return [cell for cell in self.cells if isinstance(cell, Layer)]

    def build(self, input_shape: Any) -> None:
        constants_shape: list[Any] = []
        if isinstance(input_shape, list):
            constants_shape, input_shape = input_shape[1:], input_shape[0]
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell.build([input_shape, *constants_shape] if has_arg(cell.call, "constants") else input_shape)
                cell.built = True
            input_shape = (input_shape[0], output_size(cell))
        self.built = True

    def call(self, inputs: Any, states: Any, constants: Any = None, **kwargs: Any) -> Any:
        rest = list(states)
        nested: list[list[Any]] = []
        for cell in self.cells[::-1]:
            count = len(state_sizes(cell))
            nested.append(rest[:count])
            rest = rest[count:]
        results: list[list[Any]] = []
        for cell, own in zip(self.cells, nested[::-1], strict=True):
            arguments = {k: v for k, v in kwargs.items() if has_arg(cell.call, k)}
            if has_arg(cell.call, "constants"):
                arguments["constants"] = constants
            inputs, new = cell.call(inputs, own, **arguments)
            results.append(list(new))
        return inputs, [state for new in results[::-1] for state in new]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [serialized(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> StackedRNNCells:
        cells = [deserialized(cell, custom_objects) for cell in config["cells"]]
        return cls(cells, **{k: v for k, v in config.items() if k != "cells"})

    @property  # type: ignore[misc]
    def trainable_weights(self) -> list[Any]:
        return [w for cell in self._layers for w in cell.trainable_weights] if self.trainable else []

    @property  # type: ignore[misc]
    def non_trainable_weights(self) -> list[Any]:
        frozen = [w for cell in self._layers for w in cell.non_trainable_weights]
        if self.trainable:
            return frozen
        return [w for cell in self._layers for w in cell.trainable_weights] + frozen

    def get_weights(self) -> list[np.ndarray]:
        """The weights, cell by cell."""
        return K.batch_get_value([w for cell in self._layers for w in cell.weights])

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets the weights, cell by cell."""
        rest = list(weights)
        for cell in self._layers:
            count = len(cell.weights)
            cell.set_weights(rest[:count])
            rest = rest[count:]

    @property
    def losses(self) -> list[Any]:
        return [x for cell in self._layers for x in cell.losses] + self._losses

    def get_losses_for(self, inputs: Any = None) -> list[Any]:
        return [x for cell in self._layers for x in cell.get_losses_for(inputs)] + super().get_losses_for(inputs)


class RNN(Layer):
    """A cell run over the time axis of `(batch, steps, ...)`.

    # Arguments
        cell: a cell, or a list of cells, which are stacked.
        return_sequences: whether to return the outputs of all steps, or just the last one.
        return_state: whether to return the final states too.
        go_backwards: whether to go through time backwards.
        stateful: whether the states at the end of a batch are the initial ones of the next; needs a known batch size.
        unroll: whether to write out all steps; needs a known number of them.

    # Call arguments
        initial_state: list of tensors; constants: list of tensors handed to each step of the cell.
    """

    cell: Any

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
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        if not hasattr(cell, "call"):
            raise ValueError("`cell` should have a `call` method. The RNN was passed:", cell)
        if not hasattr(cell, "state_size"):
            raise ValueError(
                "The RNN cell should have an attribute `state_size` (tuple of integers, one integer per RNN state)."
            )
        self.cell = cell
        super().__init__(**kwargs)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.supports_masking = True
        self.input_spec = [InputSpec(ndim=3)]
        self.state_spec: Any = None
        self._states: Any = None
        self.constants_spec: Any = None
        self._num_constants: int | None = None

    @property
    def states(self) -> Any:
        """The variables that hold the states of a stateful layer; None for each where there are none yet."""
        return [None] * len(state_sizes(self.cell)) if self._states is None else self._states

    @states.setter
    def states(self, states: Any) -> None:
        self._states = states

    def compute_output_shape(self, input_shape: Any) -> Any:
        if isinstance(input_shape, list):
            input_shape = input_shape[0]
        size = output_size(self.cell)
        shape: Any = (input_shape[0], input_shape[1], size) if self.return_sequences else (input_shape[0], size)
        if not self.return_state:
            return shape
        return [shape, *((input_shape[0], width) for width in state_sizes(self.cell))]

    def compute_mask(self, inputs: Any, mask: Any) -> Any:  # type: ignore[override]
        mask = mask[0] if isinstance(mask, list) else mask
        output_mask = mask if self.return_sequences else None
        return [output_mask, *(None for _ in self.states)] if self.return_state else output_mask

    def build(self, input_shape: Any) -> None:
        constants_shape: list[Any] = []
        if isinstance(input_shape, list):
            constants_shape = input_shape[-self._num_constants :] if self._num_constants else []
            input_shape = input_shape[0]
        batch_size = input_shape[0] if self.stateful else None
        self.input_spec[0] = self._spec_for(batch_size, input_shape)
        if isinstance(self.cell, Layer) and not self.cell.built:
            step_shape = (input_shape[0], *input_shape[2:])
            self.cell.build([step_shape, *constants_shape] if constants_shape else step_shape)
            self.cell.built = True
        self._check_state_spec()
        if self.stateful:
            self.reset_states()
        self.built = True

    def _spec_for(self, batch_size: int | None, input_shape: Shape) -> InputSpec:
        return InputSpec(shape=(batch_size, None, input_shape[-1]))

    def _check_state_spec(self) -> None:
        sizes = state_sizes(self.cell)
        if self.state_spec is None:
            self.state_spec = [InputSpec(shape=(None, size)) for size in sizes]
        elif [spec.shape[-1] for spec in self.state_spec] != sizes:
            raise ValueError(
                "An `initial_state` was passed that is not compatible with `cell.state_size`. Received "
                f"`state_spec`={self.state_spec}; However `cell.state_size` is {self.cell.state_size}"
            )

    def get_initial_state(self, inputs: Any) -> list[Any]:
        """Zeros for each state, for the batch of `inputs`."""
        first = inputs[:, 0]
        batch = K.sum(K.zeros_like(first), axis=tuple(range(1, K.ndim(first))))
        column = K.expand_dims(K.zeros_like(batch))
        return [K.tile(column, [1, size]) for size in state_sizes(self.cell)]

    def __call__(self, inputs: Any, initial_state: Any = None, constants: Any = None, **kwargs: Any) -> Any:
        inputs, initial_state, constants = standardize_args(inputs, initial_state, constants, self._num_constants)
        if initial_state is None and constants is None:
            return super().__call__(inputs, **kwargs)
        if initial_state is not None:
            self.state_spec = [InputSpec(shape=K.int_shape(state)) for state in initial_state]
        if constants is not None:
            self.constants_spec = [InputSpec(shape=K.int_shape(x)) for x in constants]
            self._num_constants = len(constants)
        extras = {"initial_state": initial_state, "constants": constants}
        return call_with_extras(self, inputs, extras, kwargs)

    def call(
        self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None, constants: Any = None
    ) -> Any:
        if isinstance(inputs, list):
            inputs, initial_state, constants = standardize_args(inputs, None, None, self._num_constants)
        if initial_state is None:
            initial_state = self.states if self.stateful else self.get_initial_state(inputs)
        mask = mask[0] if isinstance(mask, list) else mask
        if len(initial_state) != len(self.states):
            raise ValueError(
                f"Layer has {len(self.states)} states but was passed {len(initial_state)} initial states."
            )
        steps = K.int_shape(inputs)[1]
        if self.unroll and steps in (None, 1):
            raise ValueError(
                "Cannot unroll a RNN if the time dimension is undefined or equal to 1. \n"
                "- If using a Sequential model, specify the time dimension by passing an `input_shape` or "
                "`batch_input_shape` argument to your first layer. If your first layer is an Embedding, you can also "
                "use the `input_length` argument.\n"
                "- If using the functional API, specify the time dimension by passing a `shape` or `batch_shape` "
                "argument to your Input layer."
            )
        forget_dropout_masks(self.cell)
        last_output, outputs, states = K.rnn(
            self._step(constants, training),
            inputs,
            list(initial_state),
            constants=constants,
            go_backwards=self.go_backwards,
            mask=mask,
            unroll=self.unroll,
            input_length=steps,
        )
        return self._finished(inputs, last_output, outputs, states)

    def _step(self, constants: Any, training: Any) -> Callable[[Any, Any], Any]:
        """One step of the cell, with the arguments that it takes."""
        kwargs: dict[str, Any] = {"training": training} if has_arg(self.cell.call, "training") else {}
        if not constants:
            return lambda inputs, states: self.cell.call(inputs, states, **kwargs)
        if not has_arg(self.cell.call, "constants"):
            raise ValueError("RNN cell does not support constants")
        count = len(constants)
        return lambda inputs, states: self.cell.call(inputs, states[:-count], constants=states[-count:], **kwargs)

    def _finished(self, inputs: Any, last_output: Any, outputs: Any, states: list[Any]) -> Any:
        if self.stateful:
            updates = [K.update(old, new) for old, new in zip(self.states, states, strict=True)]
            self.add_update(updates, inputs)
        output = outputs if self.return_sequences else last_output
        if last_output._uses_learning_phase:
            for x in (output, *states):
                x._uses_learning_phase = True
        return [output, *states] if self.return_state else output

    def reset_states(self, states: Any = None) -> None:
        """Set the states of a stateful layer to zeros, or to the arrays given."""
        if not self.stateful:
            raise AttributeError("Layer must be stateful.")
        batch_size = self.input_spec[0].shape[0] if self.input_spec[0].shape else None
        if not batch_size:
            raise ValueError(
                "If a RNN is stateful, it needs to know its batch size. "
                "Specify the batch size of your input tensors: \n"
                "- If using a Sequential model, specify the batch size by passing a `batch_input_shape` argument to "
                "your first layer.\n"
                "- If using the functional API, specify the batch size by passing a `batch_shape` argument to your "
                "Input layer."
            )
        shapes = self._state_shapes(batch_size)
        if self.states[0] is None:
            self.states = [K.zeros(shape) for shape in shapes]
        values = [np.zeros(shape) for shape in shapes] if states is None else to_list(states, allow_tuple=True)
        if len(values) != len(shapes):
            raise ValueError(
                f"Layer {self.name} expects {len(shapes)} states, but it received {len(values)} state values. "
                f"Input received: {states}"
            )
        for i, (value, shape) in enumerate(zip(values, shapes, strict=True)):
            if np.shape(value) != shape:
                raise ValueError(
                    f"State {i} is incompatible with layer {self.name}: expected shape={shape}, "
                    f"found shape={np.shape(value)}"
                )
        K.batch_set_value(list(zip(self.states, values, strict=True)))

    def _state_shapes(self, batch_size: int) -> list[Shape]:
        return [(batch_size, size) for size in state_sizes(self.cell)]

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
        }
        if self._num_constants is not None:
            config["num_constants"] = self._num_constants
        return {**config, **self._cell_config()}

    def _cell_config(self) -> dict[str, Any]:
        return {"cell": serialized(self.cell)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        cell = deserialized(config.pop("cell"), custom_objects)
        num_constants = config.pop("num_constants", None)
        layer = cls(cell, **config)
        layer._num_constants = num_constants
        return layer

    @property  # type: ignore[misc]
    def trainable_weights(self) -> list[Any]:
        return self.cell.trainable_weights if self.trainable and isinstance(self.cell, Layer) else []

    @property  # type: ignore[misc]
    def non_trainable_weights(self) -> list[Any]:
        if not isinstance(self.cell, Layer):
            return []
        return self.cell.non_trainable_weights if self.trainable else self.cell.weights

    @property
    def losses(self) -> list[Any]:
        return (self.cell.losses if isinstance(self.cell, Layer) else []) + self._losses

    def get_losses_for(self, inputs: Any = None) -> list[Any]:
        own = super().get_losses_for(inputs)
        return (self.cell.get_losses_for(inputs) if isinstance(self.cell, Layer) else []) + own
