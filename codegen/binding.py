"""Binding sizes: from the value of each symbol to every size that a program's tables mention.

`Formulas` numbers sizes as the tables' templates ask for them and turns the distinct ones into one Python function; a
new batch size is one evaluation of it and compiles nothing. Before it comes `schedule.py`; the CPU's `cpu/table.py`
puts the numbers where they belong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from codegen.launch import F32, F64, Buffer, Choose, Launch, Loop, Read, Size, Step, Write
from ir import dims
from ir.dims import Dim, SymDim


class Formulas:
    """Evaluates many sizes at once. Ask for every `number` before the first `evaluate`."""

    def __init__(self, symbols: Sequence[SymDim]) -> None:
        self._symbols = tuple(symbols)
        self._numbers: dict[object, int] = {}
        self._names = {s: f"s{i}" for i, s in enumerate(self._symbols)}
        self._lines: list[str] = []
        self._results: list[str] = []
        self._known: dict[str, object] = {"max": max, "min": min, "__builtins__": {}}
        self._function: Callable[..., tuple[int, ...]] | None = None

    def number(self, size: Size) -> int:
        """Where `size` stands in what `evaluate` gives; equal sizes share a place."""
        key = _key(size)
        number = self._numbers.get(key)
        if number is None:
            text = self._text(size)  # may number the sizes that it is computed from
            number = self._numbers[key] = len(self._results)
            if isinstance(size, int):
                self._results.append(text)
            else:
                self._lines.append(f" v{number} = {text}\n")
                self._results.append(f"v{number}")
        return number

    def numbers(self, sizes: Iterable[Size]) -> np.ndarray:
        return np.array([self.number(size) for size in sizes], np.intp)

    def evaluate(self, env: Mapping[SymDim, int]) -> np.ndarray:
        """All sizes, int64."""
        if self._function is None:
            head = f"def sizes({', '.join(self._names.values())}):\n"
            text = head + "".join(self._lines) + f" return ({', '.join([*self._results, ''])})"
            exec(text, self._known)  # noqa: S102 - our own text
            self._function = self._known["sizes"]  # type: ignore[assignment]
        assert self._function is not None
        return np.array(self._function(*(env[s] for s in self._symbols)), np.int64)

    def _text(self, size: Size) -> str:
        if isinstance(size, Choose):
            name = f"f{len(self._known)}"
            self._known[name] = size.function
            return f"{name}({', '.join(self._results[self.number(d)] for d in size.dims)})"
        return dims.python_expr(size, self._names.__getitem__)


def _key(size: Size) -> object:
    """Equal for sizes that are equal for all bindings: methods of equal objects are, though Python tells them apart."""
    if isinstance(size, Choose):
        function = size.function
        return getattr(function, "__func__", function), getattr(function, "__self__", None), size.dims
    return size


def mentions_symbols(step: Step) -> bool:
    """Whether a size in a step, its bodies included, depends on what is bound."""
    return any(not isinstance(d, int) for d in _dims_of(step))


def _dims_of(step: Step) -> Iterator[Dim]:
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
            yield from _dims_of(inner)


def _dims_of_buffer(buffer: Buffer) -> Iterator[Dim]:
    yield buffer.nbytes
    if buffer.part is not None:
        yield from (buffer.part.first, buffer.part.step)
        yield from _dims_of_buffer(buffer.part.of)


def float_bits(slot: F32 | F64) -> int:
    """The literal's bits as a signed 64-bit integer."""
    if isinstance(slot, F32):
        return int(struct.unpack("<I", struct.pack("<f", slot.value))[0])
    return int(struct.unpack("<q", struct.pack("<d", slot.value))[0])
