"""Layers around another layer: `TimeDistributed` applies it to every time step, `Bidirectional` in both directions."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers.rnn import call_with_extras, deserialized, serialized, standardize_args
from kgraph.utils.generic_utils import has_arg, object_list_uid, to_list

__all__ = ["Bidirectional", "InputSpec", "Layer", "TimeDistributed", "Wrapper", "has_arg", "object_list_uid"]


class Wrapper(Layer):
    """Base class of wrappers: weights, losses and updates are those of the layer inside.

    # Arguments
        layer: the layer.
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        self.layer = layer
        # What the layer inside was given, by the inputs of the wrapper.
        self._input_map: dict[str, Any] = {}
        super().__init__(**kwargs)

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    @property
    def activity_regularizer(self) -> Any:  # type: ignore[override]
        return getattr(self.layer, "activity_regularizer", None)

    @property
    def trainable(self) -> bool:
        return self.layer.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.layer.trainable = value

    @property  # type: ignore[misc]
    def trainable_weights(self) -> list[Any]:
        return self.layer.trainable_weights

    @property  # type: ignore[misc]
    def non_trainable_weights(self) -> list[Any]:
        return self.layer.non_trainable_weights

    @property
    def updates(self) -> list[Any]:
        return getattr(self.layer, "updates", []) + self._updates

    def get_updates_for(self, inputs: Any = None) -> list[Any]:
        return self.layer.get_updates_for(self._inner(inputs)) + super().get_updates_for(inputs)

    @property
    def losses(self) -> list[Any]:
        return getattr(self.layer, "losses", []) + self._losses

    def get_losses_for(self, inputs: Any = None) -> list[Any]:
        own = super().get_losses_for(inputs)
        return self.layer.get_losses_for(None) + own if inputs is None else self._inner_losses(inputs) + own

    def _inner_losses(self, inputs: Any) -> list[Any]:
        inner = self._inner(inputs)
        return [] if inner is None else self.layer.get_losses_for(inner)

    def _inner(self, inputs: Any) -> Any:
        return None if inputs is None else self._input_map.get(object_list_uid(inputs), inputs)

    def get_weights(self) -> list[np.ndarray]:
        return self.layer.get_weights()

    def set_weights(self, weights: Any) -> None:
        self.layer.set_weights(weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": serialized(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        return cls(deserialized(config.pop("layer"), custom_objects), **config)


class TimeDistributed(Wrapper):
    """Applies a layer to every time step of `(batch, steps, ...)`.

    # Arguments
        layer: the layer; it sees the steps of all samples as one batch.
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:  # type: ignore[override]
        if len(input_shape) < 3:
            raise ValueError(
                f"Layer {self.name}: TimeDistributed takes inputs (batch, steps, ...) of rank 3 or more, got shape "
                f"{tuple(input_shape)}"
            )
        self.input_spec = InputSpec(shape=(None, None, *input_shape[2:]))
        if not self.layer.built:
            self.layer.build((input_shape[0], *input_shape[2:]))
            self.layer.built = True
        super().build()

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (shape[0], input_shape[1], *shape[1:])

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        kwargs: dict[str, Any] = {"training": training} if has_arg(self.layer.call, "training") else {}
        if has_arg(self.layer.call, "mask"):
            kwargs["mask"] = _steps_as_samples(mask)
        steps = _steps_as_samples(inputs)
        steps._keras_shape = (None, *K.int_shape(inputs)[2:])
        self._input_map[object_list_uid(inputs)] = steps
        y = self.layer.call(steps, **kwargs)
        result = _samples_as_steps(y, inputs)
        result._uses_learning_phase = getattr(y, "_uses_learning_phase", False)
        return result

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the layer inside; where it gives none, the steps that the input's mask has."""
        inner = self.layer.compute_mask(_steps_as_samples(inputs), _steps_as_samples(mask))
        if inner is not None:
            return _samples_as_steps(inner, inputs)
        while mask is not None and K.ndim(mask) > 2:
            mask = K.any(mask, axis=-1)
        return mask


def _steps_as_samples(x: Any) -> Any:
    """The first two axes as one."""
    if x is None:
        return None
    sizes = K.shape(x)
    return K.reshape(x, (sizes[0] * sizes[1], *(sizes[i] for i in range(2, K.ndim(x)))))


def _samples_as_steps(x: Any, like: Any) -> Any:
    """The first axis as the first two of `like`."""
    sizes, outer = K.shape(x), K.shape(like)
    return K.reshape(x, (outer[0], outer[1], *(sizes[i] for i in range(1, K.ndim(x)))))


class Bidirectional(Wrapper):
    """Runs a recurrent layer forwards and a second one like it backwards over time, and joins their outputs.

    # Arguments
        layer: a recurrent layer.
        merge_mode: "sum", "mul", "concat", "ave", or None for a list of both outputs.
        weights: initial weights, those of the forward layer first.
    """

    def __init__(self, layer: Any, merge_mode: str | None = "concat", weights: Any = None, **kwargs: Any) -> None:
        if merge_mode not in ("sum", "mul", "ave", "concat", None):
            raise ValueError(
                'Invalid merge mode. Merge mode should be one of {"sum", "mul", "ave", "concat", None}'
            )
        self.forward_layer = copy.copy(layer)
        config = layer.get_config()
        config["go_backwards"] = not config["go_backwards"]
        self.backward_layer = type(layer).from_config(config)
        self.forward_layer.name = "forward_" + self.forward_layer.name
        self.backward_layer.name = "backward_" + self.backward_layer.name
        self._trainable = True
        super().__init__(layer, **kwargs)
        self.merge_mode = merge_mode
        if weights:
            half = len(weights) // 2
            self.forward_layer._initial_weights = weights[:half]
            self.backward_layer._initial_weights = weights[half:]
        self.stateful = layer.stateful
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True
        self.input_spec = layer.input_spec
        self._num_constants: int | None = None

    @property
    def _both(self) -> tuple[Any, Any]:
        return self.forward_layer, self.backward_layer

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = value
        for layer in self._both:
            layer.trainable = value

    def get_weights(self) -> list[np.ndarray]:
        return [w for layer in self._both for w in layer.get_weights()]

    def set_weights(self, weights: Any) -> None:
        half = len(weights) // 2
        self.forward_layer.set_weights(weights[:half])
        self.backward_layer.set_weights(weights[half:])

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = self.forward_layer.compute_output_shape(input_shape)
        states: list[Any] = []
        if self.return_state:
            shape, *states = shape
        if self.merge_mode == "concat":
            shape = (*shape[:-1], 2 * shape[-1])
        outputs = [shape, shape] if self.merge_mode is None else [shape]
        if not self.return_state:
            return outputs if self.merge_mode is None else shape
        return [*outputs, *states, *states]

    def __call__(self, inputs: Any, initial_state: Any = None, constants: Any = None, **kwargs: Any) -> Any:
        inputs, initial_state, constants = standardize_args(inputs, initial_state, constants, self._num_constants)
        if initial_state is None and constants is None:
            return super().__call__(inputs, **kwargs)
        if initial_state is not None:
            if len(initial_state) % 2:
                raise ValueError(
                    "When passing `initial_state` to a Bidirectional RNN, the state should be a list containing the "
                    f"states of the underlying RNNs. Found: {initial_state}"
                )
            half = len(initial_state) // 2
            for layer, states in zip(self._both, (initial_state[:half], initial_state[half:]), strict=True):
                layer.state_spec = [InputSpec(shape=K.int_shape(state)) for state in states]
        if constants is not None:
            self._num_constants = len(constants)
            for layer in self._both:
                layer.constants_spec = [InputSpec(shape=K.int_shape(x)) for x in constants]
                layer._num_constants = len(constants)
        self.input_spec = to_list(self.input_spec, allow_tuple=True)
        return call_with_extras(self, inputs, {"initial_state": initial_state, "constants": constants}, kwargs)

    def call(
        self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None, constants: Any = None
    ) -> Any:
        if isinstance(inputs, list):
            inputs, initial_state, constants = standardize_args(inputs, None, None, self._num_constants)
        kwargs: dict[str, Any] = {}
        for name, value in (("training", training), ("mask", mask), ("constants", constants)):
            if has_arg(self.layer.call, name) and (name != "constants" or value):
                kwargs[name] = value
        states: tuple[Any, Any] = (None, None)
        if initial_state:
            half = len(initial_state) // 2
            states = initial_state[:half], initial_state[half:]
        forward, backward = (
            layer.call(inputs, **kwargs, **({"initial_state": state} if state else {}))
            for layer, state in zip(self._both, states, strict=True)
        )
        final: list[Any] = []
        if self.return_state:
            final = [*forward[1:], *backward[1:]]
            forward, backward = forward[0], backward[0]
        if self.return_sequences:
            backward = _reversed_steps(backward)
        outputs = self._merged(forward, backward)
        if any(getattr(x, "_uses_learning_phase", False) for x in (forward, backward)):
            for x in outputs:
                x._uses_learning_phase = True
        results = [*outputs, *final]
        return results if len(results) > 1 else results[0]

    def _merged(self, forward: Any, backward: Any) -> list[Any]:
        if self.merge_mode is None:
            return [forward, backward]
        if self.merge_mode == "concat":
            return [K.concatenate([forward, backward])]
        if self.merge_mode == "mul":
            return [forward * backward]
        total = forward + backward
        return [total / 2 if self.merge_mode == "ave" else total]

    def reset_states(self) -> None:
        for layer in self._both:
            layer.reset_states()

    def build(self, input_shape: Any) -> None:  # type: ignore[override]
        for layer in self._both:
            with K.name_scope(layer.name):
                layer.build(input_shape)
                layer.built = True
            if layer._initial_weights is not None:
                layer.set_weights(layer._initial_weights)
        super().build()

    def compute_mask(self, inputs: Any, mask: Any) -> Any:  # type: ignore[override]
        mask = mask[0] if isinstance(mask, list) else mask
        mask = mask if self.return_sequences else None
        output_mask = [mask, mask] if self.merge_mode is None else mask
        if not self.return_state:
            return output_mask
        states = [None for _ in self.forward_layer.states]
        return [*to_list(output_mask), *states, *states]

    @property  # type: ignore[misc]
    def trainable_weights(self) -> list[Any]:
        return [w for layer in self._both for w in layer.trainable_weights] if self.trainable else []

    @property  # type: ignore[misc]
    def non_trainable_weights(self) -> list[Any]:
        if not self.trainable:
            return [w for layer in self._both for w in layer.weights]
        return [w for layer in self._both for w in layer.non_trainable_weights]

    @property
    def updates(self) -> list[Any]:
        return [x for layer in self._both for x in getattr(layer, "updates", [])] + self._updates

    def get_updates_for(self, inputs: Any = None) -> list[Any]:
        own = Layer.get_updates_for(self, inputs)
        return [x for layer in self._both for x in layer.get_updates_for(self._inner(inputs))] + own

    @property
    def losses(self) -> list[Any]:
        return [x for layer in self._both for x in getattr(layer, "losses", [])] + self._losses

    def get_losses_for(self, inputs: Any = None) -> list[Any]:
        own = Layer.get_losses_for(self, inputs)
        return [x for layer in self._both for x in layer.get_losses_for(self._inner(inputs))] + own

    @property
    def constraints(self) -> dict[Any, Any]:
        """The constraints of the weights, by weight."""
        weights = [w for layer in self._both for w in layer.trainable_weights]
        return {w: w.constraint for w in weights if getattr(w, "constraint", None) is not None}

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "merge_mode": self.merge_mode}
        if self._num_constants is not None:
            config["num_constants"] = self._num_constants
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        num_constants = config.pop("num_constants", None)
        layer = cls(deserialized(config.pop("layer"), custom_objects), **config)
        layer._num_constants = num_constants
        return layer


def _reversed_steps(x: Any) -> Any:
    """Time in reverse order."""
    result = K.reverse(x, 1)
    result._uses_learning_phase = getattr(x, "_uses_learning_phase", False)
    return result
