"""The micro-kernels under depthwise convolutions: LLVM vectors that run along channels, sums held in registers.

    correlate   y[p, c] = sum over i, j of x[p + i * x_row + j * x_column, c] * w[i, j, c]   for some pixels p at once
    products    totals[j, c] += sum over p of x[p + j * x_column, c] * dy[p, c]              for some columns j at once

All strides are run-time byte offsets, so that windows, strides and dilations make no new kernels. A row of channels is
cut into blocks of `vectors * lanes`; the last block ends at the last channel and overlaps the one before it.
`depthwise.py` calls these by address; `compiler.py` calls `build` for the specs in `Kernel.namespace`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codegen.cpu.microkernel import Emitter, void_intrinsic
from codegen.source import Kernel

_SHORT = {4: "f32", 8: "f64"}
_CORRELATE = "rows, columns, x, w, y, x_row, x_column, w_row, w_column, x_pixel, y_pixel, channels"
_PRODUCTS = "pixels, x, dy, totals, x_pixel, dy_pixel, x_column, total_column, channels"


def correlate_kernel(pixels: int, vectors: int, lanes: int, itemsize: int) -> Kernel:
    """The micro-kernel `(rows, columns, x, w, y, x_row, x_column, w_row, w_column, x_pixel, y_pixel, channels)` for
    `pixels` results, which lie `y_pixel` bytes apart and begin `x_pixel` bytes apart in x.

    `channels` is at least `vectors * lanes`; `rows` and `columns` may be 0, which gives zeros.
    """
    return _kernel("correlate", _CORRELATE, pixels, vectors, lanes, itemsize)


def products_kernel(columns: int, vectors: int, lanes: int, itemsize: int) -> Kernel:
    """The micro-kernel `(pixels, x, dy, totals, x_pixel, dy_pixel, x_column, total_column, channels)` for `columns`
    elements of a window, whose totals lie `total_column` bytes apart.

    `channels` is at least `vectors * lanes`. Block i of channels has its totals at `i * vectors * lanes` elements, also
    the last one, which overlaps the one before it.
    """
    return _kernel("products", _PRODUCTS, columns, vectors, lanes, itemsize)


def _kernel(kind: str, params: str, count: int, vectors: int, lanes: int, itemsize: int) -> Kernel:
    short = _SHORT[itemsize]
    source = f"def kernel({params}):\n    {kind}({params})\n"
    spec = ("depthwise", kind, count, vectors, lanes, short)
    number = params.count(",") + 1
    return Kernel(f"{kind}_{count}x{vectors * lanes}_{short}", source, "", ((kind, spec),), params=number)


def build(kind: str, *shape: Any) -> Any:
    """The Numba intrinsic of a spec: `("correlate" or "products", count, vectors, lanes, dtype)`."""
    makers: dict[str, Callable[..., Any]] = {"correlate": _correlate, "products": _products}
    return makers[kind](*shape)


def _over_blocks(e: Emitter, channels: Any, width: int, block: Callable[[Any, Any], None]) -> None:
    """Runs `block(number, first)` for each block of `width` channels; `first` is in bytes."""
    b = e.b
    count = b.sdiv(b.add(channels, e.number(width - 1)), e.number(width))
    last = b.sub(channels, e.number(width))

    def step(index: Any, carried: list[Any]) -> list[Any]:
        first = b.mul(index, e.number(width))
        first = b.select(b.icmp_signed("<", first, last), first, last)
        block(index, b.mul(first, e.number(e.align)))
        return carried

    e.loop(count, [], step)


def _multiples(e: Emitter, stride: Any, count: int) -> list[Any]:
    return [e.b.mul(stride, e.number(i)) for i in range(count)]


def _correlate(pixels: int, vectors: int, lanes: int, dtype: str) -> Any:
    def emit(builder: Any, values: Any) -> None:
        e = Emitter(builder, lanes, dtype)
        rows, columns, x, w, y, x_row, x_column, w_row, w_column, x_pixel, y_pixel, channels = values
        x, w, y = (e.pointer(address) for address in (x, w, y))
        x_at, y_at = _multiples(e, x_pixel, pixels), _multiples(e, y_pixel, pixels)
        zero = e.ir.Constant(e.vector, [0.0] * lanes)

        def element(_: Any, carried: list[Any]) -> list[Any]:
            *sums, px, pw = carried
            weights = [e.load(pw, v) for v in range(vectors)]
            for p in range(pixels):
                at = e.shift(px, x_at[p])
                for v in range(vectors):
                    sums[p * vectors + v] = e.muladd(e.load(at, v), weights[v], sums[p * vectors + v])
            return [*sums, e.shift(px, x_column), e.shift(pw, w_column)]

        def row(_: Any, carried: list[Any]) -> list[Any]:
            *sums, px, pw = carried
            *sums, _, _ = e.loop(columns, [*sums, px, pw], element)
            return [*sums, e.shift(px, x_row), e.shift(pw, w_row)]

        def block(_: Any, first: Any) -> None:
            start = [zero] * (pixels * vectors) + [e.shift(x, first), e.shift(w, first)]
            *sums, _, _ = e.loop(rows, start, row)
            to = e.shift(y, first)
            for p in range(pixels):
                for v in range(vectors):
                    e.store(sums[p * vectors + v], e.shift(to, y_at[p]), v)

        _over_blocks(e, channels, vectors * lanes, block)

    return void_intrinsic(12, emit)


def _products(columns: int, vectors: int, lanes: int, dtype: str) -> Any:
    def emit(builder: Any, values: Any) -> None:
        e = Emitter(builder, lanes, dtype)
        pixels, x, dy, totals, x_pixel, dy_pixel, x_column, total_column, channels = values
        x, dy, totals = (e.pointer(address) for address in (x, dy, totals))
        x_at, total_at = _multiples(e, x_column, columns), _multiples(e, total_column, columns)

        def pixel(_: Any, carried: list[Any]) -> list[Any]:
            *sums, px, pd = carried
            slopes = [e.load(pd, v) for v in range(vectors)]
            for j in range(columns):
                at = e.shift(px, x_at[j])
                for v in range(vectors):
                    sums[j * vectors + v] = e.muladd(e.load(at, v), slopes[v], sums[j * vectors + v])
            return [*sums, e.shift(px, x_pixel), e.shift(pd, dy_pixel)]

        def block(index: Any, first: Any) -> None:
            own = e.shift(totals, builder.mul(index, e.number(vectors * lanes * e.align)))
            places = [e.shift(own, total_at[j]) for j in range(columns)]
            start = [e.load(place, v) for place in places for v in range(vectors)]
            *sums, _, _ = e.loop(pixels, [*start, e.shift(x, first), e.shift(dy, first)], pixel)
            for j, place in enumerate(places):
                for v in range(vectors):
                    e.store(sums[j * vectors + v], place, v)

        _over_blocks(e, channels, vectors * lanes, block)

    return void_intrinsic(9, emit)
