"""The CPU program: a schedule with its kernels' addresses, bound to sizes on demand.

A `Binding` is the immutable result for one set of sizes: a template of the launch table and of the slots, and the
offsets of temporary buffers. An `Instance` is one copy of these with an arena of its own, checked out for a run, so
that runs do not collide. Before it comes `codegen/schedule.py`; a run is one call of the driver (`driver.py`), which
shares the rows that `regions.py` found worth it among the threads of a pool (`threads.py`).
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from codegen import memory
from codegen.binding import Formulas, Values, dims_of, float_bits
from codegen.cache import KernelCache
from codegen.cpu import driver, regions, threads
from codegen.launch import (
    F32,
    F64,
    Branch,
    Buffer,
    BufferKind,
    Entry,
    Launch,
    Loop,
    LoopId,
    Read,
    Step,
    Write,
    launches_of,
)
from codegen.schedule import Schedule
from codegen.source import Kernel
from codegen.storage import StoredVariable, access, aligned_empty
from ir import binding
from ir.dims import Dim, SymDim
from ir.graph import Graph

Array = np.ndarray

_BINDINGS_KEPT = 16  # sets of sizes; the least recently used goes first
_BYTE = np.dtype(np.uint8)
_LINE = threads.LINE


class CpuProgram:
    """A graph lowered for the CPU. Its variables must be `StoredVariable`s."""

    def __init__(self, schedule: Schedule, cache: KernelCache) -> None:
        self.graph: Graph = schedule.graph
        self.schedule = schedule
        self.cache = cache
        self._lifetimes = memory.lifetimes(schedule.launches, schedule.alias)
        self._formulas = Formulas(schedule.graph.symbols)
        self._formulas.add_steps((*schedule.prologue, *schedule.launches))
        for out in schedule.graph.outputs:
            for d in out.type.shape:
                self._formulas.add(d)
        self._bindings: OrderedDict[tuple[tuple[int, ...], ...], Binding] = OrderedDict()
        self.bind_seconds = 0.0
        self._lock = threading.RLock()
        self._constants = {b: _filled(data) for b, data in schedule.constants.items()}
        self._stored = {v: _stored(v) for v in schedule.graph.variables}
        self._written = [self._stored[u.variable] for u in schedule.graph.updates]
        self._addresses = {b: self._stored[v].address for v, b in schedule.variables.items()}
        self._dtypes = [v.type.dtype.numpy for v in schedule.graph.inputs]
        self._kept, self.kept_by_size = _split_by_size(schedule.prologue)
        self._prologue: _Prologue | None = None

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `codegen.targets.Program.run`."""
        bound = self._bind(inputs)
        instance = bound.check_out()
        outputs = [np.empty(shape, dtype) for shape, dtype in bound.outputs]
        pointers = instance.pointers
        for i, array in enumerate(inputs):
            pointers[i] = array.__array_interface__["data"][0]
        for i, array in enumerate(outputs, len(inputs)):
            pointers[i] = array.__array_interface__["data"][0]
        try:
            with access(bound.read, self._written):
                bound.refresh_prologue()
                bound.execute(instance)
                for v in self._written:
                    v.version += 1
        finally:
            bound.check_in(instance)
        return outputs

    def kernels(self) -> tuple[Kernel, ...]:
        used: dict[Kernel, dict[str, None]] = {}
        for launch in launches_of((*self.schedule.prologue, *self.schedule.launches)):
            for kernel in (launch.kernel, *(s.kernel for s in launch.slots if isinstance(s, Entry))):
                used.setdefault(kernel, {}).setdefault(launch.comment)
        return tuple(dataclasses.replace(kernel, comment="\n".join(lines)) for kernel, lines in used.items())

    def peak_memory(self) -> tuple[Dim, ...]:
        return memory.peak(self._lifetimes.blocks)

    def _bind(self, inputs: Sequence[Array]) -> Binding:
        binding.check_count(self.graph, len(inputs))
        shapes = tuple([a.shape for a in inputs])
        for a, dtype in zip(inputs, self._dtypes, strict=True):
            if a.dtype != dtype or not a.flags.c_contiguous:
                binding.check_dtypes(self.graph, inputs)
                raise ValueError("inputs of a program must be C-contiguous")
        bound = self._bindings.get(shapes)
        if bound is None:
            env = binding.bind_sizes(self.graph, shapes)
            with self._lock:
                bound = self._bindings.get(shapes)
                if bound is None:
                    start = time.perf_counter()
                    bound = Binding(self, env)
                    self.cache.progress.done()
                    self.bind_seconds += time.perf_counter() - start
                    self._bindings[shapes] = bound
                    while len(self._bindings) > _BINDINGS_KEPT:
                        self._bindings.popitem(last=False)
        elif len(self._bindings) > 1:
            with self._lock:
                if shapes in self._bindings:
                    self._bindings.move_to_end(shapes)
        return bound

    # What bindings ask

    def prologue(self, bound: Binding) -> _Prologue:
        """The part of the prologue that all sizes share; the first binding makes it."""
        with self._lock:
            if self._prologue is None:
                self._prologue = _Prologue(bound, self._kept, bound.variables_of(self._kept))
            return self._prologue

    def lives(self) -> memory.Lifetimes:
        return self._lifetimes

    def formulas(self, env: dict[SymDim, int]) -> Values:
        return self._formulas.values(env)

    def stored(self) -> list[StoredVariable]:
        return list(self._stored.values())

    def fixed_address(self, buffer: Buffer) -> int | None:
        """The address of a constant or a variable."""
        if buffer.kind is BufferKind.CONSTANT:
            return int(self._constants[buffer].ctypes.data)
        if buffer.kind is BufferKind.VARIABLE:
            return self._addresses[buffer]
        return None


