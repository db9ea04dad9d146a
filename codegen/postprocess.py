"""What is done to Numba's LLVM module before LLVM optimises it: parallel loops are marked, float instructions get
their flags.

Numba writes loops without metadata. Without it LLVM guards a vector loop by comparing every pair of pointers, gives
up above a few pointers, and takes the scalar path when an output is an input. Accesses written with `load` and
`store` (`codegen/cpu/intrinsics.py`) therefore belong to an access group, and every innermost loop that contains one
says that the group's accesses are parallel. LLVM uses that only where all accesses of the loop belong to the group.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

_GROUP = "_kgraph_access_group"
_FLOAT_OPS = frozenset({"fadd", "fsub", "fmul", "fdiv", "frem", "fneg"})

STRICT = ("contract",)
"""Flags of ordinary kernels: a product and a sum may become one FMA."""
RELAXED = ("contract", "nsz", "reassoc")
"""Flags of kernels with `fastmath`: sums may also be reordered. NaN and infinity keep their meaning."""


class _DistinctNode(ir.MDValue):  # type: ignore[misc]
    """A metadata node with an identity of its own, which may refer to itself."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, (), name=str(len(module.metadata)))

    def descr(self, buf: list[str]) -> None:
        items = ", ".join(operand.get_reference() for operand in self.operands)
        buf += (f"distinct !{{ {items} }}", "\n")

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def _access_group(module: ir.Module) -> _DistinctNode:
    group: _DistinctNode | None = getattr(module, _GROUP, None)
    if group is None:
        group = _DistinctNode(module)
        setattr(module, _GROUP, group)
    return group


def mark_parallel(module: ir.Module, access: Any) -> None:
    """Puts a load or store into the module's group of parallel accesses."""
    access.set_metadata("llvm.access.group", _access_group(module))


def mark_parallel_loops(module: ir.Module) -> int:
    """Tells LLVM which innermost loops are parallel; returns how many contain a parallel access."""
    group: _DistinctNode | None = getattr(module, _GROUP, None)
    if group is None:
        return 0
    return sum(_mark_loops(function, group) for function in module.functions if function.blocks)


def _mark_loops(function: ir.Function, group: _DistinctNode) -> int:
    loops = natural_loops(function)
    marked = 0
    for header, (latches, body) in loops.items():
        innermost = not any(other in body for other in loops if other is not header)
        if innermost and any(_is_parallel(i) for block in body for i in block.instructions):
            loop_id = _DistinctNode(function.module)
            name = ir.MetaDataString(function.module, "llvm.loop.parallel_accesses")
            loop_id.operands = (loop_id, function.module.add_metadata([name, group]))
            for latch in latches:
                latch.terminator.set_metadata("llvm.loop", loop_id)
            marked += 1
    return marked


def _is_parallel(instruction: Any) -> bool:
    return "llvm.access.group" in getattr(instruction, "metadata", ())


def natural_loops(function: ir.Function) -> dict[Any, tuple[list[Any], set[Any]]]:
    """Loops of a reducible control-flow graph: header -> (blocks that jump back to it, all blocks of the loop)."""
    successors = {block: _successors(block) for block in function.blocks}
    back_edges = _back_edges(function.blocks[0], successors)
    predecessors: dict[Any, list[Any]] = {block: [] for block in function.blocks}
    for block, targets in successors.items():
        for target in targets:
            predecessors[target].append(block)
    loops: dict[Any, tuple[list[Any], set[Any]]] = {}
    for latch, header in back_edges:
        latches, body = loops.setdefault(header, ([], {header}))
        latches.append(latch)
        pending = [latch]
        while pending:
            block = pending.pop()
            if block not in body:
                body.add(block)
                pending += predecessors[block]
    return loops


def _successors(block: Any) -> list[Any]:
    terminator = block.terminator
    if terminator is None:
        return []
    return [operand for operand in terminator.operands if isinstance(operand, ir.Block)] + [
        target for _, target in getattr(terminator, "cases", ())
    ]


def _back_edges(entry: Any, successors: dict[Any, list[Any]]) -> list[tuple[Any, Any]]:
    """Edges to a block that the depth-first walk has entered and not yet left."""
    edges = []
    open_, done = {entry}, set()
    stack = [(entry, iter(successors[entry]))]
    while stack:
        block, targets = stack[-1]
        target = next(targets, None)
        if target is None:
            stack.pop()
            open_.discard(block)
            done.add(block)
        elif target in open_:
            edges.append((block, target))
        elif target not in done:
            open_.add(target)
            stack.append((target, iter(successors[target])))
    return edges


def set_float_flags(module: ir.Module, fastmath: bool) -> None:
    """Gives the float instructions that have no flags yet (those of the kernel's own text) the flags of the kernel."""
    flags = list(RELAXED if fastmath else STRICT)
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                if getattr(instruction, "opname", "") in _FLOAT_OPS and not instruction.flags:
                    instruction.flags = flags
