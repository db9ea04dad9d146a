"""Checks of convolution arguments, and the sizes that convolutions give.

Used by the convolution and pooling layers and by users' own layers. Sizes are Python integers, or None if unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def normalize_tuple(value: Any, n: int, name: str) -> tuple[int, ...]:
    """An integer repeated `n` times, or `n` integers as a tuple; ValueError naming the argument `name` otherwise."""
    if isinstance(value, (int, np.integer)):
        return (int(value),) * n
    message = f"The `{name}` argument must be a tuple of {n} integers. Received: {value}"
    try:
        items = tuple(value)
    except TypeError:
        raise ValueError(message) from None
    if len(items) != n:
        raise ValueError(message)
    for item in items:
        try:
            int(item)
        except (TypeError, ValueError):
            raise ValueError(f"{message} including element {item} of type {type(item)}") from None
    return items


def normalize_padding(value: str) -> str:
    """The padding in lower case; ValueError unless it is "valid", "same" or "causal"."""
    padding = value.lower() if isinstance(value, str) else value
    if padding not in ("valid", "same", "causal"):
        raise ValueError(
            f'The `padding` argument must be one of "valid", "same" (or "causal" for Conv1D). Received: {padding}'
        )
    return padding


def normalize_data_format(value: str | None) -> str:
    """The data format in lower case, the global default for None; ValueError for anything else."""
    if value is None:
        from kgraph import backend as K

        value = K.image_data_format()
    data_format = value.lower() if isinstance(value, str) else value
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            f'The `data_format` argument must be one of "channels_first", "channels_last". Received: {value}'
        )
    return data_format


def convert_kernel(kernel: Any) -> np.ndarray:
    """A copy of a convolution kernel with its spatial axes mirrored (correlation to convolution and back).

    `kernel` has shape `(*spatial, in, out)` with one to three spatial axes.
    """
    kernel = np.asarray(kernel)
    if not 3 <= kernel.ndim <= 5:
        raise ValueError("Invalid kernel shape:", kernel.shape)
    return np.flip(kernel, axis=tuple(range(kernel.ndim - 2))).copy()


def _check_padding(padding: str, *allowed: str) -> None:
    if padding not in allowed:
        raise ValueError(f"Expected `padding` to be one of {allowed}. Received: {padding}")


def conv_output_length(
    input_length: int | None, filter_size: int, padding: str, stride: int, dilation: int = 1
) -> int | None:
    """The size that a convolution or pooling gives along one axis."""
    _check_padding(padding, "same", "valid", "full", "causal")
    if input_length is None:
        return None
    reach = (filter_size - 1) * dilation
    grow = {"same": 0, "causal": 0, "valid": -reach, "full": reach}[padding]
    return (input_length + grow + stride - 1) // stride


def conv_input_length(output_length: int | None, filter_size: int, padding: str, stride: int) -> int | None:
    """The smallest size along one axis from which a convolution gives `output_length`."""
    _check_padding(padding, "same", "valid", "full")
    if output_length is None:
        return None
    pad = {"same": filter_size // 2, "valid": 0, "full": filter_size - 1}[padding]
    return (output_length - 1) * stride - 2 * pad + filter_size


def deconv_length(
    dim_size: int | None,
    stride_size: int,
    kernel_size: int,
    padding: str,
    output_padding: int | None,
    dilation: int = 1,
) -> int | None:
    """The size that a transposed convolution gives along one axis; `output_padding=None` means the usual size."""
    _check_padding(padding, "same", "valid", "full")
    if dim_size is None:
        return None
    reach = kernel_size + (kernel_size - 1) * (dilation - 1)
    if output_padding is not None:
        pad = {"same": reach // 2, "valid": 0, "full": reach - 1}[padding]
        return (dim_size - 1) * stride_size + reach - 2 * pad + output_padding
    grow = {"same": 0, "valid": max(reach - stride_size, 0), "full": 2 - stride_size - reach}[padding]
    return dim_size * stride_size + grow
