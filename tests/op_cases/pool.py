"""Rows for `ir/ops/pool.py`: both layouts and paddings, windows that overlap or leave gaps, sizes 0, 1, even and
prime. Inputs are distinct, so that each maximum is clear of its rivals when gradients are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ir.graph import Attrs
from ir.ops import OPS
from ir.ops.window import window
from tests.op_case import Case


def _distinct(*shape: int) -> np.ndarray:
    n = int(np.prod(shape))
    return (np.random.default_rng(n).permutation(n) / 8 - n / 16).astype(np.float32).reshape(shape)


def _attrs(
    pool_size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str = "valid",
    data_format: str = "channels_last",
) -> dict[str, Any]:
    return {"pool_size": pool_size, "strides": strides, "padding": padding, "data_format": data_format}


def _rows(id: str, x_shape: tuple[int, ...], attrs: Mapping[str, Any]) -> list[Case]:
    """Both poolings and their derivatives on one geometry."""
    rank = len(attrs["strides"])
    w = window("pool", attrs["pool_size"], attrs, rank)
    dy = _distinct(*w.output(x_shape, x_shape[w.axes[-1]]))
    x = _distinct(*x_shape)
    (y,) = OPS[f"max_pool{rank}d"].reference([x], Attrs(attrs))
    places = []
    if rank == 2:
        _, found = OPS["max_pool2d_places"].reference([x], Attrs(attrs))
        places = [
            Case("max_pool2d_places", (x,), attrs, id=id, batch=(0,)),
            Case("max_pool2d_places_grad", (found, dy), {**attrs, "shape": x_shape}, id=id),
        ]
    return [
        *places,
        Case(f"max_pool{rank}d", (x,), attrs, id=id, batch=(0,)),
        Case(f"avg_pool{rank}d", (x,), attrs, id=id, batch=(0,)),
        Case(f"max_pool{rank}d_grad", (x, y, dy), attrs, id=id, differentiable=(2,), batch=(0, 0, 0)),
        Case(f"max_pool{rank}d_grad_grad", (x, y, x[::-1]), attrs, id=id, differentiable=(2,), batch=(0, 0, 0)),
        Case(f"avg_pool{rank}d_grad", (dy,), {**attrs, "shape": x_shape}, id=id),
    ]


CASES: list[Case] = [
    *_rows("2x2", (2, 6, 4, 3), _attrs((2, 2), (2, 2))),
    *_rows("overlap", (1, 7, 5, 2), _attrs((3, 3), (2, 2))),
    *_rows("stride1_same", (2, 5, 4, 2), _attrs((3, 2), (1, 1), "same")),
    *_rows("same_even", (1, 6, 8, 2), _attrs((3, 3), (2, 2), "same")),
    *_rows("same_odd", (1, 7, 5, 3), _attrs((2, 2), (2, 2), "same")),
    *_rows("gaps", (2, 8, 11, 2), _attrs((2, 2), (3, 4))),
    *_rows("gaps_same", (1, 8, 7, 1), _attrs((2, 1), (3, 4), "same")),
    *_rows("1x1", (2, 3, 5, 7), _attrs((1, 1), (1, 1))),
    *_rows("1x1_strided", (1, 5, 4, 2), _attrs((1, 1), (2, 2))),
    *_rows("window_over_input_same", (1, 2, 3, 2), _attrs((5, 7), (2, 2), "same")),
    *_rows("whole_image", (2, 5, 3, 2), _attrs((5, 3), (5, 3))),
    *_rows("one_row", (1, 1, 13, 3), _attrs((1, 3), (1, 2), "same")),
    *_rows("channels_first", (2, 3, 6, 5), _attrs((2, 3), (2, 1), "same", "channels_first")),
    *_rows("channels_first_valid", (1, 5, 7, 6), _attrs((3, 2), (2, 2), "valid", "channels_first")),
    *_rows("no_images", (0, 4, 4, 2), _attrs((2, 2), (2, 2))),
    *_rows("wide_channels", (1, 4, 5, 37), _attrs((3, 3), (2, 2), "same")),
    *_rows("3d", (2, 4, 6, 5, 3), _attrs((2, 2, 2), (2, 2, 2))),
    *_rows("3d_same", (1, 5, 4, 7, 2), _attrs((3, 2, 3), (2, 1, 2), "same")),
    *_rows("3d_gaps", (1, 7, 5, 8, 1), _attrs((1, 2, 2), (3, 3, 2), "same")),
    *_rows("3d_lines_only", (2, 5, 3, 2, 2), _attrs((3, 1, 1), (2, 1, 1))),
    *_rows("3d_first", (2, 3, 4, 5, 6), _attrs((2, 3, 2), (2, 2, 1), "same", "channels_first")),
    *_rows("3d_none", (0, 4, 4, 4, 2), _attrs((2, 2, 2), (2, 2, 2))),
]
