"""Launches: what lowering a node gives. Before it comes a graph that the passes have optimised; after it
`schedule.py` orders launches, `memory.py` places their buffers and `program.py` binds sizes and fills the table. Loops
and branches nest: a `Step` is a launch, a `Loop` or a `Branch`.

A launch runs one kernel over a range of tiles: `kernel(args, lo, hi, worker)`, where `args` is the address of a row of
64-bit slots. Literals such as alpha or epsilon are slots too, so that they make no new kernel.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from codegen.source import Kernel
from ir.dims import Dim
from ir.graph import Graph, Node, Value
from ir.types import TensorType


class BufferKind(enum.Enum):
    INPUT = "input"  # the user's array; its address changes with every run
    OUTPUT = "output"  # a fresh array handed to the user
    VARIABLE = "variable"  # never moves
    CONSTANT = "constant"  # filled when the program is built
    TEMP = "temp"  # lives in the arena
    PERSISTENT = "persistent"  # result of the prologue; outlives runs
    MOVING = "moving"  # a part of another buffer, further on in each iteration of a loop


@dataclass(eq=False)
class Buffer:
    """A block of memory that launches read and write; compared by identity. `nbytes` may be symbolic."""

    kind: BufferKind
    nbytes: Dim
    type: TensorType | None = None
    name: str = ""
    part: Part | None = None  # of a MOVING buffer

    @property
    def root(self) -> Buffer:
        """The buffer that has memory of its own: this one, or the one that it moves along."""
        return self if self.part is None else self.part.of.root


class LoopId:
    """What tells one loop from another; compared by identity."""


@dataclass(frozen=True)
class Part:
    """In iteration i of `loop`: the bytes of `of` from `first + i * step` on."""

    of: Buffer
    first: Dim
    step: Dim
    loop: LoopId


@dataclass(frozen=True)
class Read:
    """Slot: the address of a buffer that the kernel reads, plus `offset` bytes."""

    buffer: Buffer
    offset: Dim = 0


@dataclass(frozen=True)
class Write:
    """Slot: the address of a buffer that the kernel writes (and, with `reads`, also reads), plus `offset` bytes."""

    buffer: Buffer
    offset: Dim = 0
    reads: bool = False


@dataclass(frozen=True)
class F32:
    """Slot: the bits of a float32 literal in the low half."""

    value: float


@dataclass(frozen=True)
class F64:
    """Slot: the bits of a float64 literal."""

    value: float


@dataclass(frozen=True)
class Entry:
    """Slot: the address of another kernel (a micro-kernel), called by address."""

    kernel: Kernel


@dataclass(frozen=True)
class Choose:
    """Slot: `function(*sizes)`, a pure function of the bound dims, such as a block size chosen by a cost rule."""

    function: Callable[..., int]
    dims: tuple[Dim, ...]


Size = Dim | Choose
Slot = Dim | Read | Write | F32 | F64 | Entry | Choose


class Order(enum.IntEnum):
    """How a launch depends on the one before it in the table."""

    BARRIER = 0
    INDEPENDENT = 1  # of all launches since the last BARRIER, that one included
    CHAINED = 2  # tile i needs only tile i of the launch before


@dataclass(frozen=True)
class Launch:
    """One kernel over `tiles` tiles, which write disjoint parts of its outputs.

    `scratch` is the number of bytes that a worker needs for itself (packing panels). `work` estimates floating-point
    operations. `inplace` lists (written buffer, read buffer) pairs that may share memory, since the kernel reads an
    element of the second only before it writes the same element of the first.
    """

    kernel: Kernel
    slots: tuple[Slot, ...]
    tiles: Size
    work: Size = 0
    scratch: Size = 0
    inplace: tuple[tuple[Buffer, Buffer], ...] = ()
    order: Order = Order.BARRIER
    origin: tuple[str, ...] = ()
    comment: str = ""  # the IR line(s) that it implements
    effect: object = None  # what the kernel calls that does more than write buffers; such a launch runs in every run

    @cached_property
    def reads(self) -> tuple[Buffer, ...]:
        return tuple(s.buffer.root for s in self.slots if isinstance(s, Read) or (isinstance(s, Write) and s.reads))

    @cached_property
    def writes(self) -> tuple[Buffer, ...]:
        return tuple(s.buffer.root for s in self.slots if isinstance(s, Write))

    @property
    def bodies(self) -> tuple[tuple[Step, ...], ...]:
        return ()

    @cached_property
    def touched(self) -> tuple[Buffer, ...]:
        """The buffers in its slots, each once; of a MOVING one only what one iteration sees."""
        return tuple(dict.fromkeys(s.buffer for s in self.slots if isinstance(s, (Read, Write))))


@dataclass(frozen=True)
class _Nested:
    """A step that has launches in it."""

    inplace = ()
    order = Order.BARRIER

    @property
    def bodies(self) -> tuple[tuple[Step, ...], ...]:
        raise TypeError(f"{type(self).__name__} has no bodies")

    @property
    def reads(self) -> tuple[Buffer, ...]:
        return tuple(dict.fromkeys(b for body in self.bodies for step in body for b in step.reads))

    @property
    def writes(self) -> tuple[Buffer, ...]:
        return tuple(dict.fromkeys(b for body in self.bodies for step in body for b in step.writes))


@dataclass(frozen=True)
class Loop(_Nested):
    """Runs `body` `count` times; `id` names it in the MOVING buffers that its launches use."""

    body: tuple[Step, ...]
    count: Size
    id: LoopId
    origin: tuple[str, ...] = ()
    comment: str = ""

    @property
    def bodies(self) -> tuple[tuple[Step, ...], ...]:
        return (self.body,)


@dataclass(frozen=True)
class Branch(_Nested):
    """Runs `then` where the bool in `condition` holds, else `otherwise`."""

    condition: Buffer
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]
    origin: tuple[str, ...] = ()
    comment: str = ""

    @property
    def bodies(self) -> tuple[tuple[Step, ...], ...]:
        return self.then, self.otherwise

    @property
    def reads(self) -> tuple[Buffer, ...]:
        return (self.condition.root, *super().reads)


Step = Launch | Loop | Branch


def launches_of(steps: Sequence[Step]) -> Iterator[Launch]:
    """All launches, those in bodies included, in the order of the text."""
    for step in steps:
        if isinstance(step, Launch):
            yield step
        for body in step.bodies:
            yield from launches_of(body)


class LowerContext(Protocol):
    """What a lowering may ask of the schedule."""

    graph: Graph

    @property
    def fixed(self) -> frozenset[Value]:
        """What stays the same from run to run or, in the body of a loop, from step to step."""

    def buffer(self, value: Value) -> Buffer:
        """The buffer that holds `value`: dense, row-major, at least 64-byte aligned where it is ours, else aligned to
        its element size."""

    def temp(self, nbytes: Dim, name: str) -> Buffer:
        """A fresh workspace."""

    def constant(self, data: bytes, name: str) -> Buffer:
        """A buffer with fixed content."""

    def body(
        self,
        graph: Graph,
        inputs: Sequence[Buffer],
        outputs: Sequence[Buffer],
        states: Sequence[Buffer] = (),
        fixed: Sequence[Value] = (),
    ) -> list[Step]:
        """The steps that compute the results of `graph` from what lies in `inputs`: the first results into `outputs`,
        the last ones into `states`, which are also among `inputs`. `fixed` inputs are the same whenever the steps run
        again."""


Lowering = Callable[[Node, LowerContext], Sequence[Step]]
