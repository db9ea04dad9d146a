"""Binding sizes: from a schedule and the value of each symbol to the numbers in a program's table.

`Formulas` turns every dim that the launches mention into one Python function, made once; a new batch size is one
evaluation of it and compiles nothing. Before it comes `schedule.py`; `program.py` keeps the results.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from codegen.launch import F32, F64, Buffer, Choose, Launch, Loop, Read, Size, Step, Write
from ir import dims
from ir.dims import Dim, SymDim


class Formulas:
    """Evaluates many dims at once. `add` every dim before the first `values`."""

    def __init__(self, symbols: Sequence[SymDim]) -> None:
        self._symbols = tuple(symbols)
        self._number: dict[Dim, int] = {}
        self._function: Callable[..., list[int]] | None = None

    def add(self, d: Dim) -> None:
        if not isinstance(d, int):
            self._number.setdefault(d, len(self._number))

    def add_steps(self, steps: Iterable[Step]) -> None:
        for step in steps:
            for d in dims_of(step):
                self.add(d)

    def values(self, env: Mapping[SymDim, int]) -> Values:
        if self._function is None:
            names = {s: f"s{i}" for i, s in enumerate(self._symbols)}
            body = ", ".join(dims.python_expr(d, names.__getitem__) for d in self._number)
            code = f"lambda {', '.join(names.values())}: [{body}]"
            self._function = eval(code, {"max": max, "min": min, "__builtins__": {}})  # noqa: S307 - our own text
        return Values(self._number, self._function(*(env[s] for s in self._symbols)))


def dims_of(step: Step) -> Iterator[Dim]:
    """Every dim that a step mentions, its bodies included."""
    items: tuple[object, ...] = (step.count,) if isinstance(step, Loop) else ()
    if isinstance(step, Launch):
        items = (step.tiles, step.scratch, step.work, *step.slots)
    for item in items:
        if isinstance(item, (Read, Write)):
            yield item.offset
            yield from _dims_of_buffer(item.buffer)
        elif isinstance(item, Choose):
            yield from item.dims
        elif dims.is_dim(item):
            yield item  # type: ignore[misc]
    for body in step.bodies:
        for inner in body:
            yield from dims_of(inner)


def _dims_of_buffer(buffer: Buffer) -> Iterator[Dim]:
    yield buffer.nbytes
    if buffer.part is not None:
        yield from (buffer.part.first, buffer.part.step)
        yield from _dims_of_buffer(buffer.part.of)


class Values:
    """The dims of a program for one binding."""

    def __init__(self, number: Mapping[Dim, int], values: Sequence[int]) -> None:
        self._number = number
        self._values = values

    def size(self, size: Size) -> int:
        if isinstance(size, int):
            return size
        if isinstance(size, Choose):
            return int(size.function(*(self.size(d) for d in size.dims)))
        return self._values[self._number[size]]


def float_bits(slot: F32 | F64) -> int:
    """The literal's bits as a signed 64-bit integer."""
    if isinstance(slot, F32):
        return int(struct.unpack("<I", struct.pack("<f", slot.value))[0])
    return int(struct.unpack("<q", struct.pack("<d", slot.value))[0])
