"""Threads: a small pool of helpers that share the tiles of a region with the thread that runs a program.

Before it come the driver, which calls `REGION` for every region of a table, and `program.py`, which asks for the pool
and gives every worker its scratch. How many threads there are changes no result: tiles depend on sizes alone.

The caller describes a region, then sets the count of chunks (a few tiles each) left. A claim is a decrement that finds
a positive count, by helpers and caller alike. So the caller never depends on a helper that does not come, and since a
claimed chunk keeps its region open, whoever claims one sees its own region's description. The caller works until no
chunk is left, then waits for those that helpers have claimed: it spins briefly and then sleeps, because a helper may
have lost its core. A helper without work does the same. A caller that finds the pool busy runs its region alone.

A helper is a Python thread inside one call of a C function, which runs without the interpreter lock. A forked process
has no helpers; it makes a pool of its own when it needs one.
"""

from __future__ import annotations

import atexit
import ctypes
import operator
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from codegen.cache import KernelCache
from codegen.cpu import driver
from codegen.cpu.call import c_function
from codegen.source import Kernel
from codegen.storage import aligned_empty

MOST_THREADS = 1024
LINE = 64  # bytes; what threads write often has a cache line of its own

_CHUNKS = 8  # chunks per thread: even shares although tiles differ, at little cost
_WORTH_WAKING = 50_000  # ns of a region for every helper that is woken: a wake-up costs the caller up to 10 us
_SPINS = 2000  # pauses before a thread sleeps: tens of microseconds
_PAUSES = 64  # then it offers its core, which the thread that it waits for may need

# Where things are in a pool, in slots of 8 bytes.
_REGION = driver.REGION_OF_POOL
_SHARE, _WAIT, _POST, _YIELD, _HELPERS, _AWAKE, _STOP = range(1, 8)  # constant but for _STOP
_ROW, _TILES, _CHUNK, _N_CHUNKS, _WORKER, _STRIDE = range(8, 14)  # the region that is open
_LEFT, _DONE, _BUSY, _WAITING = 16, 24, 32, 40  # chunks to claim, chunks done, a caller is in, that caller sleeps
_HELPER = 48  # then a line each: the helper sleeps, its semaphore


def _at(slot: int) -> str:
    return f"pool + {8 * slot}"


SHARE = Kernel(
    name="share_region",
    comment="claims and runs chunks of the open region until none is left",
    params=2,
    source=f"""
def kernel(pool, worker):
    s = slots(pool)
    done = 0
    chunks = 0
    left = fetch_add({_at(_LEFT)}, -1)
    while left > 0:
        chunks = s[{_N_CHUNKS}]
        scratch = s[{_WORKER}] + worker * s[{_STRIDE}]
        row = s[{_ROW}]
        lo = (chunks - left) * s[{_CHUNK}]
        hi = min(lo + s[{_CHUNK}], s[{_TILES}])
        while lo < hi:
            r = slots(row)
            tiles = r[{driver.TILES}]
            if lo < tiles:
                call_kernel(r[{driver.FN}], r[{driver.ARGS}], lo, min(hi, tiles), scratch)
            lo = max(lo - tiles, 0)
            hi -= tiles
            row += {8 * driver.COLUMNS}
        done += 1
        left = fetch_add({_at(_LEFT)}, -1)
    if done > 0 and fetch_add({_at(_DONE)}, done) + done == chunks:
        if atomic_load({_at(_WAITING)}) != 0 and exchange({_at(_WAITING)}, 0) != 0:
            call_n(s[{_POST}], s[{_AWAKE}], 1, 0)
""",
)

