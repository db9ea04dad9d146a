"""Second derivatives against finite differences of first ones; used by the tests of structured ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ir import builder as b
from ir.autodiff import gradients
from ir.dtypes import f64
from ir.graph import Value
from ir.interpreter import evaluate
from ir.types import TensorType


def check_second_derivatives(
    build: Callable[..., Value | Sequence[Value]], arrays: Sequence[np.ndarray], step: float = 1e-5
) -> None:
    """For L = sum(w * f(x)**2) over random weights w: the gradient of sum(v * dL/dx) must agree with differences of it.

    `build` makes f, one or several values, from float64 inputs like `arrays`.
    """
    rng = np.random.default_rng(1)
    inputs = [b.input_value(TensorType(f64, a.shape)) for a in arrays]
    outputs = build(*inputs)
    loss = _weighted([b.unary("square", y) for y in ([outputs] if isinstance(outputs, Value) else outputs)], rng)
    first = [g for g in gradients([loss], inputs) if g is not None]
    assert len(first) == len(inputs)
    total = _weighted(first, rng)
    second = [g if g is not None else b.zeros_like(v) for g, v in zip(gradients([total], inputs), inputs, strict=True)]

    def value(at: Sequence[np.ndarray]) -> float:
        return float(evaluate([total], dict(zip(inputs, at, strict=True)))[0])

    for k, found in enumerate(evaluate(second, dict(zip(inputs, arrays, strict=True)))):
        for _ in range(3):
            direction = rng.standard_normal(arrays[k].shape)
            ends = [[a + s * step * direction if i == k else a for i, a in enumerate(arrays)] for s in (1, -1)]
            expected = (value(ends[0]) - value(ends[1])) / (2 * step)
            np.testing.assert_allclose(np.vdot(found, direction), expected, rtol=1e-5, atol=1e-6)


def _weighted(values: Sequence[Value], rng: np.random.Generator) -> Value:
    """A scalar: the sum of all elements with random weights."""
    total = b.constant(0.0, f64)
    for v in values:
        weights = b.constant(rng.standard_normal(tuple(int(str(d)) for d in v.shape)), f64)
        total = b.add(total, b.reduce_sum(b.mul(v, weights)))
    return total
