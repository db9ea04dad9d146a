"""Changes of one image: rotation, shift, shear, zoom, flips, channel shift, brightness; given or drawn at random.

Images are arrays of rank 3. The pixels move in a compiled kernel (`codegen/cpu/image.py`), which does all changes of
an image at once. Random functions draw from numpy's global generator.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph.preprocessing.image_files import check_channels

_SCIPY_MODES = ("mirror", "grid-mirror", "grid-wrap", "grid-constant")


def transform_matrix_offset_center(matrix: np.ndarray, x: int, y: int) -> np.ndarray:
    """The 3x3 transform that does around the centre of an image of `x` rows and `y` columns what `matrix` does around
    its first pixel."""
    centre = np.array([x / 2.0 + 0.5, y / 2.0 + 0.5])
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = centre, -centre
    return there @ matrix @ back


def affine_matrix(theta: float, tx: float, ty: float, shear: float, zx: float, zy: float) -> np.ndarray | None:
    """Rotation, shift, shear and zoom as one 3x3 matrix over (row, column, 1); None where nothing moves."""
    values = (theta, tx, ty, shear, zx, zy)
    if not np.isfinite(values).all() or np.abs(values).max() > 1e6:
        raise ValueError(
            "the transform of an image must be of finite and sensible size. "
            f"Received: theta={theta}, tx={tx}, ty={ty}, shear={shear}, zx={zx}, zy={zy}"
        )
    parts = []
    if theta != 0:
        c, s = np.cos(np.deg2rad(theta)), np.sin(np.deg2rad(theta))
        parts.append([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    if tx != 0 or ty != 0:
        parts.append([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    if shear != 0:
        angle = np.deg2rad(shear)
        parts.append([[1, -np.sin(angle), 0], [0, np.cos(angle), 0], [0, 0, 1]])
    if zx != 1 or zy != 1:
        parts.append([[zx, 0, 0], [0, zy, 0], [0, 0, 1]])
    if not parts:
        return None
    matrix = np.array(parts[0], np.float64)
    for part in parts[1:]:
        matrix = matrix @ np.array(part, np.float64)
    return matrix


def augment_image(
    x: np.ndarray,
    axes: Sequence[int],
    matrix: np.ndarray | None = None,
    order: int = 1,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    intensity: float = 0.0,
    flips: Sequence[int] = (),
    brightness: float | None = None,
    scale: float = 1.0,
) -> np.ndarray:
    """An image after a warp, a channel shift, flips, brightness and scale, in this order; `x` itself where there is
    nothing to do.

    # Arguments
        x: array of rank 3 and any real dtype. Brightness gives float32, other changes keep the dtype.
        axes: the axes of rows, columns and channels.
        matrix: what `affine_matrix` gives.
        order: of the interpolation. 0 and 1 run in the kernel, others need SciPy.
        fill_mode, cval: what lies beyond the border.
        intensity: added to all values, which then are cut to the range they had.
        flips: axes to reverse.
        brightness: factor of the values after they were stretched to 0 to 255.
        scale: factor of the result.
    """
    from codegen.cpu.image import BOUNDARIES, Warp, augment

    if matrix is None and not flips and intensity == 0 and brightness is None and scale == 1:
        return x
    if brightness is not None:
        check_channels(x.shape[axes[2]])
    if x.size == 0:
        return x.astype(np.float32) if brightness is not None else x.copy()
    warp = None
    if matrix is not None:
        full = transform_matrix_offset_center(matrix, x.shape[axes[0]], x.shape[axes[1]])
        if order in (0, 1) and fill_mode in BOUNDARIES:
            warp = Warp(full[:2, :2], full[:2, 2], order, fill_mode, cval)
        else:
            x = _scipy_warp(x, axes, full, order, fill_mode, cval)
    work = _floats(x)
    if brightness is not None and work.dtype != np.float32:
        work = augment(work, axes, warp, flips, intensity).astype(np.float32)
        return augment(work, axes, brightness=brightness, scale=scale)
    out = augment(work, axes, warp, flips, intensity, brightness, scale)
    return out if brightness is not None else _restored(out, x.dtype)


def _floats(x: np.ndarray) -> np.ndarray:
    """The image in a dtype of the kernel's and aligned: small floats as float32, whole numbers as float64."""
    dtype = np.float32 if x.dtype.kind == "f" and x.dtype.itemsize <= 4 else np.float64
    x = np.asarray(x, dtype)
    return x if x.flags.aligned else x.copy()


def _restored(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in the image's own dtype; whole numbers are rounded, half away from zero, and cut to its range."""
    if dtype.kind not in "iu":
        return x.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.trunc(x + np.copysign(0.5, x)), limits.min, limits.max).astype(dtype)


def _scipy_warp(
    x: np.ndarray, axes: Sequence[int], matrix: np.ndarray, order: int, fill_mode: str, cval: float
) -> np.ndarray:
    from codegen.cpu.image import BOUNDARIES

    known = (*BOUNDARIES, *_SCIPY_MODES)
    if fill_mode not in known:
        raise ValueError(f"unknown fill_mode {fill_mode!r}; expected one of {', '.join(known[:4])}")
    if order not in range(6):
        raise ValueError(f"the interpolation order must be from 0 to 5. Received: {order!r}")
    try:
        ndimage = importlib.import_module("scipy.ndimage")
    except ImportError as error:
        raise ImportError(
            f"interpolation order {order} with fill_mode {fill_mode!r} needs SciPy, which is not installed; orders 0 "
            f"and 1 with fill_mode {', '.join(BOUNDARIES)} do not"
        ) from error
    source = x.transpose(axes)
    planes = [
        ndimage.affine_transform(source[:, :, k], matrix[:2, :2], matrix[:2, 2], order=order, mode=fill_mode, cval=cval)
        for k in range(source.shape[2])
    ]
    return np.stack(planes, axis=2).transpose(np.argsort(axes))


