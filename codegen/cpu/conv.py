"""Convolution and its two gradients as contractions (`contract.py`): implicit GEMM, no patches in memory.

Rows of the product are pixels of the result, which run through lines and images; its depth is (kernel line, kernel
column, channel).

    forward          y[n,oh,ow; oc] = sum x[n, oh*s + kh*d, ow*s + kw*d, c] * w[kh,kw,c; oc]            x padded
    input gradient   the same of dy, padded on all sides, with the kernel flipped and its channels exchanged; stride s
                     makes it s * s convolutions, each with a part of the kernel for a part of the pixels
    kernel gradient  dw[kh,kw,c; oc] = sum over n, oh, ow of x[n, oh*s + kh*d, ow*s + kw*d, c] * dy[n,oh,ow; oc]

Padding is copied into a workspace first. Images are channels_last inside (`channels.py` brings others there); float16
is computed in float32.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

from codegen.cpu.channels import in_channels_last
from codegen.cpu.contract import Contraction, Digits, Operand, contract, strides
from codegen.cpu.epilogue import lower_epilogue
from codegen.cpu.features import Vectors
from codegen.cpu.widen import narrow, widen
from codegen.launch import Buffer, Choose, Launch, LowerContext, Lowering, Order, Read, Write
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Attrs, Node


def lower_conv2d(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d(x, kernel) {strides, padding, dilation, data_format}`."""
    if node.attrs["data_format"] == "channels_first":
        return in_channels_last(node, ctx, functools.partial(lower_conv2d, vectors=vectors), (True, False, True))
    return _forward(node, ctx, vectors)


