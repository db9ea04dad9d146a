"""The `cpu` target: which lowering each op has, and programs over them."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.cache import KernelCache
from codegen.cpu import (
    control,
    conv,
    depthwise,
    effects,
    elementwise,
    fused_reduce,
    losses,
    matmul,
    norm,
    pool,
    random,
    reduce,
    shape,
)
from codegen.cpu.program import CpuProgram
from codegen.launch import LowerContext, Lowering, Step
from codegen.schedule import ALIASES, schedule
from ir.graph import Graph, Node

LOWERINGS: dict[str, Lowering] = {
    name: lowering
    for module in (
        elementwise, reduce, fused_reduce, shape, matmul, conv, depthwise, pool, norm, losses, random, control, effects
    )  # fmt: skip
    for name, lowering in module.LOWERINGS.items()
}


class CpuTarget:
    """Generated Numba kernels, cached on disk (`codegen/cache.py`)."""

    name = "cpu"

    def __init__(self) -> None:
        self.cache = KernelCache()

    def available(self) -> bool:
        return True

    def supports(self, op: str) -> bool:
        return op in LOWERINGS or op in ALIASES or op == "constant"

    def program(self, graph: Graph) -> CpuProgram:
        return CpuProgram(schedule(graph, _lower), self.cache)


def _lower(node: Node, ctx: LowerContext) -> Sequence[Step]:
    return LOWERINGS[node.op.name](node, ctx)
