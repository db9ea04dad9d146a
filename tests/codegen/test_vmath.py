"""The mathematics of kernels against numpy in float64: all float32 exponents, special values, other dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from codegen.cache import KernelCache
from tests.codegen.kernels import apply

Array = np.ndarray  # type: ignore[type-arg]
INF, NAN = np.inf, np.nan
rng = np.random.default_rng(0)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def ulps(actual: Array, exact: Array) -> float:
    """Largest distance from the exact float64 results in units in the last place; special results must be exactly
    right.
    """
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
    special = ~np.isfinite(rounded)
    np.testing.assert_array_equal(actual[special], rounded[special])
    if special.all():
        return 0.0
    assert np.isfinite(actual[~special]).all()
    error = np.abs(actual[~special].astype(np.float64) - exact[~special])
    return float((error / np.spacing(np.abs(rounded[~special])).astype(np.float64)).max())


REFERENCES: dict[str, tuple[Callable[[Array], Array], float]] = {
    "exp": (np.exp, 1.1),
    "expm1": (np.expm1, 2),
    "log": (np.log, 1.1),
    "log1p": (np.log1p, 2),
    "tanh": (np.tanh, 3),
    "sigmoid": (_sigmoid, 3),
    "erf": (np.vectorize(math.erf, otypes="d"), 3),
    "sin": (np.sin, 2),
    "cos": (np.cos, 2),
    "sqrt": (np.sqrt, 0.5),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.6),
    "floor": (np.floor, 0),
    "ceil": (np.ceil, 0),
    "rint": (np.rint, 0),
    "absolute": (np.abs, 0),
}
"""Function: its meaning in float64 and the largest error allowed in ulp."""


@pytest.mark.parametrize("name", REFERENCES)
def test_float32_over_all_exponents(cache: KernelCache, name: str) -> None:
    reference, limit = REFERENCES[name]
    bits = np.arange(0, 1 << 32, 40009 if name == "erf" else 4099, dtype=np.uint32)
    x = np.concatenate([bits.view(np.float32), np.array([0.0, -0.0, 1, -1, INF, -INF, NAN, 1e-45, -1e-45], np.float32)])
    if name in ("sin", "cos"):
        x = x[~(np.abs(x) > 2.0**31)]
        x = x[np.isfinite(x)]
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64))
    actual = apply(cache, f"{name}(x0)", "f32", x)
    assert ulps(actual, exact) <= limit
    zero = exact == 0
    np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(exact[zero]))


@pytest.mark.parametrize(
    ("name", "arguments", "results"),
    [
        ("exp", [INF, -INF, NAN, 0, 89, -104], [INF, 0, NAN, 1, INF, 0]),
        ("log", [INF, -INF, NAN, 0, -0.0, -1, 1], [INF, NAN, NAN, -INF, -INF, NAN, 0]),
        ("log1p", [INF, -1, -2, 0, NAN], [INF, -INF, NAN, 0, NAN]),
        ("expm1", [INF, -INF, NAN, 0], [INF, -1, NAN, 0]),
        ("tanh", [INF, -INF, NAN, 0, 10, -10], [1, -1, NAN, 0, 1, -1]),
        ("sigmoid", [INF, -INF, NAN, 0, 800, -800], [1, 0, NAN, 0.5, 1, 0]),
        ("erf", [INF, -INF, NAN, 0, 5], [1, -1, NAN, 0, 1]),
        ("sin", [0, INF, -INF, NAN], [0, NAN, NAN, NAN]),
        ("cos", [0, INF, -INF, NAN], [1, NAN, NAN, NAN]),
        ("rsqrt", [0, INF, 4, -1, NAN], [INF, 0, 0.5, NAN, NAN]),
        ("rint", [0.5, 1.5, 2.5, -0.5, -1.5], [0, 2, 2, 0, -2]),
        ("sign", [3, -2, 0, -0.0, INF, NAN], [1, -1, 0, 0, 1, 0]),
    ],
)
def test_special_values(cache: KernelCache, name: str, arguments: list[float], results: list[float]) -> None:
    for dtype, short in ((np.float32, "f32"), (np.float64, "f64")):
        x = np.array(arguments, dtype)
        expected = np.array(results, dtype)
        if dtype == np.float64 and name == "exp":
            x, expected = x[:4], expected[:4]
        np.testing.assert_allclose(apply(cache, f"{name}(x0)", short, x), expected, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in REFERENCES])
def test_float64(cache: KernelCache, name: str) -> None:
    x = np.concatenate([rng.standard_normal(501) * 3, rng.standard_normal(50) * 100, [0.0, INF, -INF, NAN]])
    with np.errstate(all="ignore"):
        expected = REFERENCES[name][0](x) if name != "erf" else np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(apply(cache, f"{name}(x0)", "f64", x), expected, rtol=4e-15, atol=1e-300)


SPECIAL = np.array([0.0, -0.0, 0.5, 1, -1, 2, -2, 3, -3, 2.5, 1e-40, 3e38, INF, -INF, NAN, 127, 128, -150], np.float32)


def pairs(values: Array) -> tuple[Array, Array]:
    x, y = np.meshgrid(values, values)
    return x.ravel().copy(), y.ravel().copy()


def test_power_float32(cache: KernelCache) -> None:
    x = np.exp(rng.uniform(-87, 88, 20000)).astype("f")
    y = (rng.uniform(-90, 90, 20000) / np.log(x.astype("d"))).astype("f")
    with np.errstate(all="ignore"):
        assert ulps(apply(cache, "power(x0, x1)", "f32", x, y), x.astype("d") ** y.astype("d")) <= 1
        x, y = pairs(SPECIAL)
        np.testing.assert_allclose(apply(cache, "power(x0, x1)", "f32", x, y), np.power(x, y), rtol=1e-6)
        near_one = (1 + rng.standard_normal(1000) * 1e-4).astype("f")
        large = (rng.standard_normal(1000) * 1e5).astype("f")
        assert ulps(apply(cache, "power(x0, x1)", "f32", near_one, large), near_one.astype("d") ** large) <= 1


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("power", np.power),
        ("maximum", np.maximum),
        ("minimum", np.minimum),
        ("floormod", np.mod),
        ("floordiv", lambda x, y: np.floor(x / y)),
    ],
)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_float_pairs(cache: KernelCache, name: str, reference: Callable[[Array, Array], Array], dtype: str) -> None:
    x, y = pairs(
        np.concatenate([SPECIAL, rng.standard_normal(30) * 10]).astype(np.float32 if dtype == "f32" else np.float64)
    )
    with np.errstate(all="ignore"):
        expected = reference(x, y)
    np.testing.assert_allclose(apply(cache, f"{name}(x0, x1)", dtype, x, y), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["i1", "i4", "i8", "u1", "u4", "u8"])
def test_integer_pairs(cache: KernelCache, dtype: str) -> None:
    info = np.iinfo(dtype)
    x, y = pairs(np.array(sorted({info.min, info.min + 1, 0, 1, 2, 3, 7, 10, info.max - 1, info.max}), dtype))
    if info.min < 0:
        more = np.array([-1, -2, -3, -7], dtype)
        x, y = np.concatenate([x, more, more]), np.concatenate([y, more, more[::-1]])
    short = f"{dtype[0]}{8 * int(dtype[1])}"
    with np.errstate(all="ignore"):
        for name, expected in (
            ("maximum", np.maximum(x, y)),
            ("minimum", np.minimum(x, y)),
            ("floordiv", np.floor_divide(x, y)),
            ("floormod", np.mod(x, y)),
        ):
            np.testing.assert_array_equal(apply(cache, f"{name}(x0, x1)", short, x, y), expected, err_msg=name)
        np.testing.assert_array_equal(apply(cache, "absolute(x0)", short, x), np.abs(x))
        np.testing.assert_array_equal(apply(cache, "sign(x0)", short, x), np.sign(x))
        np.testing.assert_array_equal(apply(cache, "where(x0 < x1, x0, x1)", short, x, y), np.where(x < y, x, y))


@pytest.mark.parametrize("dtype", ["i4", "i8", "u1", "u8"])
def test_integer_power(cache: KernelCache, dtype: str) -> None:
    x, y = pairs(np.array([0, 1, 2, 3, 7, 10, 20], dtype))
    if dtype[0] == "i":
        x = np.concatenate([x, -x])
        y = np.concatenate([y, y])
    short = f"{dtype[0]}{8 * int(dtype[1])}"
    np.testing.assert_array_equal(apply(cache, "power(x0, x1)", short, x, y), np.power(x, y))
    if dtype[0] == "i":
        base, exponent = np.array([2, 1, -1, -1, 0], dtype), np.array([-1, -5, -2, -3, -1], dtype)
        assert apply(cache, "power(x0, x1)", short, base, exponent).tolist() == [0, 1, 1, -1, 0]


def test_bools(cache: KernelCache) -> None:
    x, y = pairs(np.array([True, False]))
    for expression, expected in (
        ("maximum(x0, x1)", x | y),
        ("minimum(x0, x1)", x & y),
        ("where(x0, x1, x0)", x & y),
        ("x0 & x1", x & y),
        ("x0 | x1", x | y),
        ("x0 ^ x1", x ^ y),
        ("x0 == x1", x == y),
        ("x0 != x1", x != y),
        ("x0 == False", ~x),
    ):
        np.testing.assert_array_equal(apply(cache, expression, "bool", x, y), expected, err_msg=expression)
    z = np.array([NAN, 1, INF], np.float32)
    assert apply(cache, "isnan(x0)", "bool", z).tolist() == [True, False, False]
    assert apply(cache, "x0 != x0", "bool", z).tolist() == [True, False, False]


def test_operators(cache: KernelCache) -> None:
    x, y = (rng.standard_normal(100).astype("f") for _ in range(2))
    for expression, expected in (("-x0", -x), ("x0 / x1", x / y), ("x0 - x1", x - y), ("fma(x0, x1, x0)", x * y + x)):
        np.testing.assert_allclose(apply(cache, expression, "f32", x, y), expected, rtol=1e-6, atol=1e-7)
    for comparison in ("<", "<=", ">", ">=", "==", "!="):
        expected = eval(f"x {comparison} y")
        np.testing.assert_array_equal(apply(cache, f"x0 {comparison} x1", "bool", x, y), expected)


@pytest.mark.parametrize("n", [0, 1, 3, 15, 16, 17, 31, 33, 63, 65, 127])
def test_length_does_not_change_values(cache: KernelCache, n: int) -> None:
    """The scalar remainder of a vector loop computes the same bits as its vectors."""
    x = rng.standard_normal(128).astype("f") * 3
    for expression in ("exp(x0) * x0 + x0", "tanh(x0) + sigmoid(x0)", "log(absolute(x0)) * x0", "sin(x0)", "erf(x0)"):
        whole = apply(cache, expression, "f32", x)
        np.testing.assert_array_equal(apply(cache, expression, "f32", x[:n].copy()), whole[:n])
