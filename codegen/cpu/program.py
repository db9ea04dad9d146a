"""The CPU program: a schedule with its kernels' addresses, bound to sizes on demand.

A `Binding` is the immutable result for one set of sizes: the launch table and how much memory a run takes. An
`Instance` of it (`table.py`) is checked out for a run, so that runs do not collide. Before it comes
`codegen/schedule.py`; a run is one call of the driver (`driver.py`), which shares the rows that `regions.py` found
worth it among the threads of a pool (`threads.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from codegen import collector, memory
from codegen.binding import Formulas, mentions_symbols
from codegen.cache import KernelCache
from codegen.cpu import driver, threads
from codegen.cpu.pace import Pace
from codegen.cpu.planner import Planner
from codegen.cpu.table import Instance, Places, Table, Template
from codegen.launch import Buffer, Entry, Launch, Order, Step, launches_of
from codegen.schedule import Schedule
from codegen.source import Kernel
from codegen.storage import StoredVariable, access, address_of, aligned_empty
from ir import binding
from ir.dims import Dim, SymDim
from ir.graph import Graph

Array = np.ndarray

_BINDINGS_KEPT = 16  # sets of sizes; the least recently used goes first
_BYTE = np.dtype(np.uint8)


class CpuProgram:
    """A graph lowered for the CPU. Its variables must be `StoredVariable`s."""

    def __init__(self, schedule: Schedule, cache: KernelCache) -> None:
        self.graph: Graph = schedule.graph
        self.schedule = schedule
        self.cache = cache
        self.lives = memory.lifetimes(schedule.launches, schedule.alias)
        self._bindings: OrderedDict[tuple[tuple[int, ...], ...], Binding] = OrderedDict()
        self.bind_seconds = 0.0
        self._lock = threading.RLock()
        self.constants = {b: _filled(data) for b, data in schedule.constants.items()}
        self.stored = {v: _stored(v) for v in schedule.graph.variables}
        self._written = [self.stored[u.variable] for u in schedule.graph.updates]
        written = set(self._written)
        self._access = access([v for v in self.stored.values() if v not in written], self._written)
        self._dtypes = [v.type.dtype.numpy for v in schedule.graph.inputs]
        self._parts: _Parts | None = None

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `codegen.targets.Program.run`."""
        bound = self._bind(inputs)
        instance = bound.check_out()
        outputs = [np.empty(shape, dtype) for shape, dtype in bound.outputs]
        for i, array in enumerate((*inputs, *outputs)):
            instance.pointers[i] = address_of(array)
        try:
            with self._access:
                bound.refresh_prologue()
                for v in self._written:  # before they change: Ctrl-C may come right behind
                    v.version += 1
                bound.execute(instance)
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
        return memory.peak(self.lives.blocks)

    def _bind(self, inputs: Sequence[Array]) -> Binding:
        if len(inputs) != len(self._dtypes):
            binding.check_count(self.graph, len(inputs))
        for a, dtype in zip(inputs, self._dtypes, strict=True):
            if (a.dtype is not dtype and a.dtype != dtype) or not a.flags.c_contiguous:
                binding.check_dtypes(self.graph, inputs)
                raise ValueError("inputs of a program must be C-contiguous")
        shapes = tuple([a.shape for a in inputs])
        bound = self._bindings.get(shapes)
        if bound is None:
            env = binding.bind_sizes(self.graph, shapes)
            with self._lock:
                bound = self._bindings.get(shapes)
                if bound is None:
                    bound = self._bindings[shapes] = self._bind_sizes(env)
                    while len(self._bindings) > _BINDINGS_KEPT:
                        self._bindings.popitem(last=False)
        elif len(self._bindings) > 1:
            with contextlib.suppress(KeyError):  # another thread's binding took its place just now
                self._bindings.move_to_end(shapes)
        return bound

    def _bind_sizes(self, env: dict[SymDim, int]) -> Binding:
        start = time.perf_counter()
        if self._parts is None:
            with collector.pause:
                self._parts = _Parts(self)
            self.cache.progress.done()
        bound = Binding(self._parts, env)
        self.bind_seconds += time.perf_counter() - start
        return bound


