"""Batch normalisation on the CPU: statistics and sums in one pass over memory, then one pass that applies them.

Statistics are taken over parts of the rows and combined in a second launch, part by part, by the formulas of Chan,
Golub and LeVeque (1979), so that no digits are lost where the mean is large. A tensor is seen as [outer, channels,
inner]; with the channels last, narrow rows are taken in groups (`columns.py`), otherwise a row is the `inner` elements
of one channel. Before it come the ops of `ir/ops/norm.py`; their softmax is in `softmax.py`.
"""

from __future__ import annotations

import functools

from codegen.cpu.columns import fold, group_of, placed, row_pass, spread, width_of
from codegen.cpu.softmax import lower_log_softmax, lower_softmax
from codegen.cpu.tiles import computed_in, count, named_slots, per, tiles
from codegen.launch import F64, Buffer, Choose, Launch, LowerContext, Lowering, Read, Slot, Write
from codegen.source import Kernel
from ir import dims
from ir.graph import Node, Value

_PART = 65536  # elements of a part, at least
_MOST_PARTS = 64
_BLOCK = 16384  # elements that are read twice while they are in the first-level cache, about
_FEW = 8  # rows whose mean is near enough to that of all
_CHANNELS = 256  # channels of a tile where parts are combined
_WIDE = 512  # elements of a group of rows where coefficients are applied, about


