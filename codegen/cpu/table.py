"""Launch tables: a `Template` is made once from a program's steps, a `Table` from it for each set of sizes, and an
`Instance` from that for each run that goes on at the same time.

A template knows every row and slot but for what depends on sizes: of that it keeps which of the numbered sizes
(`Formulas`) and which of the placed buffers belong where, so that a table is a few gathers. Before it come a schedule's
steps; after it the driver walks the rows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.binding import Formulas, float_bits
from codegen.cache import KernelCache
from codegen.cpu import driver, regions, threads
from codegen.launch import F32, F64, Branch, Buffer, BufferKind, Entry, Launch, Loop, LoopId, Read, Size, Step, Write
from codegen.memory import Lifetimes
from codegen.source import Kernel
from codegen.storage import aligned_empty

Array = np.ndarray

_BYTE = np.dtype(np.uint8)
_LINE = threads.LINE


class Places:
    """Where a program's buffers are, as far as that does not depend on sizes.

    Inputs and outputs have a number among the user's `pointers`. What a binding places has a number too: first the
    blocks of the arena, then what is kept. Constants and variables have an address.
    """

    def __init__(
        self,
        alias: Mapping[Buffer, Buffer],
        lives: Lifetimes,
        pointers: Sequence[Buffer],
        kept: Sequence[Buffer],
        fixed: Mapping[Buffer, int],
    ) -> None:
        self._alias = alias
        self._block_of = lives.block_of
        self.lives = list(lives.blocks.values())
        self.numbers = {b: i for i, b in enumerate((*lives.blocks, *kept))}
        self.pointers = {b: i for i, b in enumerate(pointers)}
        self.fixed = fixed

    def of(self, buffer: Buffer) -> regions.Place:
        """The buffer that holds the buffer's bytes, and the number of its block of the arena if it lies there."""
        root = self._alias.get(buffer, buffer)
        return root, self.numbers[self._block_of[root]] if root.kind is BufferKind.TEMP else None


