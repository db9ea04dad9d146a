"""The table of all ops. Each module lists its own in `OPS`; nothing is registered by importing it."""

from __future__ import annotations

from ir.opdef import Op
from ir.ops import control, conv, effects, elementwise, fused, host, losses, matmul, norm, pool, random, reduce, shape

OPS: dict[str, Op] = {
    op.name: op
    for module in (elementwise, reduce, shape, matmul, conv, pool, norm, losses, random, fused, control, effects, host)
    for op in module.OPS
}
