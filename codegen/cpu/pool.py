"""Pooling on the CPU: the loop over channels is the inner one and vectorises; images with channels first count as
images of one channel.

Before it come the ops of `ir/ops/pool.py`; the text of windows is in `pool_windows.py`, gradients of maxima in
`pool_grad.py`. Averages count what is inside. Large windows are loops that keep their state in memory.
"""

from __future__ import annotations

import functools

from codegen.cpu.columns import placed
from codegen.cpu.pool_grad import first_hits, lower_max_pool2d_grad, lower_max_pool2d_places_grad
from codegen.cpu.pool_windows import IDS, SIZES, VALUE, WALK, Form, Images
from codegen.cpu.tiles import balanced, count, named_slots, per, tiles
from codegen.launch import Launch, LowerContext, Lowering, Read, Write
from codegen.source import Kernel
from ir.graph import Node

_FIRST = """\
p = offset(x, ((n * h + max(top, 0)) * w + max(left, 0)) * c)
{channels}
    store(y, at + k, load(p, k))
"""


@functools.cache
def _max_kernel(form: Form) -> Kernel:
    parts = [f"load(x{name}, k)" for name in form.names]
    if not form.whole:
        parts.append("load(y, at + k)")
    text = WALK.format(
        slots=named_slots(f"{form.short}:x {form.short}:y {SIZES} rows per"),
        before="" if form.whole else placed(_FIRST.format(channels=form.channels), 12),
        body=placed(form.window("x", [f"store(y, at + k, {balanced('maximum({}, {})', parts)})"]), 12),
    )
    return Kernel(f"max_pool2d_{form.short}", text)


_FIRST_PLACE = """\
number = (max(top, 0) - top) * kw + max(left, 0) - left
{channels}
    store(places, at + k, i32(number))
"""

_NO_PLACE = """\
{channels}
    store(places, at + k, where(load(y, at + k) == load(y, at + k), i32(load(places, at + k)), i32(255)))
"""


@functools.cache
def _places_kernel(form: Form) -> Kernel:
    if form.whole:
        values = [f"load(x{name}, k)" for name in form.names]
        lines = [f"best = {balanced('maximum({}, {})', values)}", "place = i32(255)"]
        # The first one that holds the maximum wins; nothing equals NaN.
        for name in reversed(form.names):
            lines.append(f"place = where(load(x{name}, k) == best, i32(id{name}), place)")
    else:
        lines = ["best = load(y, at + k)", "place = i32(load(places, at + k))", "v = load(x0_0, k)"]
        lines += ["better = (v > best) | ((v != v) & (best == best))", "best = where(better, v, best)"]
        lines += ["place = where(better, i32(id0_0), place)"]
    lines += ["store(y, at + k, best)", "store(places, at + k, place)"]
    before = _FIRST.format(channels=form.channels) + _FIRST_PLACE.format(channels=form.channels)
    body = form.window("x", lines, ids=IDS)
    if not form.whole:
        body += "\n" + _NO_PLACE.format(channels=form.channels)
    text = WALK.format(
        slots=named_slots(f"{form.short}:x {form.short}:y u8:places {SIZES} rows per"),
        before="" if form.whole else placed(before, 12),
        body=placed(body, 12),
    )
    return Kernel(f"max_pool2d_places_{form.short}", text)


def lower_max_pool2d(node: Node, ctx: LowerContext) -> list[Launch]:
    x, y = node.inputs[0], node.output
    images = Images.of(node, x.shape)
    kernel = _max_kernel(images.form(x.type.dtype.short))
    return [images.over_rows(kernel, (Read(ctx.buffer(x)), Write(ctx.buffer(y))))]


_FORGET = """\
{channels}
    store(found, k, False)
    store(to, at + k, {zero})
"""


@functools.cache
def _pick_kernel(form: Form) -> Kernel:
    lines = [*first_hits(form), f"picked = {form.zero}" if form.whole else "picked = load(to, at + k)"]
    lines += [f"picked = where(hit{name}, load(g{name}, k), picked)" for name in form.names]
    lines.append("store(to, at + k, picked)")
    short = form.short
    text = WALK.format(
        slots=named_slots(f"{short}:x {short}:y {short}:g {short}:to {SIZES} rows per"),
        before="" if form.whole else placed(_FORGET.format(channels=form.channels, zero=form.zero), 12),
        body=placed(form.window("xg", lines), 12),
    )
    return Kernel(f"max_pool2d_grad_grad_{short}", text)


def lower_max_pool2d_places(node: Node, ctx: LowerContext) -> list[Launch]:
    x = node.inputs[0]
    images = Images.of(node, x.shape)
    kernel = _places_kernel(images.form(x.type.dtype.short))
    return [images.over_rows(kernel, (Read(ctx.buffer(x)), *(Write(ctx.buffer(v)) for v in node.outputs)))]


def lower_max_pool2d_grad_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    images = Images.of(node, node.inputs[0].shape)
    kernel = _pick_kernel(images.form(node.output.type.dtype.short))
    reads = tuple(Read(ctx.buffer(v)) for v in node.inputs)
    return [images.over_rows(kernel, (*reads, Write(ctx.buffer(node.output))), scratch=images.c)]


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
def _average_kernel(form: Form) -> Kernel:
    """The block stands for windows that lie inside the image, or hold one position of it."""
    taps = [f"p{i}_{j} = offset(first, ((i0 + {i}) * w + j0 + {j}) * c)" for i, j in form.positions]
    text = _AVERAGE.format(
        slots=named_slots(f"{form.short}:x {form.short}:y {SIZES} rows per"),
        value=VALUE[form.short],
        positions=len(taps),
        taps=placed("\n".join(taps), 16),
        channels=form.channels,
        sum=balanced("({} + {})", [f"load(p{name}, k)" for name in form.names]),
    )
    return Kernel(f"avg_pool2d_{form.short}", text)


def lower_avg_pool2d(node: Node, ctx: LowerContext) -> list[Launch]:
    x = node.inputs[0]
    images = Images.of(node, x.shape)
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
    slots = named_slots(f"{short}:dy {short}:dx {SIZES} rows per")
    return Kernel(f"avg_pool2d_grad_{short}", _AVERAGE_GRAD.format(slots=slots, value=VALUE[short], channels=channels))


def lower_avg_pool2d_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    """Each element of the result gathers from the windows that it is in, so items are rows of the result."""
    dy = node.inputs[0]
    images = Images.of(node, node.output.shape)
    rows, each = count(images.n, images.h), count(images.w, images.c, 4)
    slots = (Read(ctx.buffer(dy)), Write(ctx.buffer(node.output)), *images.slots, rows, per(each))
    short = dy.type.dtype.short
    kernel = _average_grad_kernel(short, images.form(short).channels)
    return [Launch(kernel, slots, tiles(rows, each), images.work, scratch=count(images.c, 8))]


LOWERINGS: dict[str, Lowering] = {
    "max_pool2d": lower_max_pool2d,
    "max_pool2d_grad": lower_max_pool2d_grad,
    "max_pool2d_places": lower_max_pool2d_places,
    "max_pool2d_places_grad": lower_max_pool2d_places_grad,
    "max_pool2d_grad_grad": lower_max_pool2d_grad_grad,
    "avg_pool2d": lower_avg_pool2d,
    "avg_pool2d_grad": lower_avg_pool2d_grad,
}
