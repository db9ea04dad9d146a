"""Which rows of a launch table threads run together: a region is a launch with the INDEPENDENT ones that follow it.

Before it come a schedule's launches and the places of their buffers (`program.py`); after it the driver hands every
region that is worth it to the pool (`threads.py`). What a launch claims in its `order` concerns what it computes. Here
it is checked against where the memory planner put the buffers: a row whose memory overlaps that of another one of the
region starts a new region instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from codegen.cpu import driver
from codegen.launch import Buffer, Launch, Order

LEAST_TIME = 5_000
"""Nanoseconds of a region that is worth sharing with threads that are awake."""

_FLOPS = 200  # arithmetic of a good kernel, operations per nanosecond
_BANDWIDTH = 40  # bytes per nanosecond

Place = tuple[Buffer, "range | None"]
"""The buffer that holds a buffer's bytes, and which bytes of the arena these are if it lies there."""


def estimated_time(work: int, nbytes: int) -> int:
    """About how long a launch takes on one thread, in nanoseconds. Kernels that look things up read only a part of
    `nbytes`, some bytes for each operation.
    """
    return work // _FLOPS + min(nbytes, 16 * work) // _BANDWIDTH


def mark_regions(rows: np.ndarray, launches: Sequence[Launch], place: Callable[[Buffer], Place]) -> bool:
    """Finds the regions of a table of launches that are worth threads, and whether there are any. At the first row of
    each, A and B become its rows and tiles, and WORK, so far the time of every single row, the time of all.
    """
    found = False
    start = 0
    while start < len(launches):
        stop = _end_of_region(launches, start, place)
        tiles, time = rows[start:stop, (driver.TILES, driver.WORK)].sum(axis=0)
        if tiles > 1 and time >= LEAST_TIME:
            rows[start, driver.A] = stop - start
            rows[start, driver.B] = tiles
            rows[start, driver.WORK] = time
            found = True
        start = stop
    return found


def _end_of_region(launches: Sequence[Launch], start: int, place: Callable[[Buffer], Place]) -> int:
    stop = start + 1
    if stop == len(launches) or launches[stop].order is not Order.INDEPENDENT:
        return stop
    uses = _Uses(place)
    uses.add(launches[start])
    while stop < len(launches) and launches[stop].order is Order.INDEPENDENT and not uses.conflict(launches[stop]):
        uses.add(launches[stop])
        stop += 1
    return stop


class _Uses:
    """The memory that the launches of a region read and write."""

    def __init__(self, place: Callable[[Buffer], Place]) -> None:
        self._place = place
        self._read: set[Buffer] = set()
        self._written: set[Buffer] = set()
        self._arena_read: dict[Buffer, range] = {}
        self._arena_written: dict[Buffer, range] = {}

    def add(self, launch: Launch) -> None:
        for buffers, known, arena in (
            (launch.reads, self._read, self._arena_read),
            (launch.writes, self._written, self._arena_written),
        ):
            for buffer in buffers:
                root, span = self._place(buffer)
                known.add(root)
                if span is not None:
                    arena[root] = span

    def conflict(self, launch: Launch) -> bool:
        """Whether the launch may not run beside those added. Two that write one buffer write disjoint parts of it."""
        writes = {self._place(b)[0] for b in launch.writes}
        for buffer in launch.reads:
            root, span = self._place(buffer)
            if (root in self._written and root not in writes) or _overlaps(root, span, self._arena_written):
                return True
        for buffer in launch.writes:
            root, span = self._place(buffer)
            if root in self._read and root not in self._written:
                return True
            if _overlaps(root, span, self._arena_written) or _overlaps(root, span, self._arena_read):
                return True
        return False


def _overlaps(buffer: Buffer, span: range | None, others: dict[Buffer, range]) -> bool:
    """Whether bytes of the arena are also those of another buffer."""
    return span is not None and any(
        other is not buffer and span.start < taken.stop and taken.start < span.stop for other, taken in others.items()
    )
