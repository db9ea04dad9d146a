"""Lowering of `conv2d`, its gradients and `fused_conv2d`: awkward geometries, every vector width, symbolic sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from codegen.cpu.conv import lower_conv, lower_conv_input_grad, lower_conv_kernel_grad, lower_fused_conv
from codegen.cpu.features import ALL, AVX512, GENERIC, Vectors
from codegen.launch import Launch
from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.graph import Attrs, Node, Value
from ir.ops import OPS
from ir.types import TensorType
from tests.codegen import harness
from tests.codegen.harness import Array, Env, run_node
from tests.codegen.test_matmul import TOLERANCE, graph_of

# Image (n, h, w, c), kernel (kh, kw), output channels, strides, dilation, padding.
Geometry = tuple[tuple[int, int, int, int], tuple[int, int], int, tuple[int, int], tuple[int, int], str]
GEOMETRIES: list[Geometry] = [
    ((2, 5, 7, 3), (3, 3), 4, (1, 1), (1, 1), "valid"),
    ((2, 5, 7, 3), (3, 3), 4, (1, 1), (1, 1), "same"),
    ((1, 8, 8, 1), (5, 5), 33, (1, 1), (1, 1), "same"),
    ((3, 9, 8, 2), (2, 3), 5, (2, 2), (1, 1), "same"),
    ((3, 9, 8, 2), (2, 3), 5, (2, 3), (1, 1), "valid"),
    ((2, 7, 7, 3), (2, 2), 4, (3, 3), (1, 1), "same"),
    ((2, 11, 12, 4), (3, 2), 17, (1, 1), (2, 3), "same"),
    ((2, 9, 9, 3), (5, 3), 4, (3, 2), (2, 3), "same"),
    ((2, 9, 10, 3), (3, 3), 4, (2, 4), (4, 2), "valid"),
    ((4, 6, 6, 8), (1, 1), 64, (1, 1), (1, 1), "same"),
    ((4, 7, 6, 8), (1, 1), 12, (2, 2), (1, 1), "valid"),
    ((0, 5, 5, 3), (3, 3), 4, (1, 1), (1, 1), "same"),
    ((5, 14, 14, 32), (5, 5), 64, (1, 1), (1, 1), "valid"),
    ((13, 28, 28, 1), (5, 5), 32, (1, 1), (1, 1), "valid"),
    ((2, 3, 3, 2), (5, 5), 3, (1, 1), (1, 1), "same"),
    ((1, 4, 3, 7), (4, 3), 9, (1, 1), (1, 1), "valid"),
    ((5, 7, 7, 32), (3, 3), 64, (1, 1), (1, 1), "same"),
    ((3, 14, 13, 16), (5, 4), 33, (1, 1), (2, 1), "same"),
    ((4, 9, 8, 20), (5, 5), 7, (2, 2), (1, 1), "same"),
    ((3, 5, 6, 9), (1, 5), 70, (1, 1), (1, 1), "same"),
]
Lower = Callable[..., list[Launch]]


def attributes(geometry: Geometry) -> dict[str, Any]:
    _, _, _, strides, dilation, padding = geometry
    return {"strides": strides, "padding": padding, "dilation": dilation, "data_format": "channels_last"}


def three(geometry: Geometry, dtype: str, symbolic: bool) -> tuple[list[tuple[Lower, Node, list[Array]]], Env]:
    """The convolution and its gradients on random arrays."""
    shape, window, channels, *_ = geometry
    attrs = attributes(geometry)
    rng = np.random.default_rng(7)
    symbols = tuple(SymDim(name) for name in "NHW")
    env: Env = dict(zip(symbols, shape, strict=False)) if symbolic else {}
    x = Value(TensorType(dtypes.of(dtype), (*symbols, shape[3]) if symbolic else shape))
    w = Value(TensorType(dtypes.of(dtype), (*window, shape[3], channels)))
    y = b.apply1("conv2d", x, w, **attrs)
    dy = Value(y.type)
    dx = b.apply1("conv2d_input_grad", dy, w, shape=x.shape, **attrs)
    dw = b.apply1("conv2d_kernel_grad", x, dy, shape=w.shape, **attrs)
    xs, ws, dys = (rng.standard_normal(v.type.bind(env)).astype(dtype) for v in (x, w, dy))
    cases = [
        (lower_conv, y.node, [xs, ws]),
        (lower_conv_input_grad, dx.node, [dys, ws]),
        (lower_conv_kernel_grad, dw.node, [xs, dys]),
    ]
    return [(lower, node, arrays) for lower, node, arrays in cases if node is not None], env


def check(lower: Lower, node: Node, arrays: list[Array], env: Env | None = None, **options: Any) -> Array:
    """Runs a node and compares with the reference; the error is measured against the sum of magnitudes."""
    (out,) = run_node(lower, node, arrays, env, **options)
    attrs = node.attrs.substitute(env or {})
    wide = [a.astype(np.float64) for a in arrays]
    (expected,) = OPS[node.op.name].reference(wide, attrs)
    (magnitude,) = OPS[node.op.name].reference([abs(a) for a in wide], attrs)
    assert out.shape == expected.shape
    assert (abs(out - expected) <= TOLERANCE[out.dtype.name] * magnitude + 1e-7).all(), node.op.name
    return out


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_geometry(geometry: Geometry) -> None:
    for symbolic in (False, True):
        cases, env = three(geometry, "float32", symbolic)
        for lower, node, arrays in cases:
            check(lower, node, arrays, env)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("vectors", ALL, ids=lambda v: v.name)
def test_types_and_vectors(vectors: Vectors, dtype: str) -> None:
    for geometry in GEOMETRIES[1:8:2] + GEOMETRIES[13:14]:
        cases, env = three(geometry, dtype, False)
        for lower, node, arrays in cases:
            check(lower, node, arrays, env, vectors=vectors)


def test_new_sizes_compile_nothing() -> None:
    """Kernels are generic in every size but the number of vectors in a row, which depends on the channels."""
    geometries: list[Geometry] = [
        ((3, 9, 8, 2), (2, 3), 5, (2, 2), (1, 1), "same"),
        ((1, 14, 10, 4), (3, 5), 7, (1, 3), (1, 1), "valid"),
        ((2, 12, 11, 3), (4, 2), 9, (1, 1), (2, 2), "same"),
    ]
    compiled = []
    for geometry in geometries:
        cases, env = three(geometry, "float32", False)
        for lower, node, arrays in cases:
            check(lower, node, arrays, env)
        compiled.append(harness.CACHE.compiled)
    assert compiled[0] == compiled[-1]


@pytest.mark.parametrize("geometry", [GEOMETRIES[1], GEOMETRIES[7], GEOMETRIES[13]], ids=str)
def test_same_bits_however_tiles_are_shared_out(geometry: Geometry) -> None:
    for lower, node, arrays in three(geometry, "float32", False)[0]:
        whole = check(lower, node, arrays)
        for options in ({"tiles_at_once": 1}, {"tiles_at_once": 1, "reverse": True}, {"tiles_at_once": 2}):
            np.testing.assert_array_equal(check(lower, node, arrays, **options), whole)


@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[3], GEOMETRIES[12]], ids=str)
def test_channels_first(geometry: Geometry) -> None:
    """The same numbers as channels last, rearranged; operands and results that are no images stay as they are."""
    first, last = (0, 3, 1, 2), (0, 2, 3, 1)
    images = {"conv2d": (True, False, True), "conv2d_input_grad": (True, False, True)}
    for lower, node, arrays in three(geometry, "float32", False)[0]:
        flags = images.get(node.op.name, (True, True, False))
        expected = check(lower, node, arrays)
        turned = [np.ascontiguousarray(a.transpose(first)) if f else a for a, f in zip(arrays, flags, strict=False)]
        attrs = node.attrs.updated(data_format="channels_first")
        if node.op.name == "conv2d_input_grad":
            attrs = attrs.updated(shape=tuple(attrs["shape"][i] for i in first))
        out = b.apply1(node.op.name, *(Value(TensorType(dtypes.f32, a.shape)) for a in turned), **attrs)
        assert out.node is not None
        (found,) = run_node(lower, out.node, turned)
        np.testing.assert_array_equal(found.transpose(last) if flags[2] else found, expected)


@pytest.mark.parametrize("vectors", [AVX512, GENERIC], ids=lambda v: v.name)
@pytest.mark.parametrize("number", [0, 1], ids=["conv2d", "conv2d_input_grad"])
@pytest.mark.parametrize("geometry", GEOMETRIES[1:4] + GEOMETRIES[9:13], ids=str)
def test_epilogue(geometry: Geometry, number: int, vectors: Vectors) -> None:
    """Scale and shift per channel, a residual add and an activation, once per element."""
    _, conv, arrays = three(geometry, "float32", False)[0][number]
    op = conv.op.name
    rng = np.random.default_rng(3)
    channels = conv.output.type.shape[3]
    types = [TensorType(dtypes.f32, s) for s in ((channels,), (1, 1, 1, channels), conv.output.type.shape)]
    extras = [Value(t) for t in types]
    scale, shift, residual = extras
    out = b.apply1("relu", b.add(b.add(b.mul(conv.output, scale), shift), residual))
    attrs = Attrs({**conv.attrs, "epilogue": graph_of(conv.output, extras, out)})
    node = Node(OPS[f"fused_{op}"], (*conv.inputs, *extras), attrs, (out.type,))
    more = [rng.standard_normal(t.bind({})).astype(np.float32) for t in types]
    lower = lower_conv_input_grad if number else lower_fused_conv
    (found,) = run_node(lower, node, [*arrays, *more], vectors=vectors)
    (plain,) = OPS[op].reference([a.astype(np.float64) for a in arrays], conv.attrs)
    expected = np.maximum(plain * more[0] + more[1] + more[2], 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
