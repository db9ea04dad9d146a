"""Rows for `ir/ops/conv.py`: both layouts and paddings, strides, dilation, and sizes that are 0, 1, even and prime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ir.ops.window import window
from tests.op_case import Case


def _data(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _attrs(
    strides: tuple[int, ...] = (1, 1),
    padding: str = "valid",
    dilation: tuple[int, ...] = (),
    data_format: str = "channels_last",
) -> dict[str, Any]:
    dilation = dilation or (1,) * len(strides)
    return {"strides": strides, "padding": padding, "dilation": dilation, "data_format": data_format}


def _rows(
    id: str, x: tuple[int, ...], kernel: tuple[int, ...], attrs: Mapping[str, Any], op: str = "conv2d"
) -> list[Case]:
    """The convolution and its two derivatives on one geometry; `x` is in the layout of `attrs`."""
    rank = len(kernel) - 2
    channels = kernel[-1] * kernel[-2] if op == "depthwise_conv2d" else kernel[-1]
    dy = window(op, kernel[:rank], attrs, rank).output(x, channels)
    common = {"id": id, "rtol": 1e-4, "atol": 1e-4}
    return [
        Case(op, (_data(*x), _data(*kernel)), attrs, batch=(0, None), **common),
        Case(f"{op}_kernel_grad", (_data(*x), _data(*dy)), {**attrs, "shape": kernel}, batch=(0, 0), **common),
        Case(f"{op}_input_grad", (_data(*dy), _data(*kernel)), {**attrs, "shape": x}, **common),
    ]


def _volumes(id: str, x: tuple[int, ...], kernel: tuple[int, ...], attrs: Mapping[str, Any]) -> list[Case]:
    return _rows(id, x, kernel, attrs, "conv3d")


def _depthwise(id: str, x: tuple[int, ...], kernel: tuple[int, ...], attrs: Mapping[str, Any]) -> list[Case]:
    return _rows(id, x, kernel, attrs, "depthwise_conv2d")


_FIRST = "channels_first"

CASES: list[Case] = [
    *_rows("3x3", (2, 5, 6, 3), (3, 3, 3, 4), _attrs()),
    *_rows("same", (2, 5, 6, 3), (3, 3, 3, 4), _attrs(padding="same")),
    *_rows("same_even_kernel", (1, 7, 5, 2), (2, 4, 2, 3), _attrs(padding="same")),
    *_rows("same_stride2_even", (2, 6, 8, 1), (3, 3, 1, 2), _attrs((2, 2), "same")),
    *_rows("same_stride2_odd", (1, 7, 5, 2), (3, 2, 2, 3), _attrs((2, 3), "same")),
    *_rows("valid_stride_leftover", (1, 8, 11, 2), (3, 3, 2, 5), _attrs((2, 3))),
    *_rows("stride_over_window", (1, 7, 9, 2), (2, 1, 2, 3), _attrs((3, 4), "same")),
    *_rows("dilated", (1, 9, 8, 2), (3, 3, 2, 2), _attrs(dilation=(2, 3))),
    *_rows("dilated_same", (2, 5, 7, 2), (3, 2, 2, 3), _attrs(padding="same", dilation=(2, 4))),
    *_rows("dilated_strided", (1, 11, 9, 1), (3, 2, 1, 2), _attrs((2, 2), "same", (2, 3))),
    *_rows("1x1", (3, 4, 5, 7), (1, 1, 7, 11), _attrs()),
    *_rows("1x1_strided", (2, 5, 4, 3), (1, 1, 3, 2), _attrs((2, 2))),
    *_rows("primes", (1, 13, 11, 5), (5, 7, 5, 3), _attrs(padding="same")),
    *_rows("whole_image", (2, 4, 3, 2), (4, 3, 2, 5), _attrs()),
    *_rows("one_pixel_same", (1, 1, 1, 3), (3, 3, 3, 2), _attrs((2, 2), "same")),
    *_rows("channels_first", (2, 3, 5, 6), (3, 3, 3, 4), _attrs(data_format=_FIRST)),
    *_rows("channels_first_same", (1, 2, 6, 7), (2, 3, 2, 5), _attrs((2, 1), "same", data_format=_FIRST)),
    *_rows("no_images", (0, 5, 5, 2), (3, 3, 2, 3), _attrs()),
    *_rows("wide_channels", (1, 5, 4, 33), (3, 3, 33, 17), _attrs(padding="same")),
    *_volumes("3d", (2, 4, 5, 6, 2), (3, 2, 3, 2, 3), _attrs((1, 1, 1))),
    *_volumes("3d_same", (1, 3, 5, 4, 3), (3, 3, 3, 3, 2), _attrs((1, 1, 1), "same")),
    *_volumes("3d_strided", (2, 5, 7, 6, 2), (2, 3, 3, 2, 3), _attrs((2, 3, 2))),
    *_volumes("3d_strided_same", (1, 6, 5, 7, 2), (3, 3, 2, 2, 5), _attrs((2, 1, 2), "same")),
    *_volumes("3d_dilated", (1, 5, 7, 8, 2), (3, 2, 3, 2, 3), _attrs((1, 1, 1), "same", (2, 1, 3))),
    *_volumes("3d_dilated_strided", (1, 6, 8, 9, 1), (2, 3, 3, 1, 2), _attrs((2, 2, 2), "same", (1, 2, 3))),
    *_volumes("3d_pointwise", (2, 3, 2, 5, 4), (1, 1, 1, 4, 7), _attrs((1, 1, 1))),
    *_volumes("3d_first", (2, 2, 3, 5, 4), (2, 3, 3, 2, 3), _attrs((1, 2, 1), "same", data_format=_FIRST)),
    *_volumes("3d_none", (0, 3, 4, 4, 2), (2, 2, 2, 2, 3), _attrs((1, 1, 1))),
    *_depthwise("dw_3x3", (2, 5, 6, 3), (3, 3, 3, 1), _attrs()),
    *_depthwise("dw_same", (2, 5, 6, 5), (3, 3, 5, 1), _attrs(padding="same")),
    *_depthwise("dw_multiplier", (2, 5, 6, 3), (3, 2, 3, 4), _attrs(padding="same")),
    *_depthwise("dw_strided_same", (1, 8, 7, 17), (3, 3, 17, 1), _attrs((2, 2), "same")),
    *_depthwise("dw_strided", (1, 11, 10, 33), (5, 4, 33, 1), _attrs((3, 2))),
    *_depthwise("dw_dilated", (2, 9, 11, 16), (3, 3, 16, 1), _attrs(padding="same", dilation=(2, 3))),
    *_depthwise("dw_dilated_strided", (1, 11, 12, 2), (3, 3, 2, 2), _attrs((2, 3), "same", (3, 2))),
    *_depthwise("dw_small_images", (3, 2, 2, 7), (5, 5, 7, 1), _attrs(padding="same")),
    *_depthwise("dw_stride_over_window", (1, 7, 9, 4), (2, 1, 4, 1), _attrs((3, 4), "same")),
    *_depthwise("dw_1x1", (2, 3, 5, 1), (1, 1, 1, 3), _attrs()),
    *_depthwise("dw_wide", (1, 3, 6, 67), (3, 3, 67, 1), _attrs(padding="same")),
    *_depthwise("dw_first", (2, 3, 6, 5), (3, 3, 3, 2), _attrs((2, 1), "same", data_format=_FIRST)),
    *_depthwise("dw_no_images", (0, 5, 5, 2), (3, 3, 2, 1), _attrs()),
]
