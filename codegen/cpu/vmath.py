"""float32 mathematics as straight-line code, which LLVM widens to the vectors of the machine; libm for float64.

Plain calls of `expf` and its kin keep a loop scalar; these run 5 to 100 times faster. No function branches; special
values go through selects. The largest errors over all float32 arguments, in units in the last place, stand at each
function and are tested. Products that end in a sum are written as `fma`; what must be rounded separately stays so,
because `V` flags it (see `emit`).

`FLOAT32` and `FLOAT64` list the functions by the names of `codegen/scalar.py`; `cpu/scalar.py` offers them to kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from codegen.cpu.emit import EXACT, F32, F64, I32, V, fma, intrinsic_call, libm, polynomial, where

Emitter = Callable[..., V]

_LN2 = math.log(2.0)
_LOG2_E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = (
    0.693359375,
    -2.12194440e-4,
)  # the high part has nine bits, so that its product with an exponent is exact
_ROUNDER = 12582912.0  # 1.5 * 2**23: a float32 near it has no fraction bits, and its low bits hold the integer
_MIN_NORMAL, _INFINITY = 2.0**-126, float("inf")

_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_ERF_NEAR = (-5.9994048e-04, 4.9948301e-03, -2.6767720e-02, 1.1281846e-01, -3.7612498e-01, 1.1283791)
_ERFC_LOG = (
    1.95937784e-04,
    -3.04322247e-03,
    2.22269390e-02,
    -1.03931636e-01,
    -6.37182236e-01,
    -1.12767565,
    -1.95670713e-04,
)
_LOG2_SERIES = tuple(
    2.0 / (_LN2 * k) for k in range(17, 0, -2)
)  # log2(m) = 2/ln2 * (s + s**3/3 + ...), s = (m-1)/(m+1)
_EXP2_SERIES = tuple(_LN2**k / math.factorial(k) for k in range(9, -1, -1))


def _clamp(x: V, low: float, high: float) -> V:
    """x between two limits; NaN passes. Written so that it becomes two instructions."""
    x = where(x < low, x.const(low), x)
    return where(x > high, x.const(high), x)


def _split_exponent(x: V) -> tuple[V, V]:
    """x = n * ln 2 + r with |r| <= ln 2 / 2; n as an integer. |x| must be below 2**21."""
    shifted = fma(x, _LOG2_E, _ROUNDER)
    n = shifted - _ROUNDER
    r = fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x))
    return r, shifted.bits() - 0x4B400000


def _power_of_two(n: V) -> V:
    """2.0**n for an integer -126 <= n <= 127."""
    return ((n + 127) << 23).as_float()


def _exp_polynomial(r: V) -> V:
    """exp(r) - 1 for |r| <= ln 2 / 2."""
    return fma(polynomial(r, _EXP), r * r, r)


def exp(x: V) -> V:
    """1 ulp, results below the normal range included."""
    r, n = _split_exponent(_clamp(x, -104.0, 89.0))
    half = n >> 1
    return (_exp_polynomial(r) + 1.0) * _power_of_two(half) * _power_of_two(n - half)


def expm1(x: V) -> V:
    """2 ulp."""
    r, n = _split_exponent(_clamp(x, -30.0, 89.0))
    half_scale = _power_of_two(n - 1)
    result = fma(half_scale, _exp_polynomial(r), half_scale - 0.5) * 2.0
    return where(x.eq(0.0), x, result)  # keeps the sign of zero


def _log_parts(x: V) -> tuple[V, V]:
    """x = 2**e * m with sqrt(1/2) <= m < sqrt(2): m - 1 and e as a float, for positive normal x."""
    shifted = x.bits() - 0x3F3504F3
    mantissa = ((shifted & 0x007FFFFF) + 0x3F3504F3).as_float()
    return mantissa - 1.0, (shifted >> 23).to(x.type)


def _log_normal(f: V, e: V) -> V:
    square = f * f
    tail = polynomial(f, _LOG) * (square * f)
    tail = fma(square, -0.5, fma(e, _LN2_LOW, tail))
    return fma(e, _LN2_HIGH, f + tail)


def log(x: V) -> V:
    """1 ulp."""
    small = x < _MIN_NORMAL
    f, e = _log_parts(where(small, x * 2.0**25, x))
    result = _log_normal(f, where(small, e - 25.0, e))
    result = where(x < _INFINITY, result, x)  # infinity and NaN are their own logarithms
    result = where(x.eq(0.0), x.const(-_INFINITY), result)
    return where(x < 0.0, x.const(float("nan")), result)


def log1p(x: V) -> V:
    """2 ulp."""
    u = x + 1.0
    f, e = _log_parts(u)
    result = _log_normal(f, e) + (x - (u - 1.0)) / u
    result = where(x < _INFINITY, result, x)
    result = where(x.eq(-1.0), x.const(-_INFINITY), result)
    result = where(x < -1.0, x.const(float("nan")), result)
    return where(x.eq(0.0), x, result)


def tanh(x: V) -> V:
    """3 ulp: with m = expm1(2 |x|) it is m / (m + 2). (A quotient of polynomials is no faster and errs by 5 ulp.)"""
    size = absolute(x)
    r, n = _split_exponent(where(size > 9.1, x.const(9.1), size) * 2.0)
    scale = _power_of_two(n)
    m = fma(scale, _exp_polynomial(r), scale - 1.0)
    return copy_sign(m / (m + 2.0), x)


def sigmoid(x: V) -> V:
    """2 ulp, results below the normal range included."""
    e = exp(-absolute(x))
    return where(x < 0.0, e, x.const(1.0)) / (e + 1.0)


def erf(x: V) -> V:
    """2 ulp: a polynomial in x**2 near zero, elsewhere one minus the exponential of a polynomial (minimax fits)."""
    size = absolute(x)
    near = x * polynomial(x * x, _ERF_NEAR)
    r, n = _split_exponent(polynomial(where(size > 4.0, x.const(4.0), size), _ERFC_LOG))
    far = x.const(1.0) - (_exp_polynomial(r) + 1.0) * _power_of_two(n)
    result = where(size < 0.92, near, copy_sign(far, x))
    return where(is_nan(x), x, result)


def _quadrant(x: V) -> tuple[V, V]:
    """x = n * pi/2 + r with |r| <= pi/4: r, and n as an integer. Done in float64: exact enough up to |x| = 2**31."""
    wide = x.to(F64)
    n = rint(wide * 0.63661977236758134)
    r = fma(n, -6.123233995736766e-17, fma(n, -1.5707963267948966, wide))
    # the low bits of a float64 near 1.5 * 2**52 hold the integer; a conversion would not survive infinity and NaN
    return r.to(F32), (n + 6755399441055744.0).bits().to(I32)


def _sine(x: V, quadrants_ahead: int) -> V:
    r, n = _quadrant(x)
    n = n + quadrants_ahead
    square = r * r
    sine = fma(polynomial(square, _SIN) * square, r, r)
    cosine = fma(polynomial(square, _COS), square * square, fma(square, -0.5, 1.0))
    result = where((n & 1).eq(0), sine, cosine)
    return (result.bits() ^ ((n & 2) << 30)).as_float()


def sin(x: V) -> V:
    """1 ulp up to |x| = 2**31; larger arguments lose digits."""
    return where(x.eq(0.0), x, _sine(x, 0))


def cos(x: V) -> V:
    """1 ulp up to |x| = 2**31; larger arguments lose digits."""
    return _sine(x, 1)


def power(x: V, y: V) -> V:
    """1 ulp, through float64: |x|**y = 2**(y * log2|x|); special values as in C's `powf`."""
    size = absolute(x).to(F64)
    exponent = _log2(size) * y.to(F64)
    result = _exp2(exponent).to(F32)
    zero, infinity = x.const(0.0), x.const(_INFINITY)
    result = where(x.eq(0.0), where(y < 0.0, infinity, zero), result)
    result = where(absolute(x).eq(infinity), where(y < 0.0, zero, infinity), result)
    whole = floor(y).eq(y)
    half = y * 0.5
    odd = V(x.b, x.b.and_(whole.v, floor(half).ne(half).v))
    negative = x.bits() < 0
    signed = where(odd, copy_sign(result, x), result)
    invalid = V(x.b, x.b.and_((x < 0.0).v, x.b.not_(whole.v)))
    invalid = V(x.b, x.b.and_(invalid.v, (absolute(x) < _INFINITY).v))
    result = where(negative, where(invalid, x.const(float("nan")), signed), result)
    result = where(V(x.b, x.b.or_(is_nan(x).v, is_nan(y).v)), x + y, result)
    minus_one = V(x.b, x.b.and_(x.eq(-1.0).v, absolute(y).eq(_INFINITY).v))
    one = V(x.b, x.b.or_(V(x.b, x.b.or_(x.eq(1.0).v, y.eq(0.0).v)).v, minus_one.v))
    return where(one, x.const(1.0), result)


