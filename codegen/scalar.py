"""The names that scalar expressions are written with, the same on every target.

Elementwise ops of `ir` carry expressions over `{0}`, `{1}`, ... ("maximum({0}, 0)"), which `expression` makes into
text. `codegen/cpu/scalar.py` says what each name does on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

COMPUTED_IN = {"f16": "f32"}
"""Dtypes (short names) whose values have another dtype in registers; all others are computed in their own."""


@dataclass(frozen=True)
class Function:
    """One name: number of arguments, the kinds of dtypes it takes ('f' float, 'i' signed, 'u' unsigned, 'b' bool),
    what it gives.

    All arguments have one dtype, which is also the result's, except that integers of different size may meet, that
    `where`'s first argument is a bool, and that `boolean` results are bools.
    """

    arity: int
    kinds: str
    meaning: str
    boolean: bool = False


FUNCTIONS: dict[str, Function] = {
    "exp": Function(1, "f", "e**x"),
    "expm1": Function(1, "f", "e**x - 1, exact near 0"),
    "log": Function(1, "f", "natural logarithm"),
    "log1p": Function(1, "f", "log(1 + x), exact near 0"),
    "tanh": Function(1, "f", "hyperbolic tangent"),
    "sigmoid": Function(1, "f", "1 / (1 + exp(-x))"),
    "erf": Function(1, "f", "error function"),
    "sin": Function(1, "f", "sine"),
    "cos": Function(1, "f", "cosine"),
    "sqrt": Function(1, "f", "square root"),
    "rsqrt": Function(1, "f", "1 / sqrt(x)"),
    "floor": Function(1, "f", "round down"),
    "ceil": Function(1, "f", "round up"),
    "rint": Function(1, "f", "round to nearest, halves to even"),
    "absolute": Function(1, "fiu", "|x|"),
    "sign": Function(1, "fiu", "-1, 0 or 1; 0 for NaN"),
    "isnan": Function(1, "f", "whether x is NaN", boolean=True),
    "power": Function(2, "fiu", "x**y; integers wrap, a negative integer exponent gives 0 unless |x| is 1"),
    "maximum": Function(2, "fiub", "larger one; NaN if either is NaN"),
    "minimum": Function(2, "fiub", "smaller one; NaN if either is NaN"),
    "floordiv": Function(2, "fiu", "x / y rounded down; an integer divided by 0 gives 0"),
    "floormod": Function(2, "fiu", "remainder with the sign of y; of an integer by 0 it is 0"),
    "fma": Function(3, "f", "x * y + z, rounded once"),
    "where": Function(3, "fiub", "y where x holds, else z; both are computed"),
}
"""Every function name that a scalar expression may use. Operators are Python's; `cast_<dtype>(x)` converts by value.
Number literals must be converted so (`cast_f32(2)`): a bare one would make Numba compute in float64.
"""
