"""Depthwise convolution and its gradients on the CPU: channels stay apart, so vectors run along them.

Before it come the ops of `ir/ops/conv.py`; below it are the micro-kernels of `depthwise_kernel.py`, called by address.
The convolution and its input gradient are one kernel: a row of results is cut into groups of pixels whose windows lie
inside the image, which share each load of the weights, and single pixels at its ends, whose windows are clipped. No
padding is copied. As in `conv.py`, a stride s makes the input gradient s * s such computations. The kernel gradient
reads a padded copy of x; each tile adds up some rows of dy, and a second launch adds the parts in order.

More than one output channel for each input channel is the same over an input whose channels are repeated. Images are
channels_last inside (`channels.py` brings others there); float16 is computed in float32.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass

from codegen.cpu.channels import in_channels_last
from codegen.cpu.contract import add_parts
from codegen.cpu.conv import Axis, Geometry, Phase, Phases, padded_input
from codegen.cpu.depthwise_kernel import correlate_kernel, products_kernel
from codegen.cpu.epilogue import Epilogue, lower_epilogue
from codegen.cpu.features import Vectors, host_vectors
from codegen.cpu.strided import Axis as CopyAxis
from codegen.cpu.strided import copy
from codegen.cpu.tiles import computed_in, count, named_slots, per, tiles
from codegen.cpu.widen import narrow, widen
from codegen.launch import Buffer, Entry, Launch, LowerContext, Lowering, Order, Read, Write
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dims import Dim
from ir.graph import Node

_GROUP = 4  # pixels that share a load of the weights
_TAPS = 4  # elements of a kernel row that share a load of dy
_PARTS = 16  # tiles of a kernel gradient


@dataclass(frozen=True)
class _Channels:
    """The channels that vectors run along: those of the result, `multiplier` for each of the input."""

    inputs: int
    multiplier: int
    itemsize: int
    lanes: int
    vectors: int

    @classmethod
    def of(cls, kernel: tuple[Dim, ...], node: Node, vectors: Vectors | None) -> _Channels:
        inputs, multiplier = kernel[-2:]
        assert isinstance(inputs, int) and isinstance(multiplier, int)
        itemsize = dtypes.of(computed_in(node.inputs[0].type.dtype)).itemsize
        lanes = (vectors or host_vectors()).lanes(itemsize)
        total = inputs * multiplier
        while lanes > max(1, total):
            lanes //= 2
        return cls(inputs, multiplier, itemsize, lanes, 2 if total >= 2 * lanes else 1)

    @property
    def total(self) -> int:
        return self.inputs * self.multiplier

    @property
    def pixel(self) -> int:
        """Bytes of a pixel."""
        return self.total * self.itemsize

    @property
    def block(self) -> int:
        return self.lanes * self.vectors

    @property
    def blocks(self) -> int:
        return -(-self.total // self.block)


@dataclass(frozen=True)
class _Line:
    """How results along one axis find their sources. Result i, of `count`, stands at `start` + i * `step` of y; its
    first tap is at place i * `advance` + `place` of x, of size `size`, the others `tap_step` apart. Their weights begin
    with number `first_tap` of the kernel's axis and are `weight_step` apart."""

    count: Dim
    start: Dim
    step: Dim
    advance: int
    place: Dim
    tap_step: int
    taps: int
    first_tap: int
    weight_step: int
    size: Dim
    whole: Dim  # size of this axis of y

    @classmethod
    def forward(cls, axis: Axis) -> _Line:
        return cls(
            axis.out, 0, 1, axis.stride, -axis.before, axis.dilation, axis.kernel, 0, 1, axis.size, axis.out
        )  # fmt: skip

    @classmethod
    def backward(cls, axis: Axis, phases: Phases, phase: Phase) -> _Line:
        return cls(
            phase.count, phase.start, axis.stride, 1, phase.place - phases.before, max(1, phase.place_step), phase.taps,
            phase.last_tap, -phase.tap_step, axis.out, axis.size,
        )  # fmt: skip


