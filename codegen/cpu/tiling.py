"""How matmul-like work is cut up: pure functions of sizes, so that the order of every sum depends on sizes alone.

A `Plan` says which micro-kernels multiply; `Blocks` says how many rows, and how much of the sum, a tile of the launch
does at once. `contract.py` puts them into slots as `Choose`; they are evaluated when sizes are bound.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from codegen.cpu.features import MAX_ROWS, Vectors
from ir import dims
from ir.dims import Dim

_TILES = 16  # to aim for, so that threads share the work evenly
_LEAST_WORK = 2_000_000  # multiply-adds that a tile should have where there are several
_MOST_ROWS = 384
_MOST_DEPTH = 512
_FEW_ROWS = 8  # that are one or two passes over B: nothing that the next block of k would evict
_MOST_DEPTH_OF_FEW = 2048
_SPLIT_DEPTH = 1024  # least part of a split sum

# What a step of k costs a tile, in cycles: two vectors multiplied or loaded in each, and four until a sum can be used
# again.
_PER_CYCLE = 2
_LATENCY = 4
_BYTES_PER_CYCLE = 24  # in which B comes from the third-level cache, once
_AGAIN = 0.3  # a vector of B once more from the second-level cache, as far as it is not hidden
_ROW_OF_A = 0.3  # an element of A for another panel, as far as it is not hidden
_LEAST_PANELS = 4  # that wide panels must leave, for threads to share


@dataclass(frozen=True)
class Plan:
    """The micro-kernels of a product: rows and vectors per row of tiles in full panels and in the last one."""

    full: tuple[int, int]
    tail: tuple[int, int]


def plans(rows: Dim, columns: Dim, lanes: int, vectors: Vectors, streamed: bool) -> tuple[Plan, ...]:
    """The plans that may be the best for these sizes; one is chosen when sizes are bound.

    `streamed`: rows of B lie in memory as they are read, so that panels may be wider than those which are packed.
    """
    if not isinstance(columns, int) or columns <= 0:
        widest = (vectors.rows(vectors.widest), vectors.widest)
        return (Plan(widest, widest),)
    count = -(-columns // lanes)
    widths = [w for w in vectors.widths if w <= vectors.widest or (streamed and w * _LEAST_PANELS <= count)]
    return tuple(dict.fromkeys(_best(n, count, widths, vectors) for n in _likely(rows)))


def packed_plans(rows: Dim, columns: int, lanes: int, vectors: Vectors) -> tuple[Plan, ...]:
    """The same for panels that lie packed: all plans have panels of one width."""
    count = -(-columns // lanes)
    likely = _likely(rows)
    widths = [min(w, count) for w in vectors.widths if w <= vectors.widest]
    found = [tuple(_best(n, count, [w], vectors) for n in likely) for w in widths]
    best = min(found, key=lambda of: sum(plan_cost(p, n, count, vectors) / n for p, n in zip(of, likely, strict=True)))
    return tuple(dict.fromkeys(best))


def _likely(rows: Dim) -> list[int]:
    """Numbers of rows to have a plan for."""
    if isinstance(rows, int):
        return [max(rows, 1)]
    return [n for n in (1, 2, 4, _FEW_ROWS, 32, 1024) if n >= _least(rows)] or [1024]


def _least(size: Dim) -> int:
    """About the least that a size can be: its value where all symbols are 1."""
    return dims.bind(size, dict.fromkeys(dims.symbols(size), 1))


def _best(rows: int, count: int, widths: Sequence[int], vectors: Vectors) -> Plan:
    found = [_plan(rows, count, min(width, count), vectors) for width in widths]
    return min(found, key=lambda plan: plan_cost(plan, rows, count, vectors))


def _plan(rows: int, count: int, width: int, vectors: Vectors) -> Plan:
    full, tail = (
        # The lowest of those that cost the same: it computes no row twice.
        min(((high, n) for high in reversed(vectors.heights(n))), key=lambda shape: _panel_cost(shape, rows, vectors))
        for n in (width, count % width or width)
    )
    return Plan(full, tail)


def plan_cost(plan: Plan, rows: int, count: int, vectors: Vectors) -> float:
    """About how many cycles a step of k takes for `rows` rows and `count` vectors per row."""
    panels, rest = divmod(count, plan.full[1])
    cost = panels * _panel_cost(plan.full, rows, vectors)
    return cost + _panel_cost(plan.tail, rows, vectors) if rest else cost


def _panel_cost(shape: tuple[int, int], rows: int, vectors: Vectors) -> float:
    high, wide = shape
    passes = -(-rows // high)
    step = max(high * wide, high + wide, _PER_CYCLE * _LATENCY) / _PER_CYCLE
    first = wide * vectors.nbytes / _BYTES_PER_CYCLE
    return max(passes * step, first) + _AGAIN * wide * passes + _ROW_OF_A * rows


def block_depth(depth: int, most: int) -> int:
    """Steps of k done at once: the panel of B that they need stays in cache."""
    blocks = max(1, -(-depth // most))
    return max(1, -(-depth // blocks))


def block_rows(rows: int, panels: int, depth: int, columns: int, multiple: int) -> int:
    """Rows of a tile: a multiple of the micro-kernel's, even over the blocks; `panels` counts the tiles of one block
    of rows."""
    enough = max(-(-rows * panels // _TILES), _LEAST_WORK // max(1, depth * columns))
    most = min(max(enough, multiple), _MOST_ROWS)
    blocks = max(1, -(-rows // most))
    even = -(-rows // blocks)
    return max(1, -(-even // multiple)) * multiple


def splits_of(rows: Dim, columns: Dim, depth: Dim) -> Dim:
    """Into how many parts the sum is split, where large blocks of rows make too few tiles: small blocks would read B
    too often. Only small results of known size are split, since parts need memory.
    """
    if not (isinstance(rows, int) and isinstance(columns, int)):
        return 1
    others = max(1, -(-rows // _MOST_ROWS) * -(-columns // 64))
    if others > _TILES // 2:
        return 1
    return dims.dim_max(1, dims.dim_min(-(-_TILES // others), dims.floordiv(depth, _SPLIT_DEPTH)))


@dataclass(frozen=True)
class Blocks:
    """The block sizes of one contraction as functions of (rows, columns, depth, batches, splits)."""

    plans: tuple[Plan, ...]
    vectors: Vectors
    itemsize: int

    def choice(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        """The number of the best plan."""
        return _cheapest(self.plans, rows, -(-columns // self.vectors.lanes(self.itemsize)), self.vectors)

    def _plan(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows of a tile of the micro-kernel, and columns of a panel."""
        high, wide = self.plans[self.choice(rows, columns, 0, 0, 0)].full
        return high, wide * self.vectors.lanes(self.itemsize)

    def depth(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        most = _MOST_DEPTH if rows > _FEW_ROWS else _MOST_DEPTH_OF_FEW
        return block_depth(self.part(rows, columns, depth, batches, splits), most)

    def part(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        return -(-depth // max(1, splits))

    def rows(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        high, width = self._plan(rows, columns)
        part = self.part(rows, columns, depth, batches, splits)
        panels = -(-columns // width) * batches * splits
        return block_rows(rows, panels, part, min(columns, width), high)

    def tiles(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        block = self.rows(rows, columns, depth, batches, splits)
        return -(-rows // block) * -(-columns // self._plan(rows, columns)[1]) * batches * splits

    def scratch(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        """Bytes of the tables, of the packed panel of B and of the sums of a tile; the kernel lays them out in this
        order."""
        high = self.rows(rows, columns, depth, batches, splits) + MAX_ROWS
        deep = self.depth(rows, columns, depth, batches, splits)
        width = self._plan(rows, columns)[1]
        return 8 * (2 * high + deep + MAX_ROWS) + 128 + (high + deep) * width * self.itemsize


@functools.lru_cache(maxsize=1024)
def _cheapest(choices: tuple[Plan, ...], rows: int, count: int, vectors: Vectors) -> int:
    return min(range(len(choices)), key=lambda i: plan_cost(choices[i], rows, count, vectors))
