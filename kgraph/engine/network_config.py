"""A network's graph of layers as a config, and back.

A config names every call of a layer by `[layer, number of the call, number of the output, arguments]`. `network.py`
calls both directions; `saving.py` puts configs into files.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

from kgraph.engine.graph_map import node_key
from kgraph.utils.generic_utils import unpack_singleton


def network_config(network: Any) -> dict[str, Any]:
    """The config of a network made of layers."""
    numbers = _node_numbers(network)
    layers = []
    for layer in network.layers:
        nodes = []
        for i, node in enumerate(layer._inbound_nodes):
            if node_key(layer, i) in network._network_nodes and node.inbound_layers:
                arguments = _serializable_arguments(layer, node)
                nodes.append(
                    [
                        [source.name, numbers[node_key(source, index)], tensor, arguments]
                        for source, index, tensor in zip(
                            node.inbound_layers, node.node_indices, node.tensor_indices, strict=True
                        )
                    ]
                )
        layers.append(
            {
                "name": layer.name,
                "class_name": type(layer).__name__,
                "config": layer.get_config(),
                "inbound_nodes": nodes,
            }
        )
    return {
        "name": network.name,
        "layers": layers,
        "input_layers": _coordinates(network, network._input_coordinates, numbers),
        "output_layers": _coordinates(network, network._output_coordinates, numbers),
    }


def _node_numbers(network: Any) -> dict[str, int]:
    """The calls of each layer within this network, counted from 0; a network's own node 0 counts."""
    numbers: dict[str, int] = {}
    for layer in network.layers:
        kept = 1 if _is_network(layer) else 0
        for i in range(len(layer._inbound_nodes)):
            key = node_key(layer, i)
            if key in network._network_nodes:
                numbers[key] = kept
                kept += 1
    return numbers


def _is_network(layer: Any) -> bool:
    return hasattr(layer, "_nodes_by_depth") or hasattr(layer, "_is_graph_network")


def _serializable_arguments(layer: Any, node: Any) -> dict[str, Any]:
    if not node.arguments:
        return {}
    try:
        json.dumps(node.arguments)
    except TypeError:
        warnings.warn(
            f"Layer {layer.name} was passed non-serializable keyword arguments: {node.arguments}. They will not be "
            "included in the serialized model (and thus will be missing at deserialization time).",
            stacklevel=5,
        )
        return {}
    return node.arguments


def _coordinates(network: Any, coordinates: Any, numbers: dict[str, int]) -> list[list[Any]]:
    found = []
    for layer, node_index, tensor_index in coordinates:
        key = node_key(layer, node_index)
        if key in network._network_nodes:
            found.append([layer.name, numbers[key], tensor_index])
    return found


def network_from_config(config: dict[str, Any], custom_objects: dict[str, Any]) -> tuple[str | None, Any, Any]:
    """The name, input tensors and output tensors of the network that `config` describes."""
    from kgraph.layers import deserialize

    created: dict[str, Any] = {}
    waiting: list[tuple[Any, Any]] = []
    for entry in config["layers"]:
        layer = deserialize(entry, custom_objects=custom_objects)
        created[entry["name"]] = layer
        waiting += [(layer, node) for node in entry["inbound_nodes"]]
    while waiting:
        # Calls of one layer must be made in order: calls behind one that has to wait, wait too.
        later: list[tuple[Any, Any]] = []
        blocked: set[int] = set()
        for layer, node in waiting:
            if id(layer) in blocked or not _call_from_config(layer, node, created):
                later.append((layer, node))
                blocked.add(id(layer))
        if len(later) == len(waiting):
            names = sorted({layer.name for layer, _ in later})
            raise ValueError(f"The model's config is inconsistent: the inputs of layers {names} cannot be found.")
        waiting = later
    inputs = [_tensor(created, *coordinates[:3]) for coordinates in _as_list(config["input_layers"])]
    outputs = [_tensor(created, *coordinates[:3]) for coordinates in _as_list(config["output_layers"])]
    return config.get("name"), inputs, outputs


def _as_list(coordinates: Any) -> list[Any]:
    return [coordinates] if coordinates and isinstance(coordinates[0], str) else coordinates


def _tensor(created: dict[str, Any], name: str, node_index: int, tensor_index: int) -> Any:
    if name not in created:
        raise ValueError(f"The model's config names a layer '{name}' that it does not define.")
    return created[name]._inbound_nodes[node_index].output_tensors[tensor_index]


def _call_from_config(layer: Any, node: list[Any], created: dict[str, Any]) -> bool:
    """Make one recorded call of `layer`; False where a tensor that it takes is not there yet."""
    tensors = []
    kwargs: dict[str, Any] = {}
    for source in node:
        name, node_index, tensor_index, *arguments = source
        if name not in created:
            raise ValueError(f"The model's config names a layer '{name}' that it does not define.")
        nodes = created[name]._inbound_nodes
        if len(nodes) <= node_index:
            return False
        tensors.append(nodes[node_index].output_tensors[tensor_index])
        kwargs = arguments[0] if arguments else {}
    if tensors:
        layer(unpack_singleton(tensors), **(kwargs or {}))
    return True