_CORRELATE = """
def kernel(args, lo, hi, worker):
    {slots}
    first = min(ow, (max(0, -place) + advance - 1) // advance)
    end = max(first, min(ow, (wide - 1 - (columns - 1) * tap_step - place) // advance + 1))
    grouped = end - first >= group
    table = slots(worker + (ow * pixel + 7) // 8 * 8)
    for t in range(lo * per, min(hi * per, lines)):
        n = t // oh
        r = t % oh
        line = r * row_advance + row_place
        i0 = max(0, (row_step - 1 - line) // row_step)
        kh = max(0, min(rows, (high - 1 - line) // row_step + 1) - i0)
        of = x + (n * high + line + i0 * row_step) * wide * pixel
        by = w + w_start + i0 * w_row
        to = y + y_start + n * y_image + r * y_line
        sums = to
        step = y_pixel
        if epilogue != 0:
            sums = worker
            step = pixel
        q = 0
        while q < ow:
            if grouped and first <= q and q < end:
                q = min(q, end - group)
                p = of + (q * advance + place) * pixel
                call_n(many, kh, columns, p, by, sums + q * step, x_row, x_column, w_row, w_column, x_pixel, step,
                       channels)
                q += group
            else:
                left = q * advance + place
                j0 = max(0, (tap_step - 1 - left) // tap_step)
                kw = max(0, min(columns, (wide - 1 - left) // tap_step + 1) - j0)
                p = of + (left + j0 * tap_step) * pixel
                call_n(one, kh, kw, p, by + j0 * w_column, sums + q * step, x_row, x_column, w_row, w_column, x_pixel,
                       step, channels)
                q += 1
        if epilogue != 0:
            for q in range(ow):
                store(table, q, to - y + q * y_pixel)
            call_n(epilogue, args + 8 * {n_slots}, sums, channels, addr(table), ow, channels, 0)
"""
_CORRELATE_NAMES = (
    "x w y w_start y_start lines per oh high row_advance row_place row_step rows ow wide advance place tap_step "
    "columns pixel x_row x_column x_pixel w_row w_column y_image y_line y_pixel channels group many one epilogue"
)
_CORRELATE_SLOTS = len(_CORRELATE_NAMES.split())
_CORRELATE_KERNEL = Kernel(
    "depthwise_conv2d", _CORRELATE.format(slots=named_slots(_CORRELATE_NAMES), n_slots=_CORRELATE_SLOTS)
)


def _correlate(
    node: Node, buffers: tuple[Buffer, Buffer, Buffer], n: Dim, line: _Line, column: _Line, c: _Channels, width: int,
    epilogue: Epilogue | None = None,
) -> Launch:  # fmt: skip
    """The results of one phase of each axis; `width` is that of the kernel. An epilogue finishes lines of pixels."""
    x, w, y = buffers
    pixel, tap = c.pixel, c.pixel
    many = correlate_kernel(_GROUP, c.vectors, c.lanes, c.itemsize)
    one = correlate_kernel(1, c.vectors, c.lanes, c.itemsize)
    lines = count(n, line.count)
    each = count(column.count, c.total, max(1, line.taps * column.taps))
    y_line = column.whole * pixel
    slots = (
        Read(x), Read(w), Write(y), (line.first_tap * width + column.first_tap) * tap,
        line.start * y_line + column.start * pixel, lines, per(each),
        line.count, line.size, line.advance, line.place, line.tap_step, line.taps,
        column.count, column.size, column.advance, column.place, column.tap_step, column.taps,
        pixel, line.tap_step * column.size * pixel, column.tap_step * pixel, column.advance * pixel,
        line.weight_step * width * tap, column.weight_step * tap,
        line.whole * y_line, line.step * y_line, column.step * pixel,
        c.total, _GROUP, Entry(many), Entry(one), Entry(epilogue.kernel) if epilogue else 0,
        *(epilogue.slots if epilogue else ()),
    )  # fmt: skip
    scratch = column.count * (pixel + 8) + 8 if epilogue else 0
    inplace = tuple(pair for pair in epilogue.inplace if pair[1] not in (x, w)) if epilogue else ()
    work = count(2, lines, each)
    return Launch(_CORRELATE_KERNEL, slots, tiles(lines, each), work, scratch, inplace, origin=node.origin)