def block_of(channels: int) -> int:
    """Rows of a block: whole groups, a multiple of four of them."""
    rows = 4 * group_of(channels)
    return max(4, _BLOCK // max(1, rows * channels)) * rows


def wide_group_of(channels: int) -> int:
    return max(1, _WIDE // max(1, channels))


def wide_width_of(channels: int) -> int:
    return wide_group_of(channels) * channels


class _Layout:
    """A tensor as [outer, channels, inner], and into how many parts its rows are split for sums."""

    def __init__(self, x: Value, axis: int) -> None:
        self.channels = x.shape[axis]
        self.inner = count(*x.shape[axis + 1 :])
        self.rows = count(*x.shape[:axis], self.inner)
        self.items = count(*x.shape[: axis + 1])
        self.size = x.type.size
        self.short = x.type.dtype.short
        self.value = computed_in(x.type.dtype)
        self.last = axis == len(x.shape) - 1
        most = dims.dim_min(_MOST_PARTS, dims.floordiv(self.size, _PART))
        self.parts = dims.dim_max(1, most) if self.last else count(*x.shape[:axis])

    def partial(self, kernel: Kernel, reads: tuple[Read, ...], ctx: LowerContext) -> tuple[Launch, Buffer]:
        """The launch that takes two float64 numbers for each part and channel, and their buffer [parts, 2,
        channels]."""
        parts = ctx.temp(count(self.parts, self.channels, 16), "partial sums")
        c = self.channels
        if self.last:
            slots = (*reads, Write(parts), self.rows, c, self.parts, Choose(group_of, (c,)), Choose(block_of, (c,)))
            scratch = Choose(_scratch, (c,))
            return Launch(kernel, slots, self.parts, count(4, self.size), scratch), parts
        slots = (*reads, Write(parts), self.items, c, self.inner, per(self.inner))
        return Launch(kernel, slots, tiles(self.items, self.inner), count(4, self.size)), parts

    def combine(self, kernel: Kernel, buffers: tuple[Slot, ...]) -> Launch:
        """A launch over blocks of channels of the partial sums."""
        slots = (*buffers, self.rows, self.channels, self.parts)
        work = count(4, self.parts, self.channels)
        return Launch(kernel, slots, dims.ceildiv(self.channels, _CHANNELS), work, scratch=_CHANNELS * 16)


def _scratch(channels: int) -> int:
    return 3 * 8 * width_of(channels)


_LAST = """
def kernel(args, lo, hi, worker):
    {slots}
    width = group * c
    step = width
    s = {value}p(worker)
    q = offset(s, width)
    m = offset(q, width)
{setup}\
    for t in range(lo, hi):
        first = rows * t // n_parts
        end = rows * (t + 1) // n_parts
        p0 = offset(parts, t * 2 * c)
        p1 = offset(p0, c)
        for k in range(c):
            store(p0, k, f64(0))
            store(p1, k, f64(0))
        seen = 0
        while first < end:
            n = min(block, end - first)
            groups = n // group
            rest = (n - groups * group) * c
            {block}
            seen += n
            first += n
"""
"""A kernel whose tiles are parts of rows; `block` adds the rows from `first` on, `n` of them, to the part's numbers."""


_MOMENTS_BLOCK = """\
xb = offset(x, first * c)
if seen == 0:
    few = min({few}, n)
    for k in range(c):
        store(m, k, {value}(0))
    for i in range(few):
        p = offset(xb, i * c)
        for k in range(c):
            store(m, k, load(m, k) + load(p, k) / {value}(few))
else:
    for k in range(c):
        store(m, k, {value}(load(p0, k)))
{spread}
for k in range(width):
    store(s, k, {value}(0))
    store(q, k, {value}(0))
{sums}
{fold_s}
{fold_q}
share = f64(n) / f64(seen + n)
weight = share * f64(seen)
for k in range(c):
    shift = f64(load(s, k)) / f64(n)
    d = f64(load(m, k)) + shift - load(p0, k)
    store(p0, k, load(p0, k) + d * share)
    store(p1, k, load(p1, k) + (f64(load(q, k)) - shift * f64(load(s, k)) + d * d * weight))
"""
"""Sums of x - m and of its square, where m is the mean of the rows seen before (in the first block: of a few of
them), which loses no digits."""

_MOMENTS_ROWS = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo * per, min(hi * per, items)):
        mean = f64(0)
        square = f64(0)
        for b in range(0, inner, {block}):
            n = min({block}, inner - b)
            p = offset(x, t * inner + b)
            s = {value}(0)
            for i in range(n):
                s += load(p, i)
            m = s / {value}(n)
            q = {value}(0)
            for i in range(n):
                q += (load(p, i) - m) * (load(p, i) - m)
            share = f64(n) / f64(b + n)
            d = f64(m) - mean
            mean += d * share
            square += f64(q) + d * d * share * f64(b)
        at = t // c * 2 * c + t % c
        parts[at] = mean
        parts[at + c] = square
"""


@functools.cache
def _moments_kernel(short: str, value: str, last: bool) -> Kernel:
    if not last:
        slots = named_slots(f"{short}:x f64:parts items c inner per")
        text = _MOMENTS_ROWS.format(slots=slots, value=value, block=_BLOCK)
        return Kernel(f"moments_rows_{short}", text, fastmath=True)
    sums = row_pass(["xb"], [("s", "({xb} - {m})"), ("q", "({xb} - {m}) * ({xb} - {m})")], vectors=["m"])
    block = _MOMENTS_BLOCK.format(
        value=value, few=_FEW, spread=spread("m", "c"), sums=sums, fold_s=fold("s", "c"), fold_q=fold("q", "c")
    )
    slots = named_slots(f"{short}:x f64:parts rows c n_parts group block")
    return Kernel(f"moments_{short}", _LAST.format(slots=slots, value=value, setup="", block=placed(block, 12)))


_COMBINE_MOMENTS = """
def kernel(args, lo, hi, worker):
    {slots}
    m = f64p(worker)
    q = offset(m, {channels})
    for t in range(lo, hi):
        c0 = t * {channels}
        high = min({channels}, c - c0)
        for k in range(high):
            store(m, k, f64(0))
            store(q, k, f64(0))
        seen = 0
        for s in range(n_parts):
            n = rows * (s + 1) // n_parts - rows * s // n_parts
            if n > 0:
                p0 = offset(parts, s * 2 * c + c0)
                p1 = offset(p0, c)
                share = f64(n) / f64(seen + n)
                weight = share * f64(seen)
                for k in range(high):
                    d = load(p0, k) - load(m, k)
                    store(m, k, load(m, k) + d * share)
                    store(q, k, load(q, k) + (load(p1, k) + d * d * weight))
                seen += n
        nothing = f64(0) / f64(seen)
        for k in range(high):
            store(mean, c0 + k, {value}(load(m, k) + nothing))
            store(variance, c0 + k, {value}(load(q, k) / f64(seen) + nothing))
"""


@functools.cache
def _combine_moments_kernel(short: str, value: str) -> Kernel:
    slots = named_slots(f"f64:parts {short}:mean {short}:variance rows c n_parts")
    return Kernel(f"combine_moments_{short}", _COMBINE_MOMENTS.format(slots=slots, value=value, channels=_CHANNELS))


def _moments(x: Value, axis: int, mean: Value, variance: Value, ctx: LowerContext) -> list[Launch]:
    layout = _Layout(x, axis)
    kernel = _moments_kernel(layout.short, layout.value, layout.last)
    first, parts = layout.partial(kernel, (Read(ctx.buffer(x)),), ctx)
    results = (Write(ctx.buffer(mean)), Write(ctx.buffer(variance)))
    return [first, layout.combine(_combine_moments_kernel(layout.short, layout.value), (Read(parts), *results))]


def lower_moments(node: Node, ctx: LowerContext) -> list[Launch]:
    mean, variance = node.outputs
    return _moments(node.inputs[0], node.attrs["axis"], mean, variance, ctx)


# Sums of dy and of dy * (x - mean).

_SUMS_SETUP = f"""\
    for k in range(c):
        store(m, k, load(mean, k))
    {placed(spread("m", "c"), 4)}
"""

_SUMS_BLOCK = """\
xb = offset(x, first * c)
gb = offset(dy, first * c)
for k in range(width):
    store(s, k, {value}(0))
    store(q, k, {value}(0))
{sums}
{fold_s}
{fold_q}
for k in range(c):
    store(p0, k, load(p0, k) + f64(load(s, k)))
    store(p1, k, load(p1, k) + f64(load(q, k)))
"""

_SUMS_ROWS = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo * per, min(hi * per, items)):
        m = mean[t % c]
        total = f64(0)
        product = f64(0)
        for b in range(0, inner, {block}):
            p = offset(x, t * inner + b)
            g = offset(dy, t * inner + b)
            s = {value}(0)
            q = {value}(0)
            for i in range(min({block}, inner - b)):
                s += load(g, i)
                q += load(g, i) * (load(p, i) - m)
            total += f64(s)
            product += f64(q)
        at = t // c * 2 * c + t % c
        parts[at] = total
        parts[at + c] = product
"""


@functools.cache
def _sums_kernel(short: str, value: str, last: bool) -> Kernel:
    if not last:
        slots = named_slots(f"{short}:dy {short}:x {short}:mean f64:parts items c inner per")
        text = _SUMS_ROWS.format(slots=slots, value=value, block=_BLOCK)
        return Kernel(f"batch_norm_sums_rows_{short}", text, fastmath=True)
    sums = row_pass(["xb", "gb"], [("s", "{gb}"), ("q", "{gb} * ({xb} - {m})")], vectors=["m"])
    block = _SUMS_BLOCK.format(value=value, sums=sums, fold_s=fold("s", "c"), fold_q=fold("q", "c"))
    slots = named_slots(f"{short}:dy {short}:x {short}:mean f64:parts rows c n_parts group block")
    text = _LAST.format(slots=slots, value=value, setup=_SUMS_SETUP, block=placed(block, 12))
    return Kernel(f"batch_norm_sums_{short}", text)


_COMBINE_SUMS = """
def kernel(args, lo, hi, worker):
    {slots}
    s = f64p(worker)
    q = offset(s, {channels})
    for t in range(lo, hi):
        c0 = t * {channels}
        high = min({channels}, c - c0)
        for k in range(high):
            store(s, k, f64(0))
            store(q, k, f64(0))
        for i in range(n_parts):
            p0 = offset(parts, i * 2 * c + c0)
            p1 = offset(p0, c)
            for k in range(high):
                store(s, k, load(s, k) + load(p0, k))
                store(q, k, load(q, k) + load(p1, k))
        for k in range(high):
            product = load(q, k) / sqrt(f64(load(variance, c0 + k)) + epsilon)
            store(dgamma, c0 + k, {value}(product))
            store(dbeta, c0 + k, {value}(load(s, k)))
            store(exact, c0 + k, product)
            store(exact, c + c0 + k, load(s, k))
"""


@functools.cache
def _combine_sums_kernel(short: str, value: str) -> Kernel:
    names = f"f64:parts {short}:variance f64=epsilon {short}:dgamma {short}:dbeta f64:exact rows c n_parts"
    text = _COMBINE_SUMS.format(slots=named_slots(names), value=value, channels=_CHANNELS)
    return Kernel(f"combine_batch_norm_sums_{short}", text)


def _sums(
    operands: tuple[Value, Value, Value, Value], node: Node, dgamma: Value, dbeta: Value, ctx: LowerContext
) -> tuple[list[Launch], Buffer]:
    """The launches, and a buffer with both results in float64: what is computed from them must not suffer from their
    rounding."""
    dy, x, mean, variance = operands
    layout = _Layout(x, node.attrs["axis"])
    exact = ctx.temp(count(2, layout.channels, 8), "sums")
    kernel = _sums_kernel(layout.short, layout.value, layout.last)
    reads = (Read(ctx.buffer(dy)), Read(ctx.buffer(x)), Read(ctx.buffer(mean)))
    first, parts = layout.partial(kernel, reads, ctx)
    results = (Write(ctx.buffer(dgamma)), Write(ctx.buffer(dbeta)), Write(exact))
    buffers = (Read(parts), Read(ctx.buffer(variance)), F64(node.attrs["epsilon"]), *results)
    return [first, layout.combine(_combine_sums_kernel(layout.short, layout.value), buffers)], exact


def lower_batch_norm_sums(node: Node, ctx: LowerContext) -> list[Launch]:
    dy, x, mean, variance = node.inputs
    dgamma, dbeta = node.outputs
    return _sums((dy, x, mean, variance), node, dgamma, dbeta, ctx)[0]


# Applying coefficients of channels to every element.

_COEFFICIENTS = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo, hi):
        for k in range(c):
            scale = f64(load(gamma, k)) / sqrt(f64(load(variance, k)) + epsilon)
            store(e, k, load(mean, k))
            store(e, c + k, {value}(scale))
            {rest}
