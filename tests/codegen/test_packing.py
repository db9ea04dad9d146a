"""Weights packed once, in the prologue of programs that do not write them: every vector width and number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from codegen.cpu import threads
from codegen.cpu.features import AVX2, AVX512, GENERIC, Vectors
from codegen.cpu.matmul import lower_matmul
from codegen.cpu.pace import Pace
from codegen.cpu.program import CpuProgram
from codegen.cpu.target import CpuTarget
from codegen.launch import launches_of
from codegen.storage import StoredVariable
from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.extract import Assign, extract
from ir.graph import Variable
from ir.types import TensorType
from tests.codegen.harness import Array, Context, guarded, run_launches

B = SymDim("B")
ROWS = (1, 2, 3, 4, 5, 8, 9, 33)


@pytest.fixture(autouse=True)
def set_threads() -> Iterator[Callable[[int], None]]:
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


def random(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def dense(weights: Array, transposed: bool, trained: bool = False) -> tuple[CpuProgram, StoredVariable]:
    """x @ w, or x @ w.T; a trained one also makes w smaller."""
    w = StoredVariable(weights, TensorType(dtypes.f32, weights.shape), "w")
    x = b.input_value(TensorType(dtypes.f32, (B, weights.shape[int(transposed)])), "x")
    y = b.matmul(x, w.value, False, transposed)
    updates = [Assign(w, b.mul(w.value, 0.5))] if trained else []
    return CpuTarget().program(extract("dense", [x], [y], updates)), w


def packs(program: CpuProgram) -> int:
    return sum(launch.kernel.name.startswith("pack") for launch in launches_of(program.schedule.prologue))


@pytest.mark.parametrize(("shape", "transposed"), [((70, 700), False), ((70, 30), True), ((3, 1100), True)], ids=str)
def test_prologue(shape: tuple[int, int], transposed: bool, set_threads: Callable[[int], None]) -> None:
    """The same bits for any number of threads, and new panels for new weights."""
    weights = random(shape)
    program, w = dense(weights, transposed)
    assert packs(program) == 1
    for rows in ROWS:
        x = random((rows, shape[int(transposed)]), rows)
        for new in (weights, weights * 2 + 1):
            w.array[...] = new
            w.version += 1
            results = []
            for n in (1, 2, 3):
                set_threads(n)
                results += program.run([x])
            assert all(r.tobytes() == results[0].tobytes() for r in results)
            np.testing.assert_allclose(results[0], x @ (new.T if transposed else new), rtol=0, atol=2e-3)


def test_a_prologue_is_no_measure_of_runs(set_threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be much shorter than a run, which then must not be taken for one that was held up."""
    noted: list[int] = []
    monkeypatch.setattr(Pace, "note", lambda self, shared, now, took: noted.append(took))
    program, _ = dense(random((700, 1100)), False)
    set_threads(2)
    for _ in range(3):
        program.run([random((128, 700))])
    assert packs(program) == 1 and len(noted) == 3


def test_what_is_not_packed() -> None:
    """Weights that the program writes, and those that are read as well where they lie."""
    assert packs(dense(random((70, 700)), False, trained=True)[0]) == 0
    assert packs(dense(random((700, 30)), False)[0]) == 0
    assert packs(dense(random((700, 100)), False)[0]) == 0


@pytest.mark.parametrize(("strides", "padding"), [((1, 1), "same"), ((2, 1), "valid")], ids=str)
def test_convolution(strides: tuple[int, int], padding: str, set_threads: Callable[[int], None]) -> None:
    """Kernels with many channels; at `same`, some lines of them meet nothing but padding."""
    kernel = StoredVariable(random((3, 2, 5, 530)), TensorType(dtypes.f32, (3, 2, 5, 530)), "kernel")
    x = b.input_value(TensorType(dtypes.f32, (B, 4, 6, 5)), "x")
    y = b.apply1(
        "conv2d", x, kernel.value, strides=strides, padding=padding, dilation=(1, 1), data_format="channels_last"
    )
    program = CpuTarget().program(extract("conv", [x], [y]))
    assert packs(program) == 1
    for images in (1, 3):
        fed = random((images, 4, 6, 5), images)
        for n in (1, 2):
            set_threads(n)
            (out,) = program.run([fed])
            (expected,) = y.node.op.reference([fed, kernel.array], y.node.attrs)
            np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("vectors", [AVX512, AVX2, GENERIC], ids=lambda v: v.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_widths(dtype: str, vectors: Vectors) -> None:
    for k, n, transposed in ((9, 530, False), (17, 65, True), (1, 515, False), (2100, 513, False)):
        weights = random((n, k) if transposed else (k, n)).astype(dtype)
        for rows in ROWS[::3]:
            x = random((rows, k), 1).astype(dtype)
            kind = dtypes.of(x.dtype)
            v, w = b.input_value(TensorType(kind, x.shape), "x"), Variable(TensorType(kind, weights.shape), "w")
            graph = extract("dense", [v], [b.matmul(v, w.value, False, transposed)])
            (node,) = graph.nodes
            ctx = Context(graph=graph, fixed=graph.unwritten)
            launches = lower_matmul(node, ctx, vectors)  # type: ignore[arg-type]
            assert [launch.kernel.name.split("_")[0] for launch in launches[:2]] == ["pack", "contract"]
            out = guarded(np.full(rows * n, np.nan, dtype))
            arrays = (guarded(x), guarded(weights), out)
            buffers = {ctx.buffer(v): a for v, a in zip((*node.inputs, node.output), arrays, strict=True)}
            run_launches(launches, buffers)
            wide = weights.T if transposed else weights
            np.testing.assert_allclose(out.reshape(rows, n), x.astype(float) @ wide, rtol=0, atol=1e-3)