def lower_depthwise_conv2d(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`depthwise_conv2d(x, kernel) {strides, padding, dilation, data_format}`, and `fused_depthwise_conv2d`, which is
    channels_last and has an epilogue.
    """
    if node.attrs["data_format"] == "channels_first":
        inner = functools.partial(lower_depthwise_conv2d, vectors=vectors)
        return in_channels_last(node, ctx, inner, (True, False, True))
    x, kernel = (v.shape for v in node.inputs[:2])
    g, c = Geometry(node.attrs, x, kernel, node.outputs[0].shape), _Channels.of(kernel, node, vectors)
    before, (a, w) = widen(node, ctx, node.inputs[:2])
    repeat, a = _repeated(node, ctx, count(*x[:-1]), a, c)
    outputs, after = narrow(node, ctx)
    line, column = (_Line.forward(axis) for axis in g.axes)
    dtype = dtypes.of(computed_in(node.inputs[0].type.dtype))
    epilogue = lower_epilogue(node, ctx, 2, dtype, outputs) if "epilogue" in node.attrs else None
    launch = _correlate(node, (a, w, outputs[0]), g.n, line, column, c, g.axes[1].kernel, epilogue)
    return [*before, *repeat, launch, *after]


def lower_depthwise_conv2d_input_grad(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`depthwise_conv2d_input_grad(dy, kernel) {shape, strides, padding, dilation, data_format}`."""
    if node.attrs["data_format"] == "channels_first":
        inner = functools.partial(lower_depthwise_conv2d_input_grad, vectors=vectors)
        return in_channels_last(node, ctx, inner, (True, False, True))
    dy, kernel = (v.shape for v in node.inputs)
    g, c = Geometry(node.attrs, node.output.shape, kernel, dy), _Channels.of(kernel, node, vectors)
    before, (a, w) = widen(node, ctx, node.inputs)
    (dx,), after = narrow(node, ctx)
    to = dx
    if c.multiplier != 1:
        elements = count(g.n, *(axis.size for axis in g.axes), c.total)
        to = ctx.temp(elements * c.itemsize, "repeated")
        after = [_summed(node, to, dx, node.output.type.size, c), *after]
    lines, columns = (Phases(axis) for axis in g.axes)
    launches: list[Launch] = []
    for phases in itertools.product(lines.phases, columns.phases):
        line, column = (
            _Line.backward(axis, all_of, phase)
            for axis, all_of, phase in zip(g.axes, (lines, columns), phases, strict=True)
        )
        launch = _correlate(node, (a, w, to), g.n, line, column, c, g.axes[1].kernel)
        launches.append(dataclasses.replace(launch, order=Order.INDEPENDENT) if launches else launch)
    return [*before, *launches, *after]


def _repeated(
    node: Node, ctx: LowerContext, pixels: Dim, x: Buffer, c: _Channels
) -> tuple[list[Launch], Buffer]:
    """The pixels of x with each channel as often as it has results, and the launch that makes them."""
    if c.multiplier == 1:
        return [], x
    wide = ctx.temp(pixels * c.pixel, "repeated")
    axes = [CopyAxis(pixels * c.inputs, 1, c.multiplier), CopyAxis(c.multiplier, 0, 1)]
    return [dataclasses.replace(copy(x, wide, axes, c.itemsize), origin=node.origin)], wide


_SUM = """
def kernel(args, lo, hi, worker):
    {slots}
    for i in range(lo * per, min(hi * per, size)):
        total = {value}(0)
        for j in range(group):
            total += x[i * group + j]
        y[i] = total
"""


@functools.cache
def _sum_kernel(short: str) -> Kernel:
    slots = named_slots(f"{short}:x {short}:y size group per")
    return Kernel(f"sum_groups_{short}", _SUM.format(slots=slots, value=short))


def _summed(node: Node, x: Buffer, y: Buffer, size: Dim, c: _Channels) -> Launch:
    """Adds up the gradients of the repeated channels."""
    slots = (Read(x), Write(y), size, c.multiplier, per(c.multiplier))
    kernel = _sum_kernel({4: "f32", 8: "f64"}[c.itemsize])
    return Launch(kernel, slots, tiles(size, c.multiplier), count(size, c.multiplier), origin=node.origin)


_KERNEL_GRAD = """
def kernel(args, lo, hi, worker):
    {slots}
    row_bytes = blocks * block * {size}
    whole = (blocks - 1) * block
    for part in range(lo, hi):
        fill0(worker, kh * kw * row_bytes)
        for t in range(lines * part // parts, lines * (part + 1) // parts):
            n = t // oh
            top = n * high + t % oh * sh
            for i in range(kh):
                of = x + (top + i * dh) * wide * pixel
                j = 0
                while j < kw:
                    fn = many
                    taken = taps
                    if kw - j < taps:
                        fn = rest
                        taken = kw - j
                    call_n(fn, ow, of + j * dw * pixel, dy + t * ow * pixel, worker + (i * kw + j) * row_bytes,
                           sw * pixel, pixel, dw * pixel, row_bytes, channels)
                    j += taken
        for tap in range(kh * kw):
            total = {pointer}(worker + tap * row_bytes)
            to = {pointer}(y + (part * kh * kw + tap) * pixel)
            for k in range(whole):
                store(to, k, load(total, k))
            for k in range(whole, channels):
                store(to, k, load(total, whole + k - (channels - block)))
"""
_KERNEL_GRAD_NAMES = (
    "x dy y lines parts oh ow high wide pixel channels sh sw dh dw kh kw block blocks taps many rest"
)


@functools.cache
def _kernel_grad_kernel(itemsize: int) -> Kernel:
    pointer = {4: "f32p", 8: "f64p"}[itemsize]
    text = _KERNEL_GRAD.format(slots=named_slots(_KERNEL_GRAD_NAMES), size=itemsize, pointer=pointer)
    return Kernel(f"depthwise_conv2d_kernel_grad_{pointer[:-1]}", text)


def lower_depthwise_conv2d_kernel_grad(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`depthwise_conv2d_kernel_grad(x, dy) {shape, strides, padding, dilation, data_format}`."""
    if node.attrs["data_format"] == "channels_first":
        inner = functools.partial(lower_depthwise_conv2d_kernel_grad, vectors=vectors)
        return in_channels_last(node, ctx, inner, (True, True, False))
    x, dy = (v.shape for v in node.inputs)
    g, c = Geometry(node.attrs, x, node.output.shape, dy), _Channels.of(node.output.shape, node, vectors)
    before, (a, d) = widen(node, ctx, node.inputs)
    pad, a = padded_input(node, ctx, g, a)
    repeat, a = _repeated(node, ctx, count(g.n, *(axis.padded for axis in g.axes)), a, c)
    (dk,), after = narrow(node, ctx)
    line, column = g.axes
    lines = count(g.n, line.out)
    parts = dims.dim_max(1, dims.dim_min(lines, _PARTS))
    elements = line.kernel * column.kernel * c.total
    to = ctx.temp(count(parts, elements * c.itemsize), "parts")
    taps = min(_TAPS, column.kernel)
    rest = column.kernel % taps or taps
    slots = (
        Read(a), Read(d), Write(to), lines, parts, line.out, column.out, line.padded, column.padded, c.pixel, c.total,
        line.stride, column.stride, line.dilation, column.dilation, line.kernel, column.kernel, c.block, c.blocks, taps,
        Entry(products_kernel(taps, c.vectors, c.lanes, c.itemsize)),
        Entry(products_kernel(rest, c.vectors, c.lanes, c.itemsize)),
    )  # fmt: skip
    work = count(2, lines, column.out, elements)
    scratch = line.kernel * column.kernel * c.blocks * c.block * c.itemsize
    launch = Launch(_kernel_grad_kernel(c.itemsize), slots, parts, work, scratch, origin=node.origin)
    return [*before, *pad, *repeat, launch, add_parts(to, dk, elements, parts, c.itemsize, node.origin), *after]


LOWERINGS: dict[str, Lowering] = {
    "depthwise_conv2d": lower_depthwise_conv2d,
    "depthwise_conv2d_input_grad": lower_depthwise_conv2d_input_grad,
    "depthwise_conv2d_kernel_grad": lower_depthwise_conv2d_kernel_grad,
    "fused_depthwise_conv2d": lower_depthwise_conv2d,
}
