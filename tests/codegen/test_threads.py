"""Threads: the same bits for any number of them, from several Python threads, after a fork and at exit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from codegen.cache import KernelCache
from codegen.cpu import driver as d
from codegen.cpu import regions, threads
from codegen.cpu.program import CpuProgram
from codegen.cpu.target import CpuTarget
from codegen.launch import Buffer, BufferKind, Launch, Order, Read, Write
from codegen.memory import Lifetime
from codegen.source import Kernel
from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.extract import extract
from ir.types import TensorType

Array = np.ndarray  # type: ignore[type-arg]
ROOT = Path(__file__).parents[2]
B = SymDim("B")

COUNT = Kernel(
    "count",
    """
def kernel(args, lo, hi, worker):
    a = slots(args)
    times, workers = slots(a[0]), slots(a[1])
    for i in range(lo, hi):
        times[i] += 1
        workers[i] = worker
""",
    comment="counts how often each tile runs and notes by whom",
)


@pytest.fixture(autouse=True)
def set_threads() -> Iterator[Callable[[int], None]]:
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


@dataclass
class Region:
    """A table of one region whose rows have the given numbers of tiles. Workers' scratch is at 0, 1, 2, ..."""

    cache: KernelCache
    tiles: tuple[int, ...]
    time: int = 10**9
    counts: list[Array] = field(default_factory=list)
    workers: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [np.zeros(n, np.int64) for n in self.tiles]
        self.workers = [np.full(n, -1) for n in self.tiles]
        arrays = zip(self.counts, self.workers, strict=True)
        self.slots = [np.array([c.ctypes.data, w.ctypes.data]) for c, w in arrays]
        self.rows = np.zeros((len(self.tiles), d.COLUMNS), np.int64)
        self.rows[:, d.FN] = self.cache.get(COUNT)
        self.rows[:, d.ARGS] = [s.ctypes.data for s in self.slots]
        self.rows[:, d.TILES] = self.tiles
        self.rows[1:, d.KIND] = d.INDEPENDENT
        self.rows[0, [d.A, d.B, d.WORK]] = len(self.tiles), sum(self.tiles), self.time
        self.driver = d.Driver(self.cache)

    def runner(self, pool: threads.Pool | None) -> Callable[[], None]:
        frame = self.driver.frame(
            self.rows.ctypes.data, len(self.rows), stride=1, pool=pool.address if pool else 0
        )
        return lambda: self.driver.run(frame.ctypes.data)


def perceptron() -> CpuProgram:
    """Matrix products, elementwise operations and reductions, most of them large enough for threads."""
    x = b.input_value(TensorType(dtypes.f32, (B, 200)), "x")
    w = b.input_value(TensorType(dtypes.f32, (200, 333)), "w")
    h = b.unary("tanh", b.apply1("matmul", x, w, transpose_a=False, transpose_b=False))
    back = b.apply1("matmul", h, w, transpose_a=False, transpose_b=True)
    outputs = [b.mul(back, b.add(x, 0.5)), b.reduce_sum(h, (0,)), b.reduce_mean(h, (1,)), b.reduce_sum(b.mul(h, h))]
    return CpuTarget().program(extract("perceptron", [x, w], outputs))


def feeds(batch: int, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(np.float32) for s in ((batch, 200), (200, 333))]


