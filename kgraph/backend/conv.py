"""Convolution and pooling of sequences and images, and biases along their channels."""

from __future__ import annotations

from typing import Any

from ir import builder as b
from ir.graph import Value
from kgraph.backend.config import normalize_data_format
from kgraph.backend.creation import as_shape
from kgraph.backend.tensor import Tensor, as_value, operands


def _padding(padding: str) -> str:
    lower = str(padding).lower()
    if lower not in ("same", "valid"):
        raise ValueError(f"Invalid padding: {padding}")
    return lower


def _pair(x: Any, what: str) -> tuple[int, int]:
    pair = (x, x) if isinstance(x, int) else tuple(x)
    if len(pair) != 2:
        raise ValueError(f"{what} takes two numbers, got {x}")
    return int(pair[0]), int(pair[1])


def conv2d(
    x: Any,
    kernel: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = (1, 1),
) -> Tensor:
    """Images convolved with a kernel of shape (height, width, channels in, channels out)."""
    value, weights = operands(x, kernel)
    return Tensor(
        b.apply1(
            "conv2d",
            value,
            weights,
            strides=_pair(strides, "strides"),
            padding=_padding(padding),
            dilation=_pair(dilation_rate, "dilation_rate"),
            data_format=normalize_data_format(data_format),
        )
    )


def conv2d_transpose(
    x: Any,
    kernel: Any,
    output_shape: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = (1, 1),
) -> Tensor:
    """The transpose of `conv2d`, which gives `output_shape`; kernel (height, width, channels out, channels in)."""
    value, weights = operands(x, kernel)
    if not isinstance(output_shape, Tensor):
        first = value.shape[0]
        output_shape = [first if d is None and i == 0 else d for i, d in enumerate(output_shape)]
    return Tensor(
        b.apply1(
            "conv2d_input_grad",
            value,
            weights,
            shape=as_shape(output_shape),
            strides=_pair(strides, "strides"),
            padding=_padding(padding),
            dilation=_pair(dilation_rate, "dilation_rate"),
            data_format=normalize_data_format(data_format),
        )
    )


def conv1d(
    x: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Tensor:
    """Sequences convolved with a kernel (steps, channels in, channels out); 'causal' padding looks back only."""
    value, weights = operands(x, kernel)
    if value.rank != 3 or weights.rank != 3:
        raise ValueError(f"K.conv1d takes tensors of rank 3, got rank {value.rank} and a kernel of rank {weights.rank}")
    channels_first = normalize_data_format(data_format) == "channels_first"
    step, dilation = (int(n[0]) if isinstance(n, (list, tuple)) else int(n) for n in (strides, dilation_rate))
    if channels_first:
        value = b.transpose(value, (0, 2, 1))
    if padding == "causal":
        length = weights.shape[0]
        value = b.apply1("pad", value, pads=((0, 0), (dilation * (length - 1), 0), (0, 0)), value=0)
        padding = "valid"
    rows = b.reshape(value, (value.shape[0], 1, *value.shape[1:]))
    result = b.apply1(
        "conv2d",
        rows,
        b.reshape(weights, (1, *weights.shape)),
        strides=(1, step),
        padding=_padding(padding),
        dilation=(1, dilation),
        data_format="channels_last",
    )
    result = b.reshape(result, (result.shape[0], *result.shape[2:]))
    return Tensor(b.transpose(result, (0, 2, 1)) if channels_first else result)


def pool2d(
    x: Any,
    pool_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    pool_mode: str = "max",
) -> Tensor:
    """The maximum ('max') or mean ('avg') of each window of images; padding never counts."""
    if pool_mode not in ("max", "avg"):
        raise ValueError(f"Invalid pooling mode: {pool_mode}")
    return Tensor(
        b.apply1(
            f"{pool_mode}_pool2d",
            as_value(x),
            pool_size=_pair(pool_size, "pool_size"),
            strides=_pair(strides, "strides"),
            padding=_padding(padding),
            data_format=normalize_data_format(data_format),
        )
    )


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Tensor:
    """`x` plus a bias: a vector along the channels, or of the shape of one sample (channels last)."""
    order = normalize_data_format(data_format)
    value, shift = operands(x, bias)
    if shift.rank not in (1, value.rank - 1):
        raise ValueError(f"Unexpected bias dimensions {shift.rank}, expect to be 1 or {value.rank - 1} dimensions")
    if order == "channels_first" and value.rank > 2:
        shift = _channels_first(shift, value.rank)
    return Tensor(b.add(value, shift))


def _channels_first(bias: Value, rank: int) -> Value:
    if bias.rank == 1:
        return b.reshape(bias, (bias.shape[0], *[1] * (rank - 2)))
    moved = (bias.rank - 1, *range(bias.rank - 1))
    return b.transpose(bias, moved)
