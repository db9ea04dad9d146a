"""Augmenting one image: affine warp, flips, channel shift, brightness and scale as one kernel.

Not part of any graph: `kgraph/preprocessing` calls it for each image it prepares, without the interpreter lock. What
the warp means is scipy's `ndimage.affine_transform`: coordinates and sums are float64, added in the same order. The
products in the coordinates go through tables in memory, because a product and a sum next to each other could be
rounded as one, and then a point on the very border might fall outside.
"""

from __future__ import annotations

import functools
import re
import struct
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.cpu.call import c_function
from codegen.source import Kernel

BOUNDARIES = ("nearest", "constant", "reflect", "wrap")
"""What lies beyond the border, by the names of scipy."""
DTYPES = ("float32", "float64")
"""Dtypes of the images that the kernel takes."""

Array = np.ndarray

# Places of the parameters in the row of slots. Strides count elements.
_ADDRESSES = "x y out row_r row_c column_r column_c"  # the last four are tables that the kernel fills
_SIZES = "rows columns channels xr xc xk yr yc yk order boundary bright planes count step"
_FLOATS = "m00 m01 m10 m11 offset_r offset_c cval intensity brightness scale"
_NAMES = (_ADDRESSES + " " + _SIZES + " " + _FLOATS).split()
_NEUTRAL = ((1.0, 0.0), (0.0, 1.0))
_SLOTS = struct.Struct(f"={len((_ADDRESSES + ' ' + _SIZES).split())}q{len(_FLOATS.split())}d")

_LANES = 8  # extremes that are kept side by side, since each waits for the one before
_USUAL_CHANNELS = (1, 3)  # have kernels of their own, without a loop over channels

_MAP = """\
if {t} < 0.0 or {t} > {last}:
    if boundary == 0:
        {t} = 0.0 if {t} < 0.0 else {last}
    elif boundary == 1:
        inside = False
    elif {n} == 1:
        {t} = 0.0
    elif boundary == 2:
        period = f64(2 * {n})
        if {t} < 0.0:
            if {t} < -period:
                {t} = period * f64(i64(-{t} / period)) + {t}
            {t} = {t} + period if {t} < -f64({n}) else -{t} - 1.0
        else:
            {t} = {t} - period * f64(i64({t} / period))
            if {t} >= f64({n}):
                {t} = period - {t} - 1.0
    else:
        if {t} < 0.0:
            {t} = {t} + {last} * f64(i64(-{t} / {last}) + 1)
        else:
            {t} = {t} - {last} * f64(i64({t} / {last}))"""
"""Brings a coordinate back into the image. Reflected ones may come to lie half a pixel outside, where both neighbours
are the same pixel."""

