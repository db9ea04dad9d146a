"""A network's graph of layers as a config, and back.

A config names every call of a layer by `[layer, number of the call, number of the output, arguments]`. `network.py`
calls both directions; `saving.py` puts configs into files.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from kgraph.engine.graph_map import node_key
from kgraph.utils.generic_utils import unpack_singleton

_Order = dict[tuple[str, int], int]  # a layer's name and the number of its call: when it was made
_orders: ContextVar[dict[str, _Order]] = ContextVar("orders")  # by the network's name


def call_orders(network: Any) -> dict[str, list[list[Any]]]:
    """For the network and those among its layers, by name: its layers' calls `[name, number]` as they were made.

    A config has them in an order of its own, and a sum of gradients that is taken in another order is rounded
    otherwise.
    """
    found: dict[str, list[list[Any]]] = {}
    todo = [network]
    while todo:
        model = todo.pop()
        inside = list(model.layers)
        todo += [layer for layer in inside if _is_network(layer)]
        if not hasattr(model, "_network_nodes"):
            continue
        made: list[tuple[int, list[Any]]] = []
        for layer in inside:
            nodes = enumerate(layer._inbound_nodes)
            kept = [n for i, n in nodes if n.inbound_layers and node_key(layer, i) in model._network_nodes]
            made += [(_made_at(node), [layer.name, i]) for i, node in enumerate(kept)]
        found[model.name] = [call for _, call in sorted(made, key=lambda pair: pair[0])]
    return found


def _made_at(node: Any) -> int:
    return max((x.value.node.serial for x in node.output_tensors if x.value.node is not None), default=0)


@contextlib.contextmanager
def calls_ordered(orders: Any) -> Iterator[None]:
    """In this block, networks made from configs make their layers' calls as `call_orders` says, which may be from a
    file; what does not fit has no effect."""
    known: dict[str, _Order] = {}
    for name, calls in orders.items() if isinstance(orders, dict) else ():
        if isinstance(calls, list) and all(isinstance(c, list) and list(map(type, c)) == [str, int] for c in calls):
            known[name] = {(layer, number): i for i, (layer, number) in enumerate(calls)}
    token = _orders.set(known)
    try:
        yield
    finally:
        _orders.reset(token)


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
    order = _orders.get({}).get(str(config.get("name")), {})
    ranks: list[int] = []
    for entry in config["layers"]:
        layer = deserialize(entry, custom_objects=custom_objects)
        created[entry["name"]] = layer
        waiting += [(layer, node) for node in entry["inbound_nodes"]]
        ranks += [order.get((entry["name"], i), 0) for i in range(len(entry["inbound_nodes"]))]
    waiting = [waiting[i] for i in sorted(range(len(waiting)), key=ranks.__getitem__)]
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
