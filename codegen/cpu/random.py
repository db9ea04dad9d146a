"""Random numbers on the CPU: Philox 4x32-10 in the kernel, bit for bit the words of `ir/philox.py`.

Elements are made in *chunks* of 1024 words: a loop over Philox blocks, many at a time in the lanes of vectors, writes
the words to the worker's scratch memory, and a second loop makes them into numbers by the formulas of
`ir/ops/random.py`. An element depends on the state, the seed and its index alone, so tiles may be cut anywhere. Before
it come the ops of `ir/ops/random.py`; `target.py` lists the lowerings.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from codegen.cpu.columns import placed
from codegen.cpu.tiles import computed_in, count, named_slots, per, tiles
from codegen.launch import Launch, LowerContext, Lowering, Read, Write
from codegen.source import Kernel
from ir import dims
from ir.dtypes import DType
from ir.graph import Node
from ir.ops.random import TRUNCATED_P, TRUNCATED_Q
from ir.philox import MULTIPLIERS, ROUNDS, WEYL

WORDS = 1024  # words of a chunk: whole blocks, and small enough for the first-level cache
_BLOCKS = WORDS // 4
LOW = 0xFFFFFFFF

_FILL = """
def kernel(args, lo, hi, worker):
    {slots}
    words = i32p(worker)
    w = i{bits}p(worker)
    last = {short}p(worker + {scratch})
    {keys}
    for t in range(lo * per, min(hi * per, (n + {chunk} - 1) // {chunk})):
        left = min({chunk}, n - t * {chunk})
        blocks = (left + {each} - 1) // {each}
        for j in range(blocks):
            {philox}
        y = offset(out, t * {chunk})
        if left < blocks * {each}:
            y = last
        {numbers}
        if left < blocks * {each}:
            copy(addr(out) + t * {chunk_bytes}, addr(last), left * {size})
"""
"""Only whole blocks are made into numbers. A chunk that ends inside a block is made next to the words, from where the
part that is wanted is copied.
"""


def key_lines() -> list[str]:
    """Lines for the key words of every round and the two counter words that all blocks share."""
    lines = [
        f"key0 = state[0] & {LOW}",
        f"key1 = ((state[0] >> 32) ^ (state[1] >> 32)) & {LOW}",
        f"run = state[1] & {LOW}",
    ]
    for r in range(ROUNDS):
        lines += [f"k{r}_{i} = (key{i} + {r * WEYL[i] & LOW}) & {LOW}" for i in (0, 1)]
    return lines


def block_lines(number: str) -> list[str]:
    """Lines that store the four words of block `number` at 4 * j. They are computed as int64 whose high halves hold
    garbage until a product masks them, so that one multiplication of vectors gives both halves.
    """
    lines = [f"w0 = {number}", "w1 = w0 >> 32", "w2 = run", "w3 = seed"]
    for r in range(ROUNDS):
        lines += [
            f"m0 = (w0 & {LOW}) * {MULTIPLIERS[0]}",
            f"m1 = (w2 & {LOW}) * {MULTIPLIERS[1]}",
            f"w0 = (m1 >> 32) ^ w1 ^ k{r}_0",
            f"w2 = (m0 >> 32) ^ w3 ^ k{r}_1",
            "w1 = m1",
            "w3 = m0",
        ]
    return [*lines, *(f"store(words, 4 * j + {i}, i32(w{i}))" for i in range(4))]


_UNIFORM = """\
for i in range(blocks * {each}):
    store(y, i, {number})
"""


def uniform_of(word: str, dtype: DType) -> str:
    """Text of the uniform number made of a word."""
    bits, precision = _bits(dtype), {"f16": 11, "f32": 24, "f64": 53}[dtype.short]
    value = computed_in(dtype)
    return f"{value}(i{bits}(({word} >> {bits - precision}) & {2**precision - 1})) * {value}({2.0**-precision})"


_NORMAL = """\
for i in range(blocks * {each} // 2):
    first = {value}(u{bits}(load(w, 2 * i)))
    second = load(w, 2 * i + 1)
    radius = sqrt({value}(-2) * log(maximum(first, {value}(0.5)) * {value}({scale})))
    quarter = (second + {eighth}) >> {shift}
    g = {value}(i{bits}(i{bits}(second << 2) >> 2)) * {value}({angle})
    z = g * g
    s = fma(g, {value}({sine_high}), g * ({sine}))
    c = fma(z, {cosine}, {value}(1))
    odd = (quarter & 1) != 0
    one = where(odd, s, c)
    other = where(odd, c, s)
    store(y, 2 * i, where(((quarter + 1) & 2) != 0, -radius, radius) * one)
    store(y, 2 * i + 1, where((quarter & 2) != 0, -radius, radius) * other)
"""
"""`g`, at most a half in size and exact, is the small angle in quarter turns: sin and cos are polynomials in it."""

_TRUNCATED = """\
for i in range(blocks * {each}):
    v = f64({value}(load(w, i))) * f64({unit})
    s = (f64(1) - v) * (f64(1) + v)
    q = v * (({p}) / ({q}))
    store(y, i, minimum(maximum(q, f64(-2)), f64(2)))
"""
"""In float64 for every dtype, rounded step by step as in the reference, so that float32 and float64 results are the
same bit for bit: this is for initial weights, where speed matters less.
"""


_FUSED = "fma({sum}, {x}, {value}({c!r}))"
_UNFUSED = "fma({sum} * {x}, {value}(1), {value}({c!r}))"  # a plain sum of a product could be compiled to a fused step


def _horner(x: str, coefficients: Sequence[float], value: str, step: str = _FUSED) -> str:
    """Text of a polynomial, lowest power first."""
    text = f"{value}({coefficients[-1]!r})"
    for c in reversed(coefficients[:-1]):
        text = step.format(sum=text, x=x, value=value, c=c)
    return text


def _sine(value: str) -> tuple[float, str]:
    """sin(pi/2 g) = g * (high + rest), |g| <= 1/2: `high`, and the text of `rest`, which is a tenth of it or less, so
    that its rounding hardly matters.
    """
    terms = 10 if value == "f64" else 5
    series = [(-1) ** k * (math.pi / 2) ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(terms)]
    high = math.pi / 2 if value == "f64" else 1.57079637050628662109375  # pi/2 as a float32
    low = 6.123233995736766e-17 if value == "f64" else math.pi / 2 - high  # pi/2 minus its float64
    return high, _horner("z", [low, *series[1:]], value)


def _cosine(value: str) -> str:
    """The text of (cos(pi/2 g) - 1) / g**2."""
    terms = 11 if value == "f64" else 6
    series = [(-1) ** k * (math.pi / 2) ** (2 * k) / math.factorial(2 * k) for k in range(1, terms)]
    return _horner("z", series, value)


def _bits(dtype: DType) -> int:
    """Size of the integer that an element is made of."""
    return 64 if dtype.itemsize == 8 else 32


def _numbers(op: str, dtype: DType) -> str:
    bits, value = _bits(dtype), computed_in(dtype)
    each = 128 // bits
    if op == "random_uniform":
        return _UNIFORM.format(each=each, number=uniform_of("load(w, i)", dtype))
    if op == "random_normal":
        high, sine = _sine(value)
        return _NORMAL.format(
            each=each, value=value, bits=bits, scale=2.0**-bits, eighth=1 << (bits - 3), shift=bits - 2,
            angle=2.0 ** (2 - bits), sine_high=high, sine=sine, cosine=_cosine(value),
        )  # fmt: skip
    p, q = (_horner("s", c, "f64", _UNFUSED) for c in (TRUNCATED_P, TRUNCATED_Q))
    return _TRUNCATED.format(each=each, value=value, unit=2.0 ** (1 - bits), p=p, q=q)


def _chunk(dtype: DType) -> int:
    """Elements of a chunk."""
    return WORDS * 32 // _bits(dtype)


@functools.cache
def _kernel(op: str, dtype: DType) -> Kernel:
    chunk = _chunk(dtype)
    text = _FILL.format(
        slots=named_slots(f"i64:state {dtype.short}:out seed n per"),
        bits=_bits(dtype), short=dtype.short, scratch=4 * WORDS, chunk=chunk, each=chunk // _BLOCKS,
        keys=placed("\n".join(key_lines()), 4), philox=placed("\n".join(block_lines(f"t * {_BLOCKS} + j")), 12),
        numbers=placed(_numbers(op, dtype), 8), chunk_bytes=chunk * dtype.itemsize, size=dtype.itemsize,
    )  # fmt: skip
    return Kernel(f"{op}_{dtype.short}", text)


def _lower_fill(node: Node, ctx: LowerContext) -> list[Launch]:
    y = node.output
    dtype, chunk = y.type.dtype, _chunk(y.type.dtype)
    slots = (
        Read(ctx.buffer(node.inputs[0])), Write(ctx.buffer(y)), node.attrs["seed"] & LOW, y.type.size, per(chunk),
    )  # fmt: skip
    number = tiles(dims.ceildiv(y.type.size, chunk), chunk)
    scratch = 4 * WORDS + chunk * dtype.itemsize
    return [Launch(_kernel(node.op.name, dtype), slots, number, count(30, y.type.size), scratch)]


_ADVANCE = """
def kernel(args, lo, hi, worker):
    {slots}
    for t in range(lo, hi):
        following[0] = state[0]
        following[1] = state[1] + 1
"""


@functools.cache
def _advance_kernel() -> Kernel:
    return Kernel("random_advance", _ADVANCE.format(slots=named_slots("i64:state i64:following")))


def _lower_advance(node: Node, ctx: LowerContext) -> list[Launch]:
    slots = (Read(ctx.buffer(node.inputs[0])), Write(ctx.buffer(node.output)))
    return [Launch(_advance_kernel(), slots, 1, 1)]


LOWERINGS: dict[str, Lowering] = {
    "random_uniform": _lower_fill,
    "random_normal": _lower_fill,
    "random_truncated_normal": _lower_fill,
    "random_advance": _lower_advance,
}
