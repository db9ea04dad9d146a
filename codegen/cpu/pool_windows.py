"""What the kernels of poolings share: the sizes of a pooling, and the text that goes through a window.

Before it comes `ir/ops/window.py`; `pool.py` and `pool_grad.py` build on it. A window that reaches over the border is
handled without tests: a position outside is replaced by the nearest one inside, which the window holds anyway and which
comes at the same place in the order of first maxima. Small windows are unrolled in the text; large ones are loops over
the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.cpu.tiles import count, per, tiles
from codegen.launch import Launch, Size, Slot
from codegen.source import Kernel
from ir.dims import Dim
from ir.graph import Node
from ir.ops.window import Window, pads, window

UNROLLED = 9  # positions of the largest window whose text is unrolled
SIZES = "h w c oh ow kh kw sh sw pt pl"
VALUE = {"f16": "f32", "f32": "f32", "f64": "f64"}


@dataclass(frozen=True)
class Form:
    """What the text of a kernel depends on besides the op: the dtype, the rows and columns of the window that are
    unrolled (1, 1 for a loop), whether these are the whole window, and whether there is but one channel."""

    short: str
    block: tuple[int, int]
    whole: bool
    flat: bool

    @property
    def zero(self) -> str:
        return f"{VALUE[self.short]}(0)"

    @property
    def channels(self) -> str:
        """The loop over channels. LLVM drops one of a single step."""
        return "for k in range(1):" if self.flat else "for k in range(c):"

    @property
    def positions(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.block[0]) for j in range(self.block[1])]

    @property
    def names(self) -> list[str]:
        return [f"{i}_{j}" for i, j in self.positions]

    def window(self, sources: Sequence[str], lines: Sequence[str], channels: str = "", ids: str = "") -> str:
        """Text that runs `lines` for every channel `k` and every block of the window at (`top`, `left`) of image `n`;
        `x0_1` points to the position (0, 1) of the block of x. `ids` may be the text of `id0_1`."""
        i0, j0 = ("", "") if self.whole else ("i0 + ", "j0 + ")
        rows, columns = (range(n) for n in self.block)
        text = [f"line{i} = min(max(top + {i0}{i}, 0), h - 1)" for i in rows]
        text += [f"r{i} = (n * h + line{i}) * w" for i in rows]
        text += [f"q{j} = min(max(left + {j0}{j}, 0), w - 1)" for j in columns]
        text += [f"{s}{i}_{j} = offset({s}, (r{i} + q{j}) * c)" for s in sources for i, j in self.positions]
        if ids:
            text += [f"id{i}_{j} = {ids.format(i=i, j=j, i0=i0, j0=j0)}" for i, j in self.positions]
        text += [channels or self.channels, *(f"    {line}" for line in lines)]
        if self.whole:
            return "\n".join(text)
        return "\n".join(["for i0 in range(kh):", "    for j0 in range(kw):", *(f"        {line}" for line in text)])


IDS = "(line{i} - top) * kw + q{j} - left"
"""The number of the element that a position stands for, in the window, row by row."""


@dataclass(frozen=True)
class Images:
    """The sizes of a pooling, as images of `c` channels, channels last."""

    window: Window
    n: Dim
    h: Dim
    w: Dim
    c: Dim
    oh: Dim
    ow: Dim
    pads: tuple[Dim, Dim]
    inside: bool  # known: no window reaches over the border

    @classmethod
    def of(cls, node: Node, shape: Sequence[Dim]) -> Images:
        """`shape` is that of the input that is pooled."""
        win = window(node.op.name, node.attrs["pool_size"], node.attrs)
        height, width, channels = win.axes
        n, c = shape[0], shape[channels]
        if win.data_format == "channels_first":
            n, c = count(n, c), 1
        out = win.output(tuple(shape), shape[channels])
        (top, below), (left, right) = (
            pads(shape[axis], win.size[k], win.strides[k], win.padding) for k, axis in enumerate((height, width))
        )
        inside = (top, below, left, right) == (0, 0, 0, 0)
        return cls(win, n, shape[height], shape[width], c, out[height], out[width], (top, left), inside)

    @property
    def slots(self) -> tuple[Dim, ...]:
        return (self.h, self.w, self.c, self.oh, self.ow, *self.window.size, *self.window.strides, *self.pads)

    def form(self, short: str) -> Form:
        kh, kw = self.window.size
        block = (kh, kw) if kh * kw <= UNROLLED else (1, 1)
        return Form(short, block, block == (kh, kw), self.c == 1)

    @property
    def row_work(self) -> Dim:
        """Elements that a row of results depends on."""
        return count(self.ow, self.c, self.window.size[0] * self.window.size[1])

    @property
    def work(self) -> Dim:
        return count(self.n, self.oh, self.row_work)

    def over_rows(self, kernel: Kernel, buffers: tuple[Slot, ...], scratch: Size = 0) -> Launch:
        """A launch whose items are rows of results."""
        rows = count(self.n, self.oh)
        slots = (*buffers, *self.slots, rows, per(self.row_work))
        return Launch(kernel, slots, tiles(rows, self.row_work), self.work, scratch)


WALK = """
def kernel(args, lo, hi, worker):
    {slots}
    found = boolp(worker)
    for t in range(lo * per, min(hi * per, rows)):
        n = t // oh
        top = t % oh * sh - pt
        for j in range(ow):
            left = j * sw - pl
            at = (t * ow + j) * c
            {before}
            {body}
"""
"""A kernel whose items are rows of results; `body` makes the result at `at`."""
