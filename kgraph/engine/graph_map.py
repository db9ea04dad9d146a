"""Finding a model in the nodes that layers left: which nodes, in which depth, in which order.

`network.py` calls `map_graph` once per model. Depth 0 is the outputs; every node lies deeper than those that use it.
All walks are iterative, so that deep models do not meet Python's recursion limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgraph.engine.base_layer import Layer, Node


def node_key(layer: Layer, node_index: int) -> str:
    """A name of node number `node_index` of `layer` that is unique in a model."""
    return f"{layer.name}_ib-{node_index}"


@dataclass(frozen=True)
class GraphMap:
    """The layers and nodes of a model, deepest first."""

    node_keys: set[str]
    nodes_by_depth: dict[int, list[Node]]
    layers: list[Layer]
    layers_by_depth: dict[int, list[Layer]]


def map_graph(inputs: Sequence[Any], outputs: Sequence[Any]) -> GraphMap:
    """The graph of layers between these tensors.

    Raises ValueError for a cycle, for a tensor that `inputs` do not lead to, and where two layers share a name.
    """
    keys, order, position = _walk(outputs)
    nodes_depths, layers_depths = _depths(order)
    nodes_by_depth: dict[int, list[Node]] = {}
    for node, depth in nodes_depths.items():
        nodes_by_depth.setdefault(depth, []).append(node)
    layers_by_depth: dict[int, list[Layer]] = {}
    for layer, depth in layers_depths.items():
        layers_by_depth.setdefault(depth, []).append(layer)
    layers: list[Layer] = []
    for depth in sorted(layers_by_depth, reverse=True):
        layers_by_depth[depth].sort(key=lambda layer: position[layer])
        layers.extend(layers_by_depth[depth])
    nodes_by_depth = {depth: nodes_by_depth[depth] for depth in sorted(nodes_by_depth, reverse=True)}
    layers_by_depth = {depth: layers_by_depth[depth] for depth in sorted(layers_by_depth, reverse=True)}
    _check_computable(inputs, nodes_by_depth)
    _check_names(layers)
    return GraphMap(keys, nodes_by_depth, layers, layers_by_depth)


def _walk(outputs: Sequence[Any]) -> tuple[set[str], list[Node], dict[Layer, int]]:
    """Depth-first from the outputs: the nodes' keys, the nodes with every node after its sources, and the layers
    numbered in the order in which the walk meets them."""
    keys: set[str] = set()
    order: list[Node] = []
    position: dict[Layer, int] = {}
    finished: set[int] = set()
    in_progress: set[int] = set()

    for output in outputs:
        layer, index, _ = output._keras_history
        stack: list[tuple[Layer, int, Any, int]] = [(layer, index, output, 0)]
        while stack:
            layer, index, tensor, next_source = stack.pop()
            node = layer._inbound_nodes[index]
            if next_source == 0:
                if id(node) in in_progress:
                    raise ValueError(f'The tensor {tensor} at layer "{layer.name}" is part of a cycle.')
                if id(node) in finished:
                    continue
                keys.add(node_key(layer, index))
                position.setdefault(layer, len(position))
                in_progress.add(id(node))
            if next_source < len(node.inbound_layers):
                stack.append((layer, index, tensor, next_source + 1))
                source = node.inbound_layers[next_source]
                if source is not None:
                    stack.append((source, node.node_indices[next_source], node.input_tensors[next_source], 0))
                continue
            finished.add(id(node))
            in_progress.discard(id(node))
            order.append(node)
    return keys, order, position


def _depths(order: Sequence[Node]) -> tuple[dict[Node, int], dict[Layer, int]]:
    nodes: dict[Node, int] = {}
    layers: dict[Layer, int] = {}
    for node in reversed(order):
        depth = max(nodes.setdefault(node, 0), layers.get(node.outbound_layer, 0))
        layers[node.outbound_layer] = depth
        nodes[node] = depth
        for layer, index in zip(node.inbound_layers, node.node_indices, strict=True):
            if layer is not None:
                source = layer._inbound_nodes[index]
                nodes[source] = max(depth + 1, nodes.get(source, 0))
    return nodes, layers


def _check_computable(inputs: Sequence[Any], nodes_by_depth: dict[int, list[Node]]) -> None:
    computable = {id(x) for x in inputs}
    complete: list[str] = []
    for nodes in nodes_by_depth.values():
        for node in nodes:
            layer = node.outbound_layer
            for x in node.input_tensors:
                if id(x) not in computable:
                    raise ValueError(
                        f'Graph disconnected: cannot obtain value for tensor {x} at layer "{layer.name}". '
                        f"The following previous layers were accessed without issue: {complete}"
                    )
            computable.update(id(x) for x in node.output_tensors)
            complete.append(layer.name)


def _check_names(layers: Sequence[Layer]) -> None:
    counts: dict[str, int] = {}
    for layer in layers:
        counts[layer.name] = counts.get(layer.name, 0) + 1
    for name, count in counts.items():
        if count != 1:
            raise ValueError(
                f'The name "{name}" is used {count} times in the model. All layer names should be unique.'
            )
