"""Pooling on the CPU: the loop over channels is the inner one and vectorises; images with channels first count as images of one channel.

Before it come the ops of `ir/ops/pool.py`. A window that reaches over the border is handled without tests: a position outside is replaced by
the nearest one inside, which the window holds anyway and which comes at the same place in the order of first maxima. Averages count
what is inside. Small windows are unrolled in the text; large ones are loops over the window that keep their state in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from codegen.cpu.tiles import balanced, computed_in, count, named_slots, per, tile_count, tiles
from codegen.cpu.widen import narrow
from codegen.launch import Choose, Launch, LowerContext, Lowering, Read, Size, Slot, Write
from codegen.source import Kernel
from ir import dtypes
from ir.dims import Dim
from ir.graph import Node
from ir.ops.window import Window, window

_UNROLLED = 9  # positions of the largest window whose text is unrolled
_VALUE = {"f16": "f32", "f32": "f32", "f64": "f64"}
_SIZES = "h w c oh ow kh kw sh sw pt pl"


@dataclass(frozen=True)
class _Images:
    """The sizes of a pooling, as images of `c` channels, channels last."""

    window: Window
    n: Dim
    h: Dim
    w: Dim
    c: Dim
    oh: Dim
    ow: Dim
    pads: tuple[Dim, Dim]

    @classmethod
    def of(cls, node: Node, shape: Sequence[Dim]) -> _Images:
        """`shape` is that of the input that is pooled."""
        win = window(node.op.name, node.attrs["pool_size"], node.attrs)
        height, width, channels = win.axes
        n, c = shape[0], shape[channels]
        if win.data_format == "channels_first":
            n, c = count(n, c), 1
        out = win.output(tuple(shape), shape[channels])
        (top, _), (left, _) = win.pads(tuple(shape))  # type: ignore[arg-type]
        return cls(win, n, shape[height], shape[width], c, out[height], out[width], (top, left))

    @property
    def slots(self) -> tuple[Dim, ...]:
        return (self.h, self.w, self.c, self.oh, self.ow, *self.window.size, *self.window.strides, *self.pads)

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of the window that the text unrolls: all, or one position at a time."""
        kh, kw = self.window.size
        return (kh, kw) if kh * kw <= _UNROLLED else (1, 1)

    @property
    def whole(self) -> bool:
        return self.block == self.window.size

    @property
    def row_work(self) -> Dim:
        """Elements that a row of results depends on."""
        return count(self.ow, self.c, self.window.size[0] * self.window.size[1])

    @property
    def work(self) -> Dim:
        return count(self.n, self.oh, self.row_work)


class _Taps:
    """Text of the pointers `p<i>_<j>` to the positions of a block of the window, for the window at (`top`, `left`)."""

    def __init__(self, block: tuple[int, int], indent: int, sources: Sequence[str]) -> None:
        self.block = block
        self.indent = " " * indent
        self.sources = sources
        self.names = [f"{i}_{j}" for i in range(block[0]) for j in range(block[1])]

    def text(self) -> str:
        rows, columns = (range(n) for n in self.block)
        lines = [f"r{i} = (n * h + min(max(top + i0 + {i}, 0), h - 1)) * w" for i in rows]
        lines += [f"q{j} = min(max(left + j0 + {j}, 0), w - 1)" for j in columns]
        lines += [f"{s}{i}_{j} = offset({s}, (r{i} + q{j}) * c)" for s in self.sources for i in rows for j in columns]
        return "\n".join(self.indent + line for line in lines).lstrip()


_WALK = """
def kernel(args, lo, hi, worker):
    {slots}
    found = boolp(worker)
    for t in range(lo * per, min(hi * per, rows)):
        n = t // oh
        top = t % oh * sh - pt
        for j in range(ow):
            left = j * sw - pl
            at = (t * ow + j) * c
{body}
"""
"""A kernel whose items are rows of results; `body` makes the result at `at` from the window at (`top`, `left`) of image `n`."""

_LOOPS = """\
            for i0 in range(0, kh, {rows}):
                for j0 in range(0, kw, {columns}):
                    {taps}
                    for k in range(c):
{lines}"""


def _rows_launch(kernel: Kernel, buffers: tuple[Slot, ...], images: _Images, scratch: Size = 0) -> Launch:
    """A launch of a kernel of the form `_WALK`."""
    rows = count(images.n, images.oh)
    slots = (*buffers, *images.slots, rows, per(images.row_work))
    return Launch(kernel, slots, tiles(rows, images.row_work), images.work, scratch)


