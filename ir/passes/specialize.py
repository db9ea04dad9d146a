"""The first pass of each pipeline: fixes the learning phase, so that only one branch of each phase switch remains.

The other passes see graphs without a `phase` input. What only the dead branches needed goes with them.
"""

from __future__ import annotations

from dataclasses import replace

from ir import builder as b
from ir import dtypes
from ir.graph import Graph, Node, Value
from ir.passes.constants import splat
from ir.rewrite import rebuild

PHASE = "phase"


def specialize(graph: Graph, phase: int) -> Graph:
    """`graph` at learning phase `phase` (0: test, 1: training). A graph without a phase input stays as it is."""
    if phase not in (0, 1):
        raise ValueError(f"the learning phase is 0 or 1, got {phase!r}")
    number = next((i for i, v in enumerate(graph.inputs) if is_phase(v)), None)
    if number is None:
        return graph
    old = graph.inputs[number]
    inputs = [v for v in graph.inputs if v is not old]
    result = rebuild(graph, _take_branch, {old: b.constant(bool(phase))}, inputs)
    # Guards count inputs, and those behind the phase have moved up by one.
    guards = tuple(replace(g, input=g.input - (g.input > number)) for g in graph.guards)
    return replace(result, guards=guards)


def is_phase(v: Value) -> bool:
    """Whether an input is the learning phase."""
    return v.name == PHASE and v.type.dtype == dtypes.bool_ and v.rank == 0


def _take_branch(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    if node.op.name != "select":
        return None
    condition = splat(inputs[0])
    if condition is None:
        return None
    # Exact: select copies elements of the chosen branch; broadcasting it to the result's shape copies the same ones.
    return (b.broadcast_to(inputs[1] if condition else inputs[2], node.output.shape),)