def _axes(x: np.ndarray, row_axis: int, col_axis: int, channel_axis: int) -> tuple[int, int, int]:
    if x.ndim != 3:
        raise ValueError(f"Input arrays must be multi-channel 2D images, of rank 3. Received shape: {x.shape}")
    if {row_axis, col_axis, channel_axis} != {0, 1, 2}:
        raise ValueError(
            "'row_axis', 'col_axis' and 'channel_axis' must be 0, 1 and 2 in some order. "
            f"Received: {row_axis}, {col_axis}, {channel_axis}"
        )
    return row_axis, col_axis, channel_axis


def apply_affine_transform(
    x: Any,
    theta: float = 0,
    tx: float = 0,
    ty: float = 0,
    shear: float = 0,
    zx: float = 1,
    zy: float = 1,
    row_axis: int = 0,
    col_axis: int = 1,
    channel_axis: int = 2,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    order: int = 1,
) -> np.ndarray:
    """Rotate, shift, shear and zoom an image around its centre; `x` itself where all arguments are neutral.

    # Arguments
        x: image, an array of rank 3.
        theta: rotation in degrees.
        tx, ty: shift of rows and of columns in pixels.
        shear: angle of the shear in degrees.
        zx, zy: how much of the height and of the width is seen; less than 1 magnifies.
        row_axis, col_axis, channel_axis: axes of the image.
        fill_mode: what lies beyond the border: "constant", "nearest", "reflect" or "wrap".
        cval: the value there, for "constant".
        order: of the interpolation: 0 for the nearest pixel, 1 for bilinear; 2 to 5, splines, need SciPy.
    """
    x = np.asarray(x)
    axes = _axes(x, row_axis, col_axis, channel_axis)
    return augment_image(x, axes, affine_matrix(theta, tx, ty, shear, zx, zy), order, fill_mode, cval)


def apply_channel_shift(x: Any, intensity: float, channel_axis: int = 0) -> np.ndarray:
    """Add `intensity` to all values and cut the result to the range that they had."""
    x = np.asarray(x)
    return np.clip(x + float(intensity), x.min(), x.max()) if x.size else x


def apply_brightness_shift(x: Any, brightness: float) -> np.ndarray:
    """Stretch the values of an image with channels last to 0 to 255, multiply by `brightness`, cut to whole numbers
    of 0 to 255; float32. The opacity of an RGBA image stays."""
    x = np.asarray(x)
    return augment_image(x, _axes(x, 0, 1, 2), brightness=float(brightness))


def flip_axis(x: Any, axis: int) -> np.ndarray:
    """The array reversed along one axis."""
    return np.flip(x, axis)


def random_rotation(
    x: Any,
    rg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> np.ndarray:
    """Rotate an image by up to `rg` degrees in either direction. Other arguments are those of
    `apply_affine_transform`."""
    theta = np.random.uniform(-rg, rg)
    where = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, theta, 0, 0, 0, 1, 1, *where)


def random_shift(
    x: Any,
    wrg: float,
    hrg: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> np.ndarray:
    """Shift an image by up to the fractions `wrg` of its width and `hrg` of its height in either direction. Other
    arguments are those of `apply_affine_transform`."""
    rows, columns = np.shape(x)[row_axis], np.shape(x)[col_axis]
    tx = np.random.uniform(-hrg, hrg) * rows
    ty = np.random.uniform(-wrg, wrg) * columns
    where = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, tx, ty, 0, 1, 1, *where)


def random_shear(
    x: Any,
    intensity: float,
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> np.ndarray:
    """Shear an image by an angle of up to `intensity` degrees in either direction. Other arguments are those of
    `apply_affine_transform`."""
    shear = np.random.uniform(-intensity, intensity)
    where = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, 0, 0, shear, 1, 1, *where)


def random_zoom(
    x: Any,
    zoom_range: Sequence[float],
    row_axis: int = 1,
    col_axis: int = 2,
    channel_axis: int = 0,
    fill_mode: str = "nearest",
    cval: float = 0.0,
    interpolation_order: int = 1,
) -> np.ndarray:
    """Zoom height and width of an image by two numbers drawn from `zoom_range`, (lowest, highest). Other arguments are
    those of `apply_affine_transform`."""
    if len(zoom_range) != 2:
        raise ValueError(f"`zoom_range` should be a tuple or list of two floats. Received: {zoom_range}")
    zx, zy = (1, 1) if zoom_range[0] == zoom_range[1] == 1 else np.random.uniform(zoom_range[0], zoom_range[1], 2)
    where = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, 0, 0, 0, zx, zy, *where)


def random_channel_shift(x: Any, intensity_range: float, channel_axis: int = 0) -> np.ndarray:
    """`apply_channel_shift` by up to `intensity_range` up or down."""
    return apply_channel_shift(x, np.random.uniform(-intensity_range, intensity_range), channel_axis)


def random_brightness(x: Any, brightness_range: Sequence[float]) -> np.ndarray:
    """`apply_brightness_shift` by a factor drawn from `brightness_range`, (lowest, highest)."""
    if len(brightness_range) != 2:
        raise ValueError(f"`brightness_range` should be tuple or list of two floats. Received: {brightness_range}")
    return apply_brightness_shift(x, np.random.uniform(brightness_range[0], brightness_range[1]))
