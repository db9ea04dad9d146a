"""The first pass of each pipeline: fixes the learning phase, so that only one branch of each phase switch remains.

The other passes see graphs without a `phase` input. What only the dead branches needed goes with them, and so does what
their gradients would have added: zeros, that many an operation on whole tensors would have carried along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ir import builder as b
from ir import dtypes
from ir.graph import Graph, Node, Value
from ir.passes.constants import is_splat, splat
from ir.rewrite import assemble, rebuild

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
    dead = _dead_gradients(graph, old, phase)
    nothing: set[Value] = set()

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node in dead or _carries_nothing(node, inputs, nothing):
            zeros = tuple(b.full(o.shape, 0, o.type.dtype) for o in node.outputs)
            nothing.update(zeros)
            return zeros
        return _take_branch(node, inputs) or _drop_nothing(node, inputs, nothing)

    result = _without_idle_states(rebuild(graph, transform, {old: b.constant(bool(phase))}, inputs))
    # Guards count inputs, and those behind the phase have moved up by one.
    guards = tuple(replace(g, input=g.input - (g.input > number)) for g in graph.guards)
    return replace(result, guards=guards)


def _without_idle_states(graph: Graph) -> Graph:
    """Random states that only the other branches read stay as they are: a prediction draws no numbers.

    Exact in the sense of `random_advance`, which moves a state on because it is read.
    """
    read = {v for n in graph.nodes if n.op.name != "random_advance" for v in n.inputs} | set(graph.outputs)
    kept = [
        u
        for u in graph.updates
        if u.value.node is None or u.value.node.op.name != "random_advance" or u.value.node.inputs[0] in read
    ]
    if len(kept) == len(graph.updates):
        return graph
    return assemble(graph.name, graph.inputs, graph.outputs, kept, graph.guards, graph.checks, graph.variables)


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


# Gradients of branches that are not taken

_LINEAR: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("neg", "cast", "div", "reduce_sum", "reduce_mean", "sum_to"), (0,)),
    **dict.fromkeys(("broadcast_to", "reshape", "transpose", "batch_norm_grad", "avg_pool2d_grad"), (0,)),
    "max_pool2d_grad": (2,),
    **dict.fromkeys(("mul", "matmul", "conv2d", "conv2d_input_grad", "conv2d_kernel_grad"), (0, 1)),
}
"""Ops of which all outputs are zero where the operand at one of these positions is."""


def _dead_gradients(graph: Graph, phase: Value, number: int) -> set[Node]:
    """The nodes that hold back the gradient of the branch not taken.

    `select(phase, x, y)` has the gradients `select(phase, g, 0)` and `select(phase, 0, g)`. That pair is the sign of a
    switch that was differentiated; one such node alone may be a user's, whose 0 is a number like any other.
    """
    found: dict[Value, list[Node]] = {}
    other: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        if node.op.name != "select" or node.inputs[0] is not phase:
            continue
        taken, left = (node.inputs[1], node.inputs[2]) if number else (node.inputs[2], node.inputs[1])
        if is_splat(taken, 0):
            found.setdefault(left, []).append(node)
        if is_splat(left, 0):
            other.setdefault(taken, []).append(node)
    return {node for g, nodes in found.items() if g in other for node in nodes}


def _carries_nothing(node: Node, inputs: tuple[Value, ...], nothing: set[Value]) -> bool:
    """Whether a node does no more than carry along the gradient of a branch that is not taken.

    Exact in the sense of the learning phase: such a gradient is no number, it does not exist, so its product with an
    infinity or NaN of the live branch does not either.
    """
    if node.op.name in ("add", "sub", "select"):
        branches = inputs[-2:]
        return any(v in nothing for v in branches) and all(v in nothing or is_splat(v, 0) for v in branches)
    return any(inputs[i] in nothing for i in _LINEAR.get(node.op.name, ()))


def _drop_nothing(node: Node, inputs: tuple[Value, ...], nothing: set[Value]) -> tuple[Value, ...] | None:
    """The other operand of a sum with the gradient of a branch that is not taken."""
    if node.op.name not in ("add", "sub") or not any(v in nothing for v in inputs):
        return None
    x, y = inputs
    rest = x if y in nothing else y if node.op.name == "add" else b.unary("neg", y)
    return (b.broadcast_to(rest, node.output.shape),)
