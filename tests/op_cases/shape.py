"""Rows for `ir/ops/shape.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ir import dtypes
from tests.op_case import Case

F32 = np.float32
rng = np.random.default_rng(13)


def normal(*shape: int) -> np.ndarray:
    return np.asarray(rng.normal(size=shape), F32)


def constant(value: Any, dtype: dtypes.DType) -> Case:
    array = np.asarray(value)
    attrs = {"value": tuple(array.ravel().tolist()), "shape": array.shape, "dtype": dtype}
    return Case("constant", [], attrs, id=f"{dtype}-{array.shape}".replace(" ", ""))


def sources() -> list[Case]:
    return [
        constant(2.5, dtypes.f32),
        constant([[1.0, np.nan, np.inf], [-0.0, 1e-40, 0.1]], dtypes.f32),
        constant([0.1], dtypes.f64),
        constant([0.1, 70000.0], dtypes.f16),
        constant(np.zeros((0, 3)), dtypes.f32),
        constant([-3, 7], dtypes.i32),
        constant([2**62], dtypes.i64),
        constant(np.array([2**64 - 1, 0], np.uint64), dtypes.u64),
        constant([255], dtypes.u8),
        constant([[True], [False]], dtypes.bool_),
        Case("sizes", [], {"dims": (3, 0, 7), "dtype": dtypes.i32}, id="i32"),
        Case("sizes", [], {"dims": (2**33,), "dtype": dtypes.i64}, id="i64"),
        Case("sizes", [], {"dims": (), "dtype": dtypes.i32}, id="none"),
        Case("iota", [], {"size": 0, "dtype": dtypes.i32}, id="0"),
        Case("iota", [], {"size": 1, "dtype": dtypes.i64}, id="1"),
        Case("iota", [], {"size": 67, "dtype": dtypes.i32}, id="67"),
        Case("iota", [], {"size": 13, "dtype": dtypes.f32}, id="f32"),
    ]


def rearranged() -> list[Case]:
    reshapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((4, 6), (2, 12)), ((4, 6), (24,)), ((24,), (2, 3, 4)), ((), (1, 1)), ((1,), ()), ((0, 3), (3, 0)),
        ((0, 3), (0,)), ((5, 7), (5, 1, 7)), ((2, 3, 4), (2, 3, 4)),
    ]  # fmt: skip
    perms: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()), ((5,), (0,)), ((5, 7), (1, 0)), ((5, 7), (0, 1)), ((0, 3), (1, 0)), ((1, 7), (1, 0)),
        ((37, 19), (1, 0)), ((2, 3, 4), (0, 2, 1)), ((2, 3, 4), (2, 0, 1)), ((2, 3, 4), (2, 1, 0)),
        ((2, 3, 5, 7), (0, 3, 1, 2)), ((2, 3, 5, 7), (0, 2, 3, 1)), ((2, 3, 5, 7), (3, 1, 2, 0)),
    ]  # fmt: skip
    spreads: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()), ((), (3, 4)), ((), (0,)), ((4,), (3, 4)), ((1,), (5,)), ((3, 1), (3, 4)), ((1, 4), (3, 4)),
        ((3, 1, 5), (2, 3, 4, 5)), ((3, 4), (3, 4)), ((1, 1), (7, 11)), ((1,), (0,)),
    ]  # fmt: skip
    cases = [Case("reshape", [normal(*s)], {"shape": t}, id=f"{s}-{t}") for s, t in reshapes]
    cases += [Case("transpose", [normal(*s)], {"perm": p}, id=f"{s}-{p}", batch=(0,) if s else ()) for s, p in perms]
    cases += [Case("broadcast_to", [normal(*s)], {"shape": t}, id=f"{s}-{t}") for s, t in spreads]
    cases += [
        Case("reshape", [np.arange(6)], {"shape": (2, 3)}, id="i64"),
        Case("reshape", [np.array([True, False])], {"shape": (2, 1)}, id="bool"),
        Case("transpose", [np.arange(6, dtype=np.uint8).reshape(2, 3)], {"perm": (1, 0)}, id="u8"),
        Case("transpose", [normal(2, 3).astype(np.float16)], {"perm": (1, 0)}, id="f16"),
        Case("broadcast_to", [np.array([True, False])], {"shape": (3, 2)}, id="bool"),
        Case("concatenate", [normal(2, 3), normal(2, 1), normal(2, 4)], {"axis": 1}, batch=(0, 0, 0)),
        Case("concatenate", [normal(2, 3), normal(5, 3)], {"axis": 0}, batch=(0, None)),
        Case("concatenate", [normal(2, 0, 3), normal(2, 4, 3), normal(2, 0, 3)], {"axis": 1}, batch=(0, 0, 0)),
        Case("concatenate", [normal(2, 3, 5), normal(2, 3, 2)], {"axis": 2}, batch=(0, 0)),
        Case("concatenate", [normal(0, 3), normal(0, 2)], {"axis": 1}, batch=(0, 0)),
        Case("concatenate", [normal(7)], {"axis": 0}, batch=(0,)),
        Case("concatenate", [np.arange(3), np.arange(2)], {"axis": 0}, id="i64"),
        Case("concatenate", [np.array([True]), np.array([False, True])], {"axis": 0}, id="bool"),
    ]
    return cases


def bounds(*axes: tuple[int, int, int]) -> dict[str, Any]:
    return {key: tuple(a[i] for a in axes) for i, key in enumerate(("starts", "stops", "steps"))}


SLICES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((), bounds()),
    ((7,), bounds((0, 7, 1))),
    ((7,), bounds((2, 5, 1))),
    ((7,), bounds((1, 7, 3))),
    ((7,), bounds((6, -1, -1))),
    ((7,), bounds((5, 0, -2))),
    ((7,), bounds((3, 3, 1))),
    ((7,), bounds((3, 3, -1))),
    ((0,), bounds((0, 0, 1))),
    ((0,), bounds((-1, -1, -1))),
    ((1,), bounds((0, -1, -1))),
    ((4, 5), bounds((0, 4, 1), (4, -1, -1))),
    ((4, 5), bounds((3, -1, -1), (0, 5, 2))),
    ((3, 4, 5), bounds((1, 2, 1), (0, 4, 2), (1, 5, 1))),
    ((2, 9, 9, 3), bounds((0, 2, 1), (1, 8, 1), (0, 9, 2), (0, 3, 1))),
]


def sliced() -> list[Case]:
    cases = []
    for shape, b in SLICES:
        label = f"{shape}-{b['starts']}-{b['stops']}-{b['steps']}"
        cases.append(Case("slice", [normal(*shape)], b, id=label))
        part = tuple(len(range(*axis)) for axis in zip(b["starts"], b["stops"], b["steps"], strict=True))
        cases.append(Case("unslice", [normal(*part)], {"shape": shape, **b}, id=label))
    cases += [
        Case("slice", [np.arange(6)], bounds((1, 5, 2)), id="i64"),
        Case("slice", [np.array([True, False, True])], bounds((2, -1, -1)), id="bool"),
        Case("slice", [normal(4, 5)], bounds((0, 3, 1), (1, 4, 1)), id="batch", batch=(1,)),
        Case("unslice", [np.arange(2)], {"shape": (5,), **bounds((1, 5, 2))}, id="i64"),
    ]
    pads: list[tuple[tuple[int, ...], tuple[tuple[int, int], ...], float]] = [
        ((), (), 0.0), ((3,), ((0, 0),), 0.0), ((3,), ((2, 1),), 1.5), ((0,), ((1, 2),), -1.0), ((0,), ((0, 0),), 0.0),
        ((4, 5), ((0, 0), (1, 1)), 0.0), ((2, 5, 5, 3), ((0, 0), (1, 2), (2, 0), (0, 0)), 0.0),
        ((4, 5), ((1, 0), (0, 3)), -np.inf), ((0, 3), ((0, 0), (1, 1)), 0.0),
    ]  # fmt: skip
    for shape, pair, value in pads:
        attrs, wrt = {"pads": pair, "value": value}, None if np.isfinite(value) else ()
        cases.append(Case("pad", [normal(*shape)], attrs, f"{shape}-{pair}-{value}", wrt, (0,) if shape else ()))
    cases.append(Case("pad", [np.arange(3)], {"pads": ((1, 1),), "value": 7}, id="i64"))
    cases.append(Case("pad", [np.array([False])], {"pads": ((1, 1),), "value": True}, id="bool"))
    return cases


def indexed() -> list[Case]:
    i32 = np.int32
    scattered = np.array([[2, 0, 2], [1, 2, 0]], i32)
    return [
        Case("gather", [normal(5, 3), np.array([4, 0, 0, 2], i32)], {"axis": 0}, batch=(None, 0)),
        Case("gather", [normal(5, 3), np.array(3, i32)], {"axis": 0}),
        Case("gather", [normal(5, 3), scattered], {"axis": 0}, batch=(None, 0)),
        Case("gather", [normal(4, 3), scattered], {"axis": 1}, batch=(0, None)),
        Case("gather", [normal(2, 3, 5), np.array([1, 1, 0])], {"axis": 1}, id="i64", batch=(0, None)),
        Case("gather", [normal(2, 3, 5), np.array([4, 1], np.uint8)], {"axis": 2}, id="u8", batch=(0, None)),
        Case("gather", [normal(5, 3), np.zeros((0,), i32)], {"axis": 0}, batch=(None, 0)),
        Case("gather", [normal(5, 0), np.array([1, 2], i32)], {"axis": 0}),
        Case("gather", [normal(1, 131), np.array([0, 0], i32)], {"axis": 0}, batch=(None, 0)),
        Case("gather", [np.arange(4), np.array([3, 1], i32)], {"axis": 0}, id="of-i64"),
        Case("gather", [np.array([True, False]), np.array([1, 1, 0], i32)], {"axis": 0}, id="of-bool"),
        Case("scatter_add", [normal(4, 3), np.array([4, 0, 0, 2], i32)], {"size": 5, "axis": 0}, batch=(0, 0)),
        Case("scatter_add", [normal(3), np.array(3, i32)], {"size": 5, "axis": 0}),
        Case("scatter_add", [normal(2, 3, 7), scattered], {"size": 3, "axis": 0}, batch=(0, 0)),
        Case("scatter_add", [normal(4, 2, 3), scattered], {"size": 6, "axis": 1}, batch=(0, None)),
        Case("scatter_add", [normal(2, 3, 5), np.array([1, 1, 0])], {"size": 2, "axis": 1}, id="i64", batch=(0, None)),
        Case("scatter_add", [normal(0, 3), np.zeros((0,), i32)], {"size": 2, "axis": 0}, batch=(0, 0)),
        Case("scatter_add", [normal(97, 3), np.zeros((97,), i32)], {"size": 1, "axis": 0}, id="all-in-one", rtol=1e-4),
        Case("scatter_add", [np.arange(3), np.array([1, 1, 0], i32)], {"size": 2, "axis": 0}, id="of-i64"),
        Case("one_hot", [np.array([0, 2, 1, 2], i32)], {"depth": 3, "dtype": dtypes.f32}, batch=(0,)),
        Case(
            "one_hot", [np.array([[-1, 3], [1, 99]])], {"depth": 3, "dtype": dtypes.f32}, id="out-of-range", batch=(0,)
        ),
        Case("one_hot", [np.array(1, i32)], {"depth": 2, "dtype": dtypes.i32}, id="scalar"),
        Case("one_hot", [np.array([0, 1], np.uint8)], {"depth": 1, "dtype": dtypes.bool_}, id="bool"),
        Case("one_hot", [np.zeros((0,), i32)], {"depth": 3, "dtype": dtypes.f16}, id="empty", batch=(0,)),
        Case("one_hot", [np.array([0], i32)], {"depth": 0, "dtype": dtypes.f32}, id="no-classes"),
    ]


CASES: list[Case] = [*sources(), *rearranged(), *sliced(), *indexed()]
