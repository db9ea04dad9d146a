"""Convolutions in channels_first: their images are rearranged around the channels_last lowering.

The layout pass leaves none in a whole model (`ir/passes/layout.py`); this serves graphs that did not go through it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from codegen.launch import Buffer, Launch, LowerContext, Read, Step, Write
from codegen.source import Kernel
from ir import dims
from ir.dims import Dim
from ir.graph import Graph, Node, Value
from ir.types import TensorType


def in_channels_last(
    node: Node, ctx: LowerContext, lower: Callable[[Node, LowerContext], list[Launch]], images: Sequence[bool]
) -> list[Launch]:
    """Lowers a channels_first node through `lower`; `images` says which operands, then which results, are images."""
    inner = _Inside(ctx, ctx.graph)
    operands = [inner.twin(v) if image else v for v, image in zip(node.inputs, images, strict=False)]
    is_image = images[len(node.inputs)]
    attrs = node.attrs.updated(data_format="channels_last")
    if is_image and "shape" in attrs:
        attrs = attrs.updated(shape=_last(attrs["shape"]))
    out = node.output.type
    last = Node(node.op, tuple(operands), attrs, (_last_type(out) if is_image else out,), node.origin)
    before = [_swap(node, ctx.buffer(v), inner.buffer(inner.twin(v)), v.type, True) for v in inner.twins]
    result = ctx.temp(out.nbytes, "channels_last") if is_image else ctx.buffer(node.output)
    inner.buffers[last.output] = result
    launches = [*before, *lower(last, inner)]
    if is_image:
        launches.append(_swap(node, result, ctx.buffer(node.output), out, False))
    return launches


@dataclass
class _Inside:
    """The context of the node inside: its images are workspaces, everything else is as outside."""

    outside: LowerContext
    graph: Graph
    buffers: dict[Value, Buffer] = field(default_factory=dict)
    twins: dict[Value, Value] = field(default_factory=dict)

    def twin(self, value: Value) -> Value:
        """The channels_last value that stands for an operand, with a workspace to hold it."""
        if value not in self.twins:
            twin = Value(_last_type(value.type), name=value.name)
            self.twins[value] = twin
            self.buffers[twin] = self.outside.temp(value.type.nbytes, "channels_last")
        return self.twins[value]

    def buffer(self, value: Value) -> Buffer:
        return self.buffers.get(value) or self.outside.buffer(value)

    @property
    def fixed(self) -> frozenset[Value]:
        return self.outside.fixed

    def temp(self, nbytes: Dim, name: str) -> Buffer:
        return self.outside.temp(nbytes, name)

    def constant(self, data: bytes, name: str) -> Buffer:
        return self.outside.constant(data, name)

    def body(
        self,
        graph: Graph,
        inputs: Sequence[Buffer],
        outputs: Sequence[Buffer],
        states: Sequence[Buffer] = (),
        fixed: Sequence[Value] = (),
    ) -> list[Step]:
        return self.outside.body(graph, inputs, outputs, states, fixed)


def _last(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    return (shape[0], *shape[2:], shape[1])


def _last_type(type: TensorType) -> TensorType:
    return TensorType(type.dtype, _last(type.shape))


_SOURCE = """
def kernel(args, lo, hi, worker):
    s = slots(args)
    rows = s[2]
    columns = s[3]
    for image in range(lo, hi):
        of = offset({pointer}(s[0]), image * rows * columns)
        to = offset({pointer}(s[1]), image * rows * columns)
        for r in range(0, rows, {block}):
            for c in range(columns):
                for i in range(r, min(r + {block}, rows)):
                    store(to, c * rows + i, load(of, i * columns + c))
"""
_BLOCK = 16  # rows read side by side: each stays in cache until its lines are used up


@functools.cache
def _kernel(short: str) -> Kernel:
    return Kernel(f"swap_axes_{short}", _SOURCE.format(pointer=f"{short}p", block=_BLOCK))


def _swap(node: Node, source: Buffer, target: Buffer, type: TensorType, to_last: bool) -> Launch:
    """Copies images of a channels_first `type` into or from channels_last."""
    n, channels, *rest = type.shape
    pixels = dims.product(rest)
    sides = (channels, pixels) if to_last else (pixels, channels)
    slots = (Read(source), Write(target), *sides)
    return Launch(_kernel(type.dtype.short), slots, n, type.size, origin=node.origin)
