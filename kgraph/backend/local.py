"""Convolutions whose weights differ from place to place: the patches of the input, each times a matrix of its own."""

from __future__ import annotations

from typing import Any

from ir import builder as b
from ir import dtypes
from ir.graph import Value
from kgraph.backend.config import normalize_data_format
from kgraph.backend.tensor import Tensor, operands


def _windows(x: Value, axis: int, count: int, size: int, stride: int) -> Value:
    """`x` with `axis` replaced by two: `count` windows, and the `size` elements of each."""
    first = b.mul(b.apply1("iota", size=count, dtype=dtypes.i32), stride)
    indices = b.add(b.reshape(first, (count, 1)), b.apply1("iota", size=size, dtype=dtypes.i32))
    return b.apply1("gather", x, indices, axis=axis)


def _check(what: str, x: Value, rank: int, kernel: Value, places: int) -> None:
    if x.rank != rank or kernel.rank != 3:
        raise ValueError(f"{what} takes a tensor of rank {rank} and a kernel of rank 3, got {x.type} and {kernel.type}")
    if kernel.shape[0] != places:
        raise ValueError(f"{what}: the kernel {kernel.type} must have {places} matrices, one for each output position")


def local_conv1d(
    inputs: Any, kernel: Any, kernel_size: Any, strides: Any, data_format: str | None = None
) -> Tensor:
    """Sequences (samples, steps, channels) convolved with weights of their own at each output step.

    `kernel` has shape (output steps, kernel size * channels, channels out). Channels are last whatever `data_format`
    says, as in Keras.
    """
    normalize_data_format(data_format)
    x, weights = operands(inputs, kernel)
    count = weights.shape[0]
    if not isinstance(count, int):
        raise ValueError(f"K.local_conv1d: the sizes of the kernel must be known, got {weights.type}")
    _check("K.local_conv1d", x, 3, weights, count)
    patches = b.transpose(_windows(x, 1, count, int(kernel_size[0]), int(strides[0])), (1, 0, 2, 3))
    flat = b.reshape(patches, (count, x.shape[0], weights.shape[1]))
    return Tensor(b.transpose(b.matmul(flat, weights), (1, 0, 2)))


def local_conv2d(
    inputs: Any, kernel: Any, kernel_size: Any, strides: Any, output_shape: Any, data_format: str | None = None
) -> Tensor:
    """Images convolved with weights of their own at each output pixel.

    `kernel` has shape (output rows * output columns, kernel height * kernel width * channels, channels out), in
    "channels_first" with its second axis in the order (channels, height, width); `output_shape` is (rows, columns).
    """
    first = normalize_data_format(data_format) == "channels_first"
    x, weights = operands(inputs, kernel)
    rows, columns = (int(n) for n in output_shape)
    _check("K.local_conv2d", x, 4, weights, rows * columns)
    axis = 2 if first else 1
    patches = _windows(x, axis, rows, int(kernel_size[0]), int(strides[0]))
    patches = _windows(patches, axis + 2, columns, int(kernel_size[1]), int(strides[1]))
    patches = b.transpose(patches, (2, 4, 0, 1, 3, 5) if first else (1, 3, 0, 2, 4, 5))
    flat = b.reshape(patches, (rows * columns, x.shape[0], weights.shape[1]))
    y = b.reshape(b.matmul(flat, weights), (rows, columns, x.shape[0], weights.shape[2]))
    return Tensor(b.transpose(y, (2, 3, 0, 1) if first else (2, 0, 1, 3)))
