"""Pooling on the CPU: the loop over channels is the inner one and vectorises; images with channels first count as
images of one channel.

Before it come the ops of `ir/ops/pool.py`. A window that reaches over the border is handled without tests: a position
outside is replaced by the nearest one inside, which the window holds anyway and which comes at the same place in the
order of first maxima. Averages count what is inside. Small windows are unrolled in the text; large ones are loops over
the window that keep their state in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from codegen.cpu.columns import placed
from codegen.cpu.tiles import balanced, computed_in, count, named_slots, per, tile_count, tiles
from codegen.cpu.widen import narrow
from codegen.launch import Choose, Launch, LowerContext, Lowering, Read, Size, Slot, Write
from codegen.source import Kernel
from ir import dtypes
from ir.dims import Dim
from ir.graph import Node
from ir.ops.window import Window, pads, window

_UNROLLED = 9  # positions of the largest window whose text is unrolled
_SIZES = "h w c oh ow kh kw sh sw pt pl"
_VALUE = {"f16": "f32", "f32": "f32", "f64": "f64"}


@dataclass(frozen=True)
class _Form:
    """What the text of a kernel depends on besides the op: the dtype, the rows and columns of the window that are
    unrolled (1, 1 for a loop), whether these are the whole window, and whether there is but one channel."""

    short: str
    block: tuple[int, int]
    whole: bool
    flat: bool

    @property
    def zero(self) -> str:
        return f"{_VALUE[self.short]}(0)"

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

    def window(self, sources: Sequence[str], lines: Sequence[str], channels: str = "") -> str:
        """Text that runs `lines` for every channel `k` and every block of the window at (`top`, `left`) of image `n`;
        `x0_1` points to the position (0, 1) of the block of x."""
        i0, j0 = ("", "") if self.whole else ("i0 + ", "j0 + ")
        rows, columns = (range(n) for n in self.block)
        text = [f"r{i} = (n * h + min(max(top + {i0}{i}, 0), h - 1)) * w" for i in rows]
        text += [f"q{j} = min(max(left + {j0}{j}, 0), w - 1)" for j in columns]
        text += [f"{s}{i}_{j} = offset({s}, (r{i} + q{j}) * c)" for s in sources for i, j in self.positions]
        text += [channels or self.channels, *(f"    {line}" for line in lines)]
        if self.whole:
            return "\n".join(text)
        return "\n".join(["for i0 in range(kh):", "    for j0 in range(kw):", *(f"        {line}" for line in text)])


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
        (top, _), (left, _) = (
            pads(shape[axis], win.size[k], win.strides[k], win.padding) for k, axis in enumerate((height, width))
        )
        return cls(win, n, shape[height], shape[width], c, out[height], out[width], (top, left))

    @property
    def slots(self) -> tuple[Dim, ...]:
        return (self.h, self.w, self.c, self.oh, self.ow, *self.window.size, *self.window.strides, *self.pads)

    def form(self, short: str) -> _Form:
        kh, kw = self.window.size
        block = (kh, kw) if kh * kw <= _UNROLLED else (1, 1)
        return _Form(short, block, block == (kh, kw), self.c == 1)

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
            {before}
            {body}
"""
"""A kernel whose items are rows of results; `body` makes the result at `at`."""

_FIRST = """\
p = offset(x, ((n * h + max(top, 0)) * w + max(left, 0)) * c)
{channels}
    store(y, at + k, load(p, k))
"""


@functools.cache
def _max_kernel(form: _Form) -> Kernel:
    parts = [f"load(x{name}, k)" for name in form.names]
    if not form.whole:
        parts.append("load(y, at + k)")
    text = _WALK.format(
        slots=named_slots(f"{form.short}:x {form.short}:y {_SIZES} rows per"),
        before="" if form.whole else placed(_FIRST.format(channels=form.channels), 12),
        body=placed(form.window("x", [f"store(y, at + k, {balanced('maximum({}, {})', parts)})"]), 12),
    )
    return Kernel(f"max_pool2d_{form.short}", text)


