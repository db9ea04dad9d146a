"""fuse_sums: which products take the sums of their right operand, that nothing is computed differently, and how it
runs."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.cpu.conv import lower_conv_kernel_grad
from codegen.cpu.features import AVX2, AVX512, GENERIC, Vectors
from codegen.cpu.matmul import lower_matmul_sums
from ir import builder as b
from ir.dims import Dim, SymDim
from ir.graph import Graph, Value
from ir.ops import OPS
from ir.passes.decompose import decompose
from ir.passes.fuse_sums import fuse_sums
from ir.rewrite import assemble
from ir.types import tensor
from tests.codegen.harness import run_node
from tests.ir.pass_checks import apply, ops

B = SymDim("B")


def value(name: str, *shape: Dim, dtype: str = "f32") -> Value:
    return b.input_value(tensor(dtype, *shape), name)


def dense(dtype: str = "f32", sum_first: bool = False, ta: bool = True, axes: tuple[int, ...] = (0,)) -> Graph:
    x, dy = value("x", *((B, 6) if ta else (B, B)), dtype=dtype), value("dy", B, 5, dtype=dtype)
    left, right = b.unary("relu", x), b.unary("relu", dy)
    made = [b.reduce_sum(right, axes)] if sum_first else []
    made += [b.reduce_sum(b.unary("exp", left))] if sum_first else []  # reads the left operand later than the sum
    made += [b.matmul(left, right, ta, False)]
    made += [] if sum_first else [b.reduce_sum(right, axes)]
    return assemble("dense", [x, dy], [b.unary("tanh", v) for v in made])


def convolution(layout: str = "channels_last") -> Graph:
    x, dy = value("x", B, 6, 6, 3), value("dy", B, 4, 4, 2)
    if layout == "channels_first":
        x, dy = value("x", B, 3, 6, 6), value("dy", B, 2, 4, 4)
    dw = b.apply1(
        "conv2d_kernel_grad", x, dy, shape=(3, 3, 3, 2), strides=(1, 1), padding="valid", dilation=(1, 1),
        data_format=layout,
    )  # fmt: skip
    return assemble("convolution", [x, dy], [dw, b.reduce_sum(dy, (0, 1, 2))])


def test_dense() -> None:
    after = apply(fuse_sums, dense())
    assert ops(after) == ["relu", "relu", "matmul_sums", "tanh", "tanh"]


def test_convolution() -> None:
    after = apply(fuse_sums, convolution())
    assert ops(after) == ["conv2d_kernel_grad_sums"]
    assert ops(decompose(after, lambda op: not op.endswith("_sums"))) == ["conv2d_kernel_grad", "reduce_sum"]


@pytest.mark.parametrize(
    "graph",
    [
        dense("f16"), dense(ta=False), dense(axes=(1,)), dense(axes=(0, 1)), dense(sum_first=True),
        convolution("channels_first"),
    ],
)  # fmt: skip
def test_what_stays(graph: Graph) -> None:
    assert fuse_sums(graph) is graph


@pytest.mark.parametrize("vectors", [AVX512, AVX2, GENERIC], ids=lambda v: v.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels(dtype: str, vectors: Vectors) -> None:
    """One tile and many, one panel and several, sums in one part and in several, no rows at all."""
    short = {"float32": "f32", "float64": "f64"}[dtype]
    for depth, m, n in ((1, 1, 1), (33, 70, 101), (700, 300, 130), (5000, 20, 10), (0, 3, 5), (600, 1000, 64)):
        rng = np.random.default_rng(depth)
        x, dy = (rng.standard_normal((depth, size)).astype(dtype) for size in (m, n))
        operands = (value("x", depth, m, dtype=short), value("dy", depth, n, dtype=short))
        out = b.apply("matmul_sums", *operands, transpose_a=True, transpose_b=False)
        found = [
            run_node(lower_matmul_sums, out[0].node, [x, dy], vectors=vectors, **options)  # type: ignore[arg-type]
            for options in ({}, {"tiles_at_once": 1, "reverse": True})
        ]
        expected = OPS["matmul_sums"].reference([x, dy], out[0].node.attrs)  # type: ignore[union-attr]
        scale = {"float32": 1e-6, "float64": 1e-14}[dtype] * (depth + 1)
        for got, again, right in zip(*found, expected, strict=True):
            np.testing.assert_array_equal(got, again)
            np.testing.assert_allclose(got, right, rtol=0, atol=scale)


def test_convolution_kernels() -> None:
    for stride, n, size, channels in ((1, 3, 9, 40), (2, 2, 11, 7), (1, 40, 12, 3)):
        rng = np.random.default_rng(size)
        x = rng.standard_normal((n, size, size, 5)).astype(np.float32)
        out_size = -(-size // stride)
        dy = rng.standard_normal((n, out_size, out_size, channels)).astype(np.float32)
        out = b.apply(
            "conv2d_kernel_grad_sums", value("x", *x.shape), value("dy", *dy.shape), shape=(3, 3, 5, channels),
            strides=(stride, stride), padding="same", dilation=(1, 1), data_format="channels_last",
        )  # fmt: skip
        node = out[0].node
        assert node is not None
        expected = OPS[node.op.name].reference([x, dy], node.attrs)
        for got, right in zip(run_node(lower_conv_kernel_grad, node, [x, dy]), expected, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-4, atol=2e-4)
