"""Rows for `ir/ops/matmul.py`."""

from __future__ import annotations

import numpy as np

from tests.op_case import Case

rng = np.random.default_rng(14)

SHAPES = [  # [..., M, K], [..., K, N], and which axis of each is the batch
    ((5, 7), (7, 3), (0, None)),
    ((1, 1), (1, 1), ()),
    ((1, 9), (9, 1), ()),
    ((17, 31), (31, 13), (0, None)),
    ((33, 65), (65, 47), ()),
    ((0, 4), (4, 3), (0, None)),
    ((3, 0), (0, 4), ()),
    ((3, 4), (4, 0), ()),
    ((2, 3, 4), (2, 4, 5), (0, 0)),
    ((3, 4), (2, 4, 5), (None, 0)),
    ((2, 3, 4), (4, 5), (0, None)),
    ((2, 1, 3, 4), (5, 4, 2), (0, None)),
    ((0, 3, 4), (4, 5), (0, None)),
]


def case(left: tuple[int, ...], right: tuple[int, ...], ta: bool, tb: bool, batch: tuple[int | None, ...]) -> Case:
    x, y = rng.normal(size=left).astype(np.float32), rng.normal(size=right).astype(np.float32)
    x = np.ascontiguousarray(np.swapaxes(x, -1, -2)) if ta else x
    y = np.ascontiguousarray(np.swapaxes(y, -1, -2)) if tb else y
    moved = (1 if ta and batch[0] == 0 and len(left) == 2 else batch[0], batch[1]) if batch else ()
    label = f"{left}x{right}{'-ta' * ta}{'-tb' * tb}".replace(" ", "")
    return Case("matmul", [x, y], attrs(ta, tb), id=label, batch=moved, rtol=1e-4, atol=1e-5)


def attrs(transpose_a: bool = False, transpose_b: bool = False) -> dict[str, bool]:
    return {"transpose_a": transpose_a, "transpose_b": transpose_b}


CASES: list[Case] = [
    *(
        case(left, right, ta, tb, batch)
        for left, right, batch in SHAPES
        for ta in (False, True)
        for tb in (False, True)
    ),
    Case(
        "matmul",
        [np.arange(6, dtype=np.int32).reshape(2, 3), np.arange(-6, 6, dtype=np.int32).reshape(3, 4)],
        attrs(),
        id="i32",
    ),
    Case("matmul", [rng.normal(size=(3, 5)), rng.normal(size=(5, 2))], attrs(), id="f64"),
    Case(
        "matmul",
        [rng.normal(size=(3, 5)).astype(np.float16), rng.normal(size=(5, 2)).astype(np.float16)],
        attrs(),
        id="f16",
        rtol=2e-3,
        atol=1e-3,
    ),
    Case(
        "matmul",
        [np.array([[np.inf, 1], [np.nan, 0]], np.float32), np.array([[1, 2], [3, 4]], np.float32)],
        attrs(),
        id="special",
        differentiable=(),
    ),
]
