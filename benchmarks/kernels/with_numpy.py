"""The kernels on numpy, those that it has (`Library.without` lists the others)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.kernels.cases import CASES, arrays


def load(threads: int) -> str:
    import numpy

    return str(numpy.__version__)


def prepare(name: str, threads: int) -> Callable[[], Any]:
    import numpy as np

    case = CASES[name]
    x = arrays(case)
    if case.kind in ("sum", "max"):
        (axis,) = case.options
        return lambda: getattr(np, case.kind)(x[0], axis=axis)
    run = _STEPS[case.kind]
    out = run(np, *x, None)
    return lambda: run(np, *x, out)


def _multiply_add(np: Any, x: Any, y: Any, z: Any, out: Any) -> Any:
    out = np.multiply(x, y, out=out)
    return np.add(out, z, out=out)


def _sigmoid(np: Any, x: Any, out: Any) -> Any:
    out = np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, np.float32(1), out=out)
    return np.reciprocal(out, out=out)


def _softmax(np: Any, x: Any, out: Any) -> Any:
    out = np.subtract(x, x.max(axis=1, keepdims=True), out=out)
    np.exp(out, out=out)
    return np.divide(out, out.sum(axis=1, keepdims=True), out=out)


_STEPS: dict[str, Callable[..., Any]] = {
    "copy": lambda np, x, out: np.positive(x) if out is None else np.copyto(out, x),
    "matmul": lambda np, x, y, out: np.matmul(x, y, out=out),
    "matmul_nt": lambda np, x, y, out: np.matmul(x, y.T, out=out),
    "matmul_tn": lambda np, x, y, out: np.matmul(x.T, y, out=out),
    "relu": lambda np, x, out: np.maximum(x, np.float32(0), out=out),
    "add": lambda np, x, y, out: np.add(x, y, out=out),
    "multiply_add": _multiply_add,
    "exp": lambda np, x, out: np.exp(x, out=out),
    "log": lambda np, x, out: np.log(x, out=out),
    "tanh": lambda np, x, out: np.tanh(x, out=out),
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}
