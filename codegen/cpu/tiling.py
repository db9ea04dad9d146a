"""Block sizes of matmul-like work: pure functions of sizes, so that the order of every sum depends on sizes alone.

`contract.py` puts them into slots as `Choose`; they are evaluated when sizes are bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.cpu.features import MAX_ROWS
from ir import dims
from ir.dims import Dim

_TILES = 32  # tiles to aim for, so that threads share the work evenly
_LEAST_WORK = 2_000_000  # multiply-adds that a tile should have where there are several
_MOST_ROWS = 384
_MOST_DEPTH = 512
_SPLIT_DEPTH = 2048  # least part of a split sum
_MOST_SPLITS = 16


def block_depth(depth: int) -> int:
    """Steps of k done at once: the panel of B that they need stays in cache."""
    blocks = max(1, -(-depth // _MOST_DEPTH))
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
    """Into how many parts the sum is split: only small results of known size are, since parts need memory."""
    if not (isinstance(rows, int) and isinstance(columns, int)):
        return 1
    others = max(1, -(-rows // 96) * -(-columns // 64))
    if others > _MOST_SPLITS // 2:
        return 1
    return dims.dim_max(1, dims.dim_min(_MOST_SPLITS // others, dims.floordiv(depth, _SPLIT_DEPTH)))


@dataclass(frozen=True)
class Blocks:
    """The block sizes of one contraction as functions of (rows, columns, depth, batches, splits)."""

    width: int
    multiple: int
    itemsize: int

    def panels(self, columns: int) -> int:
        return -(-columns // self.width)

    def depth(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        return block_depth(self.part(rows, columns, depth, batches, splits))

    def part(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        return -(-depth // max(1, splits))

    def rows(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        part = self.part(rows, columns, depth, batches, splits)
        panels = self.panels(columns) * batches * splits
        return block_rows(rows, panels, part, min(columns, self.width), self.multiple)

    def tiles(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        block = self.rows(rows, columns, depth, batches, splits)
        return -(-rows // block) * self.panels(columns) * batches * splits

    def scratch(self, rows: int, columns: int, depth: int, batches: int, splits: int) -> int:
        """Bytes of the tables, of the packed panel of B and of the sums of a tile; the kernel lays them out in this
        order."""
        high = self.rows(rows, columns, depth, batches, splits) + MAX_ROWS
        deep = self.depth(rows, columns, depth, batches, splits)
        return 8 * (2 * high + deep + MAX_ROWS) + 128 + (high + deep) * self.width * self.itemsize