"""


@functools.cache
def _coefficients_kernel(short: str, value: str, grad: bool) -> Kernel:
    names = f"{short}:mean {short}:variance {short}:gamma f64=epsilon {value}:e c"
    if grad:
        names += " f64:sums rows"
        rest = (
            "inverse = f64(1) / sqrt(f64(load(variance, k)) + epsilon)\n"
            f"store(e, 2 * c + k, {value}(scale * inverse * load(sums, k) / f64(rows)))\n"
            f"store(e, 3 * c + k, {value}(scale * load(sums, c + k) / f64(rows)))"
        )
    else:
        names += f" {short}:beta"
        rest = "store(e, 2 * c + k, load(beta, k))"
    text = _COEFFICIENTS.format(slots=named_slots(names), value=value, rest=placed(rest, 12))
    return Kernel(f"batch_norm_coefficients_{short}", text)


_APPLY_LAST = """
def kernel(args, lo, hi, worker):
    {slots}
    width = group * c
    {pointers}
    for j in range(group):
        for k in range(c):
            {copies}
    end = min(hi * per, rows)
    for r in range(lo * per, end, group):
        for k in range(r * c, min(r + group, end) * c):
            j = k - r * c
            {loads}
            store(y, k, {result})
"""

_APPLY_ROWS = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo * per, min(hi * per, rows)):
        {loads}
        for k in range(t * inner, (t + 1) * inner):
            store(y, k, {result})
"""

