"""`Sequential`: a model that is a stack of layers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine.base_layer import Layer
from kgraph.engine.input_layer import Input, InputLayer
from kgraph.engine.training import Model
from kgraph.utils.layer_utils import get_source_inputs


class Sequential(Model):
    """A stack of layers, each with one input and one output.

    The model is built as soon as the first layer's input shape is known: from that layer's `input_shape`, from
    `build(input_shape)`, or from the first data it meets.

    # Arguments
        layers: layers to add.
        name: name of the model.
    """

    def __init__(self, layers: Any = None, name: str | None = None) -> None:
        super().__init__(name=name)
        self._build_input_shape: Any = None
        for layer in layers or ():
            self._append(layer)
        if self.inputs:
            self.build()

    @property
    def layers(self) -> list[Layer]:
        # The input layer that the first layer's `input_shape` made is not the user's.
        if self._layers and isinstance(self._layers[0], InputLayer):
            return self._layers[1:]
        return self._layers

    @property
    def model(self) -> Sequential:
        """The model itself; Keras 2.0 had another one inside."""
        return self

    def add(self, layer: Layer) -> None:
        """Put a layer on top. Raises TypeError for what is no layer, ValueError for several outputs."""
        self._append(layer)
        if self.inputs:
            self.build()

    def _append(self, layer: Layer) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"The added layer must be an instance of class Layer. Found: {layer}")
        self.built = False
        if not self._layers:
            self._start(layer)
        elif self.outputs:
            self._set_output(layer(self.outputs[0]))
        self._layers.append(layer)

    def _start(self, layer: Layer) -> None:
        """Take the first layer; where its input shape is known, make the model's input and call it."""
        if isinstance(layer, InputLayer):
            self._set_output(layer._inbound_nodes[-1].output_tensors)
            self.inputs = get_source_inputs(self.outputs[0])
            return
        first: Any = layer
        while isinstance(first, Model):
            if not first.layers:
                raise ValueError("Cannot add an empty model to a `Sequential` model.")
            first = first.layers[0]
        if hasattr(first, "batch_input_shape"):
            x = Input(batch_shape=first.batch_input_shape, dtype=first.dtype, name=layer.name + "_input")
            self._layers.append(x._keras_history[0])
            self._set_output(layer(x))
            self.inputs = get_source_inputs(self.outputs[0])

    def _set_output(self, output: Any) -> None:
        if isinstance(output, list):
            if len(output) != 1:
                raise ValueError(
                    "All layers in a Sequential model should have a single output tensor. "
                    "For multi-output layers, use the functional API."
                )
            (output,) = output
        self.outputs = [output]

    def pop(self) -> None:
        """Take the top layer away. Raises TypeError where there is none."""
        if not self.layers:
            raise TypeError("There are no layers in the model.")
        self._layers.pop()
        self.built = False
        if not self.layers:
            self._layers = []
            self.outputs = None
            self.inputs = None
        elif self.outputs:
            last = self.layers[-1]
            last._outbound_nodes = []
            self.outputs = [last._inbound_nodes[-1].output_tensors[0]]
            self.build()

    def build(self, input_shape: Any = None) -> None:
        """Connect the layers, for inputs of `input_shape` (batch axis included) where no layer tells it."""
        if input_shape and not self.inputs:
            shape = tuple(input_shape)
            x = Input(batch_shape=shape, dtype=K.floatx(), name=self.name + "_input")
            self.inputs = [x]
            for layer in self._layers:
                x = layer(x)
                self._set_output(x)
            self._build_input_shape = input_shape
        if self.inputs:
            self._init_graph_network(self.inputs, self.outputs, name=self.name)
            self.built = True

    def _set_inputs(self, inputs: Any) -> None:
        (x,) = inputs if isinstance(inputs, list) else [inputs]
        self.build(input_shape=(None, *x.shape[1:]))

    def predict_proba(self, x: Any, batch_size: int = 32, verbose: int = 0) -> np.ndarray:
        """The model's outputs, taken as class probabilities. Warns where they are none."""
        probabilities = self.predict(x, batch_size, verbose)
        if probabilities.min() < 0.0 or probabilities.max() > 1.0:
            import warnings

            warnings.warn(
                "Network returning invalid probability values. The last layer might not normalize predictions into "
                "probabilities (like softmax or sigmoid would).",
                stacklevel=2,
            )
        return probabilities

    def predict_classes(self, x: Any, batch_size: int = 32, verbose: int = 0) -> np.ndarray:
        """The class of each sample: the largest output, or for a single output whether it exceeds one half."""
        probabilities = self.predict(x, batch_size=batch_size, verbose=verbose)
        if probabilities.shape[-1] > 1:
            return probabilities.argmax(axis=-1)
        return (probabilities > 0.5).astype("int32")

    def get_config(self) -> dict[str, Any]:  # type: ignore[override]
        layers = [{"class_name": type(layer).__name__, "config": layer.get_config()} for layer in self.layers]
        config: dict[str, Any] = {"name": self.name, "layers": copy.deepcopy(layers)}
        if self._build_input_shape:
            config["build_input_shape"] = self._build_input_shape
        return config

    @classmethod
    def from_config(cls, config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
        from kgraph.layers import deserialize

        if isinstance(config, dict):
            name, build_input_shape, layers = config.get("name"), config.get("build_input_shape"), config["layers"]
        else:  # as Keras before 2.2.3 wrote it
            name, build_input_shape, layers = None, None, config
        model = cls(name=name)
        for entry in layers:
            model._append(deserialize(entry, custom_objects=custom_objects))
        if model.inputs:
            model.build()
        elif build_input_shape:
            model.build(build_input_shape)
        return model
