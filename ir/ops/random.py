"""Random numbers as pure functions of a visible state, an op's seed and an element's index. Before it comes
`philox.py`, which gives the words; `codegen/*/random.py` compute the same per element.

The state is `u64[2]`: a key and a run counter. Every op of a run reads the same state and `random_advance` gives the
next one. Element i (row-major) uses the word W_i: word i of the op's stream for float16 and float32 (b = 32), words 2i
(low half) and 2i + 1 (high half) for float64 (b = 64). Conversions from integers to float round to nearest, to float32
for b = 32 and to float64 for b = 64; the formulas below are evaluated exactly (here in float64) and rounded once to
the dtype.

    uniform             floor(W / 2**(b - m)) * 2**-m with m the significand's bits: 11, 24 or 53; never 1
    normal              Box and Muller (1958) on the words A, B of elements 2j and 2j + 1:
                        r = sqrt(-2 log u), u = max(float(A), 0.5) * 2**-b, and r*cos(a), r*sin(a) for the even and the
                        odd element, where a = 2 pi B / 2**b. With q = (B + 2**(b - 3)) >> (b - 2) and the signed
                        f = B - q * 2**(b - 2), a is q quarter turns and the small angle 2 pi float(f) / 2**b.
    truncated normal    the quantile function of the normal distribution cut at -2 and 2, at float(signed W)/2**(b - 1)
"""

from __future__ import annotations

import math

import numpy as np

from ir import dtypes
from ir.graph import Attrs
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.philox import bits
from ir.types import TensorType

STATE = TensorType(dtypes.u64, (2,))

# v * P(t)/Q(t), t = 1 - v**2, is the quantile of the truncated normal at v in [-1, 1], that is sqrt(2) *
# erfinv(v * erf(sqrt(2))), with relative error below 4e-11. Minimax fit by reweighted least squares against Newton's
# method on math.erf. In t all coefficients are positive, so that float32 evaluates it without cancellation.
TRUNCATED_P = (
    1.9999999999361926,
    39.07464686929177,
    255.94760132279703,
    666.0780011690347,
    648.0095798910446,
    183.68526378161008,
    6.7904346453274815,
)
TRUNCATED_Q = (
    1.0,
    21.24718320368569,
    155.81894784171422,
    475.2462979053129,
    585.3917445963933,
    245.19175054085198,
    22.083829581641332,
)


def truncated_quantile(v: Array) -> Array:
    """The quantile function described above; v in [-1, 1] and the result in [-2, 2] are float64."""
    t = (1.0 - v) * (1.0 + v)
    ratio = np.polyval(TRUNCATED_P[::-1], t) / np.polyval(TRUNCATED_Q[::-1], t)
    return np.asarray(np.clip(v * ratio, -2.0, 2.0))


def _words(state: Array, seed: int, n: int, wide: bool) -> Array:
    """W of the first `n` elements: uint32, or uint64 where `wide`."""
    words = bits(int(state[0]), int(state[1]), seed, 2 * n if wide else n)
    if not wide:
        return words
    low, high = words[0::2].astype(np.uint64), words[1::2].astype(np.uint64)
    return np.asarray(low | high << np.uint64(32))


def _signed(words: Array) -> Array:
    """The words as two's complement integers."""
    return words.view(np.dtype(f"i{words.itemsize}"))


def _rounded(words: Array) -> Array:
    """The words as floats of their own size, exactly widened to float64."""
    return words.astype(np.dtype(f"f{words.itemsize}")).astype(np.float64)


class RandomOp(Op):
    """An op that fills a tensor of `shape` and `dtype` with independent random numbers."""

    schema = {"seed": "int", "shape": "dims", "dtype": "dtype"}
    no_gradient = "random numbers do not depend on any input continuously"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        _check_state(self.name, types)
        if not attrs["dtype"].is_float:
            raise TypeRuleError(f"{self.name} makes float16, float32 or float64 numbers, not {attrs['dtype'].name}")
        return (TensorType(attrs["dtype"], attrs["shape"]),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        dtype, shape = attrs["dtype"].numpy, attrs["shape"]
        n = math.prod(shape)
        words = _words(inputs[0], attrs["seed"], n + n % 2, dtype.itemsize == 8)
        return (self.numbers(words, dtype)[:n].astype(dtype).reshape(shape),)

    def numbers(self, words: Array, dtype: np.dtype) -> Array:
        """The numbers of an even count of words, before they are rounded to `dtype`."""
        raise TypeError(f"op {self.name} has no reference")


def _check_state(op: str, types: tuple[TensorType, ...]) -> None:
    if types != (STATE,):
        raise TypeRuleError(f"{op} takes a random state {STATE}, got {', '.join(map(str, types))}")


class RandomUniform(RandomOp):
    """random_uniform(state): uniform in [0, 1)."""

    name = "random_uniform"

    def numbers(self, words: Array, dtype: np.dtype) -> Array:
        precision = np.finfo(dtype).nmant + 1
        kept = words >> words.dtype.type(8 * words.itemsize - precision)
        return np.asarray(kept.astype(np.float64) * 2.0**-precision)


class RandomNormal(RandomOp):
    """random_normal(state): normal with mean 0 and standard deviation 1."""

    name = "random_normal"

    def numbers(self, words: Array, dtype: np.dtype) -> Array:
        width, kind = 8 * words.itemsize, words.dtype.type
        first, second = words[0::2], words[1::2]
        radius = np.sqrt(-2.0 * np.log(np.maximum(_rounded(first), 0.5) * 2.0**-width))
        quarter = (second + kind(1 << (width - 3))) >> kind(width - 2)  # the sum wraps: a full turn is none
        small = _rounded(_signed(second - (quarter << kind(width - 2)))) * (2.0 * math.pi * 2.0**-width)
        cos, sin, turn = np.cos(small), np.sin(small), quarter.astype(np.intp)
        out = np.empty(words.size)
        out[0::2] = radius * np.choose(turn, (cos, -sin, -cos, sin))
        out[1::2] = radius * np.choose(turn, (sin, cos, -sin, -cos))
        return out


class RandomTruncatedNormal(RandomOp):
    """random_truncated_normal(state): normal with mean 0 and standard deviation 1 before values beyond -2 and 2 are
    cut off."""

    name = "random_truncated_normal"

    def numbers(self, words: Array, dtype: np.dtype) -> Array:
        return truncated_quantile(_rounded(_signed(words)) * 2.0 ** (1 - 8 * words.itemsize))


class RandomAdvance(Op):
    """random_advance(state): the state of the next run, its counter one higher (modulo 2**64)."""

    name = "random_advance"
    no_gradient = "random state is an integer"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        _check_state(self.name, types)
        return types

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return (inputs[0] + np.array([0, 1], np.uint64),)


OPS: tuple[Op, ...] = (RandomUniform(), RandomNormal(), RandomTruncatedNormal(), RandomAdvance())
