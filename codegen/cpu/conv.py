"""Dense convolutions of images and volumes and their two gradients as contractions (`contract.py`): implicit GEMM, no
patches in memory.

Rows of the product are pixels of the result, which run through lines and images; its depth is (kernel line, kernel
column, channel). For volumes both have one more digit, the plane.

    forward          y[n,oh,ow; oc] = sum x[n, oh*s + kh*d, ow*s + kw*d, c] * w[kh,kw,c; oc]            x padded
    input gradient   the same of dy, padded on all sides, with the kernel flipped and its channels exchanged; stride s
                     makes it s * s convolutions, each with a part of the kernel for a part of the pixels
    kernel gradient  dw[kh,kw,c; oc] = sum over n, oh, ow of x[n, oh*s + kh*d, ow*s + kw*d, c] * dy[n,oh,ow; oc]

Padding is copied into a workspace first. Images are channels_last inside (`channels.py` brings others there); float16
is computed in float32. `depthwise.py` is for convolutions that keep channels apart.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from codegen.cpu.borders import Side, border_lines
from codegen.cpu.channels import in_channels_last
from codegen.cpu.contract import Contraction, Digits, Operand, contract, strides
from codegen.cpu.epilogue import Epilogue, lower_epilogue
from codegen.cpu.features import Vectors
from codegen.cpu.panels import stays
from codegen.cpu.widen import narrow, widen
from codegen.launch import Buffer, Choose, Launch, LowerContext, Lowering, Order, Read, Write
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Attrs, Node
from ir.ops.window import pads


def lower_conv(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d(x, kernel) {strides, padding, dilation, data_format}`, and `conv3d`."""
    if node.attrs["data_format"] == "channels_first":
        return in_channels_last(node, ctx, functools.partial(lower_conv, vectors=vectors), (True, False, True))
    return _forward(node, ctx, vectors)


