"""Rows for `ir/ops/norm.py`: every axis, batches of 0 and 1, primes, large values and long softmax axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.op_case import Case


def _data(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape) * scale).astype(np.float32)


def _positive(n: int) -> np.ndarray:
    return np.random.default_rng(n).uniform(0.5, 2.0, n).astype(np.float32)


def _batch_norm(id: str, shape: tuple[int, ...], axis: int, epsilon: float = 1e-3) -> list[Case]:
    c = shape[axis]
    x, dy = _data(*shape, scale=2.0), _data(*shape)[::-1]
    mean, variance, gamma, beta = _data(c), _positive(c), _positive(c + 1)[:c], _data(c + 2)[:c]
    attrs: dict[str, Any] = {"axis": axis, "epsilon": epsilon}
    common: dict[str, Any] = {"id": id, "rtol": 1e-4, "atol": 1e-5}
    finite: dict[str, Any] = {**common, "differentiable": None if x.size else ()}  # statistics of nothing are NaN
    batches = ((0, *(None,) * 4), (0, None, None), (0, 0, *(None,) * 3)) if axis != 0 else ((), (), ())
    return [
        Case("batch_norm", (x, mean, variance, gamma, beta), attrs, batch=batches[0], **common),
        Case("batch_norm_train", (x, gamma, beta), attrs, batch=batches[1], **finite),
        Case("batch_norm_grad", (dy, x, gamma, mean, variance), attrs, batch=batches[2], **finite),
        Case("moments", (x,), {"axis": axis}, batch=batches[0][:1], **finite),
        Case("batch_norm_sums", (dy, x, mean, variance), attrs, batch=batches[2][:2] + batches[2][3:], **common),
    ]


def _softmax(id: str, x: np.ndarray, axis: int, batch: bool = True) -> list[Case]:
    return [
        Case(op, (x,), {"axis": axis}, id=id, batch=(0,) if batch else ()) for op in ("softmax", "log_softmax")
    ]


CASES: list[Case] = [
    *_batch_norm("images", (2, 3, 5, 4), 3),
    *_batch_norm("channels_first", (2, 3, 4, 5), 1),
    *_batch_norm("dense", (7, 5), 1),
    *_batch_norm("first_axis", (3, 4), 0),
    *_batch_norm("one_row", (1, 6), 1),
    *_batch_norm("one_channel", (5, 3, 1), 2),
    *_batch_norm("empty_batch", (0, 3), 1),
    *_batch_norm("primes", (13, 11, 17), 2, epsilon=1e-5),
    *_softmax("rows", _data(3, 7), 1),
    *_softmax("vector", _data(11), 0, batch=False),
    *_softmax("middle", _data(2, 5, 3), 1),
    *_softmax("first", _data(4, 3), 0, batch=False),
    *_softmax("one_class", _data(3, 1), 1),
    *_softmax("one_row", _data(1, 13), 1),
    *_softmax("large", _data(2, 5, scale=300.0), 1),
    *_softmax("empty_batch", _data(0, 4), 1),
    *_softmax("no_classes", _data(2, 0), 1),
    *_softmax("images", _data(2, 2, 3, 5), 3),
]
