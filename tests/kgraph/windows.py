"""Convolution and pooling written out window by window in numpy, over any number of spatial axes: what the tests of
these layers and backend functions compare with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tests.kgraph.layer_checks import FIRST, from_last, margins, to_last


def volumes(data_format: str, *sizes: int) -> np.ndarray:
    """Random samples; `sizes` are those of channels last: samples, spatial axes, channels."""
    x = np.random.default_rng(sum(sizes)).standard_normal(sizes).astype(np.float32)
    return np.ascontiguousarray(from_last(x, data_format))


def _windows(
    x: np.ndarray, size: Sequence[int], strides: Sequence[int], padding: str, dilation: Sequence[int], fill: float
) -> tuple[tuple[int, ...], Iterator[tuple[tuple[int, ...], np.ndarray]]]:
    """The numbers of windows over `x` (channels last), and each window with its place."""
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilation, strict=True)]
    pads = [margins(n, r, s, padding) for n, r, s in zip(x.shape[1:-1], reach, strides, strict=True)]
    x = np.pad(x.astype(np.float64), ((0, 0), *(p[:2] for p in pads), (0, 0)), constant_values=fill)
    counts = tuple(p[2] for p in pads)

    def each() -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        for at in itertools.product(*map(range, counts)):
            cut = [slice(i * s, i * s + r, d) for i, s, r, d in zip(at, strides, reach, dilation, strict=True)]
            yield at, x[(slice(None), *cut)]

    return counts, each()


def convolved(
    x: np.ndarray, kernel: np.ndarray, strides: Sequence[int], padding: str, dilation: Sequence[int], order: str
) -> np.ndarray:
    """A dense convolution; kernel (*spatial, in, out)."""
    rank = kernel.ndim - 2
    counts, windows = _windows(to_last(x, order), kernel.shape[:rank], strides, padding, dilation, 0.0)
    out = np.zeros((len(x), *counts, kernel.shape[-1]))
    for at, window in windows:
        out[(slice(None), *at)] = np.tensordot(window, kernel, rank + 1)
    return from_last(out, order)


def depthwise(
    x: np.ndarray, kernel: np.ndarray, strides: Sequence[int], padding: str, dilation: Sequence[int], order: str
) -> np.ndarray:
    """A depthwise convolution; kernel (*spatial, channels, multiplier)."""
    rank = kernel.ndim - 2
    counts, windows = _windows(to_last(x, order), kernel.shape[:rank], strides, padding, dilation, 0.0)
    out = np.zeros((len(x), *counts, kernel.shape[-2] * kernel.shape[-1]))
    for at, window in windows:
        products = (window[..., None] * kernel).sum(axis=tuple(range(1, rank + 1)))
        out[(slice(None), *at)] = products.reshape(len(x), -1)
    return from_last(out, order)


def transposed(
    x: np.ndarray, kernel: np.ndarray, sizes: Sequence[int], strides: Sequence[int], padding: str,
    dilation: Sequence[int], order: str,
) -> np.ndarray:  # fmt: skip
    """The transpose of a convolution whose input has these spatial sizes; kernel (*spatial, out, in)."""
    x = to_last(x, order).astype(np.float64)
    rank = kernel.ndim - 2
    reach = [(n - 1) * d + 1 for n, d in zip(kernel.shape[:rank], dilation, strict=True)]
    pads = [margins(n, r, s, padding) for n, r, s in zip(sizes, reach, strides, strict=True)]
    wide = np.zeros((len(x), *(n + p[0] + p[1] for n, p in zip(sizes, pads, strict=True)), kernel.shape[-2]))
    for at in itertools.product(*map(range, x.shape[1:-1])):
        cut = [slice(i * s, i * s + r, d) for i, s, r, d in zip(at, strides, reach, dilation, strict=True)]
        wide[(slice(None), *cut)] += np.moveaxis(np.tensordot(kernel, x[(slice(None), *at)], (-1, -1)), -1, 0)
    inside = [slice(p[0], p[0] + n) for n, p in zip(sizes, pads, strict=True)]
    return from_last(wide[(slice(None), *inside)], order)


def pooled(
    x: np.ndarray, size: Sequence[int], strides: Sequence[int], padding: str, order: str, mode: str
) -> np.ndarray:
    """The maximum ("max") or mean ("avg") of each window, without the padding."""
    reduce = {"max": np.nanmax, "avg": np.nanmean}[mode]
    last = to_last(x, order)
    counts, windows = _windows(last, size, strides, padding, [1] * len(size), np.nan)
    out = np.zeros((len(x), *counts, last.shape[-1]))
    for at, window in windows:
        out[(slice(None), *at)] = reduce(window, axis=tuple(range(1, len(size) + 1)))
    return from_last(out, order)


def local(x: np.ndarray, kernel: np.ndarray, size: Sequence[int], strides: Sequence[int], order: str) -> np.ndarray:
    """A convolution with a matrix for each place; kernel (places, window, filters)."""
    counts, windows = _windows(to_last(x, order), size, strides, "valid", [1] * len(size), 0.0)
    out = np.zeros((len(x), *counts, kernel.shape[-1]))
    for (at, window), matrix in zip(windows, kernel, strict=True):
        flat = from_last(window, order) if order == FIRST else window
        out[(slice(None), *at)] = flat.reshape(len(x), -1) @ matrix
    return from_last(out, order)


def check_slopes(
    function: Callable[[list[np.ndarray]], list[Any]], arrays: Sequence[np.ndarray], step: float = 1e-2
) -> None:
    """`function` gives a number and its gradients with respect to all of its inputs; these must agree with
    differences along random directions."""
    rng = np.random.default_rng(0)
    _, *slopes = function(list(arrays))
    for i, slope in enumerate(slopes):
        direction = rng.standard_normal(arrays[i].shape).astype(np.float32)
        ends = [function([a + s * step * direction if i == k else a for k, a in enumerate(arrays)])[0] for s in (1, -1)]
        wanted = (float(ends[0]) - float(ends[1])) / (2 * step)
        np.testing.assert_allclose(np.vdot(slope, direction), wanted, rtol=2e-2, atol=2e-2, err_msg=f"input {i}")
