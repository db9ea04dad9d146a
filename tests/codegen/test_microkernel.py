"""The micro-kernels by themselves: every tile of every width, tables of offsets in any order, depth 0, accumulation."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.cpu.call import c_function
from codegen.cpu.features import ALL, GENERIC, Vectors, host_vectors
from codegen.cpu.microkernel import multiply_kernel, transpose_kernel
from tests.codegen.harness import CACHE, Array

TILES = sorted(
    {
        (rows, n, v.lanes(size), size)
        for v in ALL
        for n in (*range(1, v.widest + 1), v.widths[0])
        for size in (4, 8)
        for rows in (v.heights(n) if size == 4 else v.heights(n)[:1])
        if v.name != "neon"  # its tiles differ from those of avx512 only in their lanes
    }
)


def multiply(
    shape: tuple[int, int, int, int], a: Array, rows: Array, steps: Array, b: Array, c: Array, crows: Array, add: bool
) -> None:
    row_count, _, _, size = shape
    assert len(rows) == len(crows) == row_count
    tables = [np.ascontiguousarray(t * size, np.int64) for t in (rows, steps, crows)]
    function = c_function(CACHE.get(multiply_kernel(*shape)), 9)
    function(
        len(steps), a.ctypes.data, tables[0].ctypes.data, tables[1].ctypes.data, b.ctypes.data, b.strides[0],
        c.ctypes.data, tables[2].ctypes.data, int(add),
    )  # fmt: skip


@pytest.mark.parametrize("shape", TILES, ids=lambda s: "x".join(map(str, s)))
def test_tile(shape: tuple[int, int, int, int]) -> None:
    rows, vectors, lanes, size = shape
    rng = np.random.default_rng(1)
    dtype = {4: np.float32, 8: np.float64}[size]
    for depth in (0, 1, 7):
        a = rng.standard_normal(500).astype(dtype)
        b = rng.standard_normal((depth + 1, vectors * lanes + 3)).astype(dtype)
        starts, steps = rng.integers(0, 250, rows), rng.integers(0, 250, depth)
        c = rng.standard_normal((rows + 2, vectors * lanes + 5)).astype(dtype)
        before = c.copy()
        order = rng.permutation(rows) + 1
        product = a[starts[:, None] + steps[None, :]].astype(float) @ b[:depth, : vectors * lanes].astype(float)
        for add in (False, True):
            multiply(shape, a, starts, steps, b, c, order * c.shape[1], add)
            np.testing.assert_allclose(c[order, : vectors * lanes], (1 + add) * product, rtol=1e-4, atol=1e-4)
        untouched = np.ones(c.shape, bool)
        untouched[order, : vectors * lanes] = False
        np.testing.assert_array_equal(c[untouched], before[untouched])


def test_repeated_rows_store_the_same_numbers() -> None:
    """The tail of a block of rows repeats its last row, in every table."""
    shape = (GENERIC.rows(1), 1, 4, 4)
    a = np.arange(20, dtype=np.float32)
    b = np.eye(4, dtype=np.float32)
    c = np.ones((3, 4), np.float32)
    rows = np.minimum(np.arange(shape[0]), 2)
    multiply(shape, a, rows * 4, np.arange(4), b, c, rows * 4, True)
    np.testing.assert_array_equal(c, 1 + a[:12].reshape(3, 4))


@pytest.mark.parametrize(("lanes", "size"), [(16, 4), (8, 4), (4, 4), (8, 8), (4, 8), (2, 8)])
def test_transpose(lanes: int, size: int) -> None:
    dtype = {4: np.float32, 8: np.float64}[size]
    for blocks in (0, 1, 3):
        source = np.random.default_rng(0).standard_normal((lanes, blocks * lanes + 1)).astype(dtype)
        target = np.full((blocks * lanes, lanes + 2), 7, dtype)
        function = c_function(CACHE.get(transpose_kernel(lanes, size)), 5)
        function(target.ctypes.data, target.strides[0], source.ctypes.data, source.strides[0], blocks)
        np.testing.assert_array_equal(target[:, :lanes], source[:, :-1].T)
        assert (target[:, lanes:] == 7).all()


def test_features() -> None:
    vectors = host_vectors()
    assert isinstance(vectors, Vectors) and vectors in ALL
    for v in ALL:
        for n in range(1, v.widest + 1):
            # The accumulators, a row of B and a broadcast of A.
            assert v.rows(n) * n + n + 1 <= v.registers
