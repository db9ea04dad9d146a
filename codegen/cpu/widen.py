"""float16 around kernels that compute in float32: operands are widened into workspaces, results rounded once.

Used by `matmul.py` and `conv.py`; for other types nothing happens.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from codegen.launch import Buffer, Launch, LowerContext, Read, Write
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dims import Dim
from ir.graph import Node, Value

_CHUNK = 8192
_SOURCE = """
def kernel(args, lo, hi, worker):
    s = slots(args)
    of = {source}p(s[0])
    to = {target}p(s[1])
    for i in range(lo * {chunk}, min(hi * {chunk}, s[2])):
        store(to, i, load(of, i))
"""


@functools.cache
def _kernel(source: str, target: str) -> Kernel:
    return Kernel(f"convert_{source}_{target}", _SOURCE.format(source=source, target=target, chunk=_CHUNK))


def _convert(source: Buffer, target: Buffer, size: Dim, kinds: tuple[str, str], node: Node) -> Launch:
    slots = (Read(source), Write(target), size)
    return Launch(_kernel(*kinds), slots, dims.ceildiv(size, _CHUNK), size, origin=node.origin)


def widen(node: Node, ctx: LowerContext, values: Sequence[Value]) -> tuple[list[Launch], list[Buffer]]:
    """Buffers of the values in the type that is computed in, and the launches that fill those that are not there
    yet."""
    launches: list[Launch] = []
    buffers = []
    for value in values:
        buffer = ctx.buffer(value)
        if value.type.dtype == dtypes.f16:
            wide = ctx.temp(value.type.with_dtype(dtypes.f32).nbytes, "wide")
            launches.append(_convert(buffer, wide, value.type.size, ("f16", "f32"), node))
            buffer = wide
        buffers.append(buffer)
    return launches, buffers


def narrow(node: Node, ctx: LowerContext) -> tuple[list[Buffer], list[Launch]]:
    """Buffers to compute the node's outputs in, and the launches that round those of type float16."""
    launches: list[Launch] = []
    buffers = []
    for value in node.outputs:
        buffer = ctx.buffer(value)
        if value.type.dtype == dtypes.f16:
            wide = ctx.temp(value.type.with_dtype(dtypes.f32).nbytes, "wide")
            launches.append(_convert(wide, buffer, value.type.size, ("f32", "f16"), node))
            buffer = wide
        buffers.append(buffer)
    return buffers, launches
