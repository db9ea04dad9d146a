"""Images in files, as Pillow's images, and as arrays. Pillow is imported where it is used: it is an extra."""

from __future__ import annotations

import importlib
import io
import os
import uuid
import warnings
from typing import Any

import numpy as np

from kgraph import backend as K

FORMATS = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")
"""Endings of the names of image files."""

_METHODS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def pillow(user: str) -> Any:
    """The module `PIL.Image`. Raises ImportError, naming the function that needs it, where Pillow is not installed."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ImportError(f"`{user}` needs Pillow, which is not installed: pip install 'kgraph[image]'") from error


def chosen_data_format(data_format: str | None) -> str:
    """The argument `data_format`, or the configured one for None. Raises ValueError for an unknown one."""
    if data_format is None:
        return K.image_data_format()
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(f"Unknown data_format: {data_format}; expected 'channels_first' or 'channels_last'")
    return data_format


def load_img(
    path: Any,
    grayscale: bool = False,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
) -> Any:
    """An image file as a Pillow image.

    # Arguments
        path: path of the file.
        grayscale: old spelling of `color_mode="grayscale"`.
        color_mode: "grayscale", "rgb" or "rgba"; the image is converted. 16 and 32 bits of gray stay.
        target_size: None for the size that it has, or `(height, width)` in pixels.
        interpolation: for another size: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".

    # Raises
        ImportError: without Pillow.
        OSError: for a file that is missing or no image.
        ValueError: for an unknown color mode or interpolation.
    """
    if grayscale:
        warnings.warn('grayscale is deprecated. Please use color_mode = "grayscale"', stacklevel=2)
        color_mode = "grayscale"
    modes = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
    if color_mode not in modes:
        raise ValueError(f'color_mode must be "grayscale", "rgb", or "rgba". Received: {color_mode!r}')
    image = _opened(path)
    if image.mode != modes[color_mode] and not (color_mode == "grayscale" and image.mode in ("I;16", "I")):
        image = image.convert(modes[color_mode])
    if target_size is not None:
        size = (target_size[1], target_size[0])
        if image.size != size:
            image = image.resize(size, _resampling(interpolation))
    return image


def _opened(path: Any) -> Any:
    """The image with its pixels read, so that the file is closed."""
    image_module = pillow("load_img")
    with open(path, "rb") as file:
        data = file.read()
    try:
        image = image_module.open(io.BytesIO(data))
        image.load()
    except OSError as error:
        raise OSError(f"{os.fspath(path)!r} cannot be read as an image: {error}") from error
    return image


def _resampling(interpolation: str) -> Any:
    if interpolation not in _METHODS:
        raise ValueError(
            f"Invalid interpolation method {interpolation} specified. Supported methods are {', '.join(_METHODS)}"
        )
    return getattr(pillow("load_img").Resampling, interpolation.upper())


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """A Pillow image, or an array of rank 2 or 3 with the channels last, as an array of rank 3.

    # Arguments
        img: the image.
        data_format: where the channels come in the result; by default as configured.
        dtype: of the result; by default the configured float type.
    """
    data_format = chosen_data_format(data_format)
    dtype = K.floatx() if dtype is None else dtype
    x = np.asarray(img, dtype=dtype) if isinstance(img, np.ndarray) else np.array(img, dtype=dtype)
    if x.ndim == 2:
        x = x[:, :, None]
    if x.ndim != 3:
        raise ValueError(f"Unsupported image shape: {x.shape}; expected (height, width) or (height, width, channels)")
    return x.transpose(2, 0, 1) if data_format == "channels_first" else x


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Any:
    """An array of rank 3 with 1, 3 or 4 channels as a Pillow image of 8 bits per channel.

    # Arguments
        x: the array, with at least one pixel.
        data_format: where its channels are; by default as configured.
        scale: stretch the values so that they reach from 0 to 255. Otherwise they are cut to whole numbers as they
            are; gray above 255 gives an image of 32 bits.
        dtype: of the arithmetic; by default the configured float type.
    """
    image_module = pillow("array_to_img")
    x = np.asarray(x, dtype=K.floatx() if dtype is None else dtype)
    if x.ndim != 3 or x.size == 0:
        raise ValueError(f"Expected image array to have rank 3 (single image). Got array with shape: {x.shape}")
    if data_format is not None and data_format not in ("channels_first", "channels_last"):
        raise ValueError(f"Invalid data_format: {data_format}; expected 'channels_first' or 'channels_last'")
    if chosen_data_format(data_format) == "channels_first":
        x = x.transpose(1, 2, 0)
    check_channels(x.shape[2])
    if scale:
        x = x - x.min()
        x = x / (x.max() or 1) * 255
    if x.shape[2] == 1:
        gray = x[:, :, 0]
        return image_module.fromarray(gray.astype("int32" if gray.max() > 255 else "uint8"))
    return image_module.fromarray(x.astype("uint8"))


def check_channels(channels: int) -> None:
    """Raises ValueError for a number of channels that no kind of image has."""
    if channels not in (1, 3, 4):
        raise ValueError(f"Unsupported channel number: {channels}; images have 1, 3 or 4 channels")


def save_img(
    path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True, **kwargs: Any
) -> None:
    """Write an array as an image file.

    # Arguments
        path: path of the file, or an open binary file.
        x: array of rank 3, as for `array_to_img`.
        data_format: where its channels are; by default as configured.
        file_format: Pillow's name of the format; by default the path's ending tells.
        scale: stretch the values so that they reach from 0 to 255.
        **kwargs: passed to Pillow's `Image.save`.
    """
    image = array_to_img(x, data_format=data_format, scale=scale)
    if image.mode == "RGBA" and str(file_format).lower() in ("jpg", "jpeg"):
        warnings.warn("The JPG format does not support RGBA images, converting to RGB.", stacklevel=2)
        image = image.convert("RGB")
    write_image(image, path, file_format, **kwargs)


def write_image(image: Any, path: Any, file_format: str | None, **kwargs: Any) -> None:
    """Write a Pillow image; at a path, the file appears when it is whole."""
    if str(file_format).lower() == "jpg":
        file_format = "jpeg"
    if not isinstance(path, (str, os.PathLike)):
        image.save(path, format=file_format, **kwargs)
        return
    folder, name = os.path.split(os.fspath(path))
    temporary = os.path.join(folder, f".{uuid.uuid4().hex}{os.path.splitext(name)[1]}")
    try:
        image.save(temporary, format=file_format, **kwargs)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def list_pictures(directory: Any, ext: Any = ("jpg", "jpeg", "bmp", "png", "ppm", "tif", "tiff")) -> list[str]:
    """Paths of the image files in a folder and the folders in it.

    # Arguments
        directory: path of the folder.
        ext: ending or endings of their names, with or without a dot.
    """
    endings = ext.split("|") if isinstance(ext, str) else ext
    endings = tuple("." + e.lstrip(".").lower() for e in endings)
    return [
        os.path.join(root, name)
        for root, _, names in os.walk(directory)
        for name in names
        if name.lower().endswith(endings)
    ]