def lower_fused_conv(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`fused_conv2d(x, kernel, *extras) {strides, padding, dilation, data_format, epilogue}`, and `fused_conv3d`."""
    if node.attrs["data_format"] != "channels_last":
        raise ValueError(f"{node.op.name} is made for channels_last convolutions only")
    return _forward(node, ctx, vectors)


def lower_conv_input_grad(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d_input_grad(dy, kernel) {shape, strides, padding, dilation, data_format}`, `conv3d_input_grad`, and
    `fused_conv2d_input_grad`, which is channels_last and has an epilogue.
    """
    if node.attrs["data_format"] == "channels_first":
        inner = functools.partial(lower_conv_input_grad, vectors=vectors)
        return in_channels_last(node, ctx, inner, (True, False, True))
    dy, kernel = (v.shape for v in node.inputs[:2])
    g = Geometry(node.attrs, node.outputs[0].shape, kernel, dy)
    before, (a, b) = widen(node, ctx, node.inputs[:2])
    outputs, after = narrow(node, ctx)
    epilogue = _epilogue(node, ctx, outputs)
    axes = [Phases(axis) for axis in g.axes]
    sizes = [phases.size for phases in axes]
    if any(phases.padded for phases in axes):
        starts = [phases.before for phases in axes]
        pad, a = _padded(node, ctx, a, g.n, [axis.out for axis in g.axes], sizes, starts, kernel[-1])
        before.append(pad)
    launches: list[Launch] = []
    for phases in itertools.product(*(axis.phases for axis in axes)):
        what = _input_grad_phase(node, g, (a, b, outputs[0]), phases, sizes, kernel[-1])
        launched = contract(dataclasses.replace(what, epilogue=epilogue), ctx, vectors)
        if launches:
            launched[0] = dataclasses.replace(launched[0], order=Order.INDEPENDENT)
        launches += launched
    return [*before, *launches, *after]


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution x -> y. `size` is that of x, `padded` the same with padding, of which `before`
    comes first."""

    size: Dim
    out: Dim
    kernel: int
    stride: int
    dilation: int
    before: Dim
    padded: Dim


class Geometry:
    """Sizes of a convolution x -> y in channels_last, padded as TensorFlow pads (the odd line after)."""

    def __init__(self, attrs: Attrs, x: Sequence[Dim], kernel: Sequence[Dim], y: Sequence[Dim]) -> None:
        self.n, *sizes, self.c = x
        self.axes: list[Axis] = []
        geometry = zip(sizes, y[1:-1], kernel, attrs["strides"], attrs["dilation"], strict=False)
        for size, out, taps, stride, dilation in geometry:
            assert isinstance(taps, int)
            # A window of one element has nothing to pad, also where the formula cannot tell.
            padding = "valid" if taps == 1 else attrs["padding"]
            before, after = pads(size, taps, stride, padding, dilation)
            self.axes.append(Axis(size, out, taps, stride, dilation, before, size + before + after))

    @property
    def padded(self) -> bool:
        return any(axis.padded != axis.size for axis in self.axes)


@dataclass(frozen=True)
class Phase:
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

    @property
    def last_tap(self) -> int:
        return self.first_tap + (self.taps - 1) * self.tap_step


class Phases:
    """One axis of an input gradient. A stride s leaves s phases, each a convolution of stride 1 with every s-th tap of
    the kernel.

    Pixel i of dx and tap k meet at place p of dy where p * stride + k * dilation = i + before_x. dy has `before` lines
    of zeros before it, `size` with those after it.
    """

    def __init__(self, axis: Axis) -> None:
        stride, dilation, before_x = axis.stride, axis.dilation, axis.before
        self.before: Dim = dims.floordiv((axis.kernel - 1) * dilation - before_x, stride)
        self.size: Dim = self.before + dims.floordiv(axis.size - 1 + before_x, stride) + 1
        self.padded = not (self.before == 0 and self.size == axis.out)
        self.phases = []
        for rest in range(stride):
            taps = [k for k in range(axis.kernel) if (k * dilation - rest) % stride == 0]
            start = dims.mod(rest - before_x, stride)
            last = (rest - taps[-1] * dilation) // stride if taps else 0
            step = taps[1] - taps[0] if len(taps) > 1 else 1
            place = dims.floordiv(start + before_x - rest, stride) + last + self.before if taps else 0
            count = dims.ceildiv(axis.size - start, stride)
            first = taps[0] if taps else 0
            self.phases.append(Phase(start, count, len(taps), first, step, place, step * dilation // stride))


def dense(sizes: Sequence[Dim], inner: Dim) -> list[Dim]:
    """The strides of row-major axes of these sizes, whose last one has elements of `inner` numbers."""
    return [dims.product((*sizes[i + 1 :], inner)) for i in range(len(sizes))]


def _times(factors: Sequence[Dim], values: Sequence[Dim]) -> list[Dim]:
    return [f * v for f, v in zip(factors, values, strict=True)]


def _input_grad_phase(
    node: Node, g: Geometry, buffers: tuple[Buffer, Buffer, Buffer], phases: Sequence[Phase], sizes: Sequence[Dim],
    channels: Dim,
) -> Contraction:  # fmt: skip
    """The pixels of dx that belong to one phase of each axis; dy has `channels` and, padded, `sizes`."""
    a, b, c = buffers
    image, *lines = dense([g.n, *sizes], channels)
    taps = dense([axis.kernel for axis in g.axes], g.c * channels)
    image_x, *lines_x = dense([g.n, *(axis.size for axis in g.axes)], g.c)
    some = all(phase.taps for phase in phases)
    counts, first, axis = [phase.count for phase in phases], phases[0], g.axes[0]
    zeros, order = border_lines(
        Side(first.count, (g.n, *counts[1:]), 1),
        Side(first.taps, (*(phase.taps for phase in phases[1:]), channels), max(1, first.place_step)),
        Phases(axis).before - first.place, axis.out,
    )  # fmt: skip
    return Contraction(
        dtype=_computed(node),
        a=Operand(a, sum(_times([phase.place for phase in phases], lines), 0) if some else 0),
        b=Operand(b, sum(_times([phase.last_tap for phase in phases], taps), 0) if some else 0),
        c=Operand(c, sum(_times([phase.start for phase in phases], lines_x), 0)),
        rows=Digits.of(*order(g.n, *counts)),
        columns=g.c,
        depth=Digits.of(*(phase.taps for phase in phases), channels),
        a_rows=strides(*order(image, *lines)),
        a_steps=strides(*_times([phase.place_step for phase in phases], lines), 1),
        b_steps=strides(*_times([-phase.tap_step for phase in phases], taps), 1),
        b_column=channels,
        c_rows=strides(*order(image_x, *_times([axis.stride for axis in g.axes], lines_x))),
        lines=zeros,
        origin=node.origin,
    )


def lower_conv_kernel_grad(node: Node, ctx: LowerContext, vectors: Vectors | None = None) -> list[Launch]:
    """`conv2d_kernel_grad(x, dy) {shape, strides, padding, dilation, data_format}`, `conv3d_kernel_grad`, and
    `conv2d_kernel_grad_sums`, which is channels_last and also gives the sums of dy's channels.
    """
    if node.attrs["data_format"] == "channels_first":
        inner = functools.partial(lower_conv_kernel_grad, vectors=vectors)
        return in_channels_last(node, ctx, inner, (True, True, False))
    x, dy = (v.shape for v in node.inputs)
    g, channels = Geometry(node.attrs, x, node.outputs[0].shape, dy), dy[-1]
    before, (a, b) = widen(node, ctx, node.inputs)
    (c, *sums), after = narrow(node, ctx)
    pad, a = padded_input(node, ctx, g, a)
    image, *lines = dense([g.n, *(axis.padded for axis in g.axes)], g.c)
    kernel, outs = [axis.kernel for axis in g.axes], [axis.out for axis in g.axes]
    first = g.axes[0]
    along_steps, along_taps = _sides(g, kernel, outs)
    zeros, order = border_lines(along_taps, along_steps, first.before, first.size)
    what = Contraction(
        dtype=_computed(node),
        a=Operand(a),
        b=Operand(b),
        c=Operand(c),
        rows=Digits.of(*kernel, g.c),
        columns=channels,
        depth=Digits.of(*order(g.n, *outs)),
        a_rows=strides(*_times([axis.dilation for axis in g.axes], lines), 1),
        a_steps=strides(*order(image, *_times([axis.stride for axis in g.axes], lines))),
        b_steps=strides(*order(*dense([g.n, *outs], channels))),
        b_column=1,
        c_rows=strides(*dense([*kernel, g.c], channels)),
        sums=sums[0] if sums else None,
        lines=zeros,
        origin=node.origin,
    )
    return [*before, *pad, *contract(what, ctx, vectors), *after]


def _sides(g: Geometry, kernel: Sequence[Dim], outs: Sequence[Dim]) -> tuple[Side, Side]:
    """The lines of pixels of the result and those of the kernel."""
    first = g.axes[0]
    return Side(first.out, (g.n, *outs[1:]), first.stride), Side(first.kernel, (*kernel[1:], g.c), first.dilation)


def _computed(node: Node) -> DType:
    """The type that sums are computed in."""
    dtype = node.inputs[0].type.dtype
    return dtypes.f32 if dtype == dtypes.f16 else dtype


def _forward(node: Node, ctx: LowerContext, vectors: Vectors | None) -> list[Launch]:
    g = Geometry(node.attrs, node.inputs[0].shape, node.inputs[1].shape, node.outputs[0].shape)
    channels = node.inputs[1].shape[-1]
    before, (a, b) = widen(node, ctx, node.inputs[:2])
    outputs, after = narrow(node, ctx)
    dtype = _computed(node)
    pad, a = padded_input(node, ctx, g, a)
    image, *lines = dense([g.n, *(axis.padded for axis in g.axes)], g.c)
    kernel, outs = [axis.kernel for axis in g.axes], [axis.out for axis in g.axes]
    first = g.axes[0]
    along_rows, along_taps = _sides(g, kernel, outs)
    zeros, order = border_lines(along_rows, along_taps, first.before, first.size)
    what = Contraction(
        dtype=dtype,
        a=Operand(a),
        b=Operand(b),
        c=Operand(outputs[0]),
        rows=Digits.of(*order(g.n, *outs)),
        columns=channels,
        depth=Digits.of(*kernel, g.c),
        a_rows=strides(*order(image, *_times([axis.stride for axis in g.axes], lines))),
        a_steps=strides(*_times([axis.dilation for axis in g.axes], lines), 1),
        b_steps=strides(*dense([*kernel, g.c], channels)),
        b_column=1,
        c_rows=strides(*order(*dense([g.n, *outs], channels))),
        lines=zeros,
        epilogue=_epilogue(node, ctx, outputs),
        b_stays=stays(node.inputs[1], ctx.fixed),
        origin=node.origin,
    )
    return [*before, *pad, *contract(what, ctx, vectors), *after]


def _epilogue(node: Node, ctx: LowerContext, outputs: Sequence[Buffer]) -> Epilogue | None:
    return lower_epilogue(node, ctx, 2, _computed(node), outputs) if "epilogue" in node.attrs else None


def padded_input(node: Node, ctx: LowerContext, g: Geometry, x: Buffer) -> tuple[list[Launch], Buffer]:
    """x as the kernels read it: padded where the convolution pads."""
    if not g.padded:
        return [], x
    sizes, starts = [axis.padded for axis in g.axes], [axis.before for axis in g.axes]
    launch, padded = _padded(node, ctx, x, g.n, [axis.size for axis in g.axes], sizes, starts, g.c)
    return [launch], padded


_PAD = Kernel(
    "pad_pixels",
    """
def kernel(args, lo, hi, worker):
    s = slots(args)
    source, target, lines, d, h, w, deep, high, wide, front, top, left, pixel, per_tile = (
        s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12], s[13])
    for line in range(lo * per_tile, min(hi * per_tile, lines)):
        to = target + line * wide * pixel
        y = line % high - top
        z = line // high % deep - front
        if y < 0 or y >= h or z < 0 or z >= d:
            fill0(to, wide * pixel)
        else:
            fill0(to, left * pixel)
            n = line // high // deep
            copy(to + left * pixel, source + ((n * d + z) * h + y) * w * pixel, w * pixel)
            fill0(to + (left + w) * pixel, (wide - left - w) * pixel)