class Template:
    """Rows and slots for steps, for all sizes. Compiles or loads their kernels."""

    def __init__(self, steps: Sequence[Step], formulas: Formulas, places: Places, cache: KernelCache) -> None:
        self._formulas = formulas
        self._places = places
        self._cache = cache
        self._rows: list[list[int]] = []
        self._slots: list[int] = []
        self._in_rows = _Gather()  # sizes of cells
        self._in_slots = _Gather()  # sizes in slots
        self._placed = _Gather()  # places in slots
        self._patched = _Gather()  # the user's pointers in slots
        self._in_arena: list[int] = []  # the slots of these that hold addresses in the arena
        self._addressed: list[int] = []  # slots that hold addresses of other slots
        self._moving: dict[LoopId, list[tuple[int, Read | Write]]] = {}
        self._launches = 0  # counted as `memory.lifetimes` does
        self._timed = _Gather()  # work of rows
        self._touched: list[int] = []  # the sizes of the buffers of the first of these rows, the second, ...
        self._ends: list[int] = [0]
        self._regions = regions.Regions(places.lives)
        self._add_steps(steps)
        self._freeze()

    def _freeze(self) -> None:
        self.pointers = len(self._places.pointers)
        self.patches = np.column_stack(self._patched.arrays())
        self.in_arena = np.array(self._in_arena, np.intp)
        self.addressed = np.array(self._addressed, np.intp)
        self._row_array = np.array(self._rows, np.int64).reshape(-1, driver.COLUMNS)
        self._slot_array = np.array(self._slots, np.int64)
        self._row_sizes, self._slot_sizes = self._in_rows.arrays(), self._in_slots.arrays()
        self._slot_places, self._works = self._placed.arrays(), self._timed.arrays()
        self._touched_array, self._end_array = np.array(self._touched, np.intp), np.array(self._ends, np.intp)

    def table(self, sizes: Array, places: Array, block_sizes: Array) -> Table:
        """The table for the values of all numbered sizes and places, the blocks' bytes among them."""
        rows = self._row_array.copy()
        at, number = self._row_sizes
        rows.reshape(-1)[at] = sizes[number]
        slots = self._slot_array.copy()
        for (at, number), values in ((self._slot_sizes, sizes), (self._slot_places, places)):
            slots[at] += values[number]
        at, number = self._works
        until = np.append(0, np.cumsum(sizes[self._touched_array]))[self._end_array]
        rows[at, driver.WORK] = regions.estimated_times(sizes[number], np.diff(until))
        shares = self._regions.mark(rows, places, block_sizes)
        return Table(self, rows, slots, shares)

    # Making it

    def _add_steps(self, steps: Sequence[Step]) -> None:
        run: list[Launch] = []
        for step in steps:
            if isinstance(step, Launch):
                run.append(step)
                continue
            self._add_launches(run)
            run = []
            if isinstance(step, Loop):
                self._add_loop(step)
            else:
                self._add_branch(step)
        self._add_launches(run)

    def _add_launches(self, launches: Sequence[Launch]) -> None:
        self._regions.add(len(self._rows), self._launches, launches, self._places.of)
        self._launches += len(launches)
        for launch in launches:
            row = self._row()
            self._fill(row, self._cache.get(launch.kernel, launch.comment), launch.order, 0)
            self._size_in_row(row, driver.TILES, launch.tiles)
            self._timed.add(row, self._formulas.number(launch.work))
            self._touched += [self._formulas.number(b.nbytes) for b in launch.touched]
            self._ends.append(len(self._touched))
            self._rows[row][driver.ARGS] = 8 * self._add_slots(launch.slots, launch.comment)

    def _add_loop(self, loop: Loop) -> None:
        """The row of a loop, and as the first row of its body the one that moves slots on; the iteration number is the
        first slot of that one."""
        head, move = self._row(), self._row()
        self._add_steps(loop.body)
        moving = self._moving.pop(loop.id, [])
        start = len(self._slots)
        self._slots += [0, len(moving)]
        for index, slot in moving:
            assert slot.buffer.part is not None
            self._addressed.append(len(self._slots))
            self._slots.append(8 * index)
            part = slot.buffer.part
            self._add_slots((Read(part.of), part.first, slot.offset, part.step), loop.comment)
        self._fill(head, 0, driver.LOOP, start)
        self._size_in_row(head, driver.A, loop.count)
        self._rows[head][driver.B] = len(self._rows) - move
        self._single(move, driver.MOVE, start, loop.comment)

    def _add_branch(self, branch: Branch) -> None:
        self._launches += 1
        test, head = self._row(), self._row()
        start = self._add_slots((Read(branch.condition), 0), branch.comment)
        self._single(test, driver.TEST, start, branch.comment)
        self._fill(head, 0, driver.BRANCH, start + 1)
        for column, body in zip((driver.A, driver.B), branch.bodies, strict=True):
            before = len(self._rows)
            self._add_steps(body)
            self._rows[head][column] = len(self._rows) - before

    def _row(self) -> int:
        self._rows.append([0] * driver.COLUMNS)
        return len(self._rows) - 1

    def _fill(self, row: int, fn: int, kind: int, slot: int) -> None:
        cells = self._rows[row]
        cells[driver.FN], cells[driver.KIND], cells[driver.ARGS] = fn, int(kind), 8 * slot

    def _single(self, row: int, kernel: Kernel, slot: int, comment: str) -> None:
        """A row that the calling thread runs in one tile."""
        self._fill(row, self._cache.get(kernel, comment), driver.BARRIER, slot)
        self._rows[row][driver.TILES] = 1

    def _size_in_row(self, row: int, column: int, size: Size) -> None:
        self._in_rows.add(row * driver.COLUMNS + column, self._formulas.number(size))

    def _add_slots(self, slots: Sequence[object], comment: str) -> int:
        """Appends slots; gives the number of the first."""
        start = len(self._slots)
        for slot in slots:
            self._slots.append(self._slot(slot, len(self._slots), comment))
        return start

    def _slot(self, slot: object, index: int, comment: str) -> int:
        """What a slot holds as far as it is known."""
        if isinstance(slot, (Read, Write)):
            return self._address(slot, index)
        if isinstance(slot, (F32, F64)):
            return float_bits(slot)
        if isinstance(slot, Entry):
            return self._cache.get(slot.kernel, comment)
        return self._size(slot, index)  # type: ignore[arg-type]

    def _size(self, size: Size, index: int) -> int:
        if isinstance(size, int):
            return size
        self._in_slots.add(index, self._formulas.number(size))
        return 0

    def _address(self, slot: Read | Write, index: int) -> int:
        if slot.buffer.part is not None:
            self._moving.setdefault(slot.buffer.part.loop, []).append((index, slot))
            return 0
        places = self._places
        buffer, block = places.of(slot.buffer)
        if buffer in places.pointers:
            if slot.offset != 0:
                raise ValueError(f"slot {index}: inputs and outputs take no offset")
            self._patched.add(index, places.pointers[buffer])
            return 0
        extra = self._size(slot.offset, index)
        if buffer in places.fixed:
            return places.fixed[buffer] + extra
        self._placed.add(index, places.numbers[buffer] if block is None else block)
        if block is not None:
            self._in_arena.append(index)
        return extra