class _Parts:
    """What all bindings of a program share, made by the first one: numbered sizes, templates with loaded kernels, and
    the results of that part of the prologue that does not depend on sizes."""

    def __init__(self, program: CpuProgram) -> None:
        schedule, graph, lives = program.schedule, program.graph, program.lives
        self.cache = cache = program.cache
        self.driver = driver.Driver(cache)
        self.formulas = formulas = Formulas(graph.symbols)
        fixed = {b: int(a.ctypes.data) for b, a in program.constants.items()}
        fixed |= {b: program.stored[v].address for v, b in schedule.variables.items()}
        kept = list(dict.fromkeys(b for step in schedule.prologue for b in step.writes))
        places = Places(schedule.alias, lives, (*schedule.inputs, *schedule.outputs), kept, fixed)
        self.planner = Planner(places.lives, cache)
        self.blocks = formulas.numbers(b.nbytes for b in lives.blocks)
        self.main = Template(schedule.launches, formulas, places, cache)
        self.scratch = formulas.numbers(
            dict.fromkeys(launch.scratch for launch in launches_of((*schedule.prologue, *schedule.launches)))
        )
        self.outputs = [(formulas.numbers(v.type.shape), v.type.dtype.numpy) for v in graph.outputs]

        def prologue(steps: Sequence[Step], source: Sequence[Step]) -> _Prologue:
            read = {b for step in source for b in step.reads}
            passing = _passing(steps, (*schedule.prologue, *schedule.launches))
            results = [b for b in dict.fromkeys(b for step in steps for b in step.writes) if b not in passing]
            if passing:
                # They share memory, which orders that look at buffers alone do not know of.
                steps = [dataclasses.replace(s, order=Order.BARRIER) if isinstance(s, Launch) else s for s in steps]
            return _Prologue(
                Template(steps, formulas, places, cache),
                np.array([places.numbers[b] for b in results], np.intp),
                formulas.numbers(b.nbytes for b in results),
                np.array([places.numbers[b] for b in passing], np.intp),
                formulas.numbers(b.nbytes for b in passing),
                Planner(passing.values(), cache),
                [program.stored[v] for v, b in schedule.variables.items() if b in read],
            )

        shared, by_size = _split_by_size(schedule.prologue)
        self._shared = prologue(shared, shared)
        # What depends on sizes may also depend on variables through what all sizes share.
        self._by_size = prologue(by_size, schedule.prologue)
        self._places = np.zeros(len(places.numbers), np.int64)
        self._kept: list[_Kept] | None = None

    def keep(self, sizes: Array) -> tuple[Array, list[_Kept]]:
        """Makes room for what is kept, for these sizes: all places, as far as they are known, and what is kept."""
        if self._kept is None:
            self._kept = self._shared.keep(sizes, self._places)
        places = self._places.copy()
        return places, self._kept + self._by_size.keep(sizes, places)


class Binding:
    """A program for one set of sizes."""

    def __init__(self, parts: _Parts, env: dict[SymDim, int]) -> None:
        self._parts = parts
        sizes = parts.formulas.evaluate(env)
        block_sizes = sizes[parts.blocks]
        places, self.kept = parts.keep(sizes)
        places[: len(block_sizes)], self.arena_bytes = parts.planner.plan(block_sizes)
        self._table = parts.main.table(sizes, places, block_sizes)
        self.scratch_bytes = int(sizes[parts.scratch].max(initial=0))
        self.outputs = [(tuple(sizes[shape].tolist()), dtype) for shape, dtype in parts.outputs]
        self._pace = Pace()
        self._pool: list[Instance] = []

    def check_out(self) -> Instance:
        try:
            return self._pool.pop()
        except IndexError:
            return Instance(self._table, self.arena_bytes, self.scratch_bytes, self._parts.driver)

    def execute(self, instance: Instance) -> None:
        """Runs the launches of an instance, on all threads where that is worth it."""
        pool = threads.pool(self._parts.cache) if instance.shares else None
        if pool is None:
            self._parts.driver.run(instance.frame(None))
            return
        start = time.perf_counter_ns()
        shared = self._pace.shares(start)
        self._parts.driver.run(instance.frame(pool if shared else None))
        self._pace.note(shared, start, time.perf_counter_ns() - start)

    def check_in(self, instance: Instance) -> None:
        self._pool.append(instance)

    def refresh_prologue(self) -> None:
        """Computes what is kept again where a variable that it depends on has changed since."""
        for kept in self.kept:
            if kept.is_old():
                with kept.lock:
                    if kept.is_old():
                        self._prepare(Instance(kept.table, 0, self.scratch_bytes, self._parts.driver))
                        kept.renewed()

    def _prepare(self, prologue: Instance) -> None:
        """Runs a prologue: other work than that of a run, so it says nothing of how long these take."""
        pool = threads.pool(self._parts.cache) if prologue.shares else None
        self._parts.driver.run(prologue.frame(pool))