def same(found: list[Array], expected: list[Array]) -> bool:
    return all(f.tobytes() == e.tobytes() for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("batch", [1, 64, 701])
def test_same_bits_for_any_number_of_threads(batch: int, set_threads: Callable[[int], None]) -> None:
    program, inputs = perceptron(), feeds(batch)
    results = []
    for n in (1, 2, 3, 5, 2, 1):
        set_threads(n)
        results += [program.run(inputs) for _ in range(3)]
    assert all(same(r, results[0]) for r in results)
    x, w = (a.astype(np.float64) for a in inputs)
    h = np.tanh(x @ w)
    np.testing.assert_allclose(results[0][0], h @ w.T * (x + 0.5), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(results[0][3], (h * h).sum(), rtol=1e-5)


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("tiles", [(2,), (97,), (1000,), (3, 0, 1, 50), (0, 0, 2), (1, 1, 1, 1, 1)], ids=str)
def test_every_tile_runs_once(
    cache: KernelCache, set_threads: Callable[[int], None], tiles: tuple[int, ...], n: int
) -> None:
    set_threads(n)
    region, pool = Region(cache, tiles), threads.pool(cache)
    run = region.runner(pool)
    for _ in range(200):
        run()
    for times, workers in zip(region.counts, region.workers, strict=True):
        assert (times == 200).all() and ((workers >= 0) & (workers < n)).all()


def test_helpers_take_part(cache: KernelCache, set_threads: Callable[[int], None]) -> None:
    set_threads(3)
    region, pool = Region(cache, (1000,)), threads.pool(cache)
    run, seen = region.runner(pool), set()
    deadline = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < deadline:
        run()
        seen |= set(region.workers[0].tolist())
    assert seen == {0, 1, 2}


def test_many_tiny_regions(cache: KernelCache, set_threads: Callable[[int], None]) -> None:
    """Far more launches than helpers can follow, some of which wake them and some not."""
    set_threads(3)
    pool = threads.pool(cache)
    regions_ = [Region(cache, (2,)), Region(cache, (1, 1, 5)), Region(cache, (9,), time=0)]
    runs = [r.runner(pool) for r in regions_]
    for i in range(20_000):
        runs[i % 3]()
        if i % 2000 == 0:
            time.sleep(0.001)  # long enough for helpers to fall asleep
    total = sum(int(c.sum()) for r in regions_ for c in r.counts)
    assert total == sum(sum(r.tiles) * len(range(i, 20_000, 3)) for i, r in enumerate(regions_))


def test_several_python_threads(set_threads: Callable[[int], None]) -> None:
    """Eight threads run one program on different data while another one changes the number of threads."""
    set_threads(1)
    program = perceptron()
    expected = [program.run(feeds(100, seed)) for seed in range(8)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        inputs = feeds(100, seed)
        if not all(same(program.run(inputs), expected[seed]) for _ in range(25)):
            wrong.append(seed)

    set_threads(3)
    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    n = 0
    while any(worker.is_alive() for worker in workers):
        set_threads(1 + n % 4)
        n += 1
        time.sleep(0.005)
    for worker in workers:
        worker.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_after_fork(set_threads: Callable[[int], None]) -> None:
    set_threads(3)
    program, inputs = perceptron(), feeds(300)
    expected = program.run(inputs)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                fresh = {t.name for t in threading.enumerate()}
                right = same(program.run(inputs), expected) and not any(t.startswith("kgraph") for t in fresh)
                right = right and threads.pool(program.cache) is not None
            finally:
                os._exit(0 if right else 1)
        assert _status(child) == 0
        assert same(program.run(inputs), expected)


def _status(child: int) -> int:
    """The exit status of a child process, which is killed after a while."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(child, 9)
    return os.waitpid(child, 0)[1]


def script(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    setup = "from tests.codegen.test_threads import *\n"
    return subprocess.run(
        [sys.executable, "-c", setup + code], env=os.environ | {"PYTHONPATH": str(ROOT)} | env, cwd=ROOT,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_ends_cleanly() -> None:
    """With helpers that sleep, while another thread runs a program, and with a run after the pool has been stopped."""
    code = """
import atexit
program = perceptron()
inputs = feeds(300)
atexit.unregister(threads._threads.close)
atexit.register(lambda: print(len(program.run(inputs)), threads.pool(program.cache)))
atexit.register(threads._threads.close)
program.run(inputs)
print([t.name for t in threading.enumerate()])
def work():
    while True:
        program.run(inputs)
threading.Thread(target=work, daemon=True).start()
"""
    done = script(code, KGRAPH_NUM_THREADS="3")
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (
        ["['MainThread', 'kgraph-1', 'kgraph-2']", "4 None"], "", 0,
    )  # fmt: skip


def test_warm_process_needs_no_numba() -> None:
    code = "p = perceptron(); p.run(feeds(300)); print(threads.pool(p.cache).threads, 'numba' in sys.modules)"
    script(code, KGRAPH_NUM_THREADS="2")
    assert script(code, KGRAPH_NUM_THREADS="2").stdout.split() == ["2", "False"]


def test_no_pool_without_work_for_it(set_threads: Callable[[int], None]) -> None:
    set_threads(2)
    x = b.input_value(TensorType(dtypes.f32, (10,)), "x")
    CpuTarget().program(extract("small", [x], [b.add(x, 1.0)])).run([np.ones(10, np.float32)])
    assert not any(t.name.startswith("kgraph") and t.is_alive() for t in threading.enumerate())


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "n must be between 1 and 1024, got 0"),
        (-3, ValueError, "n must be between 1 and 1024, got -3"),
        (5000, ValueError, "n must be between 1 and 1024, got 5000"),
        (2.0, TypeError, "n must be an integer, got 2.0 of type float"),
        ("2", TypeError, "n must be an integer, got '2' of type str"),
        (None, TypeError, "n must be an integer, got None of type NoneType"),
    ],
)
def test_bad_numbers(n: object, error: type[Exception], message: str) -> None:
    before = threads.get_num_threads()
    with pytest.raises(error, match=f"set_num_threads: {message}"):
        threads.set_num_threads(n)  # type: ignore[arg-type]
    assert threads.get_num_threads() == before


def test_good_numbers(set_threads: Callable[[int], None]) -> None:
    set_threads(np.int64(4))  # type: ignore[arg-type]
    assert threads.get_num_threads() == 4


def test_number_from_the_environment() -> None:
    code = "print(threads.get_num_threads())"
    assert script(code, KGRAPH_NUM_THREADS=" 3 ").stdout.split() == ["3"]
    assert script(code, KGRAPH_NUM_THREADS="").stdout.split() == [str(threads.usable_cpus())]
    for text in ("0", "-1", "two", "1.5"):
        assert f"KGRAPH_NUM_THREADS must be an integer between 1 and 1024, got '{text}'" in script(
            code, KGRAPH_NUM_THREADS=text
        ).stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to CPUs")
def test_default_is_the_cpus_that_the_process_may_use() -> None:
    code = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(threads.get_num_threads())"
    assert script(code, KGRAPH_NUM_THREADS="").stdout.split() == ["1"]


# Regions


def launch(reads: str, writes: str, order: Order, buffers: dict[str, Buffer]) -> Launch:
    slots = (*(Read(buffers[c]) for c in reads), *(Write(buffers[c]) for c in writes))
    return Launch(COUNT, slots, tiles=4, order=order)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        # Each launch is "order reads>writes"; upper-case buffers lie in the arena, 10 bytes each, A at 0, B at 10, ...;
        # Z lies where A and B do.
        ("b a>b", [1]),
        ("b a>b, b b>c", [1, 1]),
        ("b a>b, i c>d, i e>f", [3, 0, 0]),
        ("b a>b, i c>d, b b>e, i d>f", [2, 0, 2, 0]),
        ("b a>b, c b>c, i a>d", [1, 2, 0]),
        ("b a>b, i b>c", [1, 1]),  # reads what the region writes
        ("b a>b, i c>a, i d>e", [1, 2, 0]),  # writes what the region reads
        ("b a>z, i b>z", [2, 0]),  # disjoint parts of one buffer
        ("b A>B, i C>D", [2, 0]),
        ("b a>A, i b>Z", [1, 1]),  # the planner gave both the same memory
        ("b A>a, i b>Z", [1, 1]),
        ("b A>a, i Z>b", [2, 0]),  # two that only read
    ],
)
def test_regions(table: str, expected: list[int]) -> None:
    arena = {"Z": range(0, 20)} | {c: range(10 * i, 10 * i + 10) for i, c in enumerate("ABCD")}
    buffers = {c: Buffer(BufferKind.TEMP, 10, name=c) for c in "abcdefz" + "".join(arena)}
    orders = {"b": Order.BARRIER, "i": Order.INDEPENDENT, "c": Order.CHAINED}
    launches = []
    for item in table.split(", "):
        order, _, uses = item.partition(" ")
        reads, _, writes = uses.partition(">")
        launches.append(launch(reads, writes, orders[order], buffers))
    rows = np.zeros((len(launches), d.COLUMNS), np.int64)
    rows[:, d.TILES], rows[:, d.WORK] = 4, 10_000
    # A block lives from its first write to its last use; one that is only read was written before.
    lives = []
    for c in arena:
        used = [i for i, x in enumerate(launches) if buffers[c] in (*x.reads, *x.writes)]
        written = [i for i, x in enumerate(launches) if buffers[c] in x.writes]
        lives.append(Lifetime(min(written, default=-1), max(used, default=-1)))
    found = regions.Regions(lives)
    blocks = {buffers[c]: i for i, c in enumerate(arena)}
    found.add(0, 0, launches, lambda buffer: (buffer, blocks.get(buffer)))
    starts, stops = (np.array([getattr(r, end) for r in arena.values()]) for end in ("start", "stop"))
    assert found.mark(rows, starts, stops - starts)
    assert rows[:, d.A].tolist() == expected
    assert rows[:, d.B].tolist() == [4 * n for n in expected]
    assert rows[0, d.WORK] == 10_000 * expected[0]


@pytest.mark.parametrize(
    ("tiles", "time", "worth"),
    [(1, 10**6, False), (2, 10**6, True), (100, regions.LEAST_TIME - 1, False), (0, 0, False)],
)
def test_small_regions_stay_on_the_calling_thread(tiles: int, time: int, worth: bool) -> None:
    rows = np.zeros((1, d.COLUMNS), np.int64)
    rows[0, [d.TILES, d.WORK]] = tiles, time
    buffers = {"a": Buffer(BufferKind.TEMP, 10)}
    found = regions.Regions()
    found.add(0, 0, [launch("a", "", Order.BARRIER, buffers)], lambda buffer: (buffer, None))
    none = np.empty(0, np.int64)
    assert (found.mark(rows, none, none), bool(rows[0, d.A])) == (worth, worth)


def test_subnormals_are_zero_in_programs_alone(set_threads: Callable[[int], None]) -> None:
    """In all threads alike, since results do not depend on who computes them; other code keeps its subnormals."""
    x = b.input_value(TensorType(dtypes.f32, (B,)), "x")
    program = CpuTarget().program(extract("halves", [x], [b.mul(x, 0.25)]))
    small = np.full(1 << 20, 2e-38, np.float32)
    results = []
    for n in (1, 2):
        set_threads(n)
        results += program.run([small])
        assert (small * np.float32(0.25) > 0).all()
    expected = 0 if platform.machine().lower() in ("x86_64", "amd64") else small * np.float32(0.25)
    for result in results:
        np.testing.assert_array_equal(result, expected)
