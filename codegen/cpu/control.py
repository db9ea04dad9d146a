"""`scan` and `cond` on the CPU: loops and branches in the launch table, run by the driver.

A sequence's element and a step's output are MOVING buffers: parts of the whole that lie further on in each iteration,
so nothing is copied. A state lives where the final state goes; a new one is computed in place where the body allows.
What depends on neither is computed before the loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from codegen.launch import Branch, Buffer, BufferKind, Launch, Loop, LoopId, LowerContext, Lowering, Part, Step
from codegen.schedule import copy_launch
from ir.graph import Graph, Node
from ir.types import TensorType


def lower_scan(node: Node, ctx: LowerContext) -> list[Step]:
    body: Graph = node.attrs["body"]
    n_seq, n_state, length = node.attrs["n_seq"], node.attrs["n_state"], node.attrs["length"]
    n_out = len(body.outputs) - n_state
    loop = LoopId()

    def element(whole: Buffer, type: TensorType) -> Buffer:
        first, step = ((length - 1) * type.nbytes, -type.nbytes) if node.attrs["reverse"] else (0, type.nbytes)
        return Buffer(BufferKind.MOVING, type.nbytes, type, whole.name, Part(whole, first, step, loop))

    operands = [ctx.buffer(v) for v in node.inputs]
    results = [ctx.buffer(v) for v in node.outputs]
    elements = [element(x, v.type) for x, v in zip(operands[:n_seq], body.inputs, strict=False)]
    outputs = [element(y, v.type) for y, v in zip(results[:n_out], body.outputs, strict=False)]
    states = results[n_out:]
    starts = [copy_launch(x, s, "state") for x, s in zip(operands[n_seq : n_seq + n_state], states, strict=True)]
    constants = operands[n_seq + n_state :]
    fixed = body.inputs[n_seq + n_state :]
    steps = ctx.body(body, [*elements, *states, *constants], outputs, states, fixed)
    before, inside = _split_fixed(steps, constants, states)
    return [*before, *starts, Loop(tuple(inside), length, loop)]


def _split_fixed(
    steps: Sequence[Step], constants: Sequence[Buffer], states: Sequence[Buffer]
) -> tuple[list[Step], list[Step]]:
    """What gives the same in each iteration, such as packing a factor, and the rest."""
    writers = Counter(b for step in steps for b in step.writes)
    fixed = set(constants)
    before: list[Step] = []
    inside: list[Step] = []
    for step in steps:
        # It reads what stays, nothing else writes what it writes, no part of a sequence, which moves, and no state,
        # which changes, is involved, and it has no effect beside that.
        if (
            isinstance(step, Launch)
            and step.effect is None
            and all(b.part is None and b not in states for b in step.touched)
            and all(b in fixed or b.kind is BufferKind.CONSTANT for b in step.reads)
            and all(b.kind is BufferKind.TEMP and writers[b] == 1 for b in step.writes)
        ):
            fixed.update(step.writes)
            before.append(step)
        else:
            inside.append(step)
    return before, inside


def lower_cond(node: Node, ctx: LowerContext) -> list[Step]:
    condition, *operands = (ctx.buffer(v) for v in node.inputs)
    results = [ctx.buffer(v) for v in node.outputs]
    then, otherwise = (tuple(ctx.body(node.attrs[name], operands, results)) for name in ("then", "otherwise"))
    return [Branch(condition, then, otherwise)]


LOWERINGS: dict[str, Lowering] = {"scan": lower_scan, "cond": lower_cond}
