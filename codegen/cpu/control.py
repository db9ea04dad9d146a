"""`scan` and `cond` on the CPU: loops and branches in the launch table, run by the driver.

A sequence's element and a step's output are MOVING buffers: parts of the whole that lie further on in each iteration,
so nothing is copied. A state lives where the final state goes; a new one is computed in place where the body allows.
"""

from __future__ import annotations

from codegen.launch import Branch, Buffer, BufferKind, Loop, LoopId, LowerContext, Lowering, Part, Step
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
    steps = ctx.body(body, [*elements, *states, *operands[n_seq + n_state :]], outputs, states)
    return [*starts, Loop(tuple(steps), length, loop)]


def lower_cond(node: Node, ctx: LowerContext) -> list[Step]:
    condition, *operands = (ctx.buffer(v) for v in node.inputs)
    results = [ctx.buffer(v) for v in node.outputs]
    then, otherwise = (tuple(ctx.body(node.attrs[name], operands, results)) for name in ("then", "otherwise"))
    return [Branch(condition, then, otherwise)]


LOWERINGS: dict[str, Lowering] = {"scan": lower_scan, "cond": lower_cond}