def _log2(x: V) -> V:
    """log2 of a positive float64 that was a float32, to about 2**-40."""
    shifted = x.bits() - 0x3FE6A09E667F3BCD
    m = ((shifted & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD).as_float()
    # the exponent as a float64, without a conversion from int64 that not every machine has as a vector instruction
    e = ((shifted >> 52) + 0x4338000000000000).as_float() - 6755399441055744.0
    s = (m - 1.0) / (m + 1.0)
    series = polynomial(s * s, _LOG2_SERIES)
    return fma(s, series, e)


def _exp2(x: V) -> V:
    """2**x as a float64, to about 2**-36; infinite or zero results outside the range of float32."""
    x = _clamp(x, -200.0, 200.0)
    shifted = x + 6755399441055744.0
    r = x - (shifted - 6755399441055744.0)
    scale = ((shifted.bits() - 0x4338000000000000 + 1023) << 52).as_float()
    return polynomial(r, _EXP2_SERIES) * scale


def sqrt(x: V) -> V:
    return intrinsic_call("sqrt", x)


def rsqrt(x: V) -> V:
    """1 / sqrt(x), each rounded."""
    return x.const(1.0) / sqrt(x)


def absolute(x: V) -> V:
    return intrinsic_call("fabs", x)


def floor(x: V) -> V:
    return intrinsic_call("floor", x)


def ceil(x: V) -> V:
    return intrinsic_call("ceil", x)


def rint(x: V) -> V:
    """To the nearest integer, halves to the even one."""
    return intrinsic_call("rint", x)


def copy_sign(x: V, sign: V) -> V:
    return intrinsic_call("copysign", x, sign)


def is_nan(x: V) -> V:
    return x.ne(x)


def sign(x: V) -> V:
    """-1, 0 or 1; 0 for NaN."""
    return where(x > 0.0, x.const(1.0), where(x < 0.0, x.const(-1.0), x.const(0.0)))


def maximum(x: V, y: V) -> V:
    """The larger one; NaN if either is NaN. LLVM knows it as a reduction."""
    return intrinsic_call("maximum", x, y, flags=("nsz",))


def minimum(x: V, y: V) -> V:
    """The smaller one; NaN if either is NaN."""
    return intrinsic_call("minimum", x, y, flags=("nsz",))


def floordiv(x: V, y: V) -> V:
    return floor(x / y)


def floormod(x: V, y: V) -> V:
    """The remainder that has the sign of the divisor, as in Python and numpy."""
    remainder = V(x.b, x.b.frem(x.v, y.v, flags=EXACT))
    opposite = V(x.b, x.b.xor((remainder < 0.0).v, (y < 0.0).v))
    wrong = V(x.b, x.b.and_(opposite.v, remainder.ne(0.0).v))
    return where(wrong, remainder + y, where(remainder.eq(0.0), copy_sign(remainder, y), remainder))


def _sigmoid_plain(x: V) -> V:
    e = libm("exp", -absolute(x))
    return where(x < 0.0, e, x.const(1.0)) / (e + 1.0)


def _library(name: str) -> Emitter:
    return lambda *values: libm(name, *values)


_BOTH: dict[str, Emitter] = {
    "sqrt": sqrt,
    "rsqrt": rsqrt,
    "absolute": absolute,
    "floor": floor,
    "ceil": ceil,
    "rint": rint,
    "sign": sign,
    "maximum": maximum,
    "minimum": minimum,
    "floordiv": floordiv,
    "floormod": floormod,
    "isnan": is_nan,
    "fma": fma,
}

FLOAT32: dict[str, Emitter] = _BOTH | {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "sin": sin,
    "cos": cos,
    "power": power,
}
"""Functions of float32 values."""

FLOAT64: dict[str, Emitter] = _BOTH | {
    **{name: _library(name) for name in ("exp", "expm1", "log", "log1p", "tanh", "erf", "sin", "cos")},
    "power": _library("pow"),
    "sigmoid": _sigmoid_plain,
}
"""Functions of float64 values."""
