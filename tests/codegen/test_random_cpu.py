"""Random numbers of the CPU target against the references: bit for bit, normals within 4 ulp, however tiles are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codegen.cpu.call import c_function
from codegen.cpu.random import LOWERINGS
from ir import dtypes
from ir.dims import Dim, SymDim
from ir.dtypes import DType
from ir.graph import Attrs, Node, Value
from ir.ops import OPS
from ir.ops.random import STATE
from ir.philox import bits
from ir.types import TensorType
from tests.codegen.harness import CACHE, Array, Context, bind, make_node, run_node, slot_value
from tests.op_case import Case
from tests.op_cases.random import CASES

UNIFORM, NORMAL, TRUNCATED = FILLS = ("random_uniform", "random_normal", "random_truncated_normal")
FLOATS = (dtypes.f16, dtypes.f32, dtypes.f64)
SEED = 2**32 - 5
KEYS = np.array([0xFEDCBA9876543210, 0x89ABCDEF00000003], np.uint64)


def node_of(op: str, shape: tuple[Dim, ...], dtype: DType, seed: int = SEED) -> Node:
    state = Value(STATE, name="state")
    return make_node(op, [state], TensorType(dtype, shape), seed=seed, shape=shape, dtype=dtype)


def expected(op: str, shape: tuple[int, ...], dtype: DType, seed: int = SEED, state: Array = KEYS) -> Array:
    attrs = Attrs({"seed": seed, "shape": shape, "dtype": dtype})
    return OPS[op].reference([state], attrs)[0]


def ulps(found: Array, wanted: Array) -> float:
    """Largest distance in units in the last place of the wanted numbers."""
    if not found.size:
        return 0.0
    wide = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    return float((wide / np.spacing(np.abs(wanted)).astype(np.float64)).max())


def agree(op: str, found: Array, wanted: Array) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    if op == NORMAL:
        assert ulps(found, wanted) <= 4.0
    elif op == TRUNCATED and wanted.dtype == np.float16:
        assert ulps(found, wanted) <= 1.0  # rounded to float32 on the way
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_row(case: Case) -> None:
    wanted = OPS[case.op].reference(list(case.inputs), Attrs(case.attrs))[0]
    output = TensorType(dtypes.of(wanted.dtype), wanted.shape)
    node = make_node(case.op, [Value(STATE, name="state")], output, **case.attrs)
    (found,) = run_node(LOWERINGS[case.op], node, case.inputs)
    if case.op in FILLS:
        agree(case.op, found, wanted)
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", FILLS)
def test_sizes(op: str, dtype: DType) -> None:
    """One kernel serves every size: the ends of blocks and chunks, and several tiles."""
    size = SymDim("N")
    for n in (0, 1, 2, 3, 4, 5, 511, 512, 1023, 1024, 1025, 4097, 100_003):
        (found,) = run_node(LOWERINGS[op], node_of(op, (size,), dtype), [KEYS], {size: n})
        agree(op, found, expected(op, (n,), dtype))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", FILLS)
@pytest.mark.parametrize("cut", [{"tiles_at_once": 1}, {"tiles_at_once": 2, "reverse": True}], ids=str)
def test_any_cut_into_tiles(op: str, dtype: DType, cut: dict[str, Any]) -> None:
    node = node_of(op, (3, 33_335), dtype)
    (whole,) = run_node(LOWERINGS[op], node, [KEYS])
    (found,) = run_node(LOWERINGS[op], node, [KEYS], **cut)
    assert found.tobytes() == whole.tobytes()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_normals_far_out(dtype: DType) -> None:
    """Many numbers, so that the tails and all quarter turns occur."""
    (found,) = run_node(LOWERINGS[NORMAL], node_of(NORMAL, (1 << 20,), dtype), [KEYS])
    agree(NORMAL, found, expected(NORMAL, (1 << 20,), dtype))
    assert np.abs(found).max() > 4.5
    np.testing.assert_allclose([found.mean(dtype=float), found.std(dtype=float)], [0.0, 1.0], atol=5e-3)


def test_streams_differ() -> None:
    """Another seed, run or key gives other numbers; a seed counts modulo 2**32."""
    states = [KEYS, KEYS + np.array([0, 1], np.uint64), KEYS + np.array([1, 0], np.uint64)]
    seen = set()
    for state in states:
        for seed in (0, 1, -1):
            (found,) = run_node(LOWERINGS[UNIFORM], node_of(UNIFORM, (9,), dtypes.f32, seed), [state])
            agree(UNIFORM, found, expected(UNIFORM, (9,), dtypes.f32, seed, state))
            seen.add(found.tobytes())
    assert len(seen) == 9
    (wrapped,) = run_node(LOWERINGS[UNIFORM], node_of(UNIFORM, (9,), dtypes.f32, 2**32 - 1), [KEYS])
    assert wrapped.tobytes() in seen


def test_blocks_beyond_32_bits() -> None:
    """The last tile alone of a tensor of 2**34 + 5 numbers, whose address is chosen so that its end is `out`."""
    first, count = 1 << 34, 5
    node = node_of(UNIFORM, (first + count,), dtypes.f32)
    ctx = Context()
    (launch,) = LOWERINGS[UNIFORM](node, ctx)
    out, scratch = np.zeros(count, np.float32), np.zeros(bind(launch.scratch, {}), np.uint8)
    addresses = {ctx.buffer(node.inputs[0]): KEYS.ctypes.data, ctx.buffer(node.output): out.ctypes.data - 4 * first}
    row = np.array([slot_value(s, addresses, {}) for s in launch.slots], np.int64)
    tiles = bind(launch.tiles, {})
    c_function(CACHE.get(launch.kernel))(row.ctypes.data, tiles - 1, tiles, scratch.ctypes.data)
    words = bits(int(KEYS[0]), int(KEYS[1]), SEED, count, start=first)
    np.testing.assert_array_equal(out, (words >> 8) * np.float32(2.0**-24))
