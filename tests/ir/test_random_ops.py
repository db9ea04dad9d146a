"""Random ops beyond the op table: the formulas element by element, distributions, dtypes and errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.graph import Attrs
from ir.opdef import TypeRuleError
from ir.ops import OPS
from ir.ops.random import truncated_quantile
from ir.philox import bits
from ir.types import tensor

STATE = np.array([0xDEADBEEF12345678, 3], np.uint64)
SEED = 17
NAMES = ("random_uniform", "random_normal", "random_truncated_normal")


def _draw(op: str, shape: tuple[int, ...], dtype: Any = dtypes.f32, state: np.ndarray = STATE, seed: int = SEED) -> Any:
    (out,) = OPS[op].reference([state], Attrs({"seed": seed, "shape": shape, "dtype": dtype}))
    assert out.shape == shape and out.dtype == dtype.numpy
    return out


def _word(i: int) -> int:
    return int(bits(int(STATE[0]), int(STATE[1]), SEED, 1, start=i)[0])


def _erf_inverse(y: float) -> float:
    low, high = -6.0, 6.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < y else (low, middle)
    return low


@pytest.mark.parametrize("i", [0, 1, 2, 3, 4, 5, 10, 36])
def test_each_element_is_a_function_of_its_own_words(i: int) -> None:
    """The documented formulas, written out for one element in plain Python."""
    assert _draw("random_uniform", (37,))[i] == (_word(i) >> 8) * 2.0**-24
    assert _draw("random_uniform", (37,), dtypes.f16)[i] == (_word(i) >> 21) * 2.0**-11
    wide = _word(2 * i) | _word(2 * i + 1) << 32
    assert _draw("random_uniform", (37,), dtypes.f64)[i] == (wide >> 11) * 2.0**-53

    first, second = _word(i - i % 2), _word(i - i % 2 + 1)
    radius = math.sqrt(-2 * math.log(max(float(np.float32(first)), 0.5) * 2.0**-32))
    angle = 2 * math.pi * second * 2.0**-32
    expected = radius * (math.sin(angle) if i % 2 else math.cos(angle))
    assert _draw("random_normal", (37,))[i] == pytest.approx(expected, rel=2e-7, abs=1e-7)

    signed = _word(i) - (_word(i) >> 31 << 32)
    expected = math.sqrt(2) * _erf_inverse(float(np.float32(signed)) * 2.0**-31 * math.erf(math.sqrt(2)))
    assert _draw("random_truncated_normal", (37,))[i] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("op", NAMES)
@pytest.mark.parametrize("dtype", [dtypes.f16, dtypes.f32, dtypes.f64], ids=str)
def test_prefixes_agree(op: str, dtype: Any) -> None:
    """An element does not depend on how many others there are, nor on the shape."""
    many = _draw(op, (3, 7), dtype).ravel()
    for n in (0, 1, 2, 5, 8, 20):
        np.testing.assert_array_equal(_draw(op, (n,), dtype), many[:n])


@pytest.mark.parametrize("op", NAMES)
def test_seed_key_and_counter_matter(op: str) -> None:
    states = [STATE, STATE + np.array([1, 0], np.uint64), *OPS["random_advance"].reference([STATE], Attrs())]
    draws = [_draw(op, (8,), state=s) for s in states] + [_draw(op, (8,), seed=SEED + 1)]
    assert len({d.tobytes() for d in draws}) == 4
    np.testing.assert_array_equal(draws[0], _draw(op, (8,)))


@pytest.mark.parametrize("dtype", [dtypes.f16, dtypes.f32, dtypes.f64], ids=str)
def test_distributions(dtype: Any) -> None:
    n = 100_000
    uniform, normal, truncated = (_draw(op, (n,), dtype).astype("f8") for op in NAMES)
    assert uniform.min() >= 0 and uniform.max() < 1
    np.testing.assert_allclose(np.histogram(uniform, 10, (0, 1))[0] / n, 0.1, atol=0.005)
    cdf = np.array([0.5 * (1 + math.erf(t / math.sqrt(2))) for t in np.linspace(-2.5, 2.5, 11)])
    steps = [(normal < t).mean() for t in np.linspace(-2.5, 2.5, 11)]
    np.testing.assert_allclose(steps, cdf, atol=0.006)
    assert abs(normal.mean()) < 0.01 and abs(normal.std() - 1) < 0.01 and abs((normal**4).mean() - 3) < 0.1
    assert abs(np.corrcoef(normal[0::2], normal[1::2])[0, 1]) < 0.02
    assert np.abs(truncated).max() <= 2 and abs(truncated.mean()) < 0.01
    assert truncated.std() == pytest.approx(0.8796, abs=0.005)
    inside = normal[np.abs(normal) <= 2]
    bins = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(
        np.histogram(truncated, bins)[0] / n, np.histogram(inside, bins)[0] / len(inside), atol=0.008
    )


def test_truncated_quantile_against_bisection() -> None:
    for v in (0.0, 1e-9, 0.1, 0.5, 0.9, 0.99, 0.999999, 1.0):
        z = math.sqrt(2) * _erf_inverse(v * math.erf(math.sqrt(2)))
        assert truncated_quantile(np.array(v)) == pytest.approx(z, rel=1e-10, abs=1e-15)
        assert truncated_quantile(np.array(-v)) == -truncated_quantile(np.array(v))
    assert np.abs(truncated_quantile(np.array([-1.0, 1.0]))).max() <= 2


def test_advance_wraps_the_counter_and_keeps_the_key() -> None:
    last = np.array([2**64 - 1, 2**64 - 1], np.uint64)
    (after,) = OPS["random_advance"].reference([last], Attrs())
    assert after.tolist() == [2**64 - 1, 0] and last.tolist() == [2**64 - 1] * 2


def test_shape_may_be_symbolic() -> None:
    state, batch = b.input_value(tensor("u64", 2)), SymDim("B")
    out = b.apply1("random_uniform", state, seed=1, shape=(batch, 3), dtype=dtypes.f32)
    assert out.type == tensor("f32", batch, 3)
    assert b.apply1("random_advance", state).type == state.type


@pytest.mark.parametrize("op", [*NAMES, "random_advance"])
def test_refuses_what_is_no_state(op: str) -> None:
    attrs = {} if op == "random_advance" else {"seed": 1, "shape": (2,), "dtype": dtypes.f32}
    with pytest.raises(TypeRuleError, match=rf"{op} takes a random state u64\[2\], got f32\[2\]"):
        b.apply(op, b.input_value(tensor("f32", 2)), **attrs)


def test_refuses_integers() -> None:
    with pytest.raises(TypeRuleError, match="random_uniform makes float16, float32 or float64 numbers, not int32"):
        b.apply("random_uniform", b.input_value(tensor("u64", 2)), seed=1, shape=(2,), dtype=dtypes.i32)
