"""The `reference` target: a program that runs a graph through `ir/interpreter.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codegen.source import Kernel
from codegen.storage import StoredVariable, access
from ir import interpreter
from ir.dims import Dim
from ir.graph import Graph

Array = np.ndarray


class ReferenceProgram:
    """Runs `graph` node by node in numpy. Its variables must be `StoredVariable`s."""

    bind_seconds = 0.0

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._variables = [v for v in graph.variables if isinstance(v, StoredVariable)]
        self._written = [u.variable for u in graph.updates if isinstance(u.variable, StoredVariable)]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        with access(self._variables, self._written):
            outputs, updates = interpreter.run(self.graph, inputs, {v: v.array for v in self._variables})
            for variable, value in updates.items():
                if isinstance(variable, StoredVariable):
                    variable.array[...] = value
                    variable.version += 1
        return outputs

    def kernels(self) -> tuple[Kernel, ...]:
        return ()

    def peak_memory(self) -> tuple[Dim, ...]:
        return (0,)


class ReferenceTarget:
    name = "reference"

    def available(self) -> bool:
        return True

    def supports(self, op: str) -> bool:
        return True

    def program(self, graph: Graph) -> ReferenceProgram:
        return ReferenceProgram(graph)
