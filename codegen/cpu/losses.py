"""Cross entropies of logits on the CPU, a row of classes at a time. Before it come the ops of `ir/ops/losses.py`; a
row's maximum and sum of exponentials are those of `softmax.py`.

With t the maximum of a row and s = log(sum(exp(x - t))), the loss is s * sum(labels) - sum(labels * (x - t)). Where no
label is negative both terms are positive, so that no digits cancel.
"""

from __future__ import annotations

import functools

from codegen.cpu.columns import placed
from codegen.cpu.softmax import ROW_TOTAL
from codegen.cpu.tiles import computed_in, count, literal, named_slots, per, tiles
from codegen.launch import Launch, LowerContext, Lowering, Read, Slot, Write
from codegen.source import Kernel
from ir.graph import Node

_SOFT = """
def kernel(args, lo, hi, worker):
    {slots}
    for r in range(lo * per, min(hi * per, rows)):
        p = offset(x, r * n)
        z = offset(labels, r * n)
        {total}
        weight = f64(0)
        product = f64(0)
        for b in range(0, n, 4096):
            sum0 = {value}(0)
            sum1 = {value}(0)
            for i in range(b, min(b + 4096, n)):
                sum0 += load(z, i)
                sum1 += load(z, i) * (load(p, i) - top)
            weight += f64(sum0)
            product += f64(sum1)
        loss[r] = {value}(log(maximum(total, f64(1))) * weight - product)
"""
"""The total is at least 1 except in a row of no classes, whose loss is 0."""

_SPARSE = """
def kernel(args, lo, hi, worker):
    {slots}
    for r in range(lo * per, min(hi * per, rows)):
        p = offset(x, r * n)
        k = i64(labels[r])
        result = nothing
        if 0 <= k and k < n:
            {total}
            result = {value}(log(total) - f64(p[k] - top))
        loss[r] = result
"""
"""A label of uint64 beyond int64 becomes negative, so it is no class either."""


@functools.cache
def _soft_kernel(short: str, value: str) -> Kernel:
    text = _SOFT.format(
        slots=named_slots(f"{short}:labels {short}:x {short}:loss {value}=lowest rows n per"),
        total=placed(ROW_TOTAL.format(value=value, keep=""), 8),
        value=value,
    )
    return Kernel(f"softmax_crossentropy_{short}", text, fastmath=True)


@functools.cache
def _sparse_kernel(label: str, short: str, value: str) -> Kernel:
    text = _SPARSE.format(
        slots=named_slots(f"{label}:labels {short}:x {short}:loss {value}=lowest rows n per {value}=nothing"),
        total=placed(ROW_TOTAL.format(value=value, keep=""), 12),
        value=value,
    )
    return Kernel(f"sparse_softmax_crossentropy_{label}_{short}", text, fastmath=True)


def _slots(node: Node, ctx: LowerContext) -> tuple[Slot, ...]:
    labels, x = node.inputs
    lowest = literal(float("-inf"), computed_in(x.type.dtype))
    buffers = (Read(ctx.buffer(labels)), Read(ctx.buffer(x)), Write(ctx.buffer(node.output)))
    return (*buffers, lowest, count(*x.shape[:-1]), x.shape[-1], per(x.shape[-1]))


def _over_rows(node: Node, kernel: Kernel, slots: tuple[Slot, ...]) -> list[Launch]:
    x = node.inputs[1]
    return [Launch(kernel, slots, tiles(count(*x.shape[:-1]), x.shape[-1]), count(12, x.type.size))]


def lower_softmax_crossentropy(node: Node, ctx: LowerContext) -> list[Launch]:
    dtype = node.output.type.dtype
    return _over_rows(node, _soft_kernel(dtype.short, computed_in(dtype)), _slots(node, ctx))


def lower_sparse_softmax_crossentropy(node: Node, ctx: LowerContext) -> list[Launch]:
    labels, dtype = node.inputs[0].type.dtype, node.output.type.dtype
    value = computed_in(dtype)
    slots = (*_slots(node, ctx), literal(float("nan"), value))
    return _over_rows(node, _sparse_kernel(labels.short, dtype.short, value), slots)


LOWERINGS: dict[str, Lowering] = {
    "softmax_crossentropy": lower_softmax_crossentropy,
    "sparse_softmax_crossentropy": lower_sparse_softmax_crossentropy,
}
