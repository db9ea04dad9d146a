"""From an extracted graph to something that runs: passes, then a program of a target. The one entry point of `codegen`.

`compile_graph` runs the pipeline at once and makes the program at the first run or look inside, so that a model that is
only inspected compiles nothing.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Sequence

import numpy as np

from codegen import collector, targets
from codegen.indices import find_limits
from codegen.source import Kernel
from ir import passes
from ir.dims import Dim
from ir.graph import Graph
from ir.passes.bodies import deep
from ir.passes.decompose import decompose

Array = np.ndarray


class Executable:
    """A graph for one learning phase and one target. `stages` holds the graph as it came ("source") and after each
    pass."""

    def __init__(self, graph: Graph, phase: int, target: str) -> None:
        self.target = targets.get(target)
        self.stages: dict[str, Graph] = {"source": graph}
        self.records: list[passes.PassRecord] = []
        start = time.perf_counter()
        last = deep(functools.partial(decompose, supports=self.target.supports))
        pipeline: passes.Pipeline = (*passes.pipeline(phase), ("decompose", last))
        with collector.pause:
            self.graph = passes.run_passes(graph, pipeline, self._observe, self.records)
        self.pass_seconds = time.perf_counter() - start
        self._limits = find_limits(graph, self.graph.inputs)
        self._lock = threading.Lock()

    def _observe(self, index: int, name: str, graph: Graph) -> None:
        self.stages[name] = graph

    @functools.cached_property
    def program(self) -> targets.Program:
        start = time.perf_counter()
        with collector.pause:
            made = self.target.program(self.graph)
        self._lower_seconds = time.perf_counter() - start
        return made

    @property
    def compile_seconds(self) -> float:
        """Spent so far on passes, lowering, and compiling or loading kernels."""
        made = self.__dict__.get("program")
        return self.pass_seconds + (self._lower_seconds + made.bind_seconds if made else 0.0)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs once. See `codegen.targets.Program.run`. Raises ValueError for a fed index that is out of range."""
        for limit in self._limits:
            limit.check(inputs)
        return self._ready().run(inputs)

    def _ready(self) -> targets.Program:
        if "program" not in self.__dict__:
            with self._lock:
                return self.program
        return self.program

    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, in order of first use."""
        return self._ready().kernels()

    def peak_memory(self) -> tuple[Dim, ...]:
        """Bytes of intermediates at the busiest moments, as formulas in the symbolic dims; the peak is the largest."""
        return self._ready().peak_memory()


def compile_graph(graph: Graph, phase: int = 0, target: str = "cpu") -> Executable:
    """`graph` made runnable on `target` for learning phase 0 or 1. The input called `phase`, if any, is not fed."""
    return Executable(graph, phase, target)
