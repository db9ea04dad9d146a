"""Layers and the nodes that connect them.

A `Layer` owns weights and computes output tensors from input tensors; every call leaves a `Node` that links the layer
to the layers whose tensors it took. `input_layer.py` makes the first tensors, `network.py` finds models in the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph import initializers
from kgraph.engine import weight_budget
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import has_arg, is_all_none, object_list_uid, to_list, unpack_singleton
from kgraph.utils.layer_utils import count_params

__all__ = ["InputSpec", "Layer", "Node", "count_params", "has_arg", "is_all_none", "object_list_uid", "to_list"]

Shape = tuple[Any, ...]
_LAYER_KEYWORDS = frozenset(
    ("input_shape", "batch_input_shape", "batch_size", "dtype", "name", "trainable", "weights", "input_dtype")
)


class Node:
    """One call of a layer.

    Lists run in parallel: input number `i` is output `tensor_indices[i]` of node `node_indices[i]` of layer
    `inbound_layers[i]`. `arguments` are the keyword arguments of the call. Making a node registers it with its layers.
    """

    def __init__(
        self,
        outbound_layer: Any,
        inbound_layers: Sequence[Any],
        node_indices: Sequence[int],
        tensor_indices: Sequence[int],
        input_tensors: Sequence[Any],
        output_tensors: Sequence[Any],
        input_masks: Sequence[Any],
        output_masks: Sequence[Any],
        input_shapes: Sequence[Any],
        output_shapes: Sequence[Any],
        arguments: dict[str, Any] | None = None,
    ) -> None:
        self.outbound_layer = outbound_layer
        self.inbound_layers = inbound_layers
        self.node_indices = node_indices
        self.tensor_indices = tensor_indices
        self.input_tensors = input_tensors
        self.output_tensors = output_tensors
        self.input_masks = input_masks
        self.output_masks = output_masks
        self.input_shapes = input_shapes
        self.output_shapes = output_shapes
        self.arguments = arguments
        for layer in inbound_layers:
            if layer is not None:
                layer._outbound_nodes.append(self)
        outbound_layer._inbound_nodes.append(self)

    def get_config(self) -> dict[str, Any]:
        return {
            "outbound_layer": self.outbound_layer.name if self.outbound_layer else None,
            "inbound_layers": [layer.name for layer in self.inbound_layers if layer is not None],
            "node_indices": self.node_indices,
            "tensor_indices": self.tensor_indices,
        }


class InputSpec:
    """What a layer demands of an input: dtype, shape, rank, and sizes of single axes."""

    def __init__(
        self,
        dtype: str | None = None,
        shape: Shape | None = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int] | None = None,
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.ndim = len(shape) if shape is not None else ndim
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        self.axes = axes or {}

    def __repr__(self) -> str:
        given = {k: v for k, v in vars(self).items() if v}
        return f"InputSpec({', '.join(f'{k}={v}' for k, v in given.items())})"


class Layer:
    """Base class of layers.

    Subclasses implement `call(inputs)`, and where they need it `build(input_shape)` (make weights with `add_weight`),
    `compute_output_shape(input_shape)` and `get_config()`.

    # Properties
        name, trainable, built, input_spec, supports_masking, stateful
        weights, trainable_weights, non_trainable_weights: variables
        losses, updates: tensors and updates that the layer adds to training
        input, output, input_shape, output_shape, input_mask, output_mask: of the only call of the layer
    """

    activity_regularizer: Any

    def __init__(self, **kwargs: Any) -> None:
        self.input_spec: Any = None
        self.supports_masking = False
        self.stateful = False
        self._trainable_weights: list[Any] = []
        self._non_trainable_weights: list[Any] = []
        self._losses: list[Any] = []
        self._updates: list[Any] = []
        # By the tensors that they depend on; None: on no input.
        self._per_input_losses: dict[tuple[Any, ...] | None, list[Any]] = {}
        self._per_input_updates: dict[tuple[Any, ...] | None, list[Any]] = {}
        self._built = False
        self._inbound_nodes: list[Node] = []
        self._outbound_nodes: list[Node] = []

        for keyword in kwargs:
            if keyword not in _LAYER_KEYWORDS:
                raise TypeError("Keyword argument not understood:", keyword)
        self.name: str = kwargs.get("name") or _default_name(type(self).__name__)
        self.trainable = kwargs.get("trainable", True)
        if "input_shape" in kwargs or "batch_input_shape" in kwargs:
            if "batch_input_shape" in kwargs:
                self.batch_input_shape = tuple(kwargs["batch_input_shape"])
            else:
                self.batch_input_shape = (kwargs.get("batch_size"), *_as_shape(self.name, kwargs["input_shape"]))
            self.dtype = kwargs.get("dtype") or kwargs.get("input_dtype") or K.floatx()
        self._initial_weights = kwargs.get("weights")

    # What subclasses implement

    def build(self, input_shape: Any) -> None:
        """Make the weights, for inputs of `input_shape` (batch axis included; a list of shapes for several inputs)."""
        self.built = True

    def call(self, inputs: Any, **kwargs: Any) -> Any:
        """The output tensors for these input tensors."""
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape for an input shape; here the same."""
        return input_shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The output's mask. A layer that does not support masking refuses one."""
        if self.supports_masking:
            return mask
        if mask is not None and any(m is not None for m in to_list(mask, allow_tuple=True)):
            raise TypeError(
                f"Layer {self.name} does not support masking, but was passed an input_mask: {mask}"
            )
        return None

    def get_config(self) -> dict[str, Any]:
        """Keyword arguments from which `from_config` makes a layer like this one, without weights."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        if hasattr(self, "batch_input_shape"):
            config["batch_input_shape"] = self.batch_input_shape
        if hasattr(self, "dtype"):
            config["dtype"] = self.dtype
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    # Weights

    @property
    def built(self) -> bool:
        return self._built

    @built.setter
    def built(self, value: bool) -> None:
        self._built = value

    @interfaces.legacy_add_weight_support
    def add_weight(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str | None = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool = True,
        constraint: Any = None,
    ) -> Any:
        """Make a weight of this layer; a regularizer adds its loss.

        # Returns
            The variable.
        """
        initializer = initializers.get("glorot_uniform" if initializer is None else initializer)
        if not all(isinstance(size, (int, float, np.number)) and size >= 0 for size in shape):
            raise ValueError(f"Layer {self.name}: weight '{name}' cannot have the shape {tuple(shape)}.")
        dtype = dtype or K.floatx()
        shape = tuple(int(size) for size in shape)
        weight_budget.claim(self.name, name, shape)
        variable = K.variable(initializer(shape), dtype=dtype, name=name, constraint=constraint)
        variable.trainable = trainable
        if regularizer is not None:
            with K.name_scope("weight_regularizer"):
                self.add_loss(regularizer(variable))
        (self._trainable_weights if trainable else self._non_trainable_weights).append(variable)
        return variable

    @property
    def trainable_weights(self) -> list[Any]:
        return self._trainable_weights if getattr(self, "trainable", True) else []

    @trainable_weights.setter
    def trainable_weights(self, weights: list[Any]) -> None:
        self._trainable_weights = weights

    @property
    def non_trainable_weights(self) -> list[Any]:
        if getattr(self, "trainable", True):
            return self._non_trainable_weights
        return self._trainable_weights + self._non_trainable_weights

    @non_trainable_weights.setter
    def non_trainable_weights(self, weights: list[Any]) -> None:
        self._non_trainable_weights = weights

    @property
    def weights(self) -> list[Any]:
        return self.trainable_weights + self.non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights' values, in the order of `weights`."""
        return K.batch_get_value(self.weights)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all weights, in the order of `weights`. Raises ValueError for a wrong number or shape, changing none."""
        params = self.weights
        if len(params) != len(weights):
            raise ValueError(
                f'You called `set_weights(weights)` on layer "{self.name}" with a  weight list of length '
                f"{len(weights)}, but the layer was expecting {len(params)} weights. "
                f"Provided weights: {str(weights)[:50]}..."
            )
        pairs = []
        for variable, current, value in zip(params, K.batch_get_value(params), weights, strict=True):
            if current.shape != np.shape(value):
                raise ValueError(
                    f"Layer weight shape {current.shape} not compatible with provided weight shape {np.shape(value)}"
                )
            pairs.append((variable, value))
        K.batch_set_value(pairs)

    def count_params(self) -> int:
        """The number of scalars in the weights."""
        if not self.built:
            if type(self).__name__ == "Sequential":
                self.build()  # type: ignore[call-arg]
            else:
                raise RuntimeError(
                    f"You tried to call `count_params` on {self.name}, but the layer isn't built. "
                    f"You can build it manually via: `{self.name}.build(batch_input_shape)`."
                )
        return count_params(self.weights)

    # Losses and updates

    @property
    def losses(self) -> list[Any]:
        return self._losses

    @property
    def updates(self) -> list[Any]:
        if not self.trainable and not self.stateful:
            return []
        return self._updates

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Add scalar tensors to the model's loss; `inputs` are the tensors that they depend on, None for none."""
        if losses is None or losses == []:
            return
        losses = to_list(losses)
        self._losses += losses
        self._per_input_losses.setdefault(_tensor_key(inputs), []).extend(losses)

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Add updates that run with each training step; `inputs` are the tensors that they depend on, None for none."""
        if updates is None or updates == []:
            return
        updates = to_list(updates)
        self._updates += updates
        self._per_input_updates.setdefault(_tensor_key(inputs), []).extend(updates)

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """The updates that depend on exactly these inputs; on none, for None."""
        if not self.trainable and not self.stateful:
            return []
        return self._per_input_updates.get(_tensor_key(inputs), [])

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """The losses that depend on exactly these inputs; on none, for None."""
        return self._per_input_losses.get(_tensor_key(inputs), [])

    # Calling

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """The output tensors for input tensors; builds the layer on its first call, and records the call.

        # Raises
            ValueError: for an input that is no tensor or does not fit `input_spec`.
        """
        with K.name_scope(self.name):
            self.assert_input_compatibility(inputs)
            if not self.built:
                self.build(unpack_singleton([_shape_of(x) for x in to_list(inputs)]))
                self.built = True
                if self._initial_weights is not None:
                    self.set_weights(self._initial_weights)
                self.assert_input_compatibility(inputs)

            previous_mask = _collect_previous_mask(inputs)
            arguments = dict(kwargs)
            if not is_all_none(previous_mask) and "mask" not in kwargs and has_arg(self.call, "mask"):
                kwargs["mask"] = previous_mask
            input_shape = unpack_singleton([_shape_of(x) for x in to_list(inputs)])
            output = self.call(inputs, **kwargs)
            output_mask = self.compute_mask(inputs, previous_mask)

            # A tensor has one history, so an output that is an input needs a tensor of its own.
            known = {id(x) for x in to_list(inputs)}
            outputs = [K.identity(x) if id(x) in known else x for x in to_list(output, allow_tuple=True)]
            for x in outputs:
                if not K.is_tensor(x):
                    raise ValueError(
                        f"The `call` method of layer {self.name} must return a tensor or a list of tensors. "
                        f"Received: {x!r}"
                    )
            output_shape = self.compute_output_shape(input_shape)
            if len(outputs) > 1 and not isinstance(output_mask, (list, tuple)):
                output_mask = [output_mask] * len(outputs)
            output = unpack_singleton(outputs)
            self._add_inbound_node(inputs, output, output_mask, input_shape, output_shape, arguments)

            if getattr(self, "activity_regularizer", None) is not None:
                with K.name_scope("activity_regularizer"):
                    self.add_loss([self.activity_regularizer(x) for x in outputs], inputs=to_list(inputs))
        return output

    def assert_input_compatibility(self, inputs: Any) -> None:
        """Raises ValueError unless `inputs` are tensors that fit `input_spec`."""
        inputs = to_list(inputs)
        for x in inputs:
            if not K.is_tensor(x):
                raise ValueError(
                    f"Layer {self.name} was called with an input that isn't a symbolic tensor. "
                    f"Received type: {type(x)}. Full input: {inputs}. All inputs to the layer should be tensors."
                )
        if not self.input_spec:
            return
        specs = to_list(self.input_spec, allow_tuple=True)
        if len(inputs) != len(specs):
            raise ValueError(
                f"Layer {self.name} expects {len(specs)} inputs, but it received {len(inputs)} input tensors. "
                f"Input received: {inputs}"
            )
        for i, (x, spec) in enumerate(zip(inputs, specs, strict=True)):
            if spec is not None:
                problem = _mismatch(x, spec)
                if problem:
                    raise ValueError(f"Input {i} is incompatible with layer {self.name}: {problem}")

    def _add_inbound_node(
        self,
        input_tensors: Any,
        output_tensors: Any,
        output_masks: Any,
        input_shapes: Any,
        output_shapes: Any,
        arguments: dict[str, Any] | None,
    ) -> None:
        inputs = to_list(input_tensors)
        outputs = to_list(output_tensors)
        sources: list[Any] = [getattr(x, "_keras_history", (None, None, None)) for x in inputs]
        masks = to_list(output_masks, allow_tuple=True)
        shapes = _per_tensor(output_shapes)
        Node(
            self,
            inbound_layers=[layer for layer, _, _ in sources],
            node_indices=[node for _, node, _ in sources],
            tensor_indices=[tensor for _, _, tensor in sources],
            input_tensors=inputs,
            output_tensors=outputs,
            input_masks=to_list(_collect_previous_mask(input_tensors)),
            output_masks=masks,
            input_shapes=_per_tensor(input_shapes),
            output_shapes=shapes,
            arguments=arguments,
        )
        uses_phase = any(getattr(x, "_uses_learning_phase", False) for x in inputs)
        uses_phase = uses_phase or getattr(self, "uses_learning_phase", False)
        for i, x in enumerate(outputs):
            x._keras_shape = tuple(shapes[i]) if i < len(shapes) and shapes[i] is not None else K.int_shape(x)
            x._keras_history = (self, len(self._inbound_nodes) - 1, i)
            x._uses_learning_phase = getattr(x, "_uses_learning_phase", False) or uses_phase

    # Inputs and outputs of past calls

    def _get_node_attribute_at_index(self, node_index: int, attr: str, attr_name: str) -> Any:
        if not self._inbound_nodes:
            raise RuntimeError(f"The layer has never been called and thus has no defined {attr_name}.")
        if not len(self._inbound_nodes) > node_index:
            raise ValueError(
                f"Asked to get {attr_name} at node {node_index}, but the layer has only "
                f"{len(self._inbound_nodes)} inbound nodes."
            )
        return unpack_singleton(getattr(self._inbound_nodes[node_index], attr))

    def get_input_shape_at(self, node_index: int) -> Any:
        return self._get_node_attribute_at_index(node_index, "input_shapes", "input shape")

    def get_output_shape_at(self, node_index: int) -> Any:
        return self._get_node_attribute_at_index(node_index, "output_shapes", "output shape")

    def get_input_at(self, node_index: int) -> Any:
        return self._get_node_attribute_at_index(node_index, "input_tensors", "input")

    def get_output_at(self, node_index: int) -> Any:
        return self._get_node_attribute_at_index(node_index, "output_tensors", "output")

    def get_input_mask_at(self, node_index: int) -> Any:
        return self._get_node_attribute_at_index(node_index, "input_masks", "input mask")

    def get_output_mask_at(self, node_index: int) -> Any:
        return self._get_node_attribute_at_index(node_index, "output_masks", "output mask")

    def _of_only_call(self, attr: str, what: str) -> Any:
        if len(self._inbound_nodes) > 1:
            raise AttributeError(
                f"Layer {self.name} has multiple inbound nodes, hence the notion of \"layer {what}\" is ill-defined. "
                f"Use `get_{what.replace(' ', '_')}_at(node_index)` instead."
            )
        if not self._inbound_nodes:
            raise AttributeError(f"Layer {self.name} is not connected, no {what} to return.")
        return unpack_singleton(getattr(self._inbound_nodes[0], attr))

    @property
    def input(self) -> Any:
        return self._of_only_call("input_tensors", "input")

    @property
    def output(self) -> Any:
        return self._of_only_call("output_tensors", "output")

    @property
    def input_mask(self) -> Any:
        return self._of_only_call("input_masks", "input mask")

    @property
    def output_mask(self) -> Any:
        return self._of_only_call("output_masks", "output mask")

    def _common_shape(self, attr: str, what: str) -> Any:
        if not self._inbound_nodes:
            raise AttributeError(f"The layer has never been called and thus has no defined {what}.")
        shapes = [getattr(node, attr) for node in self._inbound_nodes]
        if any(str(shape) != str(shapes[0]) for shape in shapes):
            raise AttributeError(
                f'The layer "{self.name}" has multiple inbound nodes, with different {what}s. Hence the notion of '
                f'"{what}" is ill-defined for the layer. Use `get_{what.replace(" ", "_")}_at(node_index)` instead.'
            )
        return unpack_singleton(shapes[0])

    @property
    def input_shape(self) -> Any:
        return self._common_shape("input_shapes", "input shape")

    @property
    def output_shape(self) -> Any:
        return self._common_shape("output_shapes", "output shape")


def _default_name(class_name: str) -> str:
    prefix = _to_snake_case(class_name)
    return f"{prefix}_{K.get_uid(prefix)}"


def _to_snake_case(name: str) -> str:
    spaced = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    snake = re.sub("([a-z])([A-Z])", r"\1_\2", spaced).lower()
    return "private" + snake if snake.startswith("_") else snake


def _as_shape(name: str, shape: Any) -> Shape:
    try:
        return tuple(shape)
    except TypeError:
        raise TypeError(
            f"Layer {name}: `input_shape` must be a tuple of sizes, without the batch axis. Received: {shape!r}"
        ) from None


def _tensor_key(inputs: Any) -> tuple[Any, ...] | None:
    if inputs is None:
        return None
    return tuple(to_list(inputs, allow_tuple=True)) or None


def _shape_of(x: Any) -> Any:
    return x._keras_shape if hasattr(x, "_keras_shape") else K.int_shape(x)


def _per_tensor(shapes: Any) -> list[Any]:
    """A list of shapes from one shape (a tuple or list of sizes) or a list of shapes."""
    if isinstance(shapes, list) and all(isinstance(s, (tuple, list)) or s is None for s in shapes):
        if shapes and any(s is not None for s in shapes):
            return shapes
    if isinstance(shapes, tuple) and shapes and all(isinstance(s, (tuple, list)) for s in shapes):
        return list(shapes)
    return [tuple(shapes) if isinstance(shapes, list) else shapes]


def _collect_previous_mask(tensors: Any) -> Any:
    """The masks that the layers which made these tensors gave them."""
    masks: list[Any] = []
    for x in to_list(tensors):
        history = getattr(x, "_keras_history", None)
        if history is None:
            masks.append(None)
        else:
            layer, node, index = history
            masks.append(layer._inbound_nodes[node].output_masks[index])
    return unpack_singleton(masks)


def _mismatch(x: Any, spec: InputSpec) -> str | None:
    """How tensor `x` fails to fit `spec`; None where it fits."""
    rank = K.ndim(x)
    if spec.ndim is not None and rank != spec.ndim:
        return f"expected ndim={spec.ndim}, found ndim={rank}"
    if spec.max_ndim is not None and rank is not None and rank > spec.max_ndim:
        return f"expected max_ndim={spec.max_ndim}, found ndim={rank}"
    if spec.min_ndim is not None and rank is not None and rank < spec.min_ndim:
        return f"expected min_ndim={spec.min_ndim}, found ndim={rank}"
    if spec.dtype is not None and K.dtype(x) != spec.dtype:
        return f"expected dtype={spec.dtype}, found dtype={K.dtype(x)}"
    shape = K.int_shape(x)
    for axis, size in _items(spec.axes):
        if size is not None and -len(shape) <= axis < len(shape) and shape[axis] not in (size, None):
            return f"expected axis {axis} of input shape to have value {size} but got shape {shape}"
    if spec.shape is not None:
        for wanted, size in zip(spec.shape, shape, strict=True):
            if wanted is not None and size is not None and wanted != size:
                return f"expected shape={spec.shape}, found shape={shape}"
    return None


def _items(axes: dict[Any, Any]) -> Iterable[tuple[int, Any]]:
    return ((int(axis), size) for axis, size in axes.items())