REGION = Kernel(
    name="region",
    comment="runs a region: the calling thread and the helpers of a pool share its tiles",
    params=6,
    source=f"""
def kernel(pool, row, rows, tiles, worker, stride):
    if exchange({_at(_BUSY)}, 1) != 0:
        for i in range(rows):
            r = slots(row + i * {8 * driver.COLUMNS})
            call_kernel(r[{driver.FN}], r[{driver.ARGS}], 0, r[{driver.TILES}], worker)
    else:
        s = slots(pool)
        chunk = max(1, tiles // ({_CHUNKS} * (s[{_HELPERS}] + 1)))
        chunks = (tiles + chunk - 1) // chunk
        s[{_ROW}] = row
        s[{_TILES}] = tiles
        s[{_CHUNK}] = chunk
        s[{_N_CHUNKS}] = chunks
        s[{_WORKER}] = worker
        s[{_STRIDE}] = stride
        atomic_store({_at(_DONE)}, 0)
        atomic_store({_at(_LEFT)}, chunks)
        wanted = min(chunks - 1, slots(row)[{driver.WORK}] // {_WORTH_WAKING})
        for i in range(min(s[{_HELPERS}], wanted)):
            helper = {_at(_HELPER)} + i * {LINE}
            if atomic_load(helper) != 0 and atomic_load({_at(_LEFT)}) > 1 and exchange(helper, 0) != 0:
                call_n(s[{_POST}], slots(helper)[1], 1, 0)
        call_n(s[{_SHARE}], pool, 0)
        spins = 0
        while atomic_load({_at(_DONE)}) < chunks:
            if spins < {_SPINS}:
                pause()
                spins += 1
                if spins % {_PAUSES} == 0:
                    call_n(s[{_YIELD}], 0)
            else:
                exchange({_at(_WAITING)}, 1)
                if atomic_load({_at(_DONE)}) < chunks:
                    call_n(s[{_WAIT}], s[{_AWAKE}], -1, 0)
        atomic_store({_at(_WAITING)}, 0)
        atomic_store({_at(_BUSY)}, 0)
""",
)

HELP = Kernel(
    name="help",
    comment="what a helper does until it is stopped; a semaphore may wake it without reason",
    params=2,
    source=f"""
def kernel(pool, worker):
    s = slots(pool)
    floats = flush_subnormals()
    asleep = {_at(_HELPER)} + (worker - 1) * {LINE}
    while atomic_load({_at(_STOP)}) == 0:
        idle = 0
        while idle < {_SPINS}:
            if atomic_load({_at(_LEFT)}) > 0:
                call_n(s[{_SHARE}], pool, worker)
                idle = 0
            else:
                pause()
                idle += 1
                if idle % {_PAUSES} == 0:
                    call_n(s[{_YIELD}], 0)
        exchange(asleep, 1)
        if atomic_load({_at(_LEFT)}) > 0:
            exchange(asleep, 0)
        while atomic_load(asleep) != 0 and atomic_load({_at(_STOP)}) == 0:
            call_n(s[{_WAIT}], slots(asleep)[1], -1, 0)
    restore_floats(floats)
""",
)


