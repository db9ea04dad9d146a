"""Targets by name. Ours are `reference` (the interpreter) and `cpu`; others come from the entry-point group
`kgraph.targets`. A target is made when it is first asked for.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np

from codegen.source import Kernel
from ir.dims import Dim
from ir.graph import Graph

Array = np.ndarray

_BUILT_IN = {
    "reference": "codegen.reference.target:ReferenceTarget",
    "cpu": "codegen.cpu.target:CpuTarget",
}
ENTRY_POINTS = "kgraph.targets"


class Program(Protocol):
    """An optimised graph made runnable. One program serves all sizes; `run` may be called from several threads."""

    graph: Graph
    bind_seconds: float
    """Spent so far on binding sizes, kernels that were compiled or loaded for it included."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs once: fresh output arrays, updates committed. Inputs have the dtypes of the graph's and are
        C-contiguous.

        Raises SizeError for shapes that do not fit and NeedsSpecialization (`ir/binding.py`).
        """

    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, in order of first use."""

    def peak_memory(self) -> tuple[Dim, ...]:
        """Bytes of intermediates at the busiest moments, as formulas in the symbolic dims; the peak is the largest."""


class Target(Protocol):
    """Something that programs run on."""

    name: str

    def available(self) -> bool:
        """Whether programs can run on this machine."""

    def supports(self, op: str) -> bool:
        """Whether the target runs the op itself; others are decomposed before."""

    def program(self, graph: Graph) -> Program:
        """A program for a graph of supported ops."""


def names() -> list[str]:
    """All target names, ours first."""
    return [*_BUILT_IN, *(n for n in _third_party() if n not in _BUILT_IN)]


@functools.cache
def get(name: str) -> Target:
    """The target called `name`. Raises ValueError for a name that is not known, listing those that are."""
    where = _BUILT_IN.get(name) or _third_party().get(name)
    if where is None:
        raise ValueError(f"unknown target {name!r}; known targets: {', '.join(names())}")
    module, _, attribute = where.partition(":")
    return cast(Target, getattr(importlib.import_module(module), attribute)())


@functools.cache
def _third_party() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {e.name: e.value for e in entry_points(group=ENTRY_POINTS)}