def lower_fused_conv2d(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`fused_conv2d(x, kernel, *extras) {strides, padding, dilation, data_format, epilogue}`."""
    if node.attrs["data_format"] != "channels_last":
        raise ValueError("fused_conv2d is made for channels_last convolutions only")
    return _forward(node, ctx, vectors)


def lower_conv2d_input_grad(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d_input_grad(dy, kernel) {shape, strides, padding, dilation, data_format}`."""
    if node.attrs["data_format"] == "channels_first":
        inner = functools.partial(lower_conv2d_input_grad, vectors=vectors)
        return in_channels_last(node, ctx, inner, (True, False, True))
    dy, kernel = (v.shape for v in node.inputs)
    g = _Geometry(node.attrs, node.output.shape, kernel, dy)
    before, (a, b) = widen(node, ctx, node.inputs)
    (c,), after = narrow(node, ctx)
    lines = _Phases(g.h, g.oh, g.kh, g.sh, g.dh, g.top)
    columns = _Phases(g.w, g.ow, g.kw, g.sw, g.dw, g.left)
    if lines.padded or columns.padded:
        target = (g.n, lines.size, columns.size, g.oc)
        pad, a = _padded(node, ctx, a, _computed(node), (g.n, g.oh, g.ow, g.oc), target, (lines.before, columns.before))
        before.append(pad)
    launches: list[Launch] = []
    for line in lines.phases:
        for column in columns.phases:
            what = _input_grad_phase(node, g, (a, b, c), line, column, lines.size, columns.size)
            phase = contract(what, ctx, vectors)
            launches += phase if not launches else [dataclasses.replace(phase[0], order=Order.INDEPENDENT), *phase[1:]]
    return [*before, *launches, *after]


@dataclass(frozen=True)
class _Phase:
    """The pixels `start`, `start + stride`, ... of one axis of dx (`count` of them): they meet the same `taps` of
    the kernel, which are `tap_step` apart and begin with `first_tap`. Pixel i meets the last of them at place i +
    `place` of the padded dy, and earlier ones in steps of `place_step`."""

    start: Dim
    count: Dim
    taps: int
    first_tap: int
    tap_step: int
    place: Dim
    place_step: int


class _Phases:
    """One axis of an input gradient. A stride s leaves s phases, each a convolution of stride 1 with every s-th tap of
    the kernel.

    Pixel i of dx and tap k meet at place p of dy where p * stride + k * dilation = i + before_x. dy has `before` lines
    of zeros before it, `size` with those after it.
    """

    def __init__(self, size: Dim, out: Dim, kernel: int, stride: int, dilation: int, before_x: Dim) -> None:
        self.before: Dim = dims.floordiv((kernel - 1) * dilation - before_x, stride)
        self.size: Dim = self.before + dims.floordiv(size - 1 + before_x, stride) + 1
        self.padded = not (self.before == 0 and self.size == out)
        self.phases = []
        for rest in range(stride):
            taps = [k for k in range(kernel) if (k * dilation - rest) % stride == 0]
            start = dims.mod(rest - before_x, stride)
            last = (rest - taps[-1] * dilation) // stride if taps else 0
            step = taps[1] - taps[0] if len(taps) > 1 else 1
            place = dims.floordiv(start + before_x - rest, stride) + last + self.before if taps else 0
            count = dims.ceildiv(size - start, stride)
            first = taps[0] if taps else 0
            self.phases.append(_Phase(start, count, len(taps), first, step, place, step * dilation // stride))


def _input_grad_phase(
    node: Node, g: _Geometry, buffers: tuple[Buffer, Buffer, Buffer], line: _Phase, column: _Phase, high: Dim, wide: Dim
) -> Contraction:
    """The pixels of dx that belong to one phase of each axis."""
    a, b, c = buffers
    row = wide * g.oc
    tap, line_of_taps = g.c * g.oc, g.kw * g.c * g.oc
    last_h = line.first_tap + (line.taps - 1) * line.tap_step
    last_w = column.first_tap + (column.taps - 1) * column.tap_step
    some = line.taps and column.taps
    return Contraction(
        dtype=_computed(node),
        a=Operand(a, line.place * row + column.place * g.oc if some else 0),
        b=Operand(b, last_h * line_of_taps + last_w * tap if some else 0),
        c=Operand(c, line.start * (g.w * g.c) + column.start * g.c),
        rows=Digits.of(g.n, line.count, column.count),
        columns=g.c,
        depth=Digits.of(line.taps, column.taps, g.oc),
        a_rows=strides(high * row, row, g.oc),
        a_steps=strides(line.place_step * row, column.place_step * g.oc, 1),
        b_steps=strides(-line.tap_step * line_of_taps, -column.tap_step * tap, 1),
        b_column=g.oc,
        c_rows=strides(g.h * g.w * g.c, g.sh * (g.w * g.c), g.sw * g.c),
        origin=node.origin,
    )


def lower_conv2d_kernel_grad(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d_kernel_grad(x, dy) {shape, strides, padding, dilation, data_format}`."""
    if node.attrs["data_format"] == "channels_first":
        inner = functools.partial(lower_conv2d_kernel_grad, vectors=vectors)
        return in_channels_last(node, ctx, inner, (True, True, False))
    x, dy = (v.shape for v in node.inputs)
    g = _Geometry(node.attrs, x, node.output.shape, dy)
    before, (a, b) = widen(node, ctx, node.inputs)
    (c,), after = narrow(node, ctx)
    pads, a = _input(node, ctx, g, a)
    image, line = g.high * g.wide * g.c, g.wide * g.c
    what = Contraction(
        dtype=_computed(node),
        a=Operand(a),
        b=Operand(b),
        c=Operand(c),
        rows=Digits.of(g.kh, g.kw, g.c),
        columns=g.oc,
        depth=Digits.of(g.n, g.oh, g.ow),
        a_rows=strides(line * g.dh, g.c * g.dw, 1),
        a_steps=strides(image, line * g.sh, g.c * g.sw),
        b_steps=strides(g.oh * g.ow * g.oc, g.ow * g.oc, g.oc),
        b_column=1,
        c_rows=strides(g.kw * g.c * g.oc, g.c * g.oc, g.oc),
        origin=node.origin,
    )
    return [*before, *pads, *contract(what, ctx, vectors), *after]


class _Geometry:
    """Sizes of a convolution x -> y: padding as TensorFlow pads (the odd line after), and the size of the padded x."""

    def __init__(self, attrs: Attrs, x: tuple[Dim, ...], kernel: tuple[Dim, ...], y: tuple[Dim, ...]) -> None:
        self.n, self.h, self.w, self.c = x
        kh, kw, _, self.oc = kernel
        assert isinstance(kh, int) and isinstance(kw, int)
        self.kh, self.kw = kh, kw
        _, self.oh, self.ow, _ = y
        self.sh, self.sw = attrs["strides"]
        self.dh, self.dw = attrs["dilation"]
        self.top = self.left = 0
        self.high, self.wide = self.h, self.w
        self.padded = False
        if attrs["padding"] == "same":
            more_h = _same(self.h, self.oh, kh, self.sh, self.dh)
            more_w = _same(self.w, self.ow, kw, self.sw, self.dw)
            self.top, self.left = dims.floordiv(more_h, 2), dims.floordiv(more_w, 2)
            self.high, self.wide = self.h + more_h, self.w + more_w
            self.padded = not (more_h == 0 and more_w == 0)

    top: Dim
    left: Dim


def _same(size: Dim, out: Dim, kernel: int, stride: int, dilation: int) -> Dim:
    """Lines of padding that 'same' adds on both sides together."""
    if kernel == 1:
        return 0
    return dims.dim_max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)


def _computed(node: Node) -> DType:
    """The type that sums are computed in."""
    dtype = node.inputs[0].type.dtype
    return dtypes.f32 if dtype == dtypes.f16 else dtype


def _forward(node: Node, ctx: LowerContext, vectors: Vectors | None) -> list[Launch]:
    g = _Geometry(node.attrs, node.inputs[0].shape, node.inputs[1].shape, node.outputs[0].shape)
    before, (a, b) = widen(node, ctx, node.inputs[:2])
    outputs, after = narrow(node, ctx)
    dtype = _computed(node)
    pads, a = _input(node, ctx, g, a)
    image, line = g.high * g.wide * g.c, g.wide * g.c
    what = Contraction(
        dtype=dtype,
        a=Operand(a),
        b=Operand(b),
        c=Operand(outputs[0]),
        rows=Digits.of(g.n, g.oh, g.ow),
        columns=g.oc,
        depth=Digits.of(g.kh, g.kw, g.c),
        a_rows=strides(image, line * g.sh, g.c * g.sw),
        a_steps=strides(line * g.dh, g.c * g.dw, 1),
        b_steps=strides(g.kw * g.c * g.oc, g.c * g.oc, g.oc),
        b_column=1,
        c_rows=strides(g.oh * g.ow * g.oc, g.ow * g.oc, g.oc),
        epilogue=lower_epilogue(node, ctx, 2, dtype, outputs) if "epilogue" in node.attrs else None,
        origin=node.origin,
    )
    return [*before, *pads, *contract(what, ctx, vectors), *after]


def _input(node: Node, ctx: LowerContext, g: _Geometry, x: Buffer) -> tuple[list[Launch], Buffer]:
    """x as the kernels read it: padded where the convolution pads."""
    if not g.padded:
        return [], x
    target = (g.n, g.high, g.wide, g.c)
    launch, padded = _padded(node, ctx, x, _computed(node), (g.n, g.h, g.w, g.c), target, (g.top, g.left))
    return [launch], padded


_PAD = Kernel(
    "pad_pixels",
    """
def kernel(args, lo, hi, worker):
    s = slots(args)
    source, target, lines, h, w, high, wide, top, left, pixel, per_tile = (
        s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10])
    for line in range(lo * per_tile, min(hi * per_tile, lines)):
        to = target + line * wide * pixel
        y = line % high - top
        if y < 0 or y >= h:
            fill0(to, wide * pixel)
        else:
            fill0(to, left * pixel)
            copy(to + left * pixel, source + (line // high * h + y) * w * pixel, w * pixel)
            fill0(to + (left + w) * pixel, (wide - left - w) * pixel)
""",
)
_PAD_BYTES = 1 << 16  # written by a tile


def _padded(
    node: Node, ctx: LowerContext, x: Buffer, dtype: DType, shape: tuple[Dim, ...], target: tuple[Dim, ...],
    before: tuple[Dim, Dim],
) -> tuple[Launch, Buffer]:  # fmt: skip
    """Copies the images of x into larger ones of zeros, `before` lines and columns from the first corner."""
    n, h, w, c = shape
    _, high, wide, _ = target
    nbytes = dims.product((*target, dtype.itemsize))
    padded = ctx.temp(nbytes, "padded")
    pixel = c * dtype.itemsize
    lines = n * high
    per_tile = Choose(_lines_per_tile, (wide * pixel,))
    slots = (Read(x), Write(padded), lines, h, w, high, wide, *before, pixel, per_tile)
    launch = Launch(_PAD, slots, Choose(_pad_tiles, (lines, wide * pixel)), dims.product(target), origin=node.origin)
    return launch, padded


def _lines_per_tile(line_bytes: int) -> int:
    return max(1, _PAD_BYTES // max(1, line_bytes))


def _pad_tiles(lines: int, line_bytes: int) -> int:
    return -(-lines // _lines_per_tile(line_bytes))


LOWERINGS: dict[str, Lowering] = {
    "conv2d": lower_conv2d,
    "conv2d_input_grad": lower_conv2d_input_grad,
    "conv2d_kernel_grad": lower_conv2d_kernel_grad,
    "fused_conv2d": lower_fused_conv2d,
}