_RESULTS = {
    "batch_norm": ("x", 3, "(load(x, k) - e0) * e1 + e2"),
    "batch_norm_grad": ("dy x", 4, "load(dy, k) * e1 - (load(x, k) - e0) * e2 - e3"),
}
"""Operands, number of coefficients of a channel, and an element of the result."""


@functools.cache
def _apply_kernel(what: str, short: str, value: str, last: bool) -> Kernel:
    operands, n, result = _RESULTS[what]
    names = " ".join(f"{short}:{x}" for x in [*operands.split(), "y"]) + f" {value}:e rows c inner group per"
    if not last:
        loads = "\n".join(f"e{i} = e[{i} * c + t % c]" for i in range(n))
        text = _APPLY_ROWS.format(slots=named_slots(names), loads=placed(loads, 8), result=result)
        return Kernel(f"{what}_rows_{short}", text)
    text = _APPLY_LAST.format(
        slots=named_slots(names),
        pointers=placed("\n".join(f"w{i} = offset({value}p(worker), {i} * width)" for i in range(n)), 4),
        copies=placed("\n".join(f"store(w{i}, j * c + k, load(e, {i} * c + k))" for i in range(n)), 12),
        loads=placed("\n".join(f"e{i} = load(w{i}, j)" for i in range(n)), 12),
        result=result,
    )
    return Kernel(f"{what}_{short}", text)


