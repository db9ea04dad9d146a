"""Looking at layers and models: parameter counts, the summary table, the inputs behind a tensor.

Works on the attributes of layers, nodes and models alone, so it imports nothing of the engine that calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kgraph.utils.conv_utils import convert_kernel
from kgraph.utils.generic_utils import unique_by_identity

__all__ = [
    "convert_all_kernels_in_model",
    "convert_dense_weights_data_format",
    "convert_kernel",
    "count_params",
    "get_source_inputs",
    "print_summary",
]

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose")


def count_params(weights: Iterable[Any]) -> int:
    """The number of scalars in these variables, each variable counted once."""
    from kgraph import backend as K

    return int(sum(K.count_params(weight) for weight in unique_by_identity(weights)))


# The summary table


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
) -> None:
    """Print a table of the model's layers and its parameter counts.

    # Arguments
        model: a built model.
        line_length: width of the table in characters; 65, or 98 with the column of connections.
        positions: where each column ends, as fractions of the width or in characters.
        print_fn: called with every line, instead of `print`.
    """
    emit = print if print_fn is None else print_fn
    nodes = None if _is_chain(model) else [node for level in model._nodes_by_depth.values() for node in level]
    titles = ["Layer (type)", "Output Shape", "Param #"]
    if nodes is None:
        line_length = line_length or 65
        positions = positions or [0.45, 0.85, 1.0]
    else:
        line_length = line_length or 98
        positions = positions or [0.33, 0.55, 0.67, 1.0]
        titles.append("Connected to")
    if len(positions) < len(titles):
        raise ValueError(f"`positions` must give the ends of {len(titles)} columns. Received: {list(positions)}")
    ends = [int(line_length * p) for p in positions] if positions[-1] <= 1 else [int(p) for p in positions]

    rule, double_rule = "_" * line_length, "=" * line_length
    emit(rule)
    emit(_row(titles, ends))
    emit(double_rule)
    for i, layer in enumerate(model.layers):
        for fields in _layer_rows(layer, nodes):
            emit(_row(fields, ends))
        emit(double_rule if i == len(model.layers) - 1 else rule)
    trainable, frozen = _count_model_params(model)
    emit(f"Total params: {trainable + frozen:,}")
    emit(f"Trainable params: {trainable:,}")
    emit(f"Non-trainable params: {frozen:,}")
    emit(rule)


def _is_chain(model: Any) -> bool:
    """Whether each layer feeds only the next, so that a column of connections would say nothing."""
    if model.__class__.__name__ == "Sequential" or not model._is_graph_network:
        return True
    nodes = []
    for level in model._nodes_by_depth.values():
        if len(level) > 1 or (len(level) == 1 and len(level[0].inbound_layers) > 1):
            return False
        nodes.extend(level)
    known = {id(node) for node in nodes}
    return all(sum(id(node) in known for node in layer._inbound_nodes) <= 1 for layer in model.layers)


def _row(fields: Sequence[Any], ends: Sequence[int]) -> str:
    line = ""
    for i, (field, end) in enumerate(zip(fields, ends, strict=False)):
        if i > 0:
            line = line[:-1] + " "  # a blank stays between a cut field and the next
        line = (line + str(field))[:end].ljust(end)
    return line


def _layer_rows(layer: Any, nodes: Sequence[Any] | None) -> list[list[Any]]:
    """The table rows of one layer; `nodes` are those of the model, or None where connections are not shown."""
    try:
        shape = layer.output_shape
    except AttributeError:  # the layer is used several times, with different shapes
        shape = "multiple"
    fields = [f"{layer.name} ({layer.__class__.__name__})", shape, layer.count_params()]
    if nodes is None:
        return [fields]
    connections = _connections(layer, nodes) or [""]
    return [[*fields, connections[0]], *(["", "", "", text] for text in connections[1:])]


def _connections(layer: Any, nodes: Sequence[Any]) -> list[str]:
    known = {id(node) for node in nodes}
    return [
        f"{source.name}[{node_index}][{tensor_index}]"
        for node in layer._inbound_nodes
        if id(node) in known
        for source, node_index, tensor_index in zip(
            node.inbound_layers, node.node_indices, node.tensor_indices, strict=True
        )
    ]


def _count_model_params(model: Any) -> tuple[int, int]:
    """Trainable and other parameters; a compiled model counts as trainable what it collected when compiled."""
    model._check_trainable_weights_consistency()
    trainable = getattr(model, "_collected_trainable_weights", None)
    if trainable is None:
        trainable = model.trainable_weights
    return count_params(trainable), count_params(model.non_trainable_weights)


# The graph of layers


def get_source_inputs(tensor: Any, layer: Any = None, node_index: int | None = None) -> Any:
    """The input tensors from which `tensor` is computed, in the order in which a walk back meets them.

    `layer` and `node_index` say which call of which layer made `tensor`, where that is not the one it remembers. A
    tensor that no layer made is returned as it is.
    """
    if not hasattr(tensor, "_keras_history"):
        return tensor
    if layer is None or node_index:
        layer, node_index, _ = tensor._keras_history
    sources: dict[int, Any] = {}
    visited: set[int] = set()
    stack = [(tensor, layer, node_index)]
    while stack:
        current, layer, node_index = stack.pop()
        if not layer._inbound_nodes:
            sources.setdefault(id(current), current)
            continue
        node = layer._inbound_nodes[node_index]
        if id(node) in visited:
            continue
        visited.add(id(node))
        if not node.inbound_layers:
            for source in node.input_tensors:
                sources.setdefault(id(source), source)
        else:
            inputs = zip(node.input_tensors, node.inbound_layers, node.node_indices, strict=True)
            stack.extend(reversed(list(inputs)))
    return list(sources.values())


# Weights in other layouts


def convert_all_kernels_in_model(model: Any) -> None:
    """Mirror the kernels of a model's convolution layers, in place: from Theano's convention to ours, or back."""
    from kgraph import backend as K

    kernels = [layer.kernel for layer in model.layers if type(layer).__name__ in _CONVOLUTIONS]
    K.batch_set_value([(kernel, convert_kernel(K.get_value(kernel))) for kernel in kernels])


def convert_dense_weights_data_format(
    dense: Any, previous_feature_map_shape: Sequence[int], target_data_format: str = "channels_first"
) -> None:
    """Reorder the kernel of a Dense layer that follows Flatten, for features now flattened in another data format.

    # Arguments
        dense: the Dense layer; its weights change in place.
        previous_feature_map_shape: shape of the features before flattening, without the batch axis, in the target
            data format.
        target_data_format: the data format of the features from now on.
    """
    if target_data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            f'`target_data_format` must be one of "channels_first", "channels_last". Received: {target_data_format}'
        )
    kernel, *rest = dense.get_weights()
    shape = tuple(previous_feature_map_shape)
    if kernel.shape[0] != int(np.prod(shape)):
        raise ValueError(
            f"Layer {dense.name} takes {kernel.shape[0]} features, but `previous_feature_map_shape` {shape} "
            f"has {int(np.prod(shape))}."
        )
    if target_data_format == "channels_first":
        kernel = np.moveaxis(kernel.reshape((*shape[1:], shape[0], -1)), -2, 0)
    else:
        kernel = np.moveaxis(kernel.reshape((shape[-1], *shape[:-1], -1)), 0, -2)
    dense.set_weights([kernel.reshape((int(np.prod(shape)), -1)), *rest])
