"""Which vectors this CPU has, and the shapes of matmul tiles that fit its registers.

Used by `matmul.py` and `conv.py` to choose micro-kernels (`microkernel.py`). Everything takes a `Vectors`, so that
tests can force the shapes of another CPU; narrower vectors run on any CPU that has wider ones.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass

from codegen.source import host_cpu

_HEIGHTS = (8, 6, 4, 2, 1)
"""Rows that tiles may have, the most first."""

MAX_ROWS = _HEIGHTS[0]
_WIDEST = {32: 4, 16: 2}
"""Number of vector registers -> vectors per row of the widest tile that has many rows."""

_STREAMED = 16
"""Vectors per row of the widest tile of all, which has few rows and reads B faster than it multiplies."""


@dataclass(frozen=True)
class Vectors:
    """Vector registers of a CPU: how wide (bytes) and how many."""

    name: str
    nbytes: int
    registers: int

    def lanes(self, itemsize: int) -> int:
        """Elements per vector."""
        return self.nbytes // itemsize

    @property
    def widest(self) -> int:
        """Most vectors per row of a tile that has many rows."""
        return _WIDEST[self.registers]

    @property
    def widths(self) -> tuple[int, ...]:
        """Vectors per row of the tiles that a product may be cut into, the widest first."""
        return tuple(n for n in (_STREAMED, _STREAMED // 2, 4, 3, 2, 1) if self.heights(n))

    def heights(self, vectors: int) -> tuple[int, ...]:
        """Rows that a tile of so many vectors per row may have, the most first: accumulators, one row of B and a
        broadcast of A stay in registers. A single row takes B from memory."""
        return tuple(
            rows
            for rows in _HEIGHTS
            if rows * vectors + vectors + 1 <= self.registers or (rows == 1 and 2 * vectors <= self.registers)
        )

    def rows(self, vectors: int) -> int:
        """Most rows of a tile that is `vectors` vectors wide."""
        return self.heights(vectors)[0]


AVX512 = Vectors("avx512", 64, 32)
AVX2 = Vectors("avx2", 32, 16)
NEON = Vectors("neon", 16, 32)
GENERIC = Vectors("generic", 16, 16)

ALL: tuple[Vectors, ...] = (AVX512, AVX2, NEON, GENERIC)

@functools.cache
def host_vectors() -> Vectors:
    """The vectors of the CPU that this process runs on."""
    _, features = host_cpu()
    have = {item[1:] for item in features.split(",") if item.startswith("+")}
    if {"avx512f", "avx512vl"} <= have:
        return AVX512
    if {"avx2", "fma"} <= have:
        return AVX2
    if platform.machine().lower() in ("arm64", "aarch64"):
        return NEON
    return GENERIC
