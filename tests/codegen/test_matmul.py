"""Lowering of `matmul` and `fused_matmul`: awkward sizes, every vector width, batches, symbolic sizes, epilogues."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from codegen.cpu.features import ALL, AVX2, AVX512, GENERIC, Vectors
from codegen.cpu.matmul import lower_fused_matmul, lower_matmul
from ir import builder as b
from ir import dtypes
from ir.dims import Dim, SymDim
from ir.graph import Graph, Node, Value
from ir.ops import OPS
from ir.passes.regions import body_of
from ir.types import TensorType
from tests.codegen import harness
from tests.codegen.harness import Array, Env, run_node

TOLERANCE = {"float32": 2e-6, "float64": 1e-14, "float16": 1e-3}
SIZES = [
    (1, 1, 1), (5, 7, 3), (64, 64, 64), (37, 300, 70), (13, 1100, 131), (130, 17, 10), (0, 3, 4), (3, 0, 5), (3, 4, 0),
]  # fmt: skip
M, K, N, B = (SymDim(name) for name in "MKNB")


def random(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(dtype)


def value(array: Array, shape: tuple[Dim, ...] | None = None) -> Value:
    return Value(TensorType(dtypes.of(array.dtype), array.shape if shape is None else shape))


def check(node: Node, arrays: list[Array], env: Env | None = None, **options: object) -> Array:
    """Runs a matmul and compares with numpy; the error is measured against the sum of magnitudes."""
    (out,) = run_node(lower_matmul, node, arrays, env, **options)
    wide = [a.astype(np.float64 if a.dtype.kind == "f" else a.dtype) for a in arrays]
    (expected,) = OPS["matmul"].reference(wide, node.attrs)
    if out.dtype.kind != "f":
        np.testing.assert_array_equal(out, expected)
        return out
    (magnitude,) = OPS["matmul"].reference([abs(a) for a in wide], node.attrs)
    assert out.shape == expected.shape
    assert (abs(out - expected) <= TOLERANCE[out.dtype.name] * magnitude + 1e-7).all()
    return out


@pytest.mark.parametrize("vectors", ALL, ids=lambda v: v.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8"])
def test_sizes(dtype: str, vectors: Vectors) -> None:
    for (m, k, n), ta, tb in itertools.product(SIZES, (False, True), (False, True)):
        x = random((k, m) if ta else (m, k), dtype)
        y = random((n, k) if tb else (k, n), dtype, 1)
        node = b.matmul(value(x), value(y), ta, tb).node
        assert node is not None
        check(node, [x, y], vectors=vectors)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [
        ((2, 3, 5, 4), (4, 6)), ((4, 5), (2, 3, 5, 6)), ((3, 1, 5, 4), (2, 4, 6)), ((2, 3, 5, 4), (3, 4, 6)),
        ((1, 5, 4), (1, 4, 6)), ((0, 5, 4), (1, 4, 6)), ((7, 2, 0), (7, 0, 3)), ((2, 2, 2, 17, 33), (2, 1, 2, 33, 19)),
    ],
)  # fmt: skip
def test_batches(x_shape: tuple[int, ...], y_shape: tuple[int, ...], dtype: str) -> None:
    x, y = random(x_shape, dtype), random(y_shape, dtype, 1)
    for ta, tb in itertools.product((False, True), (False, True)):
        xt = np.ascontiguousarray(np.swapaxes(x, -1, -2)) if ta else x
        yt = np.ascontiguousarray(np.swapaxes(y, -1, -2)) if tb else y
        node = b.matmul(value(xt), value(yt), ta, tb).node
        assert node is not None
        check(node, [xt, yt])


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_symbolic_sizes_share_kernels(dtype: str) -> None:
    """One lowering with symbolic sizes serves all sizes; also a batch axis that may turn out to be 1."""
    node = b.matmul(Value(TensorType(dtypes.of(dtype), (B, M, K))), Value(TensorType(dtypes.of(dtype), (N, K, 7)))).node
    assert node is not None
    symbols = [d for d in (B, N) if d in node.output.type.shape]
    assert symbols
    compiled = -1
    for batch, other, m, k in ((1, 3, 5, 4), (3, 1, 2, 600), (2, 2, 1, 1), (2, 2, 3, 0), (4, 4, 0, 3)):
        x, y = random((batch, m, k), dtype), random((other, k, 7), dtype, 1)
        out_batch = max(batch, other)
        if node.output.type.bind({B: batch, N: other, M: m, K: k})[0] != out_batch:
            continue  # the type rule took the other symbol; a guard keeps such sizes out
        check(node, [x, y], {B: batch, N: other, M: m, K: k})
        if compiled < 0:
            compiled = harness.CACHE.compiled
    assert harness.CACHE.compiled == compiled


def test_unknown_number_of_columns() -> None:
    node = b.matmul(Value(TensorType(dtypes.f32, (M, K))), Value(TensorType(dtypes.f32, (K, N)))).node
    assert node is not None
    for m, k, n in ((3, 5, 1), (50, 20, 64), (7, 9, 131), (2, 3, 0)):
        x, y = random((m, k), "float32"), random((k, n), "float32", 1)
        for vectors in (AVX512, AVX2, GENERIC):
            check(node, [x, y], {M: m, K: k, N: n}, vectors=vectors)


@pytest.mark.parametrize(("m", "k", "n"), [(25, 9000, 32), (150, 700, 200)])
def test_same_bits_however_tiles_are_shared_out(m: int, k: int, n: int) -> None:
    """Sums are split by sizes alone: the first case splits k, the second has many tiles."""
    x, y = random((m, k), "float32"), random((k, n), "float32", 1)
    node = b.matmul(value(x), value(y)).node
    assert node is not None
    whole = check(node, [x, y])
    for options in ({"tiles_at_once": 1}, {"tiles_at_once": 1, "reverse": True}, {"tiles_at_once": 3}):
        np.testing.assert_array_equal(check(node, [x, y], **options), whole)


def test_nan_and_infinity_pass_through() -> None:
    x = np.array([[np.inf, 1], [np.nan, 0], [0, 2]], np.float32)
    y = np.array([[1, 0], [1, 1]], np.float32)
    node = b.matmul(value(x), value(y)).node
    assert node is not None
    (out,) = run_node(lower_matmul, node, [x, y])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(out, x @ y)


# Epilogues


def graph_of(acc: Value, extras: list[Value], *outputs: Value) -> Graph:
    """The elementwise nodes between `acc` and `outputs` as an epilogue."""
    nodes: list[Node] = []

    def visit(v: Value) -> None:
        if v.node is not None and v is not acc and v.node not in nodes:
            for operand in v.node.inputs:
                visit(operand)
            nodes.append(v.node)

    for out in outputs:
        visit(out)
    return body_of("epilogue", [n for n in nodes if n.op.name != "constant"], [acc, *extras], outputs)


def bias_relu(acc: Value, bias: Value, scale: Value, residual: Value) -> Value:
    return b.maximum(b.add(b.mul(b.add(acc, bias), scale), residual), 0.0)


def sigmoid_of_row(acc: Value, bias: Value, scale: Value, residual: Value) -> Value:
    return b.mul(b.apply1("sigmoid", b.sub(acc, bias)), b.apply1("tanh", b.mul(residual, scale)))


@pytest.mark.parametrize("vectors", [AVX512, AVX2, GENERIC], ids=lambda v: v.name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("chain", [bias_relu, sigmoid_of_row])
def test_epilogue(chain: Callable[..., Value], dtype: str, vectors: Vectors) -> None:
    for m, k, n in ((70, 50, 64), (13, 1200, 20), (6, 1, 101), (5, 0, 3), (0, 2, 3), (2, 3, 1)):
        arrays = [random(s, dtype, i) for i, s in enumerate([(m, k), (k, n), (n,), (), (m, n)])]
        operands = [value(a) for a in arrays]
        acc = b.matmul(*operands[:2])
        epilogue = graph_of(acc, operands[2:], chain(acc, *operands[2:]))
        node = Node(
            OPS["fused_matmul"], tuple(operands), acc.node.attrs.updated(epilogue=epilogue), (acc.type,)  # type: ignore[union-attr]
        )  # fmt: skip
        (out,) = run_node(lower_fused_matmul, node, arrays, vectors=vectors)
        x, y, *rest = (a.astype(np.float64) for a in arrays)
        expected = reference_chain(chain, x @ y, *rest)
        scale = np.abs(x) @ np.abs(y) + 3
        assert (abs(out - expected) <= 40 * TOLERANCE[dtype] * scale * (1 + abs(rest[1]))).all()


def reference_chain(chain: Callable[..., Value], acc: Array, bias: Array, scale: Array, residual: Array) -> Array:
    if chain is bias_relu:
        return np.maximum((acc + bias) * scale + residual, 0)
    return (0.5 + 0.5 * np.tanh((acc - bias) / 2)) * np.tanh(residual * scale)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_epilogue_with_several_results(dtype: str) -> None:
    """A weight and its momentum, updated while the gradient is in registers."""
    arrays = [random(s, dtype, i) for i, s in enumerate([(33, 70), (33, 101), (70, 101), (70, 101)])]
    x, dy, momentum, weight = operands = [value(a) for a in arrays]
    acc = b.matmul(x, dy, transpose_a=True)
    new = b.add(b.mul(momentum, 0.5), acc)
    results = [new, b.sub(weight, b.mul(new, 0.25))]
    epilogue = graph_of(acc, [momentum, weight], *results)
    assert acc.node is not None
    node = Node(OPS["fused_matmul"], tuple(operands), acc.node.attrs.updated(epilogue=epilogue), (acc.type,) * 2)
    found = run_node(lower_fused_matmul, node, arrays)
    wide = [a.astype(np.float64) for a in arrays]
    first = 0.5 * wide[2] + wide[0].T @ wide[1]
    for got, expected in zip(found, (first, wide[3] - 0.25 * first), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=400 * TOLERANCE[dtype])
    (launch,) = (x for x in lower_fused_matmul(node, harness.Context()) if x.kernel.name.startswith("contract"))
    assert len(launch.inplace) == (4 if dtype == "float32" else 0)


def test_epilogue_literals_make_no_new_kernel() -> None:
    x, y = random((9, 5), "float32"), random((5, 4), "float32", 1)
    compiled = []
    for alpha in (0.25, 0.5):
        operands = (value(x), value(y))
        acc = b.matmul(*operands)
        epilogue = graph_of(acc, [], b.maximum(acc, b.mul(acc, alpha)))
        attrs = acc.node.attrs.updated(epilogue=epilogue)  # type: ignore[union-attr]
        (out,) = run_node(lower_fused_matmul, Node(OPS["fused_matmul"], operands, attrs, (acc.type,)), [x, y])
        np.testing.assert_allclose(out, np.where(x @ y > 0, x @ y, alpha * (x @ y)), rtol=1e-5, atol=1e-5)
        compiled.append(harness.CACHE.compiled)
    assert compiled[0] == compiled[1]


def test_epilogue_operand_that_does_not_fit() -> None:
    arrays = [random(s, "float32") for s in ((4, 5), (5, 6), (4, 1))]
    operands = [value(a) for a in arrays]
    acc = b.matmul(*operands[:2])
    epilogue = graph_of(acc, operands[2:], b.add(acc, operands[2]))
    attrs = acc.node.attrs.updated(epilogue=epilogue)  # type: ignore[union-attr]
    node = Node(OPS["fused_matmul"], tuple(operands), attrs, (acc.type,))
    with pytest.raises(ValueError, match=r"a vector along the last axis or like the result .*got f32\[4, 1\]"):
        run_node(lower_fused_matmul, node, arrays)
