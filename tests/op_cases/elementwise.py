"""Rows for `ir/ops/elementwise.py` and `ir/ops/activations.py`."""

from __future__ import annotations

import numpy as np

from tests.op_case import Case

F32 = np.float32
rng = np.random.default_rng(11)


def uniform(low: float, high: float, *shape: int) -> np.ndarray:
    return np.asarray(rng.uniform(low, high, shape), F32)


def away_from_zero(*shape: int) -> np.ndarray:
    return np.asarray(rng.uniform(0.2, 2.0, shape) * rng.choice([-1.0, 1.0], shape), F32)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-30, 20.0, -20.0, 100.0, -100.0], F32)
FINITE = SPECIAL[3:10]

# op: lowest and highest operand; functions with a kink at 0 get operands on both sides, none near 0
UNARY = {
    "neg": (-2, 2), "exp": (-3, 3), "log": (0.1, 4), "log1p": (-0.9, 3), "expm1": (-2, 2), "sqrt": (0.1, 4),
    "rsqrt": (0.1, 4), "square": (-2, 2), "sin": (-7, 7), "cos": (-7, 7), "tanh": (-3, 3), "sigmoid": (-6, 6),
    "erf": (-3, 3), "floor": (-3, 3), "ceil": (-3, 3), "round": (-3, 3), "identity": (-2, 2), "stop_gradient": (-2, 2),
    "softplus": (-9, 9), "hard_sigmoid": (-2.4, 2.4), "is_nan": (-1, 1),
}  # fmt: skip
KINKED = ("abs", "sign", "relu", "softsign", "selu", "reciprocal")


def unary_cases() -> list[Case]:
    cases = []
    for op in (*UNARY, *KINKED):
        low, high = UNARY.get(op, (0, 0))
        for shape in ((5, 27), (), (0, 3), (1,)):
            x = uniform(low, high, *shape) if op in UNARY else away_from_zero(*shape)
            cases.append(Case(op, [x], batch=(0,) if len(shape) == 2 else ()))
        special = FINITE if op in ("sin", "cos") else SPECIAL
        cases.append(Case(op, [special], id="special", differentiable=()))
    for op in ("exp", "tanh", "relu", "sqrt"):
        cases.append(Case(op, [uniform(0.1, 2, 3, 5).astype(np.float16)], id="f16", rtol=2e-3, atol=1e-3))
        cases.append(Case(op, [uniform(0.1, 2, 3, 5).astype(np.float64)], id="f64"))
    for op in ("neg", "abs", "sign", "square", "relu", "identity"):
        cases.append(Case(op, [np.array([[-7, 0, 3], [5, -1, 100]], np.int32)], id="i32"))
        cases.append(Case(op, [np.array([-3, 0, 2**40], np.int64)], id="i64"))
    cases.append(Case("abs", [np.array([0, 1, 255], np.uint8)], id="u8"))
    cases.append(Case("round", [np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997], F32)], id="halves"))
    cases.append(Case("hard_sigmoid", [np.array([-4.0, -2.6, 2.6, 9.0], F32)], id="saturated"))
    for op in ("identity", "stop_gradient", "logical_not"):
        cases.append(Case(op, [np.array([[True, False, True]])], id="bool", batch=(0,)))
    return cases


PAIRS = [  # shapes, and which axis of each is the batch
    ((4, 5), (4, 5), (0, 0)),
    ((4, 5), (), (0, None)),
    ((), (3, 7), (None, 0)),
    ((4, 1), (1, 5), (0, None)),
    ((2, 3, 5), (5,), (0, None)),
    ((5,), (7, 1, 5), (None, 0)),
    ((0, 3), (3,), (0, None)),
    ((1,), (1, 1), ()),
    ((), (), ()),
]
FEW_PAIRS = (PAIRS[0], PAIRS[3], PAIRS[5])
PROPAGATE = [np.repeat(SPECIAL, SPECIAL.size), np.tile(SPECIAL, SPECIAL.size)]


def binary_cases() -> list[Case]:
    cases = []
    for op, pairs in (
        ("add", PAIRS), ("sub", PAIRS), ("mul", PAIRS), ("div", PAIRS), ("maximum", PAIRS), ("minimum", FEW_PAIRS),
        ("floordiv", FEW_PAIRS), ("mod", FEW_PAIRS), ("equal", FEW_PAIRS), ("not_equal", FEW_PAIRS),
        ("less", FEW_PAIRS), ("less_equal", FEW_PAIRS), ("greater", FEW_PAIRS), ("greater_equal", FEW_PAIRS),
    ):  # fmt: skip
        for left, right, batch in pairs:
            cases.append(Case(op, [away_from_zero(*left), away_from_zero(*right)], batch=batch))
    for left, right, batch in PAIRS:
        cases.append(Case("pow", [uniform(0.3, 2, *left), uniform(-2, 2, *right)], batch=batch))
    cases.append(
        Case("pow", [np.array([-2, -1, 0, 0, 3], F32), np.array([2, 3, 2, 1, 0], F32)], id="signs", differentiable=(0,))
    )
    for op in ("add", "sub", "mul", "div", "maximum", "minimum", "equal", "not_equal", "less", "greater_equal"):
        cases.append(Case(op, PROPAGATE, id="special", differentiable=()))
    numbers = np.array([-7, -6, -1, 0, 1, 6, 7])
    whole = [np.repeat(numbers, 4), np.tile(np.array([-3, -1, 2, 5]), 7)]
    for op in ("add", "sub", "mul", "floordiv", "mod", "maximum", "minimum", "less", "equal"):
        for dtype in (np.int32, np.int64):
            cases.append(Case(op, [a.astype(dtype) for a in whole], id=np.dtype(dtype).name))
    for op in ("floordiv", "mod"):
        cases.append(Case(op, [a.astype(F32) for a in whole], id="whole", differentiable=()))
    cases.append(Case("floordiv", [np.array([1.0, 1.0], F32), np.array([0.1, 0.2], F32)], id="inexact"))
    cases.append(
        Case(
            "pow",
            [np.array([-2, 0, 3, 5, 2, -1, -1, 1, 0], np.int32), np.array([3, 0, 4, 2, -1, -3, -2, -5, -1], np.int32)],
            id="int32",
        )
    )
    cases.append(Case("add", [np.array([1, 250], np.uint8), np.array([2, 5], np.uint8)], id="uint8"))
    cases.append(
        Case(
            "add", [uniform(-1, 1, 3, 5).astype(np.float16), uniform(-1, 1, 5).astype(np.float16)], id="f16", rtol=1e-3
        )
    )
    cases.append(Case("div", [uniform(-1, 1, 3, 5).astype(np.float64), uniform(1, 2, 5).astype(np.float64)], id="f64"))
    p, q = np.array([[True, False]]), np.array([[True], [False]])
    for op in ("logical_and", "logical_or", "logical_xor", "equal", "not_equal"):
        cases.append(Case(op, [p, q], id="bool", batch=(None, 0)))
    return cases


