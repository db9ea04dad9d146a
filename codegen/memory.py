"""What a program's memory needs: `lifetimes` says when each buffer is needed, `peak` how much is needed at once. Before
it comes `schedule.py`; after it `cpu/planner.py` gives each buffer an offset in one arena.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.launch import Branch, Buffer, BufferKind, Launch, Loop, Step
from ir import dims
from ir.dims import Dim


@dataclass(frozen=True)
class Lifetime:
    """From launch number `first` (which writes it first) to launch number `last` (which uses it last), inclusive.

    Launches are numbered in the order of the text, those in bodies included.
    """

    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Lifetimes:
    """Lifetimes of the arena's blocks, and for each temporary buffer the block that holds it.

    A block is named by its first buffer. Buffers that a launch may compute in place share a block.
    """

    blocks: Mapping[Buffer, Lifetime]
    block_of: Mapping[Buffer, Buffer]


def lifetimes(steps: Sequence[Step], alias: Mapping[Buffer, Buffer]) -> Lifetimes:
    """The lifetimes of all temporary buffers; buffers in `alias` live elsewhere (in a variable) and get none."""
    launches, loops = _number(steps)
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for i, launch in enumerate(launches):
        for buffer in (*launch.reads, *launch.writes):
            if buffer.kind is BufferKind.TEMP and buffer not in alias:
                first.setdefault(buffer, i)
                last[buffer] = i
    for start, stop in loops:
        # What a loop shares with the outside lives in every iteration; what one iteration writes and reads does not.
        for buffer in first:
            if first[buffer] < start <= last[buffer] or first[buffer] <= stop < last[buffer]:
                first[buffer] = min(first[buffer], start)
                last[buffer] = max(last[buffer], stop)
    block_of: dict[Buffer, Buffer] = {b: b for b in first}
    end = dict(last)
    for i, launch in enumerate(launches):
        taken: set[Buffer] = set()
        for written, read in launch.inplace:
            root = block_of.get(read)
            # The result may take its operand's place if the operand is not needed afterwards, the result is not written
            # before, no other result took that place, and both have the same size for all bindings.
            if (
                root is not None
                and root not in taken
                and written in first
                and block_of[written] is written
                and first[written] == i
                and end[root] == i
                and written.nbytes == root.nbytes
            ):
                taken.add(root)
                block_of[written] = root
                end[root] = last[written]
    blocks = {b: Lifetime(first[b], end[b]) for b in first if block_of[b] is b}
    return Lifetimes(blocks, block_of)


def _number(steps: Sequence[Step]) -> tuple[list[Launch | Branch], list[tuple[int, int]]]:
    """All launches in order (a branch's test counts as one), and the first and last number in each loop, inner loops
    first."""
    numbered: list[Launch | Branch] = []
    loops: list[tuple[int, int]] = []

    def add(steps: Sequence[Step]) -> None:
        for step in steps:
            start = len(numbered)
            if not isinstance(step, Loop):
                numbered.append(step)
            for body in step.bodies:
                add(body)
            if isinstance(step, Loop) and len(numbered) > start:
                loops.append((start, len(numbered) - 1))

    add(steps)
    return numbered, loops


def peak(lives: Mapping[Buffer, Lifetime]) -> tuple[Dim, ...]:
    """The bytes alive at the busiest moments, as formulas: the peak is the largest of them.

    Formulas that another one exceeds for all sizes are left out.
    """
    born: dict[int, list[Buffer]] = {}
    gone: dict[int, list[Buffer]] = {}
    for block, life in lives.items():
        born.setdefault(life.first, []).append(block)
        gone.setdefault(life.last, []).append(block)
    live: Dim = 0
    seen: dict[Dim, None] = {}
    for i in sorted({*born, *gone}):
        live = live + sum((b.nbytes for b in born.get(i, ())), 0)
        seen.setdefault(live)
        live = live - sum((b.nbytes for b in gone.get(i, ())), 0)
    return tuple(d for d in seen if not any(o != d and _never_less(o, d) for o in seen)) or (0,)


def _never_less(a: Dim, b: Dim) -> bool:
    """Whether a >= b for all sizes, as far as coefficients show."""
    diff = a - b
    return diff >= 0 if isinstance(diff, int) else isinstance(diff, dims.SymDim) or dims.is_nonnegative(diff)