_SOURCE = """\
def kernel(args):
    a = slots(args)
    d = f64p(args)
    {slots}
    last_r = f64(rows - 1)
    last_c = f64(columns - 1)
    if order < 0:
        for i in range(rows):
            for j in range(columns):
                for k in range(channels):
                    y[i * yr + j * yc + k * yk] = x[i * xr + j * xc + k * xk]
    else:
        for i in range(rows):
            row_r[i] = i * m00
            row_c[i] = i * m10
        for j in range(columns):
            column_r[j] = j * m01
            column_c[j] = j * m11
        for i in range(rows):
            start_r = offset_r + row_r[i]
            start_c = offset_c + row_c[i]
            for j in range(columns):
                r = start_r + column_r[j]
                c = start_c + column_c[j]
                to = offset(y, i * yr + j * yc)
                if order == 1 and 0.0 <= r and r < last_r and 0.0 <= c and c < last_c:
                    r0 = i64(r)
                    c0 = i64(c)
                    br = r - f64(r0)
                    bc = c - f64(c0)
                    p = offset(x, r0 * xr + c0 * xc)
                    q = offset(p, xc)
                    s = offset(p, xr)
                    t = offset(s, xc)
                    {bilinear}
                    continue
                inside = True
                {map_r}
                {map_c}
                if not inside:
                    for k in range(channels):
                        to[k * yk] = {value}(cval)
                    continue
                if order == 0:
                    r0 = max(min(i64(floor(r + 0.5)), rows - 1), 0)
                    c0 = max(min(i64(floor(c + 0.5)), columns - 1), 0)
                    p = offset(x, r0 * xr + c0 * xc)
                    for k in range(channels):
                        to[k * yk] = p[k * xk]
                    continue
                br = floor(r)
                bc = floor(c)
                r1 = xr * max(min(i64(br) + 1, rows - 1), 0)
                c1 = xc * max(min(i64(bc) + 1, columns - 1), 0)
                r0 = xr * max(min(i64(br), rows - 1), 0)
                c0 = xc * max(min(i64(bc), columns - 1), 0)
                br = r - br
                bc = c - bc
                p = offset(x, r0 + c0)
                q = offset(x, r0 + c1)
                s = offset(x, r1 + c0)
                t = offset(x, r1 + c1)
                {bilinear}
    if bright == 0 and intensity == 0.0 and scale == 1.0:
        return
    size = planes * count
    low = out[0]
    high = low
    {starts}
    for i in range(0, size - size % {lanes}, {lanes}):
        {extremes}
    for i in range(size - size % {lanes}, size):
        low = out[i] if out[i] < low else low
        high = out[i] if out[i] > high else high
    {ends}
    shift = {value}(intensity)
    factor = {value}(scale)
    lowest = max(min(low + shift, high), low)
    span = max(min(high + shift, high), low) - lowest
    if span == {value}(0):
        span = {value}(1)
    for plane in range(planes):
        z = offset(out, plane * (1 if step > 1 else count))
        light = f32(brightness) if plane < 3 else f32(1)
        if bright != 0:
            for i in range(count):
                v = (max(min(load(z, i * step) + shift, high), low) - lowest) / span * {value}(255)
                v = {value}(i32(max(min(light * f32(i32(v)), f32(255)), f32(0))))
                store(z, i * step, v * factor)
        else:
            for i in range(count):
                store(z, i * step, max(min(load(z, i * step) + shift, high), low) * factor)
"""


_START = "low{k} = high{k} = low"
_EXTREME = """\
v{k} = out[i + {k}]
low{k} = v{k} if v{k} < low{k} else low{k}
high{k} = v{k} if v{k} > high{k} else high{k}"""
_END = """\
low = low{k} if low{k} < low else low
high = high{k} if high{k} > high else high"""

_BILINEAR = """\
ar = 1.0 - br
ac = 1.0 - bc
for k in range(channels):
    total = f64(p[k * xk]) * ar * ac
    total += f64(q[k * xk]) * ar * bc
    total += f64(s[k * xk]) * br * ac
    total += f64(t[k * xk]) * br * bc
    to[k * yk] = {value}(total)"""
"""The mean of four neighbours, whose weights are products of a part of the row's (`ar`, `br`) and one of the column's.
"""


def _indented(text: str, name: str, lines: str) -> str:
    """The text with `{name}` replaced by lines that are indented as it is."""
    return re.sub(
        rf"^( *)\{{{name}\}}$", lambda found: textwrap.indent(lines, found.group(1)), text, flags=re.MULTILINE
    )


def _kernel(dtype: str, channels: int) -> Kernel:
    short = {"f": "f32", "d": "f64"}[dtype]
    lines = []
    for i, name in enumerate(_NAMES):
        if name in _FLOATS.split():
            lines.append(f"{name} = d[{i}]")
        elif name in _ADDRESSES.split():
            lines.append(f"{name} = {short if name in ('x', 'y', 'out') else 'f64'}p(a[{i}])")
        elif name == "channels" and channels:
            lines.append(f"channels = {channels}")
        else:
            lines.append(f"{name} = a[{i}]")
    text = _indented(_SOURCE, "slots", "\n".join(lines))
    for axis, size in (("r", "rows"), ("c", "columns")):
        path = _MAP.replace("{t}", axis).replace("{last}", f"last_{axis}").replace("{n}", size)
        text = _indented(text, f"map_{axis}", path)
    text = _indented(text, "bilinear", _BILINEAR)
    for part, each in (("starts", _START), ("extremes", _EXTREME), ("ends", _END)):
        text = _indented(text, part, "\n".join(each.replace("{k}", str(k)) for k in range(_LANES)))
    text = text.replace("{lanes}", str(_LANES)).replace("{value}", short)
    return Kernel(
        f"image_{short}_{channels or 'any'}",
        text,
        "warp, flips, channel shift, brightness and scale of one image",
        params=1,
    )


