"""What users import from `kgraph.models`: models, files of models, and copies of models."""

from __future__ import annotations

from typing import Any

from kgraph.engine.input_layer import Input, InputLayer
from kgraph.engine.network import Network
from kgraph.engine.saving import load_model, model_from_config, model_from_json, model_from_yaml, save_model
from kgraph.engine.sequential import Sequential
from kgraph.engine.training import Model
from kgraph.utils.generic_utils import has_arg, to_list, unpack_singleton

__all__ = [
    "Input",
    "InputLayer",
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_config",
    "model_from_json",
    "model_from_yaml",
    "save_model",
]


def clone_model(model: Any, input_tensors: Any = None) -> Any:
    """A model like `model` with new layers and new weights, not compiled.

    # Arguments
        model: a model made of layers.
        input_tensors: tensors for the inputs of the new model; new placeholders if not given.
    """
    if isinstance(model, Sequential):
        return _clone_sequential(model, input_tensors)
    if not isinstance(model, Model):
        raise ValueError(f"Expected `model` argument to be a `Model` instance, got {model!r}")
    if not model._is_graph_network:
        raise ValueError("Expected `model` argument to be made of layers, got a subclass that implements `call`.")
    return _clone_functional(model, input_tensors)


def _clone_layer(layer: Any) -> Any:
    return clone_model(layer) if isinstance(layer, Network) else type(layer).from_config(layer.get_config())


def _clone_sequential(model: Sequential, input_tensors: Any) -> Any:
    layers = [_clone_layer(layer) for layer in model.layers]
    if input_tensors is None:
        made = Sequential(layers=layers, name=model.name)
        if not made.built and model._build_input_shape:
            made.build(model._build_input_shape)
        return made
    tensors = to_list(input_tensors)
    if len(tensors) != 1:
        raise ValueError(
            "To clone a `Sequential` model, we expect at most one tensor as part of `input_tensors`."
        )
    x = tensors[0]
    if not hasattr(x, "_keras_history"):
        x = Input(tensor=x, name=f"input_wrapper_for_{x.name.split(':')[0]}")
    source = x._keras_history[0]
    first = source if isinstance(source, InputLayer) else Input(tensor=x)._keras_history[0]
    return Sequential(layers=[first, *layers], name=model.name)


def _clone_functional(model: Model, input_tensors: Any) -> Any:
    if input_tensors is None:
        inputs = [
            Input(batch_shape=layer.batch_input_shape, dtype=layer.dtype, sparse=layer.sparse, name=layer.name)
            for layer in model._input_layers
        ]
    else:
        inputs = []
        for x, layer in zip(to_list(input_tensors), model._input_layers, strict=True):
            inputs.append(x if hasattr(x, "_keras_history") else Input(tensor=x, name=layer.name))
    clones: dict[Any, Any] = {}
    tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            layer = node.outbound_layer
            if layer in model._input_layers or not all(id(x) in tensors for x in node.input_tensors):
                continue
            if layer not in clones:
                clones[layer] = _clone_layer(layer)
            kwargs = dict(node.arguments or {})
            if not has_arg(layer.call, "mask"):
                kwargs.pop("mask", None)
            outputs = to_list(clones[layer](unpack_singleton([tensors[id(x)] for x in node.input_tensors]), **kwargs))
            tensors.update((id(old), new) for old, new in zip(node.output_tensors, outputs, strict=True))
    return Model(inputs, [tensors[id(x)] for x in model.outputs], name=model.name)
