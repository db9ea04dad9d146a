"""Networks: layers connected into a graph, which is itself a layer.

A `Network` is found in the nodes between its inputs and outputs (`graph_map.py`), or is a subclass that computes its
outputs in `call`. It knows topology, weights, configs and files; `training.py` adds compiling and fitting.
"""

from __future__ import annotations

import copy
import json
import warnings
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine.base_layer import Layer, Node, _shape_of, _tensor_key
from kgraph.engine.graph_map import map_graph, node_key
from kgraph.engine.input_layer import InputLayer
from kgraph.engine.network_config import network_config, network_from_config
from kgraph.legacy import interfaces
from kgraph.utils.generic_utils import has_arg, object_list_uid, to_list, unique_by_identity, unpack_singleton
from kgraph.utils.io_utils import ask_to_proceed_with_overwrite
from kgraph.utils.layer_utils import get_source_inputs
from kgraph.utils.layer_utils import print_summary as print_layer_summary

__all__ = ["Network", "ask_to_proceed_with_overwrite", "get_source_inputs", "object_list_uid"]

_INTERNAL_CALLS_KEPT = 8


class Network(Layer):
    """A graph of layers from `inputs` to `outputs`.

    # Arguments
        inputs: an input tensor or a list of them.
        outputs: an output tensor or a list of them.
        name: name of the network.

    # Properties
        layers, inputs, outputs, input_names, output_names, and those of `Layer`
    """

    @interfaces.legacy_model_constructor_support
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        functional = len(args) == 2 or (len(args) == 1 and "outputs" in kwargs) or {"inputs", "outputs"} <= set(kwargs)
        if functional:
            self._init_graph_network(*args, **kwargs)
        else:
            self._init_subclassed_network(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        # Subclassed networks find their layers among their attributes.
        if isinstance(value, Layer) and not self.__dict__.get("_is_graph_network", False):
            if "_layers" not in self.__dict__:
                raise RuntimeError(
                    "It looks like you are subclassing `Model` and you forgot to call "
                    "`super(YourClass, self).__init__()`. Always start with this line."
                )
            if not any(layer is value for layer in self._layers):
                self._layers.append(value)
        super().__setattr__(name, value)

    def _base_init(self, name: str | None = None) -> None:
        super().__setattr__("_is_graph_network", False)
        self._layers: list[Layer] = []
        Layer.__init__(self, name=name)
        self._layers = []
        self._is_compiled = False
        self.supports_masking = False
        self.optimizer: Any = None
        self.inputs: Any = None
        self.outputs: Any = None
        self._output_mask_cache: dict[Any, Any] = {}
        self._output_tensor_cache: dict[Any, Any] = {}
        self._output_shape_cache: dict[Any, Any] = {}

    def _init_subclassed_network(self, name: str | None = None) -> None:
        self._base_init(name=name)
        self._is_graph_network = False
        self.built = False

    def _init_graph_network(self, inputs: Any, outputs: Any, name: str | None = None) -> None:
        if "_losses" not in self.__dict__:
            self._base_init(name=name)
        self.inputs = to_list(inputs, allow_tuple=True)
        self.outputs = to_list(outputs, allow_tuple=True)
        if len(unique_by_identity(self.inputs)) != len(self.inputs):
            raise ValueError(
                "The list of inputs passed to the model is redundant. All inputs should only appear once. "
                f"Found: {self.inputs}"
            )
        self._check_inputs()
        for x in self.outputs:
            if not hasattr(x, "_keras_history"):
                raise ValueError(
                    f"Output tensors to a {type(self).__name__} must be the output of a Keras `Layer` "
                    f"(thus holding past layer metadata). Found: {x}"
                )
        histories = [x._keras_history for x in self.outputs]
        self._output_layers = [layer for layer, _, _ in histories]
        self._output_coordinates = histories
        self._input_layers = [x._keras_history[0] for x in self.inputs]
        self._input_coordinates = [(x._keras_history[0], 0, 0) for x in self.inputs]
        masks = [layer._inbound_nodes[node].output_masks[index] for layer, node, index in histories]

        self._map_layers()
        self.input_names: list[str] = []
        self._feed_input_names: list[str] = []
        self._feed_inputs: list[Any] = []
        self._feed_input_shapes: list[Any] = []
        for i, layer in enumerate(self._input_layers):
            if not isinstance(layer, InputLayer):
                raise TypeError(
                    f"Input layers to a `Model` must be `InputLayer` objects. Received inputs: {inputs}. "
                    f"Input {i} (0-based) originates from layer type `{type(layer).__name__}`."
                )
            self.input_names.append(layer.name)
            if layer.is_placeholder:
                self._feed_input_names.append(layer.name)
                self._feed_input_shapes.append(_shape_of(self.inputs[i]))
                self._feed_inputs.append(layer._inbound_nodes[0].output_tensors[0])
        self.output_names = [layer.name for layer in self._output_layers]
        self._internal_input_shapes = [_shape_of(x) for x in self.inputs]
        self._internal_output_shapes = [_shape_of(x) for x in self.outputs]
        # Node 0 of a network is the network itself; calls on other tensors are numbered from 1.
        calls = self._inbound_nodes[1:]
        self._inbound_nodes = []
        Node(
            self,
            inbound_layers=[],
            node_indices=[],
            tensor_indices=[],
            input_tensors=self.inputs,
            output_tensors=self.outputs,
            input_masks=[None] * len(self.inputs),
            output_masks=masks,
            input_shapes=self._internal_input_shapes,
            output_shapes=self._internal_output_shapes,
        )
        self._inbound_nodes += calls
        self.built = True
        self._is_graph_network = True

    def _map_layers(self) -> None:
        found = map_graph(self.inputs, self.outputs)
        self._network_nodes = found.node_keys
        self._nodes_by_depth = found.nodes_by_depth
        self._layers_by_depth = found.layers_by_depth
        self._layers = found.layers

    def _check_inputs(self) -> None:
        for x in self.inputs:
            if not hasattr(x, "_keras_history"):
                raise ValueError(
                    f"Input tensors to a {type(self).__name__} must come from `keras.layers.Input`. Received: {x} "
                    "(missing previous layer metadata)."
                )
            layer = x._keras_history[0]
            if len(layer._inbound_nodes) > 1 or (layer._inbound_nodes and layer._inbound_nodes[0].inbound_layers):
                warnings.warn(
                    f"{type(self).__name__} inputs must come from `keras.layers.Input` (thus holding past layer "
                    "metadata), they cannot be the output of a previous non-Input layer. Here, a tensor specified as "
                    f"input to your model was not an Input tensor, it was generated by layer {layer.name}.\n"
                    "Note that input tensors are instantiated via `tensor = keras.layers.Input(shape)`.\n"
                    f"The tensor that caused the issue was: {x.name}",
                    stacklevel=4,
                )

    # Layers and what they hold

    @property
    def layers(self) -> list[Layer]:
        return self._layers

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this index of `layers`; the index goes first."""
        if index is not None:
            if len(self.layers) <= index:
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has {len(self.layers)} layers."
                )
            return self.layers[index]
        if not name:
            raise ValueError("Provide either a layer name or layer index.")
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}")

    def _nodes_of(self, layer: Layer) -> list[Node]:
        """The nodes of `layer` that belong to this network."""
        if not self._is_graph_network:
            return []
        return [
            node
            for i, node in enumerate(layer._inbound_nodes)
            if node_key(layer, i) in self._network_nodes
        ]

    @property
    def updates(self) -> list[Any]:
        """The updates of all layers that a step of training runs."""
        if not self.trainable and not self.stateful:
            return []
        found: list[Any] = []
        for layer in self.layers:
            for node in self._nodes_of(layer):
                found += layer.get_updates_for(node.input_tensors)
            found += layer.get_updates_for(None)
        return unique_by_identity(found) if self._is_graph_network else found + self._updates

    @property
    def losses(self) -> list[Any]:
        """The penalties of all layers, and those added to the model itself."""
        found: list[Any] = []
        for layer in self.layers:
            for node in self._nodes_of(layer):
                found += layer.get_losses_for(node.input_tensors)
            found += layer.get_losses_for(None)
        found += self.get_losses_for(None)
        found += self.get_losses_for(self.inputs)
        if not self._is_graph_network:
            found += self._losses
        tensors = [x for x in found if not isinstance(x, (int, float))]
        return unique_by_identity(tensors) + [x for x in found if isinstance(x, (int, float))]

    @property
    def uses_learning_phase(self) -> bool:
        return any(getattr(x, "_uses_learning_phase", False) for x in self.outputs or ())

    @property
    def stateful(self) -> bool:
        return any(getattr(layer, "stateful", False) for layer in self.layers)

    @stateful.setter
    def stateful(self, value: bool) -> None:
        """A network is stateful through its layers; the base class sets the attribute, which changes nothing."""

    def reset_states(self) -> None:
        """Reset the states of the stateful layers."""
        for layer in self.layers:
            if hasattr(layer, "reset_states") and getattr(layer, "stateful", False):
                layer.reset_states()

    @property
    def state_updates(self) -> list[Any]:
        """The updates of the states of stateful layers, for this network's inputs; they run in prediction too."""
        if not self.stateful:
            return []
        states: set[int] = set()
        networks: list[Network] = [self]
        for network in networks:
            for layer in network.layers:
                if isinstance(layer, Network):
                    networks.append(layer)
                elif getattr(layer, "stateful", False):
                    states |= {id(update) for update in layer.updates}
        return [update for update in self.updates if id(update) in states]

    @property
    def input_spec(self) -> Any:
        """The ranks and sizes of the inputs; `None` for axes of any size."""
        from kgraph.engine.base_layer import InputSpec

        if not self._is_graph_network or not self.inputs:
            return None
        specs = []
        for layer in self._input_layers:
            shape = layer.batch_input_shape
            specs.append(InputSpec(ndim=len(shape), axes={i: s for i, s in enumerate(shape) if i and s is not None}))
        return unpack_singleton(specs)

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        """The spec follows from the inputs; the base class sets the attribute, which changes nothing."""

    # Weights

    @property
    def trainable_weights(self) -> list[Any]:
        if not self.trainable:
            return []
        return self._trainable_weights + [w for layer in self.layers for w in layer.trainable_weights]

    @trainable_weights.setter
    def trainable_weights(self, weights: list[Any]) -> None:
        self._trainable_weights = weights

    @property
    def non_trainable_weights(self) -> list[Any]:
        frozen = self._non_trainable_weights + [w for layer in self.layers for w in layer.non_trainable_weights]
        if self.trainable:
            return frozen
        trainable = self._trainable_weights + [w for layer in self.layers for w in layer.trainable_weights]
        return trainable + frozen

    @non_trainable_weights.setter
    def non_trainable_weights(self, weights: list[Any]) -> None:
        self._non_trainable_weights = weights

    def _weights_by_layer(self) -> list[Any]:
        own = self._trainable_weights + self._non_trainable_weights
        return own + [w for layer in self.layers for w in layer.weights]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights' values, layer by layer."""
        return K.batch_get_value(self._weights_by_layer())

    def set_weights(self, weights: Any) -> None:
        """Set all weights, in the order of `get_weights`. Raises ValueError for a wrong number or shape."""
        variables = self._weights_by_layer()
        if len(weights) != len(variables):
            raise ValueError(
                f'You called `set_weights(weights)` on model "{self.name}" with a weight list of length '
                f"{len(weights)}, but the model was expecting {len(variables)} weights."
            )
        for variable, value in zip(variables, weights, strict=True):
            if K.int_shape(variable) != np.shape(value):
                raise ValueError(
                    f"Weight {variable.name} of shape {K.int_shape(variable)} not compatible with provided weight "
                    f"shape {np.shape(value)}"
                )
        K.batch_set_value(list(zip(variables, weights, strict=True)))

    # Calling on other tensors

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """The outputs for other input tensors, through the same layers."""
        return self._run(inputs, mask)[0]

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        if not self._is_graph_network:
            return None
        return self._run(inputs, mask)[1]

    def _run(self, inputs: Any, mask: Any) -> tuple[Any, Any]:
        if not self._is_graph_network:
            raise TypeError(f"A subclass of `Model` must implement `call`; {type(self).__name__} does not.")
        inputs = to_list(inputs, allow_tuple=True)
        masks = [None] * len(inputs) if mask is None else to_list(mask, allow_tuple=True)
        key = (tuple(inputs), tuple(masks))
        if key not in self._output_tensor_cache:
            self.run_internal_graph(inputs, masks)
        return self._output_tensor_cache[key], self._output_mask_cache[key]

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not self._is_graph_network:
            return super().compute_output_shape(input_shape)
        multiple = isinstance(input_shape, list) or (input_shape and isinstance(input_shape[0], (tuple, list)))
        shapes = [tuple(s) for s in input_shape] if multiple else [tuple(input_shape)]
        if len(shapes) != len(self._input_layers):
            raise ValueError(
                f"Invalid `input_shape` argument {input_shape}: model has {len(self._input_layers)} tensor inputs."
            )
        key = tuple(shapes)
        if key not in self._output_shape_cache:
            known = {id(x): shape for x, shape in zip(self.inputs, shapes, strict=True)}
            for nodes in self._nodes_by_depth.values():
                for node in nodes:
                    layer = node.outbound_layer
                    if layer in self._input_layers:
                        continue
                    given = unpack_singleton([known[id(x)] for x in node.input_tensors])
                    computed = layer.compute_output_shape(given)
                    for x, shape in zip(node.output_tensors, _shapes(computed, len(node.output_tensors)), strict=True):
                        known[id(x)] = shape
            self._output_shape_cache[key] = unpack_singleton([known[id(x)] for x in self.outputs])
        return self._output_shape_cache[key]

    def run_internal_graph(self, inputs: Any, masks: Any = None) -> tuple[Any, Any, Any]:
        """Compute the outputs for other input tensors.

        # Returns
            Output tensors, masks and shapes: each one alone, or a list.
        """
        inputs = to_list(inputs)
        masks = [None] * len(inputs) if masks is None else to_list(masks)
        computed: dict[int, tuple[Any, Any]] = {
            id(x): (y, mask) for x, y, mask in zip(self.inputs, inputs, masks, strict=True)
        }
        for nodes in self._nodes_by_depth.values():
            for node in nodes:
                if all(id(x) in computed for x in node.input_tensors):
                    given = [computed[id(x)] for x in node.input_tensors]
                    results = self._run_node(node, [x for x, _ in given], [m for _, m in given], inputs)
                    for x, result in zip(node.output_tensors, results, strict=True):
                        computed[id(x)] = result
        tensors = unpack_singleton([computed[id(x)][0] for x in self.outputs])
        out_masks = unpack_singleton([computed[id(x)][1] for x in self.outputs])
        shapes = unpack_singleton([_shape_of(computed[id(x)][0]) for x in self.outputs])
        key = (tuple(inputs), tuple(masks))
        while len(self._output_tensor_cache) >= _INTERNAL_CALLS_KEPT:
            oldest = next(iter(self._output_tensor_cache))
            self._output_tensor_cache.pop(oldest)
            self._output_mask_cache.pop(oldest, None)
        self._output_tensor_cache[key] = tensors
        self._output_mask_cache[key] = out_masks
        return tensors, out_masks, shapes

    def _run_node(self, node: Node, tensors: list[Any], masks: list[Any], inputs: list[Any]) -> list[tuple[Any, Any]]:
        """Call the layer of `node` on other tensors; its losses and updates for them become the network's."""
        layer = node.outbound_layer
        if isinstance(layer, InputLayer) or not node.inbound_layers:
            return list(zip(tensors, masks, strict=True))
        kwargs = dict(node.arguments or {})
        with K.name_scope(layer.name):
            if "mask" not in kwargs and has_arg(layer.call, "mask"):
                kwargs["mask"] = unpack_singleton(masks)
            argument = unpack_singleton(tensors)
            outputs = to_list(layer.call(argument, **kwargs), allow_tuple=True)
            out_masks = layer.compute_mask(argument, unpack_singleton(masks))
            out_masks = [None] * len(outputs) if out_masks is None else to_list(out_masks, allow_tuple=True)
            if getattr(layer, "activity_regularizer", None) is not None:
                layer.add_loss([layer.activity_regularizer(x) for x in outputs], inputs=tensors)
        shapes = layer.compute_output_shape(unpack_singleton([_shape_of(x) for x in tensors]))
        uses_phase = any(getattr(x, "_uses_learning_phase", False) for x in tensors)
        uses_phase = uses_phase or getattr(layer, "uses_learning_phase", False)
        for x, shape in zip(outputs, _shapes(shapes, len(outputs)), strict=True):
            if shape is not None and not hasattr(x, "_keras_history"):
                x._keras_shape = tuple(shape)
            x._uses_learning_phase = getattr(x, "_uses_learning_phase", False) or uses_phase
        self._adopt(layer, tensors, inputs)
        return list(zip(outputs, out_masks, strict=True))

    def _adopt(self, layer: Layer, tensors: list[Any], inputs: list[Any]) -> None:
        for mine, theirs, found in (
            (self._per_input_losses, layer._per_input_losses, layer.get_losses_for),
            (self._per_input_updates, layer._per_input_updates, layer.get_updates_for),
        ):
            for key, value in ((_tensor_key(inputs), found(tensors)), (None, found(None))):
                known = mine.setdefault(key, []) if theirs else []
                known.extend(x for x in value if not any(x is y for y in known))

    # Configs and files

    def get_config(self) -> dict[str, Any]:
        if not self._is_graph_network:
            raise NotImplementedError(
                f"{type(self).__name__} computes its outputs in `call`, so it has no config. Save its weights with "
                "`save_weights`, and make the model in code before loading them."
            )
        return copy.deepcopy(network_config(self))

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        """A network from the result of `get_config`; `custom_objects` are users' classes and functions by name."""
        name, inputs, outputs = network_from_config(config, custom_objects or {})
        return cls(inputs=inputs, outputs=outputs, name=name)

    def _updated_config(self) -> dict[str, Any]:
        from kgraph.engine.saving import KERAS_VERSION

        return {
            "class_name": type(self).__name__,
            "config": self.get_config(),
            "keras_version": KERAS_VERSION,
            "backend": K.backend(),
        }

    def to_json(self, **kwargs: Any) -> str:
        """The architecture as JSON; `kwargs` go to `json.dumps`. `model_from_json` reads it."""
        from kgraph.engine.saving import json_default

        return json.dumps(self._updated_config(), default=json_default, **kwargs)

    def to_yaml(self, **kwargs: Any) -> str:
        """The architecture as YAML; `kwargs` go to `yaml.safe_dump`. `model_from_yaml` reads it."""
        import yaml

        return yaml.safe_dump(json.loads(self.to_json()), **kwargs)

    def save(self, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
        """Save architecture, weights, and (if compiled) training configuration and optimizer state as HDF5."""
        from kgraph.engine.saving import save_model

        save_model(self, filepath, overwrite, include_optimizer)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Save the weights as HDF5."""
        from kgraph.engine.saving import save_weights

        save_weights(self, filepath, overwrite)

    def load_weights(
        self, filepath: Any, by_name: bool = False, skip_mismatch: bool = False, reshape: bool = False
    ) -> None:
        """Load weights from a file of `save_weights` or `save`.

        # Arguments
            filepath: the HDF5 file.
            by_name: load into layers of the same name; else layer by layer in order.
            skip_mismatch: with `by_name`, leave layers whose weights differ in number or shape as they are.
            reshape: reshape weights where the number of elements agrees.
        """
        from kgraph.engine.saving import load_weights

        load_weights(self, filepath, by_name, skip_mismatch, reshape)

    def summary(self, line_length: int | None = None, positions: Any = None, print_fn: Any = None) -> None:
        """Print a table of the layers, their output shapes and parameter counts."""
        if not self.built:
            raise ValueError(
                "This model has not yet been built. Build the model first by calling build() or calling fit() with "
                "some data. Or specify input_shape or batch_input_shape in the first layer for automatic build. "
            )
        print_layer_summary(self, line_length=line_length, positions=positions, print_fn=print_fn)

    def __getstate__(self) -> dict[str, Any]:
        from kgraph.engine.saving import pickle_model

        return pickle_model(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        from kgraph.engine.saving import unpickle_model

        self.__dict__.update(unpickle_model(state).__dict__)


def _shapes(shapes: Any, count: int) -> list[Any]:
    """One shape per output, from what `compute_output_shape` returned for `count` outputs."""
    if count > 1:
        return list(shapes)
    alone = isinstance(shapes, list) and len(shapes) == 1 and isinstance(shapes[0], (tuple, list))
    return list(shapes) if alone else [shapes]
