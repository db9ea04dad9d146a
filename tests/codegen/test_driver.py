"""The driver: launches in order, patches, nested loops and branches, and what a row costs."""

from __future__ import annotations

import time

import numpy as np
import pytest

from codegen.cache import KernelCache
from codegen.cpu.call import c_function
from codegen.cpu.driver import (
    ARGS,
    BARRIER,
    BRANCH,
    CHAINED,
    COLUMNS,
    FN,
    INDEPENDENT,
    KIND,
    LOOP,
    TILES,
    A,
    B,
    Driver,
)
from codegen.source import Kernel

Array = np.ndarray  # type: ignore[type-arg]

APPEND = Kernel(
    "append",
    """
def kernel(args, lo, hi, worker):
    a = slots(args)
    log = slots(a[0])
    n = log[0] + 1
    log[0] = n
    value = a[1] + 1000 * hi + 1000000 * worker
    if a[2] != 0:
        value += 10 * slots(a[2])[0]
    log[n] = value
""",
    comment="appends a number to a log: slots are the log, a number, the address of an iteration counter or 0",
)


class Table:
    """Rows that append to a log, so that the order of calls can be read from it."""

    def __init__(self, cache: KernelCache) -> None:
        self.fn = cache.get(APPEND)
        self.log = np.zeros(200, np.int64)
        self.rows: list[list[int]] = []
        self.keep: list[Array] = []

    def launch(self, number: int, counter: Array | None = None, kind: int = BARRIER, tiles: int = 0) -> Array:
        slots = np.array([self.log.ctypes.data, number, counter.ctypes.data if counter is not None else 0], np.int64)
        self.keep.append(slots)
        self.add({FN: self.fn, ARGS: slots.ctypes.data, KIND: kind, TILES: tiles})
        return slots

    def add(self, values: dict[int, int]) -> None:
        self.rows.append([values.get(column, 0) for column in range(COLUMNS)])

    def run(
        self, driver: Driver, patches: Array | None = None, pointers: Array | None = None, worker: int = 0
    ) -> list[int]:
        table = np.array(self.rows, np.int64).reshape(-1, COLUMNS)
        patches = np.zeros((0, 2), np.int64) if patches is None else patches
        pointers = np.zeros(0, np.int64) if pointers is None else pointers
        self.log[:] = 0
        frame = driver.frame(
            table.ctypes.data, len(table), patches.ctypes.data, len(patches), pointers.ctypes.data, worker
        )
        driver.run(frame.ctypes.data)
        return [int(v) for v in self.log[1 : 1 + self.log[0]]]


@pytest.fixture(scope="module")
def driver(cache: KernelCache) -> Driver:
    return Driver(cache)


def test_launches_run_in_order_with_their_tiles(cache: KernelCache, driver: Driver) -> None:
    table = Table(cache)
    for number, kind in enumerate((BARRIER, INDEPENDENT, CHAINED)):
        table.launch(number, kind=kind, tiles=number)
    assert table.run(driver) == [0, 1001, 2002]
    assert table.run(driver, worker=3) == [3000000, 3001001, 3002002]


def test_empty_table(cache: KernelCache, driver: Driver) -> None:
    assert Table(cache).run(driver) == []


def test_patches_change_addresses_between_runs(cache: KernelCache, driver: Driver) -> None:
    table = Table(cache)
    slots = table.launch(5)
    other = np.zeros(10, np.int64)
    patches = np.array([[slots.ctypes.data, 1], [slots.ctypes.data + 8, 0]], np.int64)
    pointers = np.array([42, other.ctypes.data], np.int64)
    assert table.run(driver, patches, pointers) == []
    assert other[:2].tolist() == [1, 42]
    pointers[:] = 43, table.log.ctypes.data
    assert table.run(driver, patches, pointers) == [43]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_loop(cache: KernelCache, driver: Driver, count: int) -> None:
    table = Table(cache)
    counter = np.full(1, -1, np.int64)
    table.launch(1)
    table.add({KIND: LOOP, ARGS: counter.ctypes.data, A: count, B: 2})
    table.launch(2, counter)
    table.launch(3, counter)
    table.launch(4)
    assert table.run(driver) == [1, *(v for i in range(count) for v in (2 + 10 * i, 3 + 10 * i)), 4]


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize(("yes", "no"), [(1, 2), (2, 0), (0, 1)])
def test_branch(cache: KernelCache, driver: Driver, flag: bool, yes: int, no: int) -> None:
    table = Table(cache)
    condition = np.array([flag])
    table.add({KIND: BRANCH, ARGS: condition.ctypes.data, A: yes, B: no})
    for number in range(yes):
        table.launch(1 + number)
    for number in range(no):
        table.launch(5 + number)
    table.launch(9)
    assert table.run(driver) == [*(range(1, 1 + yes) if flag else range(5, 5 + no)), 9]


def test_nesting(cache: KernelCache, driver: Driver) -> None:
    """A loop with a branch whose true side is another loop."""
    table = Table(cache)
    outer, inner, condition = np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([True])
    table.add({KIND: LOOP, ARGS: outer.ctypes.data, A: 2, B: 5})
    table.launch(1, outer)
    table.add({KIND: BRANCH, ARGS: condition.ctypes.data, A: 2, B: 1})
    table.add({KIND: LOOP, ARGS: inner.ctypes.data, A: 2, B: 1})
    table.launch(2, inner)
    table.launch(3)
    table.launch(4)
    assert table.run(driver) == [1, 2, 12, 11, 2, 12, 4]
    condition[0] = False
    assert table.run(driver) == [1, 3, 11, 3, 4]


def test_overhead_of_a_row(cache: KernelCache, driver: Driver) -> None:
    nothing = cache.get(Kernel("nothing", "def kernel(args, lo, hi, worker):\n    pass\n"))
    table = np.zeros((1000, COLUMNS), np.int64)
    table[:, FN] = nothing
    frame = driver.frame(table.ctypes.data, len(table))
    address = frame.ctypes.data
    best = 1.0
    for _ in range(50):
        start = time.perf_counter()
        driver.run(address)
        best = min(best, time.perf_counter() - start)
    assert best / len(table) < 50e-9  # about 2 ns; generous for busy machines


def test_functions_run_without_the_interpreter_lock(cache: KernelCache) -> None:
    """Two kernels that wait for each other finish only if both run at once."""
    import threading

    source = """
def kernel(args, lo, hi, worker):
    a = slots(args)
    a[lo] = 1
    spins = 0
    while a[hi] == 0 and spins < 4000000000:
        spins += worker
"""
    function = c_function(cache.get(Kernel("meet", source)))
    flags = np.zeros(2, np.int64)
    other = threading.Thread(target=function, args=(flags.ctypes.data, 0, 1, 1))
    other.start()
    flags[1] = 1
    other.join(timeout=20)
    assert not other.is_alive() and flags[0] == 1
