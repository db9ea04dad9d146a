"""The module that held the engine before Keras 2.2; older scripts import from it."""

from __future__ import annotations

from kgraph.engine.base_layer import InputSpec, Layer, Node
from kgraph.engine.input_layer import Input, InputLayer
from kgraph.engine.network import Network, get_source_inputs

Container = Network  # its name until Keras 2.2

__all__ = ["Container", "Input", "InputLayer", "InputSpec", "Layer", "Network", "Node", "get_source_inputs"]