class Pool:
    """Helpers for one caller at a time. `address` is what the driver takes, `threads` counts the helpers and a caller.

    Stopped, it still serves callers: they find no helper and do all the work.
    """

    def __init__(self, threads: int, cache: KernelCache) -> None:
        self._state = aligned_empty(((_HELPER + 8 * threads) * 8,), np.dtype(np.uint8)).view(np.int64)
        self._state[:] = 0
        self.address = int(self._state.ctypes.data)
        self._semaphores = _Semaphores(threads)
        handles = self._semaphores.handles
        self._state[[_REGION, _SHARE]] = cache.get(REGION), cache.get(SHARE)
        self._state[[_WAIT, _POST, _YIELD]] = self._semaphores.wait, self._semaphores.post, self._semaphores.give_way
        self._state[_AWAKE], self._state[_HELPER + 1 :: 8][: threads - 1] = handles[0], handles[1:]
        self._helpers: list[threading.Thread] = []
        help_ = c_function(cache.get(HELP), HELP.params)
        for k in range(1, threads):
            helper = threading.Thread(target=self._help, args=(help_, k), name=f"kgraph-{k}", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # the system gives no more threads, or the interpreter ends
                break
            self._helpers.append(helper)
        self.threads = 1 + len(self._helpers)
        self._state[_HELPERS] = len(self._helpers)

    def _help(self, function: Callable[..., None], worker: int) -> None:
        """A helper's life. Its reference to the pool keeps the memory until it has gone."""
        function(self.address, worker)

    def stop(self, timeout: float = 0.0) -> None:
        """Sends the helpers away, and waits for each up to `timeout` seconds."""
        self._state[_STOP] = 1
        for handle in self._semaphores.handles[1:]:
            self._semaphores.wake(handle)
        for helper in self._helpers:
            helper.join(timeout)


class _Semaphores:
    """The system's semaphores, as addresses of C functions: `wait(handle, -1)` blocks, `post(handle, 1, 0)` wakes and
    `give_way()` offers the core to other threads. A function that takes fewer arguments ignores the rest.
    """

    def __init__(self, count: int) -> None:
        self._memory = aligned_empty((count * LINE,), np.dtype(np.uint8))
        if sys.platform == "win32":
            lib, names = ctypes.CDLL("kernel32"), ("WaitForSingleObject", "ReleaseSemaphore", "SwitchToThread")
            lib.CreateSemaphoreW.restype = ctypes.c_void_p
            self.handles = [int(lib.CreateSemaphoreW(None, 0, 2**31 - 1, None)) for _ in range(count)]
        elif sys.platform == "darwin":
            lib, names = ctypes.CDLL(None), ("dispatch_semaphore_wait", "dispatch_semaphore_signal", "sched_yield")
            lib.dispatch_semaphore_create.restype = ctypes.c_void_p
            self.handles = [int(lib.dispatch_semaphore_create(ctypes.c_long(0))) for _ in range(count)]
        else:
            lib, names = ctypes.CDLL(None), ("sem_wait", "sem_post", "sched_yield")
            self.handles = [int(self._memory.ctypes.data) + i * LINE for i in range(count)]
            for handle in self.handles:
                lib.sem_init(ctypes.c_void_p(handle), 0, 0)
        functions = (ctypes.cast(getattr(lib, name), ctypes.c_void_p).value or 0 for name in names)
        self.wait, self.post, self.give_way = functions
        self._wake = c_function(self.post, 3)

    def wake(self, handle: int) -> None:
        self._wake(handle, 1, 0)


class _Threads:
    """The process's number of threads and its pool, made when a program first wants it."""

    def __init__(self) -> None:
        self._count = 0  # 0: not asked for yet
        self._closed = False
        self.renew()

    def renew(self) -> None:
        """Forgets the pool: after a fork its helpers belong to another process."""
        self._pool: Pool | None = None
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        if not self._count:
            self._count = _default_count()
        return self._count

    @count.setter
    def count(self, count: int) -> None:
        with self._lock:
            self._count = count
            old, self._pool = self._pool, None
        if old is not None:
            old.stop()

    def pool(self, cache: KernelCache) -> Pool | None:
        if self._pool is None and self.count > 1 and not self._closed:
            with self._lock:
                if self._pool is None:
                    self._pool = Pool(self._count, cache)
        return self._pool

    def close(self) -> None:
        """At the end of the process: later runs have no helpers."""
        self._closed = True
        with self._lock:
            old, self._pool = self._pool, None
        if old is not None:
            old.stop(timeout=1.0)


_threads = _Threads()
atexit.register(_threads.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.renew)


def pool(cache: KernelCache) -> Pool | None:
    """The pool for a run that begins now, or None where programs run on their caller's thread alone."""
    return _threads.pool(cache)


def get_num_threads() -> int:
    """How many threads a program runs on: what `set_num_threads` set, else `$KGRAPH_NUM_THREADS`, else the number of
    CPUs that this process may use.
    """
    return _threads.count


def set_num_threads(n: int) -> None:
    """Lets programs run on `n` threads from now on, the caller's included; results do not depend on it.

    Raises TypeError unless `n` is an integer, ValueError unless it is between 1 and 1024.
    """
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"set_num_threads: n must be an integer, got {n!r} of type {type(n).__name__}") from None
    _threads.count = _checked(count, f"set_num_threads: n must be between 1 and {MOST_THREADS}, got {n!r}")


def _checked(count: int, message: str) -> int:
    if not 1 <= count <= MOST_THREADS:
        raise ValueError(message)
    return count


def _default_count() -> int:
    text = os.environ.get("KGRAPH_NUM_THREADS", "").strip()
    if not text:
        return min(usable_cpus(), MOST_THREADS)
    message = f"KGRAPH_NUM_THREADS must be an integer between 1 and {MOST_THREADS}, got {text!r}"
    return _checked(int(text) if text.isdecimal() else 0, message)


def usable_cpus() -> int:
    """CPUs that this process may run on, no more than its container's share of CPU time allows."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cpus, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such limit
        return cpus
