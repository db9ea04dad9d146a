"""The kernels on kgraph: a graph of one op, compiled as any graph is, which writes its results into variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.kernels.cases import CASES, Case, arrays, turned
from benchmarks.networks.with_kgraph import load  # noqa: F401 - part of what an adapter offers


def prepare(name: str, threads: int) -> Callable[[], Any]:
    case = CASES[name]
    if case.kind == "fma":
        from benchmarks.kernels.fma import fma

        return fma(threads)
    if case.kind == "warp":
        return _warp(case)
    return _program(case)


def _warp(case: Case) -> Callable[[], Any]:
    from codegen.cpu.image import Warp, augment

    (x,) = arrays(case)
    warp = Warp(*turned(len(x)), boundary=case.options[0])
    return lambda: augment(x, (0, 1, 2), warp)


def _program(case: Case) -> Callable[[], Any]:
    import numpy as np

    from codegen.program import compile_graph
    from codegen.storage import StoredVariable
    from ir import builder as b
    from ir import dtypes
    from ir.extract import Assign, extract
    from ir.types import TensorType

    inputs = [b.input_value(TensorType(dtypes.f32, shape), f"x{i}") for i, shape in enumerate(case.shapes)]
    outputs = _values(case, inputs)
    stored = [StoredVariable(np.zeros(v.type.bind({}), np.float32), v.type, f"y{i}") for i, v in enumerate(outputs)]
    updates = [Assign(s, v) for s, v in zip(stored, outputs, strict=True)]
    program = compile_graph(extract("kernel", inputs, [], updates))
    given = arrays(case)

    def step() -> None:
        program.run(given)

    step()
    if not all(np.isfinite(s.array).all() for s in stored):
        raise ValueError("the result is not finite")
    return step


def _values(case: Case, x: list[Any]) -> tuple[Any, ...]:
    """The outputs of a case's op."""
    from ir import builder as b

    kind = case.kind
    if kind == "copy":
        return (x[0],)
    if kind.startswith("matmul"):
        return (b.matmul(*x, transpose_a=kind == "matmul_tn", transpose_b=kind == "matmul_nt"),)
    if kind.startswith("conv"):
        return (_conv(case, x),)
    if kind == "multiply_add":
        return (b.add(b.mul(x[0], x[1]), x[2]),)
    if kind in ("sum", "max"):
        (axis,) = case.options
        return (b.reduce(f"reduce_{kind}", x[0], None if axis is None else (axis,)),)
    if kind == "softmax":
        return b.apply("softmax", x[0], axis=1)
    if "pool" in kind:
        op = {"max_pool": "max_pool2d", "max_pool_grad": "max_pool2d_grad", "avg_pool": "avg_pool2d"}[kind]
        window, stride = case.options
        return b.apply(op, *x, pool_size=(window, window), **_window(stride))
    if kind.startswith("batch_norm"):
        return b.apply(kind, *x, axis=3, epsilon=1e-3)
    return b.apply(kind, *x)


def _window(stride: int) -> dict[str, Any]:
    return {"strides": (stride, stride), "padding": "same", "data_format": "channels_last"}


def _conv(case: Case, x: list[Any]) -> Any:
    from ir import builder as b

    stride, image, kernel = case.options
    attrs = {**_window(stride), "dilation": (1, 1)}
    if case.kind == "conv_dgrad":
        return b.apply1("conv2d_input_grad", *x, shape=image, **attrs)
    if case.kind == "conv_wgrad":
        return b.apply1("conv2d_kernel_grad", *x, shape=kernel, **attrs)
    return b.apply1("conv2d", *x, **attrs)