class Binding:
    """A program for one set of sizes."""

    def __init__(self, program: CpuProgram, env: dict[SymDim, int]) -> None:
        schedule = program.schedule
        self._program = program
        self._values = program.formulas(env)
        size = self._values.size
        lives = program.lives()
        sizes = {b: size(b.nbytes) for b in lives.blocks}
        self.offsets, self.arena_bytes = memory.plan(sizes, lives.blocks)
        launches = launches_of((*schedule.prologue, *schedule.launches))
        self.scratch_bytes = max((size(launch.scratch) for launch in launches), default=0)
        self.outputs = [
            (tuple(size(d) for d in v.type.shape), v.type.dtype.numpy) for v in schedule.graph.outputs
        ]
        written = {u.variable for u in schedule.graph.updates}
        self.read = [v for v in program.stored() if v not in written]
        self.driver = driver.Driver(program.cache)
        self._pool: list[Instance] = []
        self._lock = threading.Lock()
        self.numbers = {b: i for i, b in enumerate((*schedule.inputs, *schedule.outputs))}
        self.kept: dict[Buffer, int] = {}  # addresses of the prologue's results
        self._prologues = [program.prologue(self)]
        self.kept.update(self._prologues[0].addresses)
        if program.kept_by_size:
            # These may also depend on variables through what all sizes share.
            reads = self.variables_of(schedule.prologue)
            self._prologues.append(_Prologue(self, program.kept_by_size, reads))
        self._main = _Table(self, schedule.launches)

    def check_out(self) -> Instance:
        with self._lock:
            if self._pool:
                return self._pool.pop()
        return Instance(self, self._main, self.arena_bytes)

    def execute(self, instance: Instance) -> None:
        """Runs the launches of an instance, on all threads where that is worth it."""
        self.driver.run(instance.frame(threads.pool(self.cache) if instance.shares else None))

    def check_in(self, instance: Instance) -> None:
        with self._lock:
            self._pool.append(instance)

    def refresh_prologue(self) -> None:
        """Computes what is kept again where a variable that it depends on has changed since."""
        for prologue in self._prologues:
            prologue.refresh(self)

    def address(self, buffer: Buffer) -> int | None:
        """The address of anything but inputs, outputs and temporaries."""
        fixed = self._program.fixed_address(buffer)
        return fixed if fixed is not None else self.kept.get(buffer)

    def place(self, buffer: Buffer) -> tuple[Buffer, int | None]:
        """The buffer that holds `buffer`'s bytes, and its offset in the arena where it is a temporary."""
        buffer = self._program.schedule.alias.get(buffer, buffer)
        if buffer.kind is not BufferKind.TEMP:
            return buffer, None
        return buffer, self.offsets[self._program.lives().block_of[buffer]]

    def bytes_of(self, buffer: Buffer) -> regions.Place:
        """The buffer that holds `buffer`'s bytes, and which bytes of the arena they are where it is a temporary."""
        buffer, offset = self.place(buffer)
        return buffer, None if offset is None else range(offset, offset + self._values.size(buffer.nbytes))

    @property
    def size(self) -> Values:
        return self._values

    @property
    def cache(self) -> KernelCache:
        return self._program.cache

    def variables_of(self, launches: Sequence[Step]) -> list[StoredVariable]:
        """The variables that launches read."""
        read = {b for launch in launches for b in launch.reads}
        return [_stored(v) for v, b in self._program.schedule.variables.items() if b in read]


