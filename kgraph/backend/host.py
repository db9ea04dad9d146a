"""Functions with ops that run in numpy (`ir/ops/host.py`): cut at them into parts, each compiled by itself.

A part computes what the next host op needs and whatever else later parts use of what it computed, so nothing is
computed twice and random numbers agree. `function.py` runs the parts before its own graph, which holds all updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ir.graph import Node, Value
from ir.walk import nodes_of
from kgraph.backend.tensor import Tensor

if TYPE_CHECKING:
    from kgraph.backend.function import Function


class Part:
    """Computes the operands of one host op, then runs it. `results` are what it hands on: values that later parts need
    too, and the op's outputs."""

    def __init__(self, inputs: Sequence[Any], node: Node, shared: Sequence[Value]) -> None:
        from kgraph.backend.function import Function

        self.node = node
        self.results = [Tensor(v) for v in (*shared, *node.outputs)]
        self._shared = len(shared)
        outputs = [*self.results[: self._shared], *(Tensor(v) for v in node.inputs)]
        self._function: Function = Function(inputs, outputs, name=node.op.name)

    def run(self, fed: Sequence[Any]) -> list[Any]:
        """The contents of `results`. Raises ValueError where the op does not take what it was given."""
        found = self._function(fed)
        operands = [np.asarray(x) for x in found[self._shared :]]
        return [*found[: self._shared], *self.node.op.reference(operands, self.node.attrs)]


def parts(inputs: Sequence[Any], results: Sequence[Value]) -> list[Part]:
    """The parts to run, in order, before a function of `inputs` that computes `results` from them."""
    given = [x.value for x in inputs if isinstance(x, Tensor)]
    nodes = nodes_of(results, given)
    made: list[Part] = []
    for node in nodes:
        if node.op.host:
            done = [v for part in made for v in (x.value for x in part.results)]
            shared = _shared(node, results, [*given, *done])
            made.append(Part([*inputs, *(x for part in made for x in part.results)], node, shared))
    return made


def _shared(node: Node, results: Sequence[Value], given: Sequence[Value]) -> list[Value]:
    """What the operands of `node` depend on, or are, that something else needs too; constants are made anew."""
    inside = set(nodes_of(node.inputs, given))
    later = nodes_of(results, [*given, *node.outputs])
    read = [v for n in later if n not in inside for v in n.inputs]
    return list(dict.fromkeys(v for v in (*read, *results) if v.node in inside and v.node.inputs))


def run_parts(made: Sequence[Part], fed: Sequence[Any]) -> list[Any]:
    """What is fed to the function itself: `fed` and the results of its parts."""
    content = list(fed)
    for part in made:
        content += part.run(content)
    return content
