"""Convolution and its two gradients as contractions (`contract.py`): implicit GEMM, no patches in memory.

Rows of the product are pixels of the result, which run through lines and images; its depth is (kernel line, kernel column, channel).

    forward          y[n,oh,ow; oc] = sum x[n, oh*s + kh*d, ow*s + kw*d, c] * w[kh,kw,c; oc]            x padded
    input gradient   the same of dy, padded on all sides, with zeros put between its pixels where the stride is not 1, and with the
                     kernel flipped and its channels exchanged
    kernel gradient  dw[kh,kw,c; oc] = sum over n, oh, ow of x[n, oh*s + kh*d, ow*s + kw*d, c] * dy[n,oh,ow; oc]

Padding is copied into a workspace first. Tensors are channels_last (a layout pass converts before); float16 is computed in float32.
"""

from __future__ import annotations

from codegen.cpu.contract import Contraction, Digits, Operand, contract, strides
from codegen.cpu.epilogue import lower_epilogue
from codegen.cpu.features import Vectors
from codegen.cpu.widen import narrow, widen
from codegen.launch import Buffer, Choose, Launch, LowerContext, Lowering, Read, Write
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Attrs, Node


def lower_conv2d(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d(x, kernel) {strides, padding, dilation, data_format}`."""
    x, kernel = (v.shape for v in node.inputs[:2])
    g = _Geometry(node.attrs, x, kernel, node.output.shape)
    return _forward(node, ctx, vectors, g)


def lower_fused_conv2d(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`fused_conv2d(x, kernel, *extras) {strides, padding, dilation, data_format, epilogue}`."""
    x, kernel = (v.shape for v in node.inputs[:2])
    g = _Geometry(node.attrs, x, kernel, node.outputs[0].shape)
    return _forward(node, ctx, vectors, g)


def lower_conv2d_input_grad(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d_input_grad(dy, kernel) {shape, strides, padding, dilation, data_format}`."""
    dy, kernel = (v.shape for v in node.inputs)
    g = _Geometry(node.attrs, node.output.shape, kernel, dy)
    before, (a, b) = widen(node, ctx, node.inputs)
    (c,), after = narrow(node, ctx)
    dtype = _computed(node)
    high, wide = g.h + (g.kh - 1) * g.dh, g.w + (g.kw - 1) * g.dw
    if g.kh * g.kw != 1 or g.sh * g.sw != 1:
        top, left = (g.kh - 1) * g.dh - g.top, (g.kw - 1) * g.dw - g.left
        target = (g.n, high, wide, g.oc)
        pad, a = _padded(node, ctx, a, dtype, (g.n, g.oh, g.ow, g.oc), target, (top, left), (g.sh, g.sw))
        before.append(pad)
    line = wide * g.oc
    taps = g.c * g.oc
    what = Contraction(
        dtype=dtype,
        a=Operand(a),
        b=Operand(b, (g.kh * g.kw - 1) * taps),
        c=c,
        rows=Digits.of(g.n, g.h, g.w),
        columns=g.c,
        depth=Digits.of(g.kh, g.kw, g.oc),
        a_rows=strides(high * line, line, g.oc),
        a_steps=strides(line * g.dh, g.oc * g.dw, 1),
        b_steps=strides(-g.kw * taps, -taps, 1),
        b_column=g.oc,
        c_rows=strides(g.h * g.w * g.c, g.w * g.c, g.c),
        origin=node.origin,
    )
    return [*before, *contract(what, ctx, vectors), *after]


def lower_conv2d_kernel_grad(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d_kernel_grad(x, dy) {shape, strides, padding, dilation, data_format}`."""
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
        c=c,
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
        if attrs["data_format"] != "channels_last":
            raise ValueError("convolutions are lowered in channels_last; the layout pass converts channels_first before")
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


def _forward(node: Node, ctx: LowerContext, vectors: Vectors | None, g: _Geometry) -> list[Launch]:
    before, (a, b) = widen(node, ctx, node.inputs[:2])
    outputs, after = narrow(node, ctx)
    dtype = _computed(node)
    pads, a = _input(node, ctx, g, a)
    image, line = g.high * g.wide * g.c, g.wide * g.c
    what = Contraction(
        dtype=dtype,
        a=Operand(a),
        b=Operand(b),
        c=outputs[0],
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
    launch, padded = _padded(node, ctx, x, _computed(node), (g.n, g.h, g.w, g.c), target, (g.top, g.left), (1, 1))
    return [launch], padded


_PAD = Kernel(
    "pad_pixels",
    """
def kernel(args, lo, hi, worker):
    s = slots(args)
    source, target, lines, h, w, high, wide, top, left, sh, sw, pixel, per_tile = (
        s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12])
    for line in range(lo * per_tile, min(hi * per_tile, lines)):
        to = target + line * wide * pixel
        end = to + wide * pixel
        y = line % high - top
        if y < 0 or y % sh != 0 or y // sh >= h:
            fill0(to, wide * pixel)
        else:
            of = source + (line // high * h + y // sh) * w * pixel
            fill0(to, left * pixel)
            to += left * pixel
            if sw == 1:
                copy(to, of, w * pixel)
                to += w * pixel
            else:
                for x in range(w):
                    copy(to, of, pixel)
                    gap = min(sw * pixel, end - to)
                    fill0(to + pixel, gap - pixel)
                    to += gap
                    of += pixel
            fill0(to, end - to)
""",
)
_PAD_BYTES = 1 << 16  # written by a tile


def _padded(
    node: Node, ctx: LowerContext, x: Buffer, dtype: DType, shape: tuple[Dim, ...], target: tuple[Dim, ...],
    before: tuple[Dim, Dim], stride: tuple[int, int],
) -> tuple[Launch, Buffer]:  # fmt: skip
    """Copies the pixels of x, `stride` apart, into zeros: `before` lines and columns from the first corner."""
    n, h, w, c = shape
    _, high, wide, _ = target
    nbytes = dims.product((*target, dtype.itemsize))
    padded = ctx.temp(nbytes, "padded")
    pixel = c * dtype.itemsize
    lines = n * high
    per_tile = Choose(_lines_per_tile, (wide * pixel,))
    slots = (Read(x), Write(padded), lines, h, w, high, wide, *before, *stride, pixel, per_tile)
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
