"""The content of variables. A variable's memory never moves, so programs keep its address."""

from __future__ import annotations

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


class StoredVariable(Variable):
    """A variable with its content. `version` grows with every write; prologue results depend on it."""

    __slots__ = ("array", "address", "version", "users")

    def __init__(self, value: np.ndarray, type: TensorType, path: str, trainable: bool = False) -> None:
        super().__init__(type, path, trainable)
        self.array = aligned_empty(type.bind({}), type.dtype.numpy)
        self.array[...] = value
        self.address: int = self.array.ctypes.data
        self.version = 0
        self.users = 0  # runs that read it now, or -1 while one writes it

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
            self.array[...] = new
            self.version += 1


_turn = threading.Condition()  # guards the counts of readers and writers of all variables


class access:
    """Context of a run that reads some variables and writes others: readers share, a writer is alone.

    All are taken together under one short lock, so runs cannot wait for each other in a circle.
    """

    __slots__ = ("reads", "writes")

    def __init__(self, reads: Sequence[StoredVariable], writes: Sequence[StoredVariable]) -> None:
        self.reads = reads
        self.writes = writes

    def __enter__(self) -> None:
        with _turn:
            while any(v.users < 0 for v in self.reads) or any(v.users for v in self.writes):
                _turn.wait()
            for v in self.reads:
                v.users += 1
            for v in self.writes:
                v.users = -1

    def __exit__(self, *exc: object) -> None:
        with _turn:
            for v in self.reads:
                if v.users > 0:
                    v.users -= 1
            for v in self.writes:
                v.users = 0
            _turn.notify_all()
