"""Pictures of models: a graph of their layers, drawn by GraphViz through the library `pydot`.

Neither is needed by anything else; both are looked for when a picture is asked for.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["model_to_dot", "plot_model"]


def model_to_dot(model: Any, show_shapes: bool = False, show_layer_names: bool = True, rankdir: str = "TB") -> Any:
    """The model as a `pydot.Dot` graph: a node for each layer, an edge for each connection.

    # Arguments
        model: a model made of layers.
        show_shapes: whether to show the shapes of inputs and outputs.
        show_layer_names: whether to show the names of layers, or only their classes.
        rankdir: "TB" for a picture from top to bottom, "LR" from left to right.

    # Raises
        ImportError: where `pydot` is not installed.
        ValueError: for a model whose layers are not connected yet.
    """
    pydot = _pydot()
    if not model.built:
        model.build()
    if not getattr(model, "_is_graph_network", False):
        raise ValueError(
            f"The layers of the model {model.name!r} are not connected, so there is nothing to draw. Build it by "
            "calling `build(input_shape)` or `fit`; a model that computes its outputs in `call` has no graph of layers."
        )
    dot = pydot.Dot()
    dot.set("rankdir", rankdir)
    dot.set("concentrate", True)
    dot.set_node_defaults(shape="record")
    drawn = set()
    for layer in model._layers:
        drawn.add(id(layer))
        dot.add_node(pydot.Node(str(id(layer)), label=_label(layer, show_shapes, show_layer_names)))
    for layer in model._layers:
        for node in model._nodes_of(layer):
            for source in node.inbound_layers:
                if id(source) in drawn:
                    dot.add_edge(pydot.Edge(str(id(source)), str(id(layer))))
    return dot


def plot_model(
    model: Any,
    to_file: Any = "model.png",
    show_shapes: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
) -> None:
    """Draw the model into a file; its extension says in which format. Arguments as for `model_to_dot`.

    Raises ImportError where `pydot` is not installed, OSError where GraphViz is not.
    """
    dot = model_to_dot(model, show_shapes, show_layer_names, rankdir)
    to_file = os.fspath(to_file)
    folder, extension = os.path.dirname(to_file), os.path.splitext(to_file)[1][1:]
    if folder and not os.path.isdir(folder):
        raise FileNotFoundError(f"Unable to create file {to_file}: there is no folder {folder}.")
    try:
        dot.write(to_file, format=extension or "png")
    except FileNotFoundError:
        raise OSError(
            "`pydot` failed to call GraphViz. Please install GraphViz (https://www.graphviz.org/) and ensure that its "
            "executables are in the $PATH."
        ) from None


def _pydot() -> Any:
    try:
        import pydot
    except ImportError:
        raise ImportError(
            "Failed to import `pydot`. Please install `pydot`. For example with `pip install pydot`."
        ) from None
    return pydot


def _label(layer: Any, show_shapes: bool, show_layer_names: bool) -> str:
    name, kind = layer.name, type(layer).__name__
    if any(cls.__name__ == "Wrapper" for cls in type(layer).__mro__):
        name, kind = f"{name}({layer.layer.name})", f"{kind}({type(layer.layer).__name__})"
    label = f"{name}: {kind}" if show_layer_names else kind
    if not show_shapes:
        return label
    inputs, outputs = (str(getattr(layer, which, "multiple")) for which in ("input_shape", "output_shape"))
    return f"{label}\n|{{input:|output:}}|{{{{{inputs}}}|{{{outputs}}}}}"
