"""What the arithmetic units can do: the micro-kernel of matrix products on operands that never leave the first-level
cache, so that nearly all its instructions are multiply-adds on registers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.kernels.cases import FMA_FLOPS

_DEPTH = 1024


def fma(threads: int) -> Callable[[], None]:
    """A step that does `FMA_FLOPS` operations on every thread."""
    from codegen.cache import KernelCache
    from codegen.cpu.call import c_function
    from codegen.cpu.features import host_vectors
    from codegen.cpu.microkernel import multiply_kernel
    from codegen.source import Kernel

    vectors = host_vectors()
    rows, lanes = vectors.rows(vectors.widest), vectors.lanes(4)
    columns = vectors.widest * lanes
    cache = KernelCache()
    repeat = Kernel(
        "repeat_multiply",
        "def kernel(args, lo, hi, worker):\n"
        "    a = slots(args)\n"
        "    for t in range(lo, hi):\n"
        "        call_n(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9])\n",
    )
    call = c_function(cache.get(repeat))
    multiply = cache.get(multiply_kernel(rows, vectors.widest, lanes, 4))
    times = FMA_FLOPS // (2 * rows * columns * _DEPTH)

    def operands() -> tuple[np.ndarray, list[np.ndarray]]:
        # Every step of k reads the same elements of A and B; the rows of A and C are `columns` elements apart.
        a, b, c = (np.zeros(n * columns, np.float32) for n in (rows, 1, rows))
        places, steps = np.arange(rows, dtype=np.int64) * 4 * columns, np.zeros(_DEPTH, np.int64)
        at = [x.ctypes.data for x in (a, places, steps, b, c)]
        slots = [multiply, _DEPTH, at[0], at[1], at[2], at[3], 0, at[4], at[1], 0]
        return np.array(slots, np.int64), [a, b, c, places, steps]

    tables = [operands() for _ in range(threads)]

    def work(table: tuple[np.ndarray, list[np.ndarray]]) -> None:
        call(table[0].ctypes.data, 0, times, 0)

    if threads == 1:
        return lambda: work(tables[0])
    pool = ThreadPoolExecutor(threads)
    return lambda: [None for _ in pool.map(work, tables)][0]
