"""Arithmetic of sliding windows, shared by convolution and pooling: output sizes, padding amounts and the two layouts.

Before it comes `opdef.py`; `conv.py` and `pool.py` build on it, and so do the kernel printers of the same names. The
rules are TensorFlow's: 'valid' uses whole windows only; 'same' gives ceil(size / stride) outputs and pads just enough,
the odd element after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from ir import dims
from ir.dims import Dim
from ir.opdef import Array, TypeRuleError
from ir.types import TensorType

Index = tuple[slice, ...]

SCHEMA: Mapping[str, str] = {"strides": "ints", "padding": "str", "data_format": "str"}

_FORMATS = ("channels_last", "channels_first")


def output_size(size: Dim, window: int, stride: int, padding: str, dilation: int = 1, what: str = "window") -> Dim:
    """Number of window positions along one axis of `size` elements.

    `window` counts the window's own elements, `dilation - 1` elements lie between two of them. Raises TypeRuleError,
    beginning with `what`, where a known size is smaller than a 'valid' window.
    """
    if padding == "same":
        return dims.ceildiv(size, stride)
    span = (window - 1) * dilation + 1
    if isinstance(size, int) and size < span:
        dilated = f" (size {window} with dilation {dilation})" if dilation > 1 else ""
        raise TypeRuleError(
            f"{what}: a window of {span}{dilated} does not fit into {size} elements with padding 'valid'; "
            "use a smaller window, a larger input or padding 'same'"
        )
    return dims.floordiv(size - span, stride) + 1


@overload
def pads(size: int, window: int, stride: int, padding: str, dilation: int = 1) -> tuple[int, int]: ...
@overload
def pads(size: Dim, window: int, stride: int, padding: str, dilation: int = 1) -> tuple[Dim, Dim]: ...
def pads(size: Dim, window: int, stride: int, padding: str, dilation: int = 1) -> tuple[Dim, Dim]:
    """Padding before and after an axis of `size` elements (symbolic sizes give formulas)."""
    if padding == "valid":
        return 0, 0
    span = (window - 1) * dilation + 1
    total = dims.dim_max((dims.ceildiv(size, stride) - 1) * stride + span - size, 0)
    before = dims.floordiv(total, 2)
    return before, total - before


@dataclass(frozen=True)
class Window:
    """A window over the spatial axes of a tensor: (height, width) for images, (depth, height, width) for volumes."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    data_format: str

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes, then that of the channels."""
        n = len(self.size)
        return (*range(2, n + 2), 1) if self.data_format == "channels_first" else tuple(range(1, n + 2))

    @overload
    def output(self, shape: tuple[int, ...], channels: int, what: str = "window") -> tuple[int, ...]: ...
    @overload
    def output(self, shape: tuple[Dim, ...], channels: Dim, what: str = "window") -> tuple[Dim, ...]: ...
    def output(self, shape: tuple[Dim, ...], channels: Dim, what: str = "window") -> tuple[Dim, ...]:
        """The shape of the result over an input of `shape`, with `channels` channels, in this layout."""
        out: list[Dim] = [shape[0], *[channels] * len(self.axes)]
        for k, axis in enumerate(self.axes[:-1]):
            where = f"{what}, axis {axis}"
            out[axis] = output_size(shape[axis], self.size[k], self.strides[k], self.padding, self.dilation[k], where)
        return tuple(out)

    def pads(self, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Padding (before, after) of each spatial axis for an input of `shape`."""
        return tuple(
            pads(shape[axis], self.size[k], self.strides[k], self.padding, self.dilation[k])
            for k, axis in enumerate(self.axes[:-1])
        )

    def to_last(self, x: Array) -> Array:
        """A view of `x` with channels last."""
        return np.moveaxis(x, 1, -1) if self.data_format == "channels_first" else x

    def from_last(self, x: Array) -> Array:
        """A view of `x`, which has channels last, in this layout."""
        return np.moveaxis(x, -1, 1) if self.data_format == "channels_first" else x

    def padded(self, x: Array, fill: float) -> Array:
        """`x`, in this layout, as float64 with channels last and padding of value `fill`."""
        wide = self.to_last(x).astype(np.float64)
        return np.pad(wide, ((0, 0), *self.pads(x.shape), (0, 0)), constant_values=fill)

    def cropped(self, wide: Array, shape: tuple[int, ...]) -> Array:
        """Undoes `padded`: drops the padding that an input of `shape` has; a view in this layout."""
        inside = (
            slice(before, before + shape[axis])
            for (before, _), axis in zip(self.pads(shape), self.axes[:-1], strict=True)
        )
        return self.from_last(wide[(slice(None), *inside)])

    def padded_zeros(self, shape: tuple[int, ...]) -> Array:
        """Zeros of the shape that `padded` gives for an input of `shape`."""
        *spatial, channels = self.axes
        sizes = (b + shape[axis] + a for (b, a), axis in zip(self.pads(shape), spatial, strict=True))
        return np.zeros((shape[0], *sizes, shape[channels]))

    def taps(self, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Index]]:
        """For each element of the window, row by row, the index that picks from the padded array (channels last) what
        this element sees, one pixel per output pixel of an input of `shape`."""
        out = self.output(shape, 0)
        for element in np.ndindex(*self.size):
            at = [slice(None)]
            for k, axis in enumerate(self.axes[:-1]):
                start = element[k] * self.dilation[k]
                at.append(slice(start, start + out[axis] * self.strides[k], self.strides[k]))
            yield element, tuple(at)


def window(op: str, size: tuple[int, ...], attrs: Mapping[str, Any], rank: int = 2) -> Window:
    """The window of `size` over `rank` spatial axes that `attrs` describe. Raises TypeRuleError, naming `op`, for
    values that make no sense."""
    dilation = attrs.get("dilation", (1,) * rank)
    for name, sizes in (("window size", size), ("strides", attrs["strides"]), ("dilation", dilation)):
        if len(sizes) != rank or any(x < 1 for x in sizes):
            raise TypeRuleError(f"{op}: {name} must be {rank} positive integers, got {tuple(sizes)}")
    if attrs["padding"] not in ("valid", "same"):
        raise TypeRuleError(f"{op}: padding must be 'valid' or 'same', got {attrs['padding']!r}")
    if attrs["data_format"] not in _FORMATS:
        raise TypeRuleError(
            f"{op}: data_format must be 'channels_last' or 'channels_first', got {attrs['data_format']!r}"
        )
    return Window(tuple(size), attrs["strides"], dilation, attrs["padding"], attrs["data_format"])


def check_images(op: str, rank: int = 2, **operands: TensorType) -> None:
    """Raises TypeRuleError unless all operands have `rank` spatial axes and two others, and one float dtype."""
    for name, t in operands.items():
        if t.rank != rank + 2:
            raise TypeRuleError(f"{op}: {name} must have {rank + 2} dimensions, got {t}")
        if not t.dtype.is_float:
            raise TypeRuleError(f"{op}: {name} must be of a float dtype, got {t.dtype.name}")
    if len({t.dtype for t in operands.values()}) > 1:
        found = ", ".join(f"{name} is {t.dtype.name}" for name, t in operands.items())
        raise TypeRuleError(f"{op}: {found}; cast one of them (K.cast), there is no implicit promotion")
