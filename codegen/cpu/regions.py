"""Which rows of a launch table threads run together: a region is a launch with the INDEPENDENT ones that follow it.

Before it come a schedule's launches and the places of their buffers (`table.py`); after it the driver hands every
region that is worth it to the pool (`threads.py`). What a launch claims in its `order` concerns what it computes. Here
it is checked against where the memory planner put the buffers: a row whose memory overlaps that of another one of the
region starts a new region instead. What does not depend on sizes is worked out once (`add`), the rest for each binding
(`mark`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from codegen.cpu import driver
from codegen.launch import Buffer, Launch, Order
from codegen.memory import Lifetime

LEAST_TIME = 5_000
"""Nanoseconds of a region that is worth sharing with threads that are awake."""

_FLOPS = 200  # arithmetic of a good kernel, operations per nanosecond
_BANDWIDTH = 40  # bytes per nanosecond

Place = tuple[Buffer, "int | None"]
"""The buffer that holds a buffer's bytes, and the number of its block of the arena if it lies there."""


def estimated_times(work: np.ndarray, nbytes: np.ndarray) -> np.ndarray:
    """About how long launches take on one thread, in nanoseconds. Kernels that look things up read only a part of
    `nbytes`, some bytes for each operation.
    """
    times: np.ndarray = work // _FLOPS + np.minimum(nbytes, 16 * work) // _BANDWIDTH
    return times


class Regions:
    """The groups of launches of a table that may become regions. `lives` are the lifetimes of the arena's blocks."""

    def __init__(self, lives: Sequence[Lifetime] = ()) -> None:
        self._lives = lives
        self._starts: list[int] = []  # first rows of groups
        self._stops: list[int] = []  # for each row of a group the end of the group
        self._rows: list[int] = []
        self._latest: dict[int, int] = {}  # row -> the latest row before it in its group that it conflicts with
        self._meet: list[tuple[int, int, int, int]] = []  # rows and blocks that conflict where the blocks overlap

    def add(self, row: int, number: int, launches: Sequence[Launch], place: Callable[[Buffer], Place]) -> None:
        """Launches in rows `row` and on; the planner calls the first one launch `number`."""
        start = 0
        while start < len(launches):
            stop = start + 1
            while stop < len(launches) and launches[stop].order is Order.INDEPENDENT:
                stop += 1
            self._starts.append(row + start)
            self._rows += range(row + start, row + stop)
            self._stops += [row + stop] * (stop - start)
            if stop > start + 1:
                self._find_conflicts(launches[start:stop], row + start, number + start, place)
            start = stop

    def _find_conflicts(
        self, group: Sequence[Launch], row: int, number: int, place: Callable[[Buffer], Place]
    ) -> None:
        uses = _Uses(place)
        blocks: dict[int, None] = {}
        for i, launch in enumerate(group):
            latest = uses.add(row + i, launch)
            if latest >= 0:
                self._latest[row + i] = latest
            blocks.update(dict.fromkeys(b for u in (*launch.reads, *launch.writes) if (b := place(u)[1]) is not None))
        # Blocks that live at the same time never overlap; the others may: one that dies in the group and one that is
        # born after. No more than the launches at which this happens need to be compared.
        last = number + len(group) - 1
        dying = [(self._lives[b].last, b) for b in blocks if self._lives[b].last < last]
        born = [(self._lives[b].first, b) for b in blocks if self._lives[b].first > number]
        shift = row - number
        self._meet += [(i + shift, j + shift, a, b) for i, a in dying for j, b in born if i < j]

    def mark(self, rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> bool:
        """Finds the regions of a table that are worth threads, and whether there are any. At the first row of each, A
        and B become its rows and tiles, and WORK, so far the time of every single row, the time of all.

        `starts` and `sizes` are those of the arena's blocks in bytes.
        """
        if not self._starts:
            return False
        first = np.array(sorted([*self._starts, *self._splits(starts, sizes)]))
        stop_of = np.zeros(len(rows), np.int64)
        stop_of[self._rows] = self._stops
        stop = np.minimum(np.append(first[1:], len(rows)), stop_of[first])
        sums = np.zeros((len(rows) + 1, 2), np.int64)
        np.cumsum(rows[:, (driver.TILES, driver.WORK)], axis=0, out=sums[1:])
        tiles, time = (sums[stop] - sums[first]).T
        worth = (tiles > 1) & (time >= LEAST_TIME)
        at = first[worth]
        rows[at, driver.A] = (stop - first)[worth]
        rows[at, driver.B] = tiles[worth]
        rows[at, driver.WORK] = time[worth]
        return bool(worth.any())

    def _splits(self, starts: np.ndarray, sizes: np.ndarray) -> list[int]:
        """Rows at which a group is cut, since they conflict with one before."""
        latest = dict(self._latest)
        if self._meet:
            i, j, a, b = np.array(self._meet).T
            overlap = (starts[a] < starts[b] + sizes[b]) & (starts[b] < starts[a] + sizes[a])
            for before, after in zip(i[overlap].tolist(), j[overlap].tolist(), strict=True):
                latest[after] = max(latest.get(after, -1), before)
        cuts: list[int] = []
        for row in sorted(latest):
            if not cuts or latest[row] >= cuts[-1]:
                cuts.append(row)
        return cuts


class _Uses:
    """Which rows of a group read and write what. Buffers in one block of the arena overlap; others, where the planner
    did not put them on top of each other, do not.
    """

    def __init__(self, place: Callable[[Buffer], Place]) -> None:
        self._place = place
        self._last: dict[object, dict[Buffer, list[int]]] = {}  # block or buffer -> buffers -> last reader, last writer

    def add(self, row: int, launch: Launch) -> int:
        """The latest row before this one that may not run beside it, or -1. Two launches that write one buffer write
        disjoint parts of it.
        """
        written = {self._place(b)[0] for b in launch.writes}
        latest = -1
        for buffer in (*launch.reads, *launch.writes):
            root, block = self._place(buffer)
            rows = self._last.setdefault(root if block is None else block, {})
            for other, (reader, writer) in rows.items():
                if other is not root:
                    latest = max(latest, writer, reader if root in written else -1)
                else:
                    latest = max(latest, reader if root in written else writer)
        for buffer in (*launch.reads, *launch.writes):
            root, block = self._place(buffer)
            rows = self._last.setdefault(root if block is None else block, {})
            rows.setdefault(root, [-1, -1])[root in written] = row
        return latest
