"""float32 mathematics as straight-line code, which LLVM widens to the vectors of the machine; libm for float64.

Plain calls of `expf` and its kin keep a loop scalar; these run 5 to 100 times faster. No function branches; special values go through
selects. The largest errors over all float32 arguments, in units in the last place, stand at each function and are tested. Products
that end in a sum are written as `fma`; what must be rounded separately stays so, because `V` flags it (see `emit`).

`FLOAT32` and `FLOAT64` list the functions by the names of `codegen/scalar.py`; `cpu/scalar.py` offers them to kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from codegen.cpu.emit import I32, I64, V, fma, intrinsic_call, libm, polynomial, where

Emitter = Callable[..., V]

_LOG2_E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # the high part has nine bits, so that its product with an exponent is exact
_ROUNDER = 12582912.0  # 1.5 * 2**23: a float32 near it has no fraction bits, and its low bits hold the integer
_MIN_NORMAL, _SIGN, _INFINITY = 2.0**-126, -0x80000000, float("inf")

_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1,
    -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_TANH_LIMIT = 8.8  # beyond it the quotient rounds to one
_TANH_P = (-9.4097026e-14, 5.7117006e-11, -2.1499853e-08, 1.1723405e-05, 3.2431560e-03, 1.3637985e-01, 1.0416666)
_TANH_Q = (2.6666655e-04, 2.5555022e-02, 4.8360202e-01, 1.0416666)


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
    x = where(x > 89.0, x.const(89.0), where(x < -104.0, x.const(-104.0), x))  # NaN passes
    r, n = _split_exponent(x)
    half = n >> 1
    return (_exp_polynomial(r) + 1.0) * _power_of_two(half) * _power_of_two(n - half)


def expm1(x: V) -> V:
    """2 ulp."""
    clamped = where(x > 89.0, x.const(89.0), where(x < -30.0, x.const(-30.0), x))
    r, n = _split_exponent(clamped)
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
    """4 ulp: a quotient of polynomials in x**2 (minimax fit)."""
    clamped = where(x > _TANH_LIMIT, x.const(_TANH_LIMIT), where(x < -_TANH_LIMIT, x.const(-_TANH_LIMIT), x))
    square = clamped * clamped
    result = clamped * polynomial(square, _TANH_P) / polynomial(square, _TANH_Q)
    one = copy_sign(x.const(1.0), x)
    return where(absolute(result) > 1.0, one, result)


def sigmoid(x: V) -> V:
    """2 ulp, results below the normal range included."""
    e = exp(-absolute(x))
    return where(x < 0.0, e, x.const(1.0)) / (e + 1.0)


def erf(x: V) -> V:
    return libm("erff", x)


def _quadrant(x: V) -> tuple[V, V]:
    """x = n * pi/2 + r with |r| <= pi/4: r, and n as an integer. Exact up to |x| = 2**31, beyond which it loses digits."""
    wide = x.to(V_F64)
    n = intrinsic_call("rint", wide * 0.63661977236758134)
    r = fma(n, -6.123233995736766e-17, fma(n, -1.5707963267948966, wide))
    # the low bits of a float64 near 1.5 * 2**52 hold the integer; no conversion, which infinity and NaN would not survive
    return r.to(x.type), (n + 6755399441055744.0).bits().to(I32)


def _sin_cos(x: V, quadrants_ahead: int) -> V:
    r, n = _quadrant(x)
    n = n + quadrants_ahead
    square = r * r
    sine = fma(polynomial(square, _SIN) * square, r, r)
    cosine = fma(polynomial(square, _COS) * square, square, fma(square, -0.5, 1.0)) if False else _cosine(square)
    result = where((n & 1).eq(0), sine, cosine)
    return (result.bits() ^ ((n & 2) << 30)).as_float()


def _cosine(square: V) -> V:
    return fma(polynomial(square, _COS), square * square, fma(square, -0.5, square.const(1.0)))


def sin(x: V) -> V:
    return _sin_cos(x, 0)


def cos(x: V) -> V:
    return _sin_cos(x, 1)
