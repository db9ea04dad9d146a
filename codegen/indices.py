"""Indices that a user feeds: kernels read tables without looking, so what is out of range is refused before a run.

Before it comes an extracted graph; `program.py` asks `find_limits` once and checks every run. Indices that a program
computes itself are not seen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ir.binding import input_name
from ir.graph import Graph, Value

_KEEPING = ("cast", "identity", "stop_gradient", "reshape", "transpose", "broadcast_to")  # change no index


@dataclass(frozen=True)
class Limit:
    """The input `number` holds indices into a table of `size` rows. `reader` is the layer or operation that reads it,
    `name` what messages call the input."""

    number: int
    size: int
    reader: str
    name: str

    def check(self, inputs: Sequence[np.ndarray]) -> None:
        """Raises ValueError for an index out of range. Fractions are cut off; NaN is no index."""
        indices = inputs[self.number]
        if not indices.size:
            return
        low, high = indices.min(), indices.max()
        if not (low > -1 and high < self.size):
            bad = high if low > -1 else low
            raise ValueError(
                f"{self.reader}: index {bad:.17g} is out of range, there are {self.size} rows (0 to {self.size - 1}); "
                f"it comes from {self.name}"
            )


def find_limits(graph: Graph, inputs: Sequence[Value]) -> tuple[Limit, ...]:
    """The limits on `inputs`, which are those of `graph` in the order in which they are fed."""
    numbers = {v: i for i, v in enumerate(inputs)}
    found: dict[Limit, None] = {}
    for node in graph.nodes:
        if node.op.name != "gather":
            continue
        table, indices = node.inputs
        size = table.shape[node.attrs["axis"]]
        while indices.node is not None and indices.node.op.name in _KEEPING:
            indices = indices.node.inputs[0]
        if indices in numbers and isinstance(size, int):
            number = numbers[indices]
            reader = node.origin[-1] if node.origin else "gather"
            found.setdefault(Limit(number, size, reader, input_name(indices, number)))
    return tuple(found)
