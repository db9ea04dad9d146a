"""Pooling of volumes as pooling of images, twice: each plane, then the lines across planes.

This gives the same numbers: the first maximum of a box is that of the first plane that holds it, and all planes of a
box have the same number of elements inside the volume. In channels_last a batch of volumes is a batch of more images
(n * d, h, w, c), and its lines are the columns of images (n, d, h * w, c); in channels_first the planes are channels.
Used by the decompositions in `pool.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ir import builder as b
from ir.dims import Dim
from ir.graph import Attrs, Value

Shape = tuple[Dim, ...]
Values = tuple[Value, ...]


def _merged(shape: Shape, axis: int) -> Shape:
    """`shape` with `axis` and the one after it as one."""
    return (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


@dataclass(frozen=True)
class _Steps:
    """The two poolings of an op on volumes with these attributes."""

    attrs: Attrs

    @property
    def depth(self) -> int:
        """The axis of the depth."""
        return 2 if self.attrs["data_format"] == "channels_first" else 1

    def images(self, x: Value) -> Value:
        """Volumes as images, one for each plane."""
        return b.reshape(x, _merged(x.shape, self.depth - 1))

    def columns(self, x: Value) -> Value:
        """Volumes as images, one for each volume: height is the depth, width is all of a plane."""
        return b.reshape(x, _merged(x.shape, self.depth + 1))

    def _part(self, axes: slice, more: tuple[int, ...]) -> dict[str, object]:
        sizes = {key: (*self.attrs[key][axes], *more) for key in ("pool_size", "strides")}
        return {**sizes, "padding": self.attrs["padding"], "data_format": self.attrs["data_format"]}

    @property
    def plane(self) -> dict[str, object]:
        """Attributes of the pooling of images."""
        return self._part(slice(1, 3), ())

    @property
    def line(self) -> dict[str, object]:
        """Attributes of the pooling of columns."""
        return self._part(slice(0, 1), (1,))

    def planes_pooled(self, op: str, x: Value) -> tuple[Value, Value]:
        """Volumes with pooled planes: as images, and as columns."""
        at = self.depth
        images = b.apply1(op, self.images(x), **self.plane)
        whole = (*x.shape[: at + 1], *images.shape[at : at + 2], *x.shape[at + 3 :])
        return images, b.reshape(images, _merged(whole, at + 1))


def pool(op: str, inputs: Values, attrs: Attrs) -> Values:
    """`max_pool3d(x)` or `avg_pool3d(x)` through the op on images called `op`."""
    (x,) = inputs
    steps = _Steps(attrs)
    images, columns = steps.planes_pooled(op, x)
    y = b.apply1(op, columns, **steps.line)
    at = steps.depth
    return (b.reshape(y, (*x.shape[:at], y.shape[at], *images.shape[at : at + 2], *x.shape[at + 3 :])),)


def max_grad(inputs: Values, attrs: Attrs) -> Values:
    """`max_pool3d_grad(x, y, dy)`; the maxima of the planes are found once more."""
    x, y, dy = inputs
    steps = _Steps(attrs)
    images, columns = steps.planes_pooled("max_pool2d", x)
    dcolumns = b.apply1("max_pool2d_grad", columns, steps.columns(y), steps.columns(dy), **steps.line)
    dimages = b.reshape(dcolumns, images.shape)
    return (b.reshape(b.apply1("max_pool2d_grad", steps.images(x), images, dimages, **steps.plane), x.shape),)


def max_grad_grad(inputs: Values, attrs: Attrs) -> Values:
    """`max_pool3d_grad_grad(x, y, ddx)`; the maxima of the planes are found once more."""
    x, y, ddx = inputs
    steps = _Steps(attrs)
    images, columns = steps.planes_pooled("max_pool2d", x)
    picked = b.apply1("max_pool2d_grad_grad", steps.images(x), images, steps.images(ddx), **steps.plane)
    ddcolumns = b.reshape(picked, columns.shape)
    ddy = b.apply1("max_pool2d_grad_grad", columns, steps.columns(y), ddcolumns, **steps.line)
    return (b.reshape(ddy, y.shape),)


def avg_grad(inputs: Values, attrs: Attrs) -> Values:
    """`avg_pool3d_grad(dy)`."""
    (dy,) = inputs
    steps = _Steps(attrs)
    at, shape = steps.depth, attrs["shape"]
    pooled = (*shape[: at + 1], *dy.shape[at + 1 :])  # planes pooled, depth still whole
    dcolumns = b.apply1("avg_pool2d_grad", steps.columns(dy), shape=_merged(pooled, at + 1), **steps.line)
    dimages = b.reshape(dcolumns, _merged(pooled, at - 1))
    dx = b.apply1("avg_pool2d_grad", dimages, shape=_merged(shape, at - 1), **steps.plane)
    return (b.reshape(dx, shape),)