@dataclasses.dataclass(frozen=True)
class _Prologue:
    """Steps whose results are kept: the places and sizes of these, and the variables that they depend on."""

    template: Template
    results: Array
    nbytes: Array
    passing: Array  # what only its own steps read, in memory that they share
    passing_nbytes: Array
    planner: Planner
    reads: list[StoredVariable]

    def keep(self, sizes: Array, places: Array) -> list[_Kept]:
        """Makes room for the results and notes where in `places`; nothing where there are none."""
        if not len(self.results):
            return []
        arrays = [aligned_empty((n,), _BYTE) for n in sizes[self.nbytes].tolist()]
        places[self.results] = [a.ctypes.data for a in arrays]
        offsets, nbytes = self.planner.plan(sizes[self.passing_nbytes])
        arrays.append(aligned_empty((nbytes,), _BYTE))
        places[self.passing] = offsets + arrays[-1].ctypes.data
        return [_Kept(self.template.table(sizes, places, np.empty(0, np.int64)), arrays, self.reads)]


class _Kept:
    """Results of a prologue, and the versions of the variables they were made from."""

    def __init__(self, table: Table, arrays: list[Array], reads: list[StoredVariable]) -> None:
        self.table = table
        self.lock = threading.Lock()
        self._arrays = arrays
        self._reads = reads
        self._versions: list[int] | None = None

    def is_old(self) -> bool:
        """Whether a variable has another version than when the results were made."""
        return self._versions != [v.version for v in self._reads]

    def renewed(self) -> None:
        self._versions = [v.version for v in self._reads]


def _passing(steps: Sequence[Step], of: Sequence[Step]) -> dict[Buffer, memory.Lifetime]:
    """What `steps` write and none of the other steps `of` the program reads, and from which step to which it is
    needed."""
    own = {id(step) for step in steps}
    read = {b for step in of if id(step) not in own for b in step.reads}
    written = {b for step in steps for b in step.writes}
    found: dict[Buffer, memory.Lifetime] = {}
    for i, step in enumerate(steps):
        for b in (*step.reads, *step.writes):
            if b in written and b not in read:
                first = found[b].first if b in found else i
                found[b] = memory.Lifetime(first, i)
    return found


def _split_by_size(prologue: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """The launches whose results all sizes can share, and those whose results depend on the sizes."""
    shared: list[Step] = []
    by_size: list[Step] = []
    written: set[Buffer] = set()
    for launch in prologue:
        if mentions_symbols(launch) or not written.isdisjoint((*launch.reads, *launch.writes)):
            by_size.append(launch)
            written.update(launch.writes)
        else:
            shared.append(launch)
    return shared, by_size


def _filled(data: bytes) -> Array:
    array = aligned_empty((len(data),), _BYTE)
    array[...] = np.frombuffer(data, np.uint8)
    return array


def _stored(v: object) -> StoredVariable:
    if not isinstance(v, StoredVariable):
        raise TypeError(f"{v!r} has no content; programs run on stored variables")
    return v