class _Prologue:
    """Launches whose results are kept: the memory of these, and the versions of the variables they were made from."""

    def __init__(self, bound: Binding, launches: Sequence[Step], reads: Sequence[StoredVariable]) -> None:
        buffers = dict.fromkeys(b for launch in launches for b in launch.writes)
        self._arrays = [aligned_empty((bound.size.size(b.nbytes),), _BYTE) for b in buffers]
        self.addresses = {b: int(a.ctypes.data) for b, a in zip(buffers, self._arrays, strict=True)}
        bound.kept.update(self.addresses)
        self._table = _Table(bound, launches)
        self._reads = reads
        self._versions: tuple[int, ...] | None = None
        self._lock = threading.Lock()

    def refresh(self, bound: Binding) -> None:
        """Runs the launches where a variable that they depend on has another version than the last time."""
        versions = tuple([v.version for v in self._reads])
        if versions != self._versions:
            with self._lock:
                if versions != self._versions:
                    bound.execute(Instance(bound, self._table, 0))
                    self._versions = versions


def _split_by_size(prologue: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """The launches whose results all sizes can share, and those whose results depend on the sizes."""
    shared: list[Step] = []
    by_size: list[Step] = []
    written: set[Buffer] = set()
    for launch in prologue:
        if all(isinstance(d, int) for d in dims_of(launch)) and written.isdisjoint((*launch.reads, *launch.writes)):
            shared.append(launch)
        else:
            by_size.append(launch)
            written.update(launch.writes)
    return shared, by_size


class _Table:
    """The template of a launch table: rows, slots, and which slots get the address of the arena, of another slot, or
    the user's pointers."""

    def __init__(self, bound: Binding, steps: Sequence[Step]) -> None:
        self._bound = bound
        self._slots: list[int] = []
        self.in_arena: list[int] = []
        self.in_slots: list[int] = []
        self.patches: list[tuple[int, int]] = []  # (slot, number of the pointer)
        self._moving: dict[LoopId, list[tuple[int, Read | Write]]] = {}
        self.shares = False
        self.rows = self._rows(steps)
        self.slots = np.array(self._slots, np.int64)

    def _rows(self, steps: Sequence[Step]) -> Array:
        parts: list[Array] = []
        run: list[Launch] = []
        for step in steps:
            if isinstance(step, Launch):
                run.append(step)
                continue
            parts.append(self._launches(run))
            run = []
            parts.append(self._loop(step) if isinstance(step, Loop) else self._branch(step))
        return np.concatenate([*parts, self._launches(run)])

    def _launches(self, launches: Sequence[Launch]) -> Array:
        size = self._bound.size.size
        rows: list[list[int]] = []
        for launch in launches:
            start = self._add(launch.slots, launch.comment)
            nbytes = sum(size(b.nbytes) for b in launch.touched)
            time = regions.estimated_time(size(launch.work), nbytes)
            fn = self._bound.cache.get(launch.kernel, launch.comment)
            rows.append([fn, 8 * start, size(launch.tiles), int(launch.order), time, 0, 0, 0])
        made = np.array(rows, np.int64).reshape(-1, driver.COLUMNS)
        self.shares |= regions.mark_regions(made, launches, self._bound.bytes_of)
        return made

    def _loop(self, loop: Loop) -> Array:
        """The row of a loop, and as the first row of its body the one that moves slots on; the iteration number is the
        first slot of that one."""
        body = self._rows(loop.body)
        moving = self._moving.pop(loop.id, [])
        start = len(self._slots)
        self._slots += [0, len(moving)]
        for index, slot in moving:
            assert slot.buffer.part is not None
            self.in_slots.append(len(self._slots))
            self._slots.append(8 * index)
            part = slot.buffer.part
            self._add((Read(part.of), part.first, slot.offset, part.step), loop.comment)
        move = self._row(driver.MOVE, start, loop.comment)
        head = [0, 8 * start, 0, driver.LOOP, 0, self._bound.size.size(loop.count), len(body) + 1, 0]
        return np.concatenate([[head], move, body])

    def _branch(self, branch: Branch) -> Array:
        then, otherwise = self._rows(branch.then), self._rows(branch.otherwise)
        start = self._add((Read(branch.condition), 0), branch.comment)
        test = self._row(driver.TEST, start, branch.comment)
        head = [0, 8 * (start + 1), 0, driver.BRANCH, 0, len(then), len(otherwise), 0]
        return np.concatenate([test, [head], then, otherwise])

    def _row(self, kernel: Kernel, start: int, comment: str) -> Array:
        return np.array([[self._bound.cache.get(kernel, comment), 8 * start, 1, driver.BARRIER, 0, 0, 0, 0]], np.int64)

    def _add(self, slots: Sequence[object], comment: str) -> int:
        """Appends slots; gives the number of the first."""
        start = len(self._slots)
        for slot in slots:
            self._slots.append(self._slot(self._bound, slot, len(self._slots), comment))
        return start

    def _slot(self, bound: Binding, slot: object, index: int, comment: str) -> int:
        if isinstance(slot, (Read, Write)) and slot.buffer.part is not None:
            self._moving.setdefault(slot.buffer.part.loop, []).append((index, slot))
            return 0
        if isinstance(slot, (Read, Write)):
            buffer, offset = bound.place(slot.buffer)
            extra = bound.size.size(slot.offset)
            if offset is not None:
                self.in_arena.append(index)
                return offset + extra
            if buffer in bound.numbers:
                self.patches.append((index, bound.numbers[buffer]))
                if extra:
                    raise ValueError(f"slot {index}: inputs and outputs take no offset")
                return 0
            address = bound.address(buffer)
            assert address is not None, f"buffer {buffer.name} has no place"
            return address + extra
        if isinstance(slot, (F32, F64)):
            return float_bits(slot)
        if isinstance(slot, Entry):
            return bound.cache.get(slot.kernel, comment)
        return bound.size.size(slot)  # type: ignore[arg-type]


class Instance:
    """A table, an arena and scratch for one run at a time. `shares`: some of its launches are worth threads."""

    def __init__(self, bound: Binding, table: _Table, arena_bytes: int) -> None:
        self.shares = table.shares
        self._arena = aligned_empty((arena_bytes,), _BYTE)
        self._slots = table.slots.copy()
        self._slots[table.in_arena] += self._arena.ctypes.data
        self._slots[table.in_slots] += self._slots.ctypes.data
        self._rows = table.rows.copy()
        self._rows[:, driver.ARGS] += self._slots.ctypes.data
        patches = [(self._slots.ctypes.data + 8 * slot, number) for slot, number in table.patches]
        self._patches = np.array(patches, np.int64).reshape(-1, 2)
        self.pointers = np.zeros(len(bound.numbers), np.int64)
        self._stride = -(-bound.scratch_bytes // _LINE) * _LINE + _LINE
        self._driver = bound.driver
        self._use(None)

    def frame(self, pool: threads.Pool | None) -> int:
        """The address of the driver's frame for a run on the threads of a pool."""
        if pool is not self._pool:
            self._use(pool)
        return self._frame_address

    def _use(self, pool: threads.Pool | None) -> None:
        """Makes scratch for every thread of the pool; no two of them share a cache line."""
        self._pool = pool
        self._scratch = aligned_empty(((pool.threads if pool else 1) * self._stride,), _BYTE)
        self._frame = self._driver.frame(
            table=self._rows.ctypes.data,
            n_rows=len(self._rows),
            patches=self._patches.ctypes.data,
            n_patches=len(self._patches),
            pointers=self.pointers.ctypes.data,
            worker=self._scratch.ctypes.data,
            stride=self._stride,
            pool=pool.address if pool else 0,
        )
        self._frame_address = int(self._frame.ctypes.data)


def _filled(data: bytes) -> Array:
    array = aligned_empty((len(data),), _BYTE)
    array[...] = np.frombuffer(data, np.uint8)
    return array


def _stored(v: object) -> StoredVariable:
    if not isinstance(v, StoredVariable):
        raise TypeError(f"{v!r} has no content; programs run on stored variables")
    return v