def _walk(slots: str, before: str, block: tuple[int, int], sources: Sequence[str], lines: Sequence[str]) -> str:
    """`_WALK` with a body that runs `lines` for every channel of every block of the window."""
    loops = _LOOPS.format(
        rows=block[0],
        columns=block[1],
        taps=_Taps(block, 20, sources).text(),
        lines="\n".join(" " * 24 + line for line in lines),
    )
    return _WALK.format(slots=named_slots(slots), body=before + loops)


def _first_hits(names: Sequence[str], whole: bool) -> tuple[list[str], list[str]]:
    """Lines that find where the window first holds `best`, and the names of the results per position.

    Where the block is not the whole window, `found` remembers the channels that are done.
    """
    lines = ["best = load(y, at + k)"]
    lines += ["done = False"] if whole else ["done = load(found, k)"]
    hits = []
    for name in names:
        lines.append(f"hit{name} = (load(x{name}, k) == best) & (not done)")
        lines.append(f"done = done | hit{name}")
        hits.append(f"hit{name}")
    if not whole:
        lines.append("store(found, k, done)")
    return lines, hits


_FIRST = """\
            p = offset(x, ((n * h + max(top, 0)) * w + max(left, 0)) * c)
            for k in range(c):
                store(y, at + k, load(p, k))
"""


@functools.lru_cache(maxsize=None)
def _max_kernel(short: str, block: tuple[int, int], whole: bool) -> Kernel:
    parts = [f"load(x{name}, k)" for name in _Taps(block, 0, "x").names]
    if not whole:
        parts.append("load(y, at + k)")
    lines = [f"store(y, at + k, {balanced('maximum({}, {})', parts)})"]
    text = _walk(f"{short}:x {short}:y {_SIZES} rows per", "" if whole else _FIRST, block, "x", lines)
    return Kernel(f"max_pool2d_{short}", text)


