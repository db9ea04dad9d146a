"""Rows for `ir/ops/reduce.py`."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tests.op_case import Case

F32 = np.float32
rng = np.random.default_rng(12)


def attrs(*axes: int, keepdims: bool = False) -> dict[str, Any]:
    return {"axes": axes, "keepdims": keepdims}


def distinct(*shape: int) -> np.ndarray:
    """Values without ties, so that extremes are differentiable."""
    n = int(np.prod(shape))
    return np.asarray((rng.permutation(n) - n / 2).reshape(shape) / max(n, 1), F32)


def near_one(*shape: int) -> np.ndarray:
    return np.asarray(rng.uniform(0.6, 1.5, shape) * rng.choice([-1, 1], shape), F32)


ALL_AXES = [axes for n in range(4) for axes in itertools.combinations(range(3), n)]


def float_cases() -> list[Case]:
    cases = []
    for op in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod"):
        make = near_one if op == "reduce_prod" else distinct
        for axes, keepdims in itertools.product(ALL_AXES, (False, True)):
            label = f"{'keep' if keepdims else 'drop'}{''.join(map(str, axes))}"
            cases.append(Case(op, [make(3, 4, 5)], attrs(*axes, keepdims=keepdims), id=label, batch=(0,)))
        cases.append(Case(op, [make()], attrs(), id="scalar"))
        cases.append(Case(op, [make(1, 1)], attrs(0), id="ones"))
        cases.append(Case(op, [make(1, 67)], attrs(1), id="row"))
        cases.append(Case(op, [make(67, 1)], attrs(0), id="column", batch=(0,)))
        cases.append(Case(op, [make(7, 33)], attrs(0), id="many-columns", batch=(0,)))
        cases.append(Case(op, [make(2, 3, 5, 7)], attrs(1, 3), id="alternating", batch=(0,)))
        cases.append(Case(op, [make(0, 3)], attrs(0), id="nothing", batch=(0,)))
        cases.append(Case(op, [make(3, 0)], attrs(0), id="no-columns"))
        cases.append(Case(op, [make(0, 3)], attrs(1, keepdims=True), id="no-rows", batch=(0,)))
        cases.append(Case(op, [make(2, 3).astype(np.float64)], attrs(1), id="f64"))
        cases.append(Case(op, [make(2, 3).astype(np.float16)], attrs(1), id="f16", rtol=2e-3, atol=1e-3))
        odd = np.array([[np.nan, 1, 2], [np.inf, 1, 0.5], [-np.inf, 1, 0.5], [1, 2, np.nan]], F32)
        cases.append(Case(op, [odd], attrs(1), id="special", differentiable=()))
        whole = np.array([[-7, 2, 0], [3, -4, 8], [-1, -1, -5]])
        for dtype in (np.int32, np.int64):
            cases.append(Case(op, [whole.astype(dtype)], attrs(1), id=np.dtype(dtype).name))
    for op in ("reduce_max", "reduce_min"):
        cases.append(
            Case(op, [np.array([[2, 2, 1], [0, 0, 0], [1, 3, 1]], F32)], attrs(1), id="ties", differentiable=())
        )
    for op in ("reduce_sum", "reduce_mean"):
        cases.append(Case(op, [rng.normal(size=(3, 1031)).astype(F32)], attrs(1), id="long", rtol=1e-4, atol=1e-5))
        cases.append(Case(op, [rng.normal(size=(1031, 3)).astype(F32)], attrs(0), id="tall", rtol=1e-4, atol=1e-5))
        cases.append(Case(op, [np.full((4099,), 1.0, np.float16)], attrs(0), id="f16-long", rtol=1e-3))
    zeros = np.array([[1, 2, 0, 4], [0, 3, 0, 2], [5, 1, 2, 3], [0, 0, 0, 0]], F32)
    cases.append(Case("reduce_prod", [zeros], attrs(1), id="zeros-1", batch=(0,)))
    cases.append(Case("reduce_prod", [zeros[:2]], attrs(0, 1), id="zeros-all"))
    cases.append(Case("reduce_prod", [zeros[:1]], attrs(0, 1, keepdims=True), id="zeros-one"))
    return cases


def bool_cases() -> list[Case]:
    p = np.array([[True, False, True], [True, True, True], [False, False, False]])
    return [
        Case(op, [x], attrs(*axes, keepdims=keepdims), id=f"{x.shape}-{axes}-{keepdims}", batch=(0,))
        for op in ("reduce_any", "reduce_all")
        for x in (p, p[:0])
        for axes, keepdims in (((0,), False), ((1,), True), ((0, 1), False), ((), False))
    ]


def position_cases() -> list[Case]:
    cases = []
    for op in ("argmax", "argmin"):
        for axis in range(3):
            cases.append(Case(op, [distinct(3, 4, 5)], {"axis": axis}, id=f"axis{axis}", batch=(0,)))
        cases.append(Case(op, [np.array([[1, 3, 3], [2, 2, 2], [0, 0, 1]], F32)], {"axis": 1}, id="ties", batch=(0,)))
        cases.append(Case(op, [np.array([[1, np.nan, 3, np.nan]], F32)], {"axis": 1}, id="nan"))
        cases.append(Case(op, [np.array([[np.inf, -np.inf, 3]], F32)], {"axis": 1}, id="inf"))
        cases.append(Case(op, [np.array([-np.inf, -np.inf], F32)], {"axis": 0}, id="only-inf"))
        cases.append(Case(op, [np.array([[5, -2, 5], [1, 1, 0]], np.int32)], {"axis": 1}, id="i32"))
        cases.append(Case(op, [distinct(0, 3)], {"axis": 1}, batch=(0,)))
        cases.append(Case(op, [distinct(1)], {"axis": 0}))
        cases.append(Case(op, [distinct(131)], {"axis": 0}, batch=(0,)))
    return cases


def sum_to_cases() -> list[Case]:
    targets: list[tuple[int, ...]] = [
        (3, 4, 5), (4, 5), (1, 5), (4, 1), (5,), (1,), (), (3, 1, 5), (1, 4, 1), (1, 1, 1),
    ]  # fmt: skip
    cases = [Case("sum_to", [distinct(3, 4, 5)], {"shape": t}, id=str(t)) for t in targets]
    cases += [
        Case("sum_to", [distinct(3, 4, 5)], {"shape": (4, 5)}, id="batch", batch=(0,)),
        Case("sum_to", [distinct(7, 33)], {"shape": (33,)}, id="bias", batch=(0,)),
        Case("sum_to", [distinct(0, 3)], {"shape": (3,)}, id="nothing", batch=(0,)),
        Case("sum_to", [distinct(3, 0)], {"shape": (1, 0)}, id="empty"),
        Case("sum_to", [distinct()], {"shape": ()}, id="scalar"),
        Case("sum_to", [distinct(1, 5)], {"shape": (1, 1)}, id="ones"),
        Case("sum_to", [np.arange(6).reshape(2, 3)], {"shape": (2, 1)}, id="i64"),
    ]
    return cases


CASES: list[Case] = [*float_cases(), *bool_cases(), *position_cases(), *sum_to_cases()]