class _Gather:
    """Pairs of an index and the number of what belongs there."""

    def __init__(self) -> None:
        self._at: list[int] = []
        self._number: list[int] = []

    def add(self, at: int, number: int) -> None:
        self._at.append(at)
        self._number.append(number)

    def arrays(self) -> tuple[Array, Array]:
        return np.array(self._at, np.intp), np.array(self._number, np.intp)


@dataclass(frozen=True)
class Table:
    """Rows and slots for one set of sizes. Addresses in it are still relative to the slots and the arena. `shares`:
    some of its launches are worth threads."""

    template: Template
    rows: Array
    slots: Array
    shares: bool


class Instance:
    """A table, an arena and scratch for one run at a time; the latter two in bytes, scratch for each thread."""

    def __init__(self, table: Table, arena_bytes: int, scratch_bytes: int, run: driver.Driver) -> None:
        template = table.template
        self.shares = table.shares
        self._arena = aligned_empty((arena_bytes,), _BYTE)
        self._slots = table.slots.copy()
        here = self._slots.ctypes.data
        self._slots[template.in_arena] += self._arena.ctypes.data
        self._slots[template.addressed] += here
        self._rows = table.rows.copy()
        self._rows[:, driver.ARGS] += here
        self._patches = template.patches * (8, 1) + (here, 0)
        self.pointers = (ctypes.c_int64 * template.pointers)()
        self.stride = -(-scratch_bytes // _LINE) * _LINE + _LINE
        self._driver = run
        self._alone = _Frame(self, None)
        self._shared: _Frame | None = None

    def frame(self, pool: threads.Pool | None) -> int:
        """The address of the driver's frame for a run on the threads of a pool, or on the caller's alone."""
        if pool is None:
            return self._alone.address
        if self._shared is None or self._shared.pool is not pool:
            self._shared = _Frame(self, pool)
        return self._shared.address

    def driver_frame(self, scratch: Array, pool: threads.Pool | None) -> Array:
        return self._driver.frame(
            table=self._rows.ctypes.data,
            n_rows=len(self._rows),
            patches=self._patches.ctypes.data,
            n_patches=len(self._patches),
            pointers=ctypes.addressof(self.pointers),
            worker=scratch.ctypes.data,
            stride=self.stride,
            pool=pool.address if pool else 0,
        )


class _Frame:
    """What the driver is told of a run, with scratch for every thread; no two of them share a cache line."""

    def __init__(self, instance: Instance, pool: threads.Pool | None) -> None:
        self.pool = pool
        self._scratch = aligned_empty(((pool.threads if pool else 1) * instance.stride,), _BYTE)
        self._array = instance.driver_frame(self._scratch, pool)
        self.address = int(self._array.ctypes.data)