def lower_max_pool2d(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y = node.inputs[0], node.output
    images = _Images.of(node, x.shape)
    kernel = _max_kernel(x.type.dtype.short, images.block, images.whole)
    return [_rows_launch(kernel, (Read(ctx.buffer(x)), Write(ctx.buffer(y))), images)]


_FORGET = """\
            for k in range(c):
                store(found, k, False)
                store(to, at + k, {zero})
"""


@functools.lru_cache(maxsize=None)
def _pick_kernel(short: str, block: tuple[int, int], whole: bool) -> Kernel:
    zero = f"{_VALUE[short]}(0)"
    lines, hits = _first_hits(_Taps(block, 0, "x").names, whole)
    lines.append(f"picked = {zero}" if whole else "picked = load(to, at + k)")
    lines += [f"picked = where({hit}, load(g{hit[3:]}, k), picked)" for hit in hits]
    lines.append("store(to, at + k, picked)")
    slots = f"{short}:x {short}:y {short}:g {short}:to {_SIZES} rows per"
    text = _walk(slots, "" if whole else _FORGET.format(zero=zero), block, "xg", lines)
    return Kernel(f"max_pool2d_grad_grad_{short}", text)


def lower_max_pool2d_grad_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y, g = node.inputs
    images = _Images.of(node, x.shape)
    kernel = _pick_kernel(x.type.dtype.short, images.block, images.whole)
    buffers = (Read(ctx.buffer(x)), Read(ctx.buffer(y)), Read(ctx.buffer(g)), Write(ctx.buffer(node.output)))
    return [_rows_launch(kernel, buffers, images, scratch=images.c)]


_MAX_GRAD = """
def kernel(args, lo, hi, worker):
    {slots}
    found = boolp(worker)
    for t in range(lo, hi):
        k0 = t % blocks * block
        k1 = min(c, k0 + block)
        band = t // blocks % bands
        n = t // blocks // bands
        first = band * per
        last = min(first + per, oh)
        if clear:
            begin = 0
            end = h
            if band > 0:
                begin = first * sh - pt
            if band < bands - 1:
                end = last * sh - pt
            if k1 - k0 == c:
                fill0(addr(dx) + (n * h + begin) * w * c * {size}, (end - begin) * w * c * {size})
            else:
                for q in range((n * h + begin) * w, (n * h + end) * w):
                    for k in range(k0, k1):
                        store(dx, q * c + k, {zero})
        for i in range(first, last):
            top = i * sh - pt
            for j in range(ow):
                left = j * sw - pl
                at = ((n * oh + i) * ow + j) * c
{before}\
                for i0 in range(0, kh, {rows}):
                    for j0 in range(0, kw, {columns}):
                        {taps}
                        for k in range(k0, k1):
{lines}
"""


@functools.lru_cache(maxsize=None)
def _max_grad_kernel(short: str, out: str, block: tuple[int, int], whole: bool, add: bool) -> Kernel:
    """Tiles are bands of windows where these do not overlap, otherwise blocks of channels of an image."""
    zero = f"{_VALUE[short]}(0)"
    lines, hits = _first_hits(_Taps(block, 0, "x").names, whole)
    lines.append("g = load(dy, at + k)")
    for hit in hits:
        target = f"dx{hit[3:]}"
        value = f"where({hit}, g, {zero})"
        lines.append(f"store({target}, k, load({target}, k) + {value})" if add else f"store({target}, k, {value})")
    forget = " " * 16 + "for k in range(k0, k1):\n" + " " * 20 + "store(found, k, False)\n"
    text = _MAX_GRAD.format(
        slots=named_slots(f"{short}:x {short}:y {short}:dy {out}:dx {_SIZES} bands blocks block per clear"),
        zero=zero,
        size=dtypes.of(out).itemsize,
        before="" if whole else forget,
        rows=block[0],
        columns=block[1],
        taps=_Taps(block, 24, ("x", "dx")).text(),
        lines="\n".join(" " * 28 + line for line in lines),
    )
    return Kernel(f"max_pool2d_grad_{short}", text)


def lower_max_pool2d_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y, dy = node.inputs
    images = _Images.of(node, x.shape)
    win, (n, h, w, c, oh, ow) = images.window, (images.n, images.h, images.w, images.c, images.oh, images.ow)
    apart = win.size[0] <= win.strides[0]
    # Plain stores are right where no position is in two windows and no window reaches over the border.
    add = not (apart and win.size[1] <= win.strides[1] and win.padding == "valid")
    (dx,), after = narrow(node, ctx) if add else ([ctx.buffer(node.output)], [])
    out = computed_in(x.type.dtype) if add else x.type.dtype.short
    kernel = _max_grad_kernel(x.type.dtype.short, out, images.block, images.whole, add)
    bands: Size = 1
    blocks: Size = 1
    block: Size = c
    rows: Size = oh
    tile_number: Size
    if apart:
        bands = Choose(_bands, (oh, images.row_work))
        rows = per(images.row_work)
        tile_number = Choose(_band_tiles, (n, oh, images.row_work))
    else:
        blocks = Choose(_channel_blocks, (n, c))
        block = Choose(_channel_block, (n, c))
        tile_number = Choose(_channel_tiles, (n, c))
    clear: Size = 1 if add else Choose(_uncovered, (h, w, oh, ow, *win.size, *win.strides))
    slots = (
        Read(ctx.buffer(x)), Read(ctx.buffer(y)), Read(ctx.buffer(dy)), Write(dx), *images.slots, bands, blocks, block, rows, clear,
    )  # fmt: skip
    return [Launch(kernel, slots, tile_number, images.work, scratch=c), *after]


def _bands(rows: int, row_work: int) -> int:
    return max(1, tile_count(rows, row_work))


def _band_tiles(images: int, rows: int, row_work: int) -> int:
    return images * _bands(rows, row_work)


def _channel_block(images: int, channels: int) -> int:
    """Channels of a tile: whole cache lines, so many that a few images make several tiles."""
    wanted = -(-8 // max(1, images))
    return min(channels, max(16, -(-channels // wanted) // 16 * 16))


def _channel_blocks(images: int, channels: int) -> int:
    return -(-channels // max(1, _channel_block(images, channels)))


def _channel_tiles(images: int, channels: int) -> int:
    return images * _channel_blocks(images, channels)


def _uncovered(h: int, w: int, oh: int, ow: int, kh: int, kw: int, sh: int, sw: int) -> int:
    """Whether some position is in no window."""
    return int(kh < sh or kw < sw or oh * sh != h or ow * sw != w)


_AVERAGE = """
def kernel(args, lo, hi, worker):
    {slots}
    total = {value}p(worker)
    for t in range(lo * per, min(hi * per, rows)):
        n = t // oh
        top = t % oh * sh - pt
        i0 = max(0, -top)
        i1 = min(kh, h - top)
        for j in range(ow):
            left = j * sw - pl
            at = (t * ow + j) * c
            j0 = max(0, -left)
            j1 = min(kw, w - left)
            share = {value}(1) / {value}((i1 - i0) * (j1 - j0))
            first = offset(x, ((n * h + top) * w + left) * c)
            if (i1 - i0) * (j1 - j0) == {positions}:
                {taps}
                for k in range(c):
                    store(y, at + k, ({sum}) * share)
            else:
                for k in range(c):
                    store(total, k, {value}(0))
                for i in range(i0, i1):
                    for l in range(j0, j1):
                        p = offset(first, (i * w + l) * c)
                        for k in range(c):
                            store(total, k, load(total, k) + load(p, k))
                for k in range(c):
                    store(y, at + k, load(total, k) * share)
"""


@functools.lru_cache(maxsize=None)
def _average_kernel(short: str, block: tuple[int, int]) -> Kernel:
    """`block` is the window where windows inside the image are unrolled, else one position."""
    positions = [(i, j) for i in range(block[0]) for j in range(block[1])]
    text = _AVERAGE.format(
        slots=named_slots(f"{short}:x {short}:y {_SIZES} rows per"),
        value=_VALUE[short],
        positions=len(positions),
        taps=("\n" + " " * 16).join(f"p{i}_{j} = offset(first, (({i} + i0) * w + {j} + j0) * c)" for i, j in positions),
        sum=balanced("({} + {})", [f"load(p{i}_{j}, k)" for i, j in positions]),
    )
    return Kernel(f"avg_pool2d_{short}", text)


def lower_avg_pool2d(node: Node, ctx: LowerContext) -> list[Launch]:
    x = node.inputs[0]
    images = _Images.of(node, x.shape)
    kernel = _average_kernel(x.type.dtype.short, images.block)
    buffers = (Read(ctx.buffer(x)), Write(ctx.buffer(node.output)))
    return [_rows_launch(kernel, buffers, images, scratch=images.c * 8)]


_AVERAGE_GRAD = """
def kernel(args, lo, hi, worker):
    {slots}
    total = {value}p(worker)
    for t in range(lo * per, min(hi * per, rows)):
        n = t // h
        r = t % h + pt
        i0 = max(0, (r - kh) // sh + 1)
        i1 = min(oh, r // sh + 1)
        for q in range(w):
            s = q + pl
            j0 = max(0, (s - kw) // sw + 1)
            j1 = min(ow, s // sw + 1)
            for k in range(c):
                store(total, k, {value}(0))
            for i in range(i0, i1):
                top = i * sh - pt
                high = min(kh, h - top) - max(0, -top)
                for j in range(j0, j1):
                    left = j * sw - pl
                    wide = min(kw, w - left) - max(0, -left)
                    share = {value}(1) / {value}(high * wide)
                    p = offset(dy, ((n * oh + i) * ow + j) * c)
                    for k in range(c):
                        store(total, k, load(total, k) + load(p, k) * share)
            to = offset(dx, (t * w + q) * c)
            for k in range(c):
                store(to, k, load(total, k))
"""


@functools.lru_cache(maxsize=None)
def _average_grad_kernel(short: str) -> Kernel:
    slots = named_slots(f"{short}:dy {short}:dx {_SIZES} rows per")
    return Kernel(f"avg_pool2d_grad_{short}", _AVERAGE_GRAD.format(slots=slots, value=_VALUE[short]))


def lower_avg_pool2d_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    """Each element of the result gathers from the windows that it is in, so items are rows of the result."""
    dy = node.inputs[0]
    images = _Images.of(node, node.output.shape)
    rows, each = count(images.n, images.h), count(images.w, images.c, 4)
    slots = (Read(ctx.buffer(dy)), Write(ctx.buffer(node.output)), *images.slots, rows, per(each))
    kernel = _average_grad_kernel(dy.type.dtype.short)
    return [Launch(kernel, slots, tiles(rows, each), images.work, scratch=images.c * 8)]


LOWERINGS: dict[str, Lowering] = {
    "max_pool2d": lower_max_pool2d,
    "max_pool2d_grad": lower_max_pool2d_grad,
    "max_pool2d_grad_grad": lower_max_pool2d_grad_grad,
    "avg_pool2d": lower_avg_pool2d,
    "avg_pool2d_grad": lower_avg_pool2d_grad,
}