@functools.cache
def _function(dtype: str, channels: int) -> Callable[..., None]:
    from codegen.cpu.target import CpuTarget
    from codegen.targets import get

    target = get("cpu")
    assert isinstance(target, CpuTarget)
    return c_function(target.cache.get(_kernel(dtype, channels)), params=1)


@dataclass(frozen=True)
class Warp:
    """Where pixels come from: pixel `p = (row, column)` is read at `matrix @ p + offset`, in pixels.

    `order` is 0 for the nearest pixel, 1 for bilinear; `boundary` is one of `BOUNDARIES`, `cval` the value outside for
    "constant".
    """

    matrix: Array
    offset: Array
    order: int = 1
    boundary: str = "nearest"
    cval: float = 0.0


def augment(
    x: Array,
    axes: Sequence[int],
    warp: Warp | None = None,
    flips: Sequence[int] = (),
    intensity: float = 0.0,
    brightness: float | None = None,
    scale: float = 1.0,
) -> Array:
    """A new image of the same shape and dtype, made in this order:

    1. `warp`;
    2. `intensity` is added, and the result cut to the range that the values had before;
    3. the axes `flips` are reversed;
    4. with `brightness`, the values are stretched so that the range becomes 0 to 255, cut to whole numbers, multiplied
       by it (the fourth of four channels, which is the opacity, is not), and cut to whole numbers of 0 to 255 again;
    5. all is multiplied by `scale`.

    # Arguments
        x: rank 3, of one of `DTYPES`, any strides. Not empty.
        axes: which axes are rows, columns and channels.
    """
    out = np.empty(x.shape, x.dtype)
    size = x.itemsize
    row_axis, column_axis, channel_axis = axes
    rows, columns, channels = x.shape[row_axis], x.shape[column_axis], x.shape[channel_axis]
    steps = [out.strides[axis] // size for axis in axes]
    y = start = out.ctypes.data
    for axis in flips:  # written from the far end
        k = axes.index(axis)
        y += (out.shape[axis] - 1) * out.strides[axis]
        steps[k] = -steps[k]
    opaque = channels == 4 and brightness is not None
    planes, step = (4, 4 if channel_axis == 2 else 1) if opaque else (1, 1)
    memory = np.empty(len(_NAMES) + 2 * (rows + columns))
    slots = memory.ctypes.data
    tables = slots + 8 * len(_NAMES)
    (m00, m01), (m10, m11) = warp.matrix if warp else _NEUTRAL
    offset_r, offset_c = warp.offset if warp else (0.0, 0.0)
    _SLOTS.pack_into(
        memory.data,
        0,
        *(x.ctypes.data, y, start, tables, tables + 8 * rows, tables + 16 * rows, tables + 16 * rows + 8 * columns),
        *(rows, columns, channels),
        *(x.strides[row_axis] // size, x.strides[column_axis] // size, x.strides[channel_axis] // size, *steps),
        *(warp.order if warp else -1, BOUNDARIES.index(warp.boundary) if warp else 0),
        *(brightness is not None, planes, out.size // planes, step),
        *(m00, m01, m10, m11, offset_r, offset_c, warp.cval if warp else 0.0),
        *(intensity, 1.0 if brightness is None else brightness, scale),
    )
    _function(x.dtype.char, channels if channels in _USUAL_CHANNELS else 0)(slots)
    return out