def _apply(what: str, layout: _Layout, operands: tuple[Value, ...], y: Value, e: Buffer, ctx: LowerContext) -> Launch:
    c, inner = layout.channels, layout.inner
    rows = layout.rows if layout.last else layout.items
    each = c if layout.last else inner
    buffers = [ctx.buffer(v) for v in operands]
    slots = (
        *map(Read, buffers), Write(ctx.buffer(y)), Read(e), rows, c, inner, Choose(wide_group_of, (c,)), per(each),
    )  # fmt: skip
    return Launch(
        _apply_kernel(what, layout.short, layout.value, layout.last),
        slots,
        tiles(rows, each),
        count(2, layout.size),
        scratch=Choose(_apply_scratch, (c,)) if layout.last else 0,
        inplace=tuple((ctx.buffer(y), b) for b in buffers),
    )


def _apply_scratch(channels: int) -> int:
    return 4 * 8 * wide_width_of(channels)


def _normalise(
    x: Value, mean: Value, variance: Value, gamma: Value, beta: Value, y: Value, node: Node, ctx: LowerContext
) -> list[Launch]:
    layout = _Layout(x, node.attrs["axis"])
    e = ctx.temp(count(3, layout.channels, 8), "coefficients")
    vectors = (Read(ctx.buffer(v)) for v in (mean, variance, gamma))
    slots = (*vectors, F64(node.attrs["epsilon"]), Write(e), layout.channels, Read(ctx.buffer(beta)))
    kernel = _coefficients_kernel(layout.short, layout.value, False)
    return [Launch(kernel, slots, 1, layout.channels), _apply("batch_norm", layout, (x,), y, e, ctx)]


def lower_batch_norm(node: Node, ctx: LowerContext) -> list[Launch]:
    x, mean, variance, gamma, beta = node.inputs
    return _normalise(x, mean, variance, gamma, beta, node.output, node, ctx)


def lower_batch_norm_train(node: Node, ctx: LowerContext) -> list[Launch]:
    (x, gamma, beta), (y, mean, variance) = node.inputs, node.outputs
    statistics = _moments(x, node.attrs["axis"], mean, variance, ctx)
    return [*statistics, *_normalise(x, mean, variance, gamma, beta, y, node, ctx)]


def lower_batch_norm_grad(node: Node, ctx: LowerContext) -> list[Launch]:
    (dy, x, gamma, mean, variance), (dx, dgamma, dbeta) = node.inputs, node.outputs
    layout = _Layout(x, node.attrs["axis"])
    sums, exact = _sums((dy, x, mean, variance), node, dgamma, dbeta, ctx)
    e = ctx.temp(count(4, layout.channels, 8), "coefficients")
    vectors = (Read(ctx.buffer(v)) for v in (mean, variance, gamma))
    slots = (*vectors, F64(node.attrs["epsilon"]), Write(e), layout.channels, Read(exact), layout.rows)
    kernel = _coefficients_kernel(layout.short, layout.value, True)
    coefficients = Launch(kernel, slots, 1, count(4, layout.channels))
    return [*sums, coefficients, _apply("batch_norm_grad", layout, (dy, x), dx, e, ctx)]


LOWERINGS: dict[str, Lowering] = {
    "moments": lower_moments,
    "batch_norm_sums": lower_batch_norm_sums,
    "batch_norm": lower_batch_norm,
    "batch_norm_train": lower_batch_norm_train,
    "batch_norm_grad": lower_batch_norm_grad,
    "softmax": lower_softmax,
    "log_softmax": lower_log_softmax,
}
