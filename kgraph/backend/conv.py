"""Convolution and pooling of sequences, images and volumes, and biases along their channels.

Sequences are images of one row. Convolutions that share no weights are in `local.py`.
"""

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


def _numbers(x: Any, count: int, what: str) -> tuple[int, ...]:
    """An integer `count` times, or that many integers."""
    numbers = tuple(x) if isinstance(x, (list, tuple)) else (x,) * count
    if len(numbers) != count:
        words = {1: "one number", 2: "two numbers", 3: "three numbers"}[count]
        raise ValueError(f"{what} takes {words}, got {x}")
    return tuple(int(n) for n in numbers)


def _geometry(rank: int, strides: Any, padding: str, dilation_rate: Any, data_format: str | None) -> dict[str, Any]:
    """The attributes of a convolution."""
    return {
        "strides": _numbers(strides, rank, "strides"),
        "padding": _padding(padding),
        "dilation": _numbers(dilation_rate, rank, "dilation_rate"),
        "data_format": normalize_data_format(data_format),
    }


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
    value = _steps_before_channels(value, data_format)
    (step,), (dilation,) = _numbers(strides, 1, "strides"), _numbers(dilation_rate, 1, "dilation_rate")
    if padding == "causal":
        length = weights.shape[0]
        value = b.apply1("pad", value, pads=((0, 0), (dilation * (length - 1), 0), (0, 0)), value=0)
        padding = "valid"
    attrs = _geometry(2, (1, step), padding, (1, dilation), "channels_last")
    result = b.apply1("conv2d", _as_rows(value), b.reshape(weights, (1, *weights.shape)), **attrs)
    return Tensor(_from_rows(result, data_format))


def _steps_before_channels(x: Value, data_format: str | None) -> Value:
    """Sequences as (samples, steps, channels)."""
    return b.transpose(x, (0, 2, 1)) if normalize_data_format(data_format) == "channels_first" else x


def _as_rows(x: Value) -> Value:
    """Sequences as images of one row."""
    return b.reshape(x, (x.shape[0], 1, *x.shape[1:]))


def _from_rows(images: Value, data_format: str | None) -> Value:
    """Images of one row as sequences in the order of `data_format`."""
    x = b.reshape(images, (images.shape[0], *images.shape[2:]))
    return b.transpose(x, (0, 2, 1)) if normalize_data_format(data_format) == "channels_first" else x


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
    return Tensor(b.apply1("conv2d", value, weights, **_geometry(2, strides, padding, dilation_rate, data_format)))