def select_cases() -> list[Case]:
    yes = rng.random((4, 5)) < 0.5
    return [
        Case("select", [yes, uniform(-1, 1, 4, 5), uniform(-1, 1, 4, 5)], batch=(0, 0, 0)),
        Case("select", [yes[:, :1], uniform(-1, 1, 4, 5), uniform(-1, 1)], batch=(0, 0, None)),
        Case("select", [np.array(True), uniform(-1, 1, 1, 5), uniform(-1, 1, 4, 1)], batch=(None, None, 0)),
        Case("select", [yes[:0], uniform(-1, 1, 5), uniform(-1, 1)], batch=(0, None, None)),
        Case("select", [yes[0], np.arange(5), -np.arange(5)], id="i64"),
        Case("select", [yes[0], yes[1], yes[2]], id="bool"),
        Case("select", [np.array([True, False]), np.array([1, np.nan], F32), np.array([np.nan, 2], F32)], id="nan"),
    ]


def clip_cases() -> list[Case]:
    x = np.array([[-3.0, -0.5, 0.0], [0.25, 0.75, 4.0]], F32)
    low, high = np.array(-1.0, F32), np.array(0.5, F32)
    return [
        Case("clip", [x, low, high], batch=(0, None, None)),
        Case("clip", [x, np.array([-4.0, 0.1, -1.0], F32), np.array([[-2.0], [0.5]], F32)], id="vectors"),
        Case("clip", [x, high, low], id="crossed"),
        Case("clip", [SPECIAL, low, high], id="special", differentiable=()),
        Case("clip", [np.arange(-3, 4), np.array(-1), np.array(2)], id="i64"),
        Case("clip", [x[:0], low, high], batch=(0, None, None)),
    ]


def slope_cases() -> list[Case]:
    cases = []
    for op in ("elu", "leaky_relu"):
        for alpha in (0.3, 1.0, -0.5, 0.0):
            cases.append(Case(op, [away_from_zero(5, 27), np.array(alpha, F32)], id=str(alpha), batch=(0, None)))
        cases.append(Case(op, [away_from_zero(3, 4, 5), uniform(0.1, 1, 4, 1)], batch=(0, None)))
        cases.append(Case(op, [SPECIAL, np.array(0.3, F32)], id="special", differentiable=()))
        cases.append(Case(op, [away_from_zero(0), np.array(0.3, F32)]))
    return cases


def cast_cases() -> list[Case]:
    x = np.array([[-2.7, -0.5, 0.0], [0.5, 2.7, 100.2]], F32)
    whole = np.array([[-3, 0, 1], [2, 7, 127]])
    pairs = [
        (x, "float16"), (x, "float64"), (x, "float32"), (x, "int32"), (x, "int64"), (x, "bool"),
        (np.abs(x), "uint8"), (x.astype(np.float64), "float32"), (x.astype(np.float64), "int32"),
        (x.astype(np.float16), "float32"), (x.astype(np.float16), "int32"),
        (whole.astype(np.int32), "float32"), (whole, "float32"), (whole, "float64"), (whole, "int8"), (whole, "int32"),
        (whole.astype(np.int32), "int64"), (whole, "bool"), (whole > 0, "float32"), (whole > 0, "int32"),
        (whole > 0, "float16"), (np.abs(whole).astype(np.uint8), "float32"),
        (np.array([0, 2**24 + 1, 2**40], np.int64), "float32"), (np.array(3.5, F32), "int32"),
        (np.array([2**63, 5], np.uint64), "float64"), (x[:0], "int32"),
    ]  # fmt: skip
    from ir import dtypes

    return [
        Case(
            "cast", [a], {"dtype": dtypes.of(to)}, id=f"{a.dtype.name}-{to}-{a.size}", batch=(0,) if a.ndim == 2 else ()
        )
        for a, to in pairs
    ]


CASES: list[Case] = [
    *unary_cases(), *binary_cases(), *select_cases(), *clip_cases(), *slope_cases(), *cast_cases(),
]  # fmt: skip
