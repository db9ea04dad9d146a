"""Every row of the op table on the CPU target, against the op's reference: with known sizes, and with a symbolic
batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.cache import KernelCache
from codegen.cpu.program import CpuProgram
from codegen.cpu.target import LOWERINGS
from codegen.launch import Launch
from codegen.schedule import ALIASES, Scheduler, schedule
from ir import builder as b
from ir import dtypes
from ir.dims import Dim, SymDim
from ir.extract import extract
from ir.graph import Attrs, Node
from ir.ops import OPS
from ir.types import TensorType
from tests.op_case import Case
from tests.op_cases import CASES

B = SymDim("B")
COVERED = [c for c in CASES if c.op in LOWERINGS or c.op in ALIASES or c.op == "constant"]


@pytest.fixture(scope="session")
def cache(kgraph_home: Path) -> KernelCache:
    return KernelCache()


def lower(node: Node, ctx: Scheduler) -> list[Launch]:
    return LOWERINGS[node.op.name](node, ctx)


def program(case: Case, shapes: Sequence[tuple[Dim, ...]], cache: KernelCache) -> CpuProgram:
    inputs = [
        b.input_value(TensorType(dtypes.of(a.dtype), shape), f"x{i}")
        for i, (a, shape) in enumerate(zip(case.inputs, shapes, strict=True))
    ]
    outputs = b.apply(case.op, *inputs, **case.attrs)
    return CpuProgram(schedule(extract("row", inputs, outputs), lower), cache)


def check(
    case: Case, compiled: CpuProgram, inputs: Sequence[np.ndarray], attrs: Mapping[str, Any] | None = None
) -> None:
    """Runs the program and compares with the reference; inputs must keep their content."""
    given = [np.array(a, order="C") for a in inputs]
    found = compiled.run(given)
    expected = OPS[case.op].reference(list(inputs), Attrs(case.attrs if attrs is None else attrs))
    for before, after in zip(inputs, given, strict=True):
        np.testing.assert_array_equal(before, after, err_msg="an input was changed")
    for y, want in zip(found, expected, strict=True):
        assert (y.dtype, y.shape) == (want.dtype, want.shape)
        if want.dtype.kind == "f":
            np.testing.assert_allclose(y, want, rtol=case.rtol, atol=case.atol)
        else:
            np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("case", COVERED, ids=lambda c: c.name)
def test_row(case: Case, cache: KernelCache) -> None:
    check(case, program(case, [a.shape for a in case.inputs], cache), case.inputs)


def resized(a: np.ndarray, axis: int | None, size: int) -> np.ndarray:
    """`a` with its elements along `axis` repeated to `size` of them (zeros where it has none)."""
    if axis is None:
        return a
    if a.shape[axis] == 0:
        return np.zeros([size if i == axis else d for i, d in enumerate(a.shape)], a.dtype)
    return np.take(a, np.arange(size) % a.shape[axis], axis)


@pytest.mark.parametrize("case", [c for c in COVERED if c.batch], ids=lambda c: c.name)
def test_symbolic_batch(case: Case, cache: KernelCache) -> None:
    """One program serves several batch sizes, and the second one compiles nothing."""
    shapes = [
        tuple(B if i == axis else d for i, d in enumerate(a.shape))
        for a, axis in zip(case.inputs, case.batch, strict=True)
    ]
    compiled = program(case, shapes, cache)
    check(case, compiled, case.inputs)
    before = cache.compiled
    sizes = [a.shape[axis] for a, axis in zip(case.inputs, case.batch, strict=True) if axis is not None]
    larger = 2 * sizes[0] + 3
    check(case, compiled, [resized(a, axis, larger) for a, axis in zip(case.inputs, case.batch, strict=True)])
    assert cache.compiled == before