def conv3d(
    x: Any,
    kernel: Any,
    strides: Any = (1, 1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = (1, 1, 1),
) -> Tensor:
    """Volumes convolved with a kernel of shape (depth, height, width, channels in, channels out)."""
    value, weights = operands(x, kernel)
    return Tensor(b.apply1("conv3d", value, weights, **_geometry(3, strides, padding, dilation_rate, data_format)))


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
    return _transposed("conv2d", x, kernel, output_shape, _geometry(2, strides, padding, dilation_rate, data_format))


def conv3d_transpose(
    x: Any,
    kernel: Any,
    output_shape: Any,
    strides: Any = (1, 1, 1),
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The transpose of `conv3d`, which gives `output_shape`; kernel (depth, height, width, channels out, channels
    in)."""
    return _transposed("conv3d", x, kernel, output_shape, _geometry(3, strides, padding, 1, data_format))


def _transposed(op: str, x: Any, kernel: Any, output_shape: Any, attrs: dict[str, Any]) -> Tensor:
    value, weights = operands(x, kernel)
    if not isinstance(output_shape, Tensor):
        first = value.shape[0]
        output_shape = [first if d is None and i == 0 else d for i, d in enumerate(output_shape)]
    return Tensor(b.apply1(f"{op}_input_grad", value, weights, shape=as_shape(output_shape), **attrs))


def depthwise_conv2d(
    x: Any,
    depthwise_kernel: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = (1, 1),
) -> Tensor:
    """Each channel of images convolved by itself; kernel (height, width, channels, results for each channel)."""
    value, weights = operands(x, depthwise_kernel)
    attrs = _geometry(2, strides, padding, dilation_rate, data_format)
    return Tensor(b.apply1("depthwise_conv2d", value, weights, **attrs))


def separable_conv2d(
    x: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = (1, 1),
) -> Tensor:
    """`depthwise_conv2d`, then a convolution of single pixels; kernels (height, width, channels, m) and (1, 1,
    channels * m, channels out)."""
    value, depthwise = operands(x, depthwise_kernel)
    _, pointwise = operands(x, pointwise_kernel)
    return Tensor(_separable(value, depthwise, pointwise, _geometry(2, strides, padding, dilation_rate, data_format)))


def separable_conv1d(
    x: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Tensor:
    """Each channel of sequences convolved by itself, then a convolution of single steps; kernels (steps, channels, m)
    and (1, channels * m, channels out)."""
    value, depthwise = operands(x, depthwise_kernel)
    _, pointwise = operands(x, pointwise_kernel)
    if not value.rank == depthwise.rank == pointwise.rank == 3:
        ranks = f"{value.rank}, {depthwise.rank} and {pointwise.rank}"
        raise ValueError(f"K.separable_conv1d takes a tensor and two kernels of rank 3, got ranks {ranks}")
    (step,), (dilation,) = _numbers(strides, 1, "strides"), _numbers(dilation_rate, 1, "dilation_rate")
    attrs = _geometry(2, (1, step), padding, (1, dilation), "channels_last")
    rows = _as_rows(_steps_before_channels(value, data_format))
    depthwise, pointwise = (b.reshape(w, (1, *w.shape)) for w in (depthwise, pointwise))
    return Tensor(_from_rows(_separable(rows, depthwise, pointwise, attrs), data_format))


def _separable(x: Value, depthwise: Value, pointwise: Value, attrs: dict[str, Any]) -> Value:
    apart = b.apply1("depthwise_conv2d", x, depthwise, **attrs)
    return b.apply1("conv2d", apart, pointwise, **_geometry(2, 1, "valid", 1, attrs["data_format"]))


def pool2d(
    x: Any,
    pool_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    pool_mode: str = "max",
) -> Tensor:
    """The maximum ('max') or mean ('avg') of each window of images; padding never counts."""
    return _pooled(x, 2, pool_size, strides, padding, data_format, pool_mode)


def pool3d(
    x: Any,
    pool_size: Any,
    strides: Any = (1, 1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    pool_mode: str = "max",
) -> Tensor:
    """The maximum ('max') or mean ('avg') of each window of volumes; padding never counts."""
    return _pooled(x, 3, pool_size, strides, padding, data_format, pool_mode)


def _pooled(
    x: Any, rank: int, pool_size: Any, strides: Any, padding: str, data_format: str | None, pool_mode: str
) -> Tensor:
    if pool_mode not in ("max", "avg"):
        raise ValueError(f"Invalid pooling mode: {pool_mode}")
    return Tensor(
        b.apply1(
            f"{pool_mode}_pool{rank}d",
            as_value(x),
            pool_size=_numbers(pool_size, rank, "pool_size"),
            strides=_numbers(strides, rank, "strides"),
            padding=_padding(padding),
            data_format=normalize_data_format(data_format),
        )
    )


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Tensor:
    """`x` plus a bias: a vector along the channels, or one number for each element of a sample.

    Such a bias has its channels last; for "channels_first" its elements, in their order, fill the shape (channels,
    other axes). That is no transposition; saved weights of locally connected layers rely on it.
    """
    order = normalize_data_format(data_format)
    value, shift = operands(x, bias)
    if shift.rank not in (1, value.rank - 1):
        raise ValueError(f"Unexpected bias dimensions {shift.rank}, expect to be 1 or {value.rank - 1} dimensions")
    if order == "channels_first" and value.rank > 2:
        others = shift.shape[:-1] if shift.rank > 1 else (1,) * (value.rank - 2)
        shift = b.reshape(shift, (shift.shape[-1], *others))
    return Tensor(b.add(value, shift))
