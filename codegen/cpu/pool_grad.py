"""The gradients of max pooling on the CPU, found from the operand and its maxima, or from the places of these.

Before it come the ops of `ir/ops/pool.py` and `pool_windows.py`; `pool.py` lists the lowerings. From the operand,
windows scatter: tiles are bands of windows where these do not overlap, otherwise blocks of channels of an image. From
places, rows of the result gather.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

from codegen.cpu.columns import placed
from codegen.cpu.pool_windows import SIZES, UNROLLED, Form, Images
from codegen.cpu.tiles import balanced, computed_in, count, named_slots, per, tile_count, tiles
from codegen.cpu.widen import narrow
from codegen.launch import Choose, Launch, LowerContext, Read, Size, Write
from codegen.source import Kernel
from ir import dtypes
from ir.graph import Node


def first_hits(form: Form) -> list[str]:
    """Lines that set `hit<i>_<j>` at the first position where the window holds what y does. Where the block is not the
    whole window, `found` remembers the channels that are done."""
    lines = ["best = load(y, at + k)", "done = False" if form.whole else "done = load(found, k)"]
    for name in form.names:
        lines.append(f"hit{name} = (load(x{name}, k) == best) & (not done)")
        lines.append(f"done = done | hit{name}")
    return lines if form.whole else [*lines, "store(found, k, done)"]


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
        ready = 0
        end = h
        if band > 0:
            ready = first * sh - pt
        if band < bands - 1:
            end = last * sh - pt
        for i in range(first, last):
            top = i * sh - pt
            if clear:
                until = min(top + kh, end)
                {fill}
            for j in range(ow):
                left = j * sw - pl
                at = ((n * oh + i) * ow + j) * c
                {forget}
                {body}
        if clear:
            until = end
            {fill_rest}
"""

_CLEAR = """\
if k1 - k0 == c and until > ready:
    fill0(addr(dx) + (n * h + ready) * w * c * {size}, (until - ready) * w * c * {size})
elif k1 - k0 != c:
    for q in range((n * h + ready) * w, (n * h + until) * w):
        for k in range(k0, k1):
            store(dx, q * c + k, {zero})
ready = max(ready, until)
"""
"""Zeros in rows up to `until`, just before the first windows that reach them."""


@functools.cache
def _max_grad_kernel(form: Form, out: str, add: bool) -> Kernel:
    channels = form.channels if form.flat else "for k in range(k0, k1):"
    lines = [*first_hits(form), "g = load(dy, at + k)"]
    for name in form.names:
        share = f"where(hit{name}, g, {form.zero})"
        lines.append(f"store(dx{name}, k, {f'load(dx{name}, k) + {share}' if add else share})")
    short = form.short
    clear = _CLEAR.format(zero=form.zero, size=dtypes.of(out).itemsize)
    text = _MAX_GRAD.format(
        slots=named_slots(f"{short}:x {short}:y {short}:dy {out}:dx {SIZES} bands blocks block per clear"),
        fill=placed(clear, 16),
        fill_rest=placed(clear, 12),
        forget="" if form.whole else f"{channels}\n{' ' * 20}store(found, k, False)",
        body=placed(form.window(("x", "dx"), lines, channels), 16),
    )
    return Kernel(f"max_pool2d_grad_{short}", text)


def lower_max_pool2d_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    x = node.inputs[0]
    images = Images.of(node, x.shape)
    win, n, c, oh, ow = images.window, images.n, images.c, images.oh, images.ow
    apart = win.size[0] <= win.strides[0]
    # Plain stores are right where no position is in two windows and no window reaches over the border.
    add = not (apart and win.size[1] <= win.strides[1] and images.inside)
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


_PLACES_GRAD = """
def kernel(args, lo, hi, worker):
    {slots}
    total = {value}p(worker)
    for t in range(lo * per, min(hi * per, rows)):
        n = t // h
        r = t % h + pt
        i0 = max(0, (r - kh) // sh + 1)
        {rows}
        {columns}
"""
"""An element of the result gathers from the windows that it is in, the first of which is (i0, j0)."""

_EACH = """\
j0 = 0
for q in range(w):
    s = q + pl
    while j0 * sw + kw <= s:
        j0 += 1
    to = offset(dx, (t * w + q) * c)
    {body}
"""

_FEW = """\
{windows}
{channels}
    store(to, k, {sum})
"""

