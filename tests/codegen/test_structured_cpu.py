"""Kernels of reductions, pooling, normalisation and strided copies on shapes that the op table lacks: several tiles
and parts, primes, wide and narrow rows, every element size. Each case runs whole, tile by tile and backwards; the
results must have the same bits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from codegen.cpu.target import LOWERINGS
from ir import builder as b
from ir import dtypes
from ir.graph import Attrs
from ir.ops import OPS
from ir.types import TensorType
from tests.codegen.harness import run_node
from tests.op_case import Case

Array = np.ndarray


def data(*shape: int, dtype: str = "float32", mean: float = 0.0) -> Array:
    rng = np.random.default_rng(shape)
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return np.asarray(rng.standard_normal(shape) + mean, dtype)


def run(op: str, inputs: Sequence[Array], attrs: dict[str, Any], **options: Any) -> list[Array]:
    values = [b.input_value(TensorType(dtypes.of(a.dtype), a.shape)) for a in inputs]
    node = b.apply(op, *values, **attrs)[0].node
    assert node is not None
    return run_node(LOWERINGS[op], node, inputs, **options)


def check(case: Case) -> None:
    found = run(case.op, case.inputs, dict(case.attrs))
    for y, want in zip(found, OPS[case.op].reference(list(case.inputs), Attrs(case.attrs)), strict=True):
        assert (y.dtype, y.shape) == (want.dtype, want.shape)
        if want.dtype.kind == "f":
            np.testing.assert_allclose(y, want, rtol=case.rtol, atol=case.atol)
        else:
            np.testing.assert_array_equal(y, want)
    for options in ({"tiles_at_once": 1}, {"tiles_at_once": 2, "reverse": True}):
        for y, again in zip(found, run(case.op, case.inputs, dict(case.attrs), **options), strict=True):
            assert y.tobytes() == again.tobytes(), f"{case.op} depends on how tiles are run: {options}"


def reduction(op: str, x: Array, *axes: int, rtol: float = 1e-6, atol: float = 1e-6) -> Case:
    label = f"{x.dtype}-{'x'.join(map(str, x.shape))}-{''.join(map(str, axes))}"
    return Case(op, (x,), {"axes": axes, "keepdims": False}, id=label, rtol=rtol, atol=atol)


SUMS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((2_000_003,), (0,)), ((3, 50_021), (1,)), ((50_021, 3), (0,)), ((2053, 1), (0,)), ((70_001, 1, 2), (0, 1)),
    ((7, 4099, 5), (1,)), ((3, 2503), (0,)), ((2, 1031, 50), (1,)), ((3, 7, 11, 13), (0, 2)), ((3, 7, 11, 13), (1, 3)),
    ((5, 1, 3, 1, 7), (1, 4)), ((64, 9, 9, 33), (0, 1, 2)), ((4000, 9), (1,)), ((9000, 2, 5), (1,)),
    ((2, 70_000), (0, 1)), ((1, 511), (1,)), ((5, 512), (1,)), ((6, 513), (1,)), ((4099, 2), (1,)), ((3, 0), (1,)),
    ((0, 5), (1,)), ((3, 17), (0,)), ((129, 16), (0,)), ((2049, 1, 16), (0, 1)), ((515, 255), (0,)),
    ((701, 333), (1,)), ((1403, 45), (1,)),
]  # fmt: skip

REDUCTIONS = [
    *(reduction("reduce_sum", data(*shape, mean=1.0), *axes) for shape, axes in SUMS),
    *(reduction("reduce_mean", data(*shape, mean=3.0), *axes) for shape, axes in SUMS[1:3]),
    *(
        reduction(op, data(60, 701, 11), *axes)
        for op in ("reduce_max", "reduce_min")
        for axes in [(0,), (1,), (2,), (0, 1), (0, 1, 2)]
    ),
    *(
        reduction(op, data(31, 1009, dtype=dtype), axis)
        for op in ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_mean")
        for dtype in ("int8", "uint64")
        for axis in (0, 1)
    ),
    *(
        reduction("reduce_sum", data(31, 1009, dtype=dtype), axis, rtol=tolerance, atol=tolerance)
        for dtype, tolerance in (("float16", 2e-3), ("float64", 1e-13))
        for axis in (0, 1)
    ),
    *(
        Case(op, (data(*shape, dtype=dtype),), {"axis": axis}, id=f"{dtype}-{shape}-{axis}")
        for op in ("argmax", "argmin")
        for dtype in ("float32", "uint8")
        for axis, shape in (
            (1, (5, 1301, 3)), (1, (4001, 10)), (0, (7, 2503)), (1, (3, 40_009)), (1, (5, 4097)), (1, (9, 1)),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", REDUCTIONS, ids=lambda c: c.name)
def test_reduction(case: Case) -> None:
    check(case)


def test_sum_of_many() -> None:
    x = data(10_000_000, mean=0.5)
    (y,) = run("reduce_sum", [x], {"axes": (0,), "keepdims": False})
    np.testing.assert_allclose(y, np.sum(x, dtype=np.float64), rtol=1e-7)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("op", ["argmax", "argmin", "reduce_max", "reduce_min"])
def test_nan(op: str, axis: int) -> None:
    x = data(300, 7)
    x[5, 2] = x[200, 2] = x[0, 6] = np.nan
    attrs: dict[str, Any] = {"axis": axis} if op.startswith("arg") else {"axes": (axis,), "keepdims": False}
    (want,) = OPS[op].reference([x], Attrs(attrs))
    np.testing.assert_array_equal(run(op, [x], attrs)[0], want)


def pooling(size: tuple[int, int], strides: tuple[int, int], padding: str, last: bool = True) -> dict[str, Any]:
    data_format = "channels_last" if last else "channels_first"
    return {"pool_size": size, "strides": strides, "padding": padding, "data_format": data_format}


GEOMETRIES = [
    ((5, 37, 41, 33), pooling((2, 2), (2, 2), "valid")),
    ((3, 29, 31, 17), pooling((3, 3), (2, 2), "same")),
    ((1, 23, 19, 130), pooling((3, 3), (1, 1), "same")),
    ((2, 17, 16, 40), pooling((4, 5), (4, 5), "valid")),
    ((2, 21, 18, 3), pooling((5, 4), (2, 3), "same")),
    ((3, 6, 29, 31), pooling((3, 2), (3, 2), "same", last=False)),
    ((2, 5, 40, 37), pooling((3, 3), (2, 2), "valid", last=False)),
]


@pytest.mark.parametrize(
    ("shape", "attrs", "dtype"),
    [(*g, "float32") for g in GEOMETRIES] + [(*g, dtype) for g in GEOMETRIES[:2] for dtype in ("float16", "float64")],
    ids=lambda v: "x".join(map(str, v)) if isinstance(v, tuple) else v if isinstance(v, str) else "",
)
def test_pooling(shape: tuple[int, ...], attrs: dict[str, Any], dtype: str) -> None:
    x = np.round(data(*shape, dtype=dtype), 1)  # with ties
    x[0, 1, 2, 0] = np.nan
    y, places = OPS["max_pool2d_places"].reference([x], Attrs(attrs))
    dy = data(*y.shape, dtype=dtype)
    tolerance = {"float16": 5e-3, "float32": 1e-5, "float64": 1e-12}[dtype]
    rows: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
        ("max_pool2d", (x,), attrs),
        ("max_pool2d_grad", (x, y, dy), attrs),
        ("max_pool2d_grad_grad", (x, y, x[::-1]), attrs),
        ("max_pool2d_places", (x,), attrs),
        ("max_pool2d_places_grad", (places, dy), {**attrs, "shape": shape}),
        ("avg_pool2d", (x,), attrs),
        ("avg_pool2d_grad", (dy,), {**attrs, "shape": shape}),
    ]
    for op, inputs, more in rows:
        check(Case(op, inputs, more, rtol=tolerance, atol=tolerance))


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((37, 53, 89), 2),
        ((90_001, 3), 1),
        ((131, 1031), 1),
        ((2000, 1), 1),
        ((5, 7, 41, 43), 1),
        ((3, 20_011), 0),
        ((4, 3, 5), 1),
    ],
    ids=str,
)
def test_batch_norm(shape: tuple[int, ...], axis: int, dtype: str) -> None:
    c = shape[axis]
    x, dy = data(*shape, dtype=dtype, mean=2.0), data(*shape[::-1], dtype=dtype).reshape(shape)
    mean, variance = OPS["moments"].reference([x], Attrs({"axis": axis}))
    gamma, beta = data(c, dtype=dtype), data(c, dtype=dtype, mean=1.0)
    tolerance = {"float16": 3e-2, "float32": 2e-5, "float64": 1e-11}[dtype]
    spread = tolerance * float(np.sqrt(x.size / c))  # the size of a sum of random signs
    attrs = {"axis": axis, "epsilon": 1e-3}
    check(Case("moments", (x,), {"axis": axis}, rtol=tolerance, atol=tolerance))
    check(Case("batch_norm", (x, mean, variance, gamma, beta), attrs, rtol=tolerance, atol=tolerance))
    check(Case("batch_norm_train", (x, gamma, beta), attrs, rtol=tolerance, atol=tolerance))
    check(Case("batch_norm_sums", (dy, x, mean, variance), attrs, rtol=tolerance, atol=spread))
    check(Case("batch_norm_grad", (dy, x, gamma, mean, variance), attrs, rtol=tolerance, atol=spread))


@pytest.mark.parametrize(("shape", "axis"), [((70_000, 5), 1), ((3, 5, 20_000), 1)], ids=str)
def test_moments_of_large_means(shape: tuple[int, ...], axis: int) -> None:
    """Digits are not lost where the mean is large, nor where it drifts, nor where the first row is unlike the
    others."""
    x = data(*shape, mean=1000.0)
    drifting = np.sort(data(*shape), axis=0) * np.float32(1000)
    odd = data(*shape, mean=1000.0)
    odd[0] = 0
    for a in (x, drifting, odd):
        want = OPS["moments"].reference([a], Attrs({"axis": axis}))
        for y, w in zip(run("moments", [a], {"axis": axis}), want, strict=True):
            np.testing.assert_allclose(y, w, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5003, 10), 1), ((37, 1031), 1), ((1, 100_003), 1), ((3, 33, 700), 1), ((60, 7, 9, 5), 0)],
    ids=str,
)
def test_softmax(shape: tuple[int, ...], axis: int, dtype: str) -> None:
    tolerance = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13}[dtype]
    for op in ("softmax", "log_softmax"):
        check(Case(op, (3 * data(*shape, dtype=dtype),), {"axis": axis}, rtol=tolerance, atol=tolerance))


@pytest.mark.parametrize("axis", [0, 1])
def test_log_softmax_of_large_logits(axis: int) -> None:
    """A common shift of a million must cost no digits of the logarithm."""
    x = data(130, 17) + np.float32(1e6)
    check(Case("log_softmax", (x,), {"axis": axis}, rtol=0, atol=1e-5))


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64"])
def test_transpose(dtype: str) -> None:
    for perm in itertools.permutations(range(4)):
        check(Case("transpose", (data(17, 5, 33, 19, dtype=dtype),), {"perm": perm}, rtol=0, atol=0))
    check(Case("transpose", (data(131, 517, dtype=dtype),), {"perm": (1, 0)}, rtol=0, atol=0))
    check(Case("transpose", (data(3, 64, 64, 48, dtype=dtype),), {"perm": (0, 3, 1, 2)}, rtol=0, atol=0))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "int64"])
def test_strided_copies(dtype: str) -> None:
    x = data(13, 70, 61, 3, dtype=dtype)
    cut: dict[str, Any] = {"starts": (12, 1, 60, 0), "stops": (-1, 68, 2, 2), "steps": (-1, 3, -2, 1)}
    (part,) = OPS["slice"].reference([x], Attrs(cut))
    check(Case("slice", (x,), cut, rtol=0, atol=0))
    check(Case("unslice", (part,), {**cut, "shape": x.shape}, rtol=0, atol=0))
    check(Case("pad", (x,), {"pads": ((0, 0), (1, 2), (3, 0), (0, 1)), "value": 7.0}, rtol=0, atol=0))
    check(Case("pad", (x[:, :0],), {"pads": ((1, 0), (1, 2), (0, 0), (2, 2)), "value": 3.0}, rtol=0, atol=0))
    part = x[1:5, :, 3:]
    inside = {"starts": (2, 0, 1, 0), "stops": (6, 70, 59, 3), "steps": (1, 1, 1, 1), "shape": (9, 71, 61, 3)}
    check(Case("unslice", (part,), inside, rtol=0, atol=0))
    check(Case("concatenate", (x, x[:, :, :, :1], x[:, :, :, :0], x), {"axis": 3}, rtol=0, atol=0))
    check(Case("concatenate", (x, x[:1], x), {"axis": 0}, rtol=0, atol=0))


@pytest.mark.parametrize(("dtype", "index"), [("float32", "int32"), ("float16", "uint8"), ("int32", "int64")])
def test_indices(dtype: str, index: str) -> None:
    x = data(3, 101, 67, dtype=dtype) // 3
    indices = np.random.default_rng(0).integers(0, 101, (50, 3)).astype(index)
    check(Case("gather", (x, indices), {"axis": 1}, rtol=0, atol=0))
    updates = data(3, 50, 3, 67, dtype=dtype) // 3
    check(Case("scatter_add", (updates, indices), {"size": 101, "axis": 1}, rtol=2e-3 if dtype == "float16" else 1e-5))
    check(
        Case("scatter_add", (updates[0], indices), {"size": 1009, "axis": 0}, rtol=2e-3 if dtype == "float16" else 1e-5)
    )
    check(Case("one_hot", (indices,), {"depth": 103, "dtype": dtypes.of(dtype)}))


def test_indices_out_of_range_touch_no_memory() -> None:
    x, indices = data(4, 5), np.array([-1, 2, 4, 2**31 - 1], np.int32)
    (y,) = run("gather", [x, indices], {"axis": 0})
    np.testing.assert_array_equal(y, [np.zeros(5), x[2], np.zeros(5), np.zeros(5)])
    (y,) = run("scatter_add", [x, indices], {"size": 4, "axis": 0})
    np.testing.assert_array_equal(y, [np.zeros(5), np.zeros(5), x[1], np.zeros(5)])
