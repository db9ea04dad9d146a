"""Random tensors. Each operation has a seed and a state of its own, so a seeded script repeats exactly.

A seed that is not given is drawn from `np.random`, so `np.random.seed` before building a model fixes everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ir import builder as b
from ir.graph import Value
from kgraph.backend.creation import as_shape, dtype_of
from kgraph.backend.tensor import Tensor, as_value
from kgraph.backend.variable import RandomState, Variable, variable

_SEEDS = 10_000_000


def new_seed(seed: int | None) -> int:
    """`seed`, or a new one from `np.random`."""
    return int(np.random.randint(_SEEDS)) if seed is None else int(seed)


def _draw(op: str, shape: Any, dtype: Any, seed: int | None) -> Value:
    state = RandomState(new_seed(seed))
    return b.apply1(op, state.value, seed=0, shape=as_shape(shape), dtype=dtype_of(dtype))


def _scaled(x: Value, factor: Any, offset: Any) -> Tensor:
    dtype = x.type.dtype
    return Tensor(b.add(b.mul(x, as_value(factor, dtype)), as_value(offset, dtype)))


def uniform(shape: Any, dtype: Any, seed: int | None) -> Value:
    """Numbers in [0, 1), for operations built on them."""
    return _draw("random_uniform", shape, dtype, seed)


def random_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: int | None = None) -> Tensor:
    """Normally distributed numbers."""
    return _scaled(_draw("random_normal", shape, dtype, seed), stddev, mean)


def random_uniform(
    shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: int | None = None
) -> Tensor:
    """Numbers spread evenly over [minval, maxval); whole ones where `dtype` is an integer type."""
    kind = dtype_of(dtype)
    if kind.is_integer:
        spread = _scaled(_draw("random_uniform", shape, "float64", seed), float(maxval - minval), float(minval))
        return Tensor(b.cast(b.unary("floor", spread.value), kind))
    return _scaled(_draw("random_uniform", shape, dtype, seed), maxval - minval, minval)


def random_binomial(shape: Any, p: float = 0.0, dtype: Any = None, seed: int | None = None) -> Tensor:
    """1 with probability `p`, else 0."""
    numbers = _draw("random_uniform", shape, dtype, seed)
    return Tensor(b.cast(b.compare("less", numbers, as_value(p, numbers.type.dtype)), numbers.type.dtype))


def truncated_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: int | None = None
) -> Tensor:
    """Normally distributed numbers, those beyond two standard deviations drawn again."""
    return _scaled(_draw("random_truncated_normal", shape, dtype, seed), stddev, mean)


def random_uniform_variable(
    shape: Any, low: float, high: float, dtype: Any = None, name: str | None = None, seed: int | None = None
) -> Variable:
    """A variable that starts with evenly spread numbers."""
    return variable(random_uniform(shape, low, high, dtype, seed), dtype, name)


def random_normal_variable(
    shape: Any, mean: float, scale: float, dtype: Any = None, name: str | None = None, seed: int | None = None
) -> Variable:
    """A variable that starts with normally distributed numbers."""
    return variable(random_normal(shape, mean, scale, dtype, seed), dtype, name)
