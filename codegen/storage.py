"""The content of variables. A variable's memory never moves, so programs keep its address."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence

import numpy as np

from ir.graph import Variable
from ir.types import TensorType


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised C-contiguous array whose first element is aligned to a cache line (64 bytes)."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes].view(dtype).reshape(shape)


def address_of(array: np.ndarray) -> int:
    """The address of a C-contiguous array's first element."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]  # five times as fast as below
    except (TypeError, ValueError):  # read-only or empty
        return int(array.ctypes.data)


class StoredVariable(Variable):
    """A variable with its content. `version` grows with every write; prologue results depend on it."""

    __slots__ = ("array", "address", "version")

    def __init__(self, value: np.ndarray, type: TensorType, path: str, trainable: bool = False) -> None:
        super().__init__(type, path, trainable)
        self.array = aligned_empty(type.bind({}), type.dtype.numpy)
        self.array[...] = value
        self.address: int = self.array.ctypes.data
        self.version = 0

    def get(self) -> np.ndarray:
        """A copy of the content."""
        with access((self,), ()):
            return self.array.copy()

    def set(self, value: object) -> None:
        """Replaces the content in place. Raises ValueError where the shape differs."""
        new = np.asarray(value)
        if new.shape != self.array.shape:
            raise ValueError(
                f"variable {self.path} has shape {self.array.shape}; cannot set it to a value of shape {new.shape}"
            )
        with access((), (self,)):
            self.version += 1  # first: Ctrl-C may come in between
            self.array[...] = new


class access:
    """Context of a run that reads some variables and writes others: readers share, a writer is alone.

    All are taken together under one short lock, so runs cannot wait for each other in a circle. A thread is in one such
    block at a time. Ctrl-C may raise KeyboardInterrupt between any two instructions of the main thread, even inside
    `__exit__`; what it leaves behind then, the thread's next block replaces.
    """

    __slots__ = ("reads", "writes")

    def __init__(self, reads: Sequence[StoredVariable], writes: Sequence[StoredVariable]) -> None:
        self.reads = reads
        self.writes = writes

    def __enter__(self) -> None:
        me = threading.get_ident()
        while True:
            with _runs.lock:
                active = _runs.active
                if not active or not any(self._excludes(other) for thread, other in active.items() if thread != me):
                    active[me] = self
                    return
                gate = threading.Lock()
                gate.acquire()
                _runs.gates.append(gate)
            gate.acquire(timeout=_PATIENCE)

    def __exit__(self, *exc: object) -> None:
        with _runs.lock:
            _runs.active.pop(threading.get_ident(), None)
            for gate in _runs.gates:
                if gate.locked():
                    gate.release()
            _runs.gates.clear()

    def _excludes(self, other: access) -> bool:
        if not self.writes and not other.writes:
            return False
        mine, theirs = set(self.writes), set(other.writes)
        return not (mine.isdisjoint((*other.reads, *theirs)) and theirs.isdisjoint(self.reads))


_PATIENCE = 0.5  # seconds after which a thread that waits looks again, should the one before it have been cut short


class _Runs:
    """The blocks that threads are in, and locks that waiting threads want released. Plain locks: those of `threading`
    that are written in Python may stay locked where Ctrl-C interrupts them."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forgets all: after a fork the other threads belong to another process."""
        self.lock = threading.Lock()
        self.active: dict[int, access] = {}
        self.gates: list[threading.Lock] = []


_runs = _Runs()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_runs.renew)