_MANY = """\
{channels}
    store(total, k, {zero})
for i in range(i0, min(oh, r // sh + 1)):
    for j in range(j0, min(ow, s // sw + 1)):
        at = ((n * oh + i) * ow + j) * c
        number = i32((r - i * sh) * kw + s - j * sw)
        {channels}
            store(total, k, load(total, k) + where(i32(load(places, at + k)) == number, load(dy, at + k), {zero}))
{channels}
    store(to, k, load(total, k))
"""

_TILED = """\
for j in range(ow):
    p = offset(places, (line0 + j) * c)
    g = offset(dy, (line0 + j) * c)
    to = offset(dx, (t * w + j * sw) * c)
    {channels}
        place = i32(load(p, k))
        value = load(g, k)
        {stores}
"""
"""Where every element of a row is in one column of windows."""


@dataclass(frozen=True)
class _Gather:
    """What the text of a kernel depends on. `reach`: in how many windows a position may be, along either axis; (0, 0)
    for more than a few. `tiled`: columns of a window if they tile the rows without gaps, else 0."""

    short: str
    flat: bool
    reach: tuple[int, int]
    tiled: int

    @property
    def form(self) -> Form:
        return Form(self.short, (1, 1), False, self.flat)

    @property
    def rows(self) -> list[str]:
        """Of a row of the result. A window that does not exist, or does not hold the row, gets `on` false."""
        lines = []
        for a in range(self.reach[0]):
            lines += [f"i{a} = i0 + {a}", f"u{a} = r - i{a} * sh", f"on{a} = (u{a} >= 0) & (i{a} < oh)"]
            lines.append(f"line{a} = (n * oh + min(i{a}, oh - 1)) * ow")
        if self.tiled:
            lines += [f"id{v} = i32(where(on0, u0 * kw + {v}, -1))" for v in range(self.tiled)]
        return lines

    @property
    def columns(self) -> str:
        channels, zero = self.form.channels, self.form.zero
        if self.tiled:
            stores = [f"store(to, {v} * c + k, where(place == id{v}, value, {zero}))" for v in range(self.tiled)]
            return _TILED.format(channels=channels, stores=placed("\n".join(stores), 8))
        if self.reach == (0, 0):
            return _EACH.format(body=placed(_MANY.format(channels=channels, zero=zero), 4))
        lines, terms = [], []
        for b in range(self.reach[1]):
            lines += [f"j{b} = j0 + {b}", f"v{b} = s - j{b} * sw", f"in{b} = (v{b} >= 0) & (j{b} < ow)"]
            lines.append(f"q{b} = min(j{b}, ow - 1)")
        for a, b in itertools.product(*map(range, self.reach)):
            lines.append(f"id{a}_{b} = i32(where(on{a} & in{b}, u{a} * kw + v{b}, -1))")
            lines += [f"{p}{a}_{b} = offset({p}, (line{a} + q{b}) * c)" for p in ("places", "dy")]
            terms.append(f"where(i32(load(places{a}_{b}, k)) == id{a}_{b}, load(dy{a}_{b}, k), {zero})")
        few = _FEW.format(windows="\n".join(lines), channels=channels, sum=balanced("({} + {})", terms))
        return _EACH.format(body=placed(few, 4))


@functools.cache
def _places_grad_kernel(gather: _Gather) -> Kernel:
    short = gather.short
    text = _PLACES_GRAD.format(
        slots=named_slots(f"u8:places {short}:dy {short}:dx {SIZES} rows per"),
        value=computed_in(dtypes.of(short)),
        rows=placed("\n".join(gather.rows), 8),
        columns=placed(gather.columns, 8),
    )
    return Kernel(f"max_pool2d_places_grad_{short}", text)


def lower_max_pool2d_places_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    images = Images.of(node, node.output.shape)
    (kh, kw), (sh, sw) = images.window.size, images.window.strides
    reach = (-(-kh // sh), -(-kw // sw))
    if reach[0] * reach[1] > UNROLLED:
        reach = (0, 0)
    tiles_row = kw == sw and images.inside and images.w == count(images.ow, sw)
    tiled = kw if tiles_row and reach == (1, 1) and kw <= UNROLLED else 0
    kernel = _places_grad_kernel(_Gather(node.output.type.dtype.short, images.c == 1, reach, tiled))
    rows, each = count(images.n, images.h), count(images.w, images.c, max(1, reach[0] * reach[1]))
    reads = (Read(ctx.buffer(v)) for v in node.inputs)
    slots = (*reads, Write(ctx.buffer(node.output)), *images.slots, rows, per(each))
    return [Launch(kernel, slots, tiles(rows, each), count(rows, each), scratch=count(images.c, 8))]
