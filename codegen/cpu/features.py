"""Which vectors this CPU has, and the shapes of matmul tiles that fit its registers.

Used by `matmul.py` and `conv.py` to choose micro-kernels (`microkernel.py`). Everything takes a `Vectors`, so that
tests can force the shapes of another CPU; narrower vectors run on any CPU that has wider ones.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass

from codegen.source import host_cpu

_ROWS: dict[int, dict[int, int]] = {
    32: {1: 8, 2: 8, 3: 8, 4: 6},
    16: {1: 8, 2: 6},
}
"""Number of vector registers -> vectors per row -> rows: accumulators, one row of B and a broadcast of A stay in
registers."""


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
        """Most vectors per row of a tile."""
        return max(_ROWS[self.registers])

    def rows(self, vectors: int) -> int:
        """Rows of a tile that is `vectors` vectors wide."""
        return _ROWS[self.registers][vectors]


AVX512 = Vectors("avx512", 64, 32)
AVX2 = Vectors("avx2", 32, 16)
NEON = Vectors("neon", 16, 32)
GENERIC = Vectors("generic", 16, 16)

ALL: tuple[Vectors, ...] = (AVX512, AVX2, NEON, GENERIC)

MAX_ROWS = max(rows for table in _ROWS.values() for rows in table.values())


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
