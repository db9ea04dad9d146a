"""What makes a model: layers, their connections, training, files.

Read `base_layer`, `input_layer`, `graph_map`, `network` and `sequential` for topology, `training*` for fitting, and
`saving` for files. `kgraph.layers` holds the layers, `kgraph.models` what users import.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.engine.input_layer import Input, InputLayer
from kgraph.engine.training import Model
from kgraph.utils.layer_utils import get_source_inputs

__all__ = ["Input", "InputLayer", "InputSpec", "Layer", "Model", "get_source_inputs"]


def __getattr__(name: str) -> ModuleType:
    if name == "topology":  # other names for what is here, so it comes later
        return importlib.import_module("kgraph.engine.topology")
    raise AttributeError(f"module 'kgraph.engine' has no attribute '{name}'")
