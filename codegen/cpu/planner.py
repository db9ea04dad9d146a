"""The memory planner: gives each block of a program an offset in one arena, such that no two that live at once overlap.

It runs at every new batch size, so the search is a kernel. Before it come the blocks' lifetimes (`codegen/memory.py`)
and their sizes; after it `table.py` adds the offsets to the slots that hold addresses.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from codegen.cache import KernelCache
from codegen.cpu.call import c_function
from codegen.memory import Lifetime
from codegen.source import Kernel

ALIGNMENT = 64  # bytes; a cache line and the widest vector

PLAN = Kernel(
    name="plan_memory",
    comment="places blocks, the largest first, each at the lowest offset that is free during its lifetime",
    params=4,
    source="""
def kernel(n, blocks, offsets, placed):
    block = slots(blocks)
    offset = slots(offsets)
    p = slots(placed)
    count = 0
    for k in range(n):
        size, first, last = block[3 * k], block[3 * k + 1], block[3 * k + 2]
        at = 0
        if size > 0:
            for j in range(count):
                start = p[4 * j]
                if p[4 * j + 2] <= last and p[4 * j + 3] >= first:
                    if at + size <= start:
                        break
                    at = max(at, p[4 * j + 1])
            where = count
            while where > 0 and p[4 * where - 4] > at:
                for i in range(4):
                    p[4 * where + i] = p[4 * where - 4 + i]
                where -= 1
            p[4 * where] = at
            p[4 * where + 1] = at + size
            p[4 * where + 2] = first
            p[4 * where + 3] = last
            count += 1
        offset[k] = at
""",
)


class Planner:
    """Plans for blocks with these lifetimes."""

    def __init__(self, lives: Iterable[Lifetime], cache: KernelCache) -> None:
        self._lives = np.array([(life.first, life.last) for life in lives], np.int64).reshape(-1, 2)
        self._search = c_function(cache.get(PLAN), PLAN.params)

    def plan(self, sizes: np.ndarray) -> tuple[np.ndarray, int]:
        """Offsets of the blocks in the arena, and the arena's size; all in bytes.

        Greedy by size: the largest block first, of equal ones the one that is needed first.
        """
        rounded = -(-sizes // ALIGNMENT) * ALIGNMENT
        order = np.lexsort((self._lives[:, 0], -sizes))
        blocks = np.ascontiguousarray(np.column_stack((rounded, self._lives))[order])
        found = np.empty(len(sizes), np.int64)
        placed = np.empty((len(sizes), 4), np.int64)
        self._search(len(sizes), blocks.ctypes.data, found.ctypes.data, placed.ctypes.data)
        offsets = np.empty(len(sizes), np.int64)
        offsets[order] = found
        return offsets, int((offsets + rounded).max(initial=0))
