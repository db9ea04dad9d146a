"""Batch normalisation and softmax on the CPU.

Statistics of a batch are taken in one launch over parts of the rows and combined in a second one, part by part, by the formulas of Chan,
Golub and LeVeque (1979), so they need no second pass over memory and do not lose digits where the mean is large. Before it come the ops of
`ir/ops/norm.py`. A tensor is seen as [outer, channels, inner]; with the channels last, rows are taken several at a time (a *group*), so that
few channels still fill vectors.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from codegen.cpu.softmax import lower_log_softmax, lower_softmax
from codegen.cpu.tiles import computed_in, count, named_slots, per, tiles
from codegen.launch import F64, Buffer, Choose, Launch, LowerContext, Lowering, Read, Size, Write
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dims import Dim
from ir.graph import Node, Value

_GROUP = 64  # elements of a group of rows, about
_PART = 65536  # elements of a part, at least
_MOST_PARTS = 64
_BLOCK = 16384  # elements that are read twice while they are in the first-level cache, about
_CHANNELS = 256  # channels of a tile where parts are combined


def group_of(channels: int) -> int:
    """Rows of a group."""
    return max(1, _GROUP // max(1, channels))


def block_of(channels: int) -> int:
    """Rows of a block: whole groups, a multiple of four of them."""
    groups = 4 * group_of(channels)
    return max(4, _BLOCK // max(1, groups * channels)) * groups


class _Layout:
    """A tensor as [outer, channels, inner] and how its statistics are split into parts."""

    def __init__(self, x: Value, axis: int) -> None:
        self.outer = count(*x.shape[:axis])
        self.channels = x.shape[axis]
        self.inner = count(*x.shape[axis + 1 :])
        self.rows = count(self.outer, self.inner)
        self.size = x.type.size
        self.short = x.type.dtype.short
        self.value = computed_in(x.type.dtype)
        self.last = axis == len(x.shape) - 1
        most = dims.dim_min(_MOST_PARTS, dims.floordiv(self.size, _PART))
        self.parts = dims.dim_max(1, most) if self.last else self.outer

    @property
    def sums(self) -> Dim:
        """Bytes of two float64 numbers for each part and channel."""
        return count(self.parts, self.channels, 16)

    @property
    def group(self) -> tuple[Size, Size]:
        """Slots: rows of a group and of a block."""
        return Choose(group_of, (self.channels,)), Choose(block_of, (self.channels,))

    @property
    def width(self) -> Dim:
        """Elements of a group, at most."""
        return dims.dim_max(_GROUP, self.channels)


# Sums over the rows, channels last. `{sums}` adds up lines, `{pass}` stands for a loop over the rows of a block.

_PASS = """\
            i = 0
            while i + 4 <= groups:
{offsets4}
                for k in range(width):
{sums4}
                i += 4
            while i < groups:
{offsets1}
                for k in range(width):
{sums1}
                i += 1
{offsets1}
            for k in range(rest):
{sums1}
"""


def _pass(arrays: str, sums: Sequence[tuple[str, str]]) -> str:
    """Text of a loop over the rows of a block, four groups at a time: `sums` are pairs of an accumulator and a term over `{x}`, ..."""

    def offsets(rows: int, indent: int) -> str:
        return "\n".join(
            f"{' ' * indent}{a}{j} = offset({a}, r * c + (i + {j}) * width)" for a in arrays for j in range(rows)
        )

    def adding(rows: int, indent: int) -> str:
        lines = []
        for total, term in sums:
            parts = [term.format(**{a: f"load({a}{j}, k)" for a in arrays}) for j in range(rows)]
            text = f"({parts[0]} + {parts[1]}) + ({parts[2]} + {parts[3]})" if rows == 4 else parts[0]
            lines.append(f"{' ' * indent}store({total}, k, load({total}, k) + ({text}))")
        return "\n".join(lines)

    text = _PASS.format(offsets4=offsets(4, 16), sums4=adding(4, 20), offsets1=offsets(1, 16), sums1=adding(1, 20))
    head, tail = text.rsplit("                i += 1\n", 1)
    return head + "                i += 1\n" + tail.replace(" " * 16 + arrays[0], " " * 12 + arrays[0]).replace(
        " " * 20 + "store", " " * 16 + "store"
    ) if len(arrays) == 1 else text