""",
)
_PAD_BYTES = 1 << 16  # written by a tile


def _padded(
    node: Node, ctx: LowerContext, x: Buffer, n: Dim, sizes: Sequence[Dim], target: Sequence[Dim],
    before: Sequence[Dim], channels: Dim,
) -> tuple[Launch, Buffer]:  # fmt: skip
    """Copies images of spatial `sizes` into larger ones of zeros of sizes `target`, `before` lines and columns from the
    first corner."""
    itemsize = _computed(node).itemsize
    elements = dims.product((n, *target, channels))
    padded = ctx.temp(elements * itemsize, "padded")
    plane = (1,) * (3 - len(sizes))  # images are volumes of one plane
    pixel, wide = channels * itemsize, target[-1]
    lines = dims.product((n, *target[:-1]))
    per_tile = Choose(_lines_per_tile, (wide * pixel,))
    no_plane = (0,) * len(plane)
    slots = (
        Read(x), Write(padded), lines, *plane, *sizes, *plane, *target, *no_plane, *before, pixel, per_tile,
    )  # fmt: skip
    launch = Launch(_PAD, slots, Choose(_pad_tiles, (lines, wide * pixel)), elements, origin=node.origin)
    return launch, padded


def _lines_per_tile(line_bytes: int) -> int:
    return max(1, _PAD_BYTES // max(1, line_bytes))


def _pad_tiles(lines: int, line_bytes: int) -> int:
    return -(-lines // _lines_per_tile(line_bytes))


LOWERINGS: dict[str, Lowering] = {
    "conv2d": lower_conv,
    "conv2d_input_grad": lower_conv_input_grad,
    "conv2d_kernel_grad": lower_conv_kernel_grad,
    "conv2d_kernel_grad_sums": lower_conv_kernel_grad,
    "conv3d": lower_conv,
    "conv3d_input_grad": lower_conv_input_grad,
    "conv3d_kernel_grad": lower_conv_kernel_grad,
    "fused_conv2d": lower_fused_conv,
    "fused_conv3d": lower_fused_conv,
    "fused_conv2d_input_grad": lower_conv_input_grad,
}