def lower_max_pool2d(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y = node.inputs[0], node.output
    images = _Images.of(node, x.shape)
    kernel = _max_kernel(images.form(x.type.dtype.short))
    return [images.over_rows(kernel, (Read(ctx.buffer(x)), Write(ctx.buffer(y))))]


def _first_hits(form: _Form) -> list[str]:
    """Lines that set `hit<i>_<j>` at the first position where the window holds what y does. Where the block is not the
    whole window, `found` remembers the channels that are done."""
    lines = ["best = load(y, at + k)", "done = False" if form.whole else "done = load(found, k)"]
    for name in form.names:
        lines.append(f"hit{name} = (load(x{name}, k) == best) & (not done)")
        lines.append(f"done = done | hit{name}")
    return lines if form.whole else [*lines, "store(found, k, done)"]


_FORGET = """\
{channels}
    store(found, k, False)
    store(to, at + k, {zero})
"""


@functools.cache
def _pick_kernel(form: _Form) -> Kernel:
    lines = [*_first_hits(form), f"picked = {form.zero}" if form.whole else "picked = load(to, at + k)"]
    lines += [f"picked = where(hit{name}, load(g{name}, k), picked)" for name in form.names]
    lines.append("store(to, at + k, picked)")
    short = form.short
    text = _WALK.format(
        slots=named_slots(f"{short}:x {short}:y {short}:g {short}:to {_SIZES} rows per"),
        before="" if form.whole else placed(_FORGET.format(channels=form.channels, zero=form.zero), 12),
        body=placed(form.window("xg", lines), 12),
    )
    return Kernel(f"max_pool2d_grad_grad_{short}", text)


def lower_max_pool2d_grad_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    images = _Images.of(node, node.inputs[0].shape)
    kernel = _pick_kernel(images.form(node.output.type.dtype.short))
    reads = tuple(Read(ctx.buffer(v)) for v in node.inputs)
    return [images.over_rows(kernel, (*reads, Write(ctx.buffer(node.output))), scratch=images.c)]


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
                {forget}
                {body}
"""


@functools.cache
def _max_grad_kernel(form: _Form, out: str, add: bool) -> Kernel:
    """Tiles are bands of windows where these do not overlap, otherwise blocks of channels of an image."""
    channels = form.channels if form.flat else "for k in range(k0, k1):"
    lines = [*_first_hits(form), "g = load(dy, at + k)"]
    for name in form.names:
        share = f"where(hit{name}, g, {form.zero})"
        lines.append(f"store(dx{name}, k, {f'load(dx{name}, k) + {share}' if add else share})")
    short = form.short
    text = _MAX_GRAD.format(
        slots=named_slots(f"{short}:x {short}:y {short}:dy {out}:dx {_SIZES} bands blocks block per clear"),
        zero=form.zero,
        size=dtypes.of(out).itemsize,
        forget="" if form.whole else f"{channels}\n{' ' * 20}store(found, k, False)",
        body=placed(form.window(("x", "dx"), lines, channels), 16),
    )
    return Kernel(f"max_pool2d_grad_{short}", text)


def lower_max_pool2d_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    x = node.inputs[0]
    images = _Images.of(node, x.shape)
    win, n, c, oh, ow = images.window, images.n, images.c, images.oh, images.ow
    apart = win.size[0] <= win.strides[0]
    # Plain stores are right where no position is in two windows and no window reaches over the border.
    add = not (apart and win.size[1] <= win.strides[1] and win.padding == "valid")
    (dx,), after = narrow(node, ctx) if add else ([ctx.buffer(node.output)], [])
    out = computed_in(x.type.dtype) if add else x.type.dtype.short
    cut: tuple[Size, ...]
    if apart:
        cut = (Choose(_bands, (oh, images.row_work)), 1, c, per(images.row_work))
        number = Choose(_band_tiles, (n, oh, images.row_work))
    else:
        cut = (1, Choose(_channel_blocks, (n, c)), Choose(_channel_block, (n, c)), oh)
        number = Choose(_channel_tiles, (n, c))
    clear: Size = 1 if add else Choose(_uncovered, (images.h, images.w, oh, ow, *win.size, *win.strides))
    slots = (*(Read(ctx.buffer(v)) for v in node.inputs), Write(dx), *images.slots, *cut, clear)
    kernel = _max_grad_kernel(images.form(x.type.dtype.short), out, add)
    return [Launch(kernel, slots, number, images.work, scratch=c), *after]


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
                {channels}
                    store(y, at + k, ({sum}) * share)
            else:
                {channels}
                    store(total, k, {value}(0))
                for i in range(i0, i1):
                    for l in range(j0, j1):
                        p = offset(first, (i * w + l) * c)
                        {channels}
                            store(total, k, load(total, k) + load(p, k))
                {channels}
                    store(y, at + k, load(total, k) * share)
"""


@functools.cache
def _average_kernel(form: _Form) -> Kernel:
    """The block stands for windows that lie inside the image, or hold one position of it."""
    taps = [f"p{i}_{j} = offset(first, ((i0 + {i}) * w + j0 + {j}) * c)" for i, j in form.positions]
    text = _AVERAGE.format(
        slots=named_slots(f"{form.short}:x {form.short}:y {_SIZES} rows per"),
        value=_VALUE[form.short],
        positions=len(taps),
        taps=placed("\n".join(taps), 16),
        channels=form.channels,
        sum=balanced("({} + {})", [f"load(p{name}, k)" for name in form.names]),
    )
    return Kernel(f"avg_pool2d_{form.short}", text)


def lower_avg_pool2d(node: Node, ctx: LowerContext) -> list[Launch]:
    x = node.inputs[0]
    images = _Images.of(node, x.shape)
    kernel = _average_kernel(images.form(x.type.dtype.short))
    buffers = (Read(ctx.buffer(x)), Write(ctx.buffer(node.output)))
    return [images.over_rows(kernel, buffers, scratch=count(images.c, 8))]


_AVERAGE_GRAD = """
def kernel(args, lo, hi, worker):
    {slots}
    total = {value}p(worker)
    for t in range(lo * per, min(hi * per, rows)):
        n = t // h
        r = t % h + pt
        i0 = max(0, (r - kh) // sh + 1)
        i1 = min(oh, r // sh + 1)
        high = min(kh, h - i0 * sh + pt) - max(0, pt - i0 * sh)
        for q in range(w):
            s = q + pl
            j0 = max(0, (s - kw) // sw + 1)
            j1 = min(ow, s // sw + 1)
            to = offset(dx, (t * w + q) * c)
            if i1 == i0 + 1 and j1 == j0 + 1:
                wide = min(kw, w - j0 * sw + pl) - max(0, pl - j0 * sw)
                share = {value}(1) / {value}(high * wide)
                p = offset(dy, ((n * oh + i0) * ow + j0) * c)
                {channels}
                    store(to, k, load(p, k) * share)
            else:
                {channels}
                    store(total, k, {value}(0))
                for i in range(i0, i1):
                    tall = min(kh, h - i * sh + pt) - max(0, pt - i * sh)
                    for j in range(j0, j1):
                        wide = min(kw, w - j * sw + pl) - max(0, pl - j * sw)
                        share = {value}(1) / {value}(tall * wide)
                        p = offset(dy, ((n * oh + i) * ow + j) * c)
                        {channels}
                            store(total, k, load(total, k) + load(p, k) * share)
                {channels}
                    store(to, k, load(total, k))
"""


@functools.cache
def _average_grad_kernel(short: str, channels: str) -> Kernel:
    slots = named_slots(f"{short}:dy {short}:dx {_SIZES} rows per")
    return Kernel(f"avg_pool2d_grad_{short}", _AVERAGE_GRAD.format(slots=slots, value=_VALUE[short], channels=channels))


def lower_avg_pool2d_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    """Each element of the result gathers from the windows that it is in, so items are rows of the result."""
    dy = node.inputs[0]
    images = _Images.of(node, node.output.shape)
    rows, each = count(images.n, images.h), count(images.w, images.c, 4)
    slots = (Read(ctx.buffer(dy)), Write(ctx.buffer(node.output)), *images.slots, rows, per(each))
    short = dy.type.dtype.short
    kernel = _average_grad_kernel(short, images.form(short).channels)
    return [Launch(kernel, slots, tiles(rows, each), images.work, scratch=count(images.c, 8))]


LOWERINGS: dict[str, Lowering] = {
    "max_pool2d": lower_max_pool2d,
    "max_pool2d_grad": lower_max_pool2d_grad,
    "max_pool2d_grad_grad": lower_max_pool2d_grad_grad,
    "avg_pool2d": lower_avg_pool2d,
    "avg_pool2d_grad": lower_avg_pool2d_grad,
}
