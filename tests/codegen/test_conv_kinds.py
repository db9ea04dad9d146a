"""Lowering of depthwise convolutions, of convolutions of volumes and of their gradients: awkward geometries, every
vector width and type, symbolic sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from codegen.cpu.conv import LOWERINGS as DENSE
from codegen.cpu.depthwise import LOWERINGS as DEPTHWISE
from codegen.cpu.features import ALL, Vectors
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

Lower = Callable[..., list[Launch]]
LOWERINGS: dict[str, Any] = {**DENSE, **DEPTHWISE}


@dataclass(frozen=True)
class Geometry:
    """`last` is the kernel's last axis: output channels, or for a depthwise convolution those of each input channel."""

    op: str
    x: tuple[int, ...]
    window: tuple[int, ...]
    last: int
    strides: tuple[int, ...]
    padding: str
    dilation: tuple[int, ...]

    def __str__(self) -> str:
        sizes = (self.x, self.window, self.strides, self.dilation)
        return f"{self.op}-{'-'.join('x'.join(map(str, s)) for s in sizes)}-{self.last}-{self.padding}"


def _depthwise(
    x: tuple[int, ...], window: tuple[int, int], last: int = 1, strides: tuple[int, int] = (1, 1),
    padding: str = "same", dilation: tuple[int, int] = (1, 1),
) -> Geometry:  # fmt: skip
    return Geometry("depthwise_conv2d", x, window, last, strides, padding, dilation)


def _volumes(
    x: tuple[int, ...], window: tuple[int, int, int], last: int, strides: tuple[int, int, int] = (1, 1, 1),
    padding: str = "same", dilation: tuple[int, int, int] = (1, 1, 1),
) -> Geometry:  # fmt: skip
    return Geometry("conv3d", x, window, last, strides, padding, dilation)


GEOMETRIES = [
    _depthwise((2, 9, 11, 1), (3, 3)),
    _depthwise((2, 9, 11, 3), (3, 3), 5),
    _depthwise((1, 6, 14, 32), (3, 3)),
    _depthwise((2, 8, 13, 33), (3, 3), 1, (2, 2)),
    _depthwise((1, 11, 12, 67), (5, 2), 1, (2, 3), "valid"),
    _depthwise((3, 7, 7, 24), (7, 7)),
    _depthwise((1, 4, 3, 16), (3, 9), 2),
    _depthwise((1, 12, 19, 40), (3, 3), 1, (1, 1), "same", (3, 2)),
    _depthwise((2, 11, 13, 5), (3, 3), 3, (2, 4), "same", (2, 3)),
    _depthwise((2, 5, 6, 17), (1, 1), 2, (3, 2), "valid"),
    _depthwise((0, 5, 6, 4), (3, 3)),
    _volumes((2, 4, 5, 6, 3), (3, 3, 3), 4),
    _volumes((1, 6, 7, 5, 2), (2, 3, 2), 17, (2, 1, 3), "valid"),
    _volumes((2, 5, 6, 7, 4), (3, 2, 3), 8, (2, 2, 2)),
    _volumes((1, 7, 6, 9, 3), (2, 3, 2), 5, (1, 2, 1), "same", (3, 1, 2)),
    _volumes((3, 4, 4, 4, 33), (1, 1, 1), 7),
    _volumes((0, 3, 4, 4, 2), (2, 2, 2), 3),
]


def three(g: Geometry, dtype: str, symbolic: bool) -> tuple[list[tuple[Lower, Node, list[Array]]], Env]:
    """The convolution and its gradients on random arrays."""
    attrs = {"strides": g.strides, "padding": g.padding, "dilation": g.dilation, "data_format": "channels_last"}
    rng = np.random.default_rng(7)
    symbols = tuple(SymDim(name) for name in "NDHW"[: len(g.x) - 1])
    env: Env = dict(zip(symbols, g.x, strict=False)) if symbolic else {}
    x = Value(TensorType(dtypes.of(dtype), (*symbols, g.x[-1]) if symbolic else g.x))
    w = Value(TensorType(dtypes.of(dtype), (*g.window, g.x[-1], g.last)))
    y = b.apply1(g.op, x, w, **attrs)
    dy = Value(y.type)
    dx = b.apply1(f"{g.op}_input_grad", dy, w, shape=x.shape, **attrs)
    dw = b.apply1(f"{g.op}_kernel_grad", x, dy, shape=w.shape, **attrs)
    xs, ws, dys = (rng.standard_normal(v.type.bind(env)).astype(dtype) for v in (x, w, dy))
    cases = [(y.node, [xs, ws]), (dx.node, [dys, ws]), (dw.node, [xs, dys])]
    return [(LOWERINGS[node.op.name], node, arrays) for node, arrays in cases if node is not None], env


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
    for geometry in (GEOMETRIES[1], GEOMETRIES[3], GEOMETRIES[8], GEOMETRIES[14]):
        cases, env = three(geometry, dtype, False)
        for lower, node, arrays in cases:
            check(lower, node, arrays, env, vectors=vectors)


def test_new_windows_compile_nothing() -> None:
    """Kernels are generic in every size but how channels fill vectors."""
    geometries = [
        _depthwise((2, 9, 11, 40), (3, 4)),
        _depthwise((1, 13, 8, 56), (2, 8), 1, (2, 3), "valid"),
        _depthwise((3, 7, 19, 20), (5, 4), 2, (1, 1), "same", (2, 1)),
    ]
    compiled = []
    for geometry in geometries:
        for lower, node, arrays in three(geometry, "float32", False)[0]:
            if geometry.last == 1 or node.op.name == "depthwise_conv2d_input_grad":
                check(lower, node, arrays)
        compiled.append(harness.CACHE.compiled)
    assert compiled[0] == compiled[1]
    assert compiled[2] - compiled[1] <= 1  # the sum over the results of a channel


@pytest.mark.parametrize("geometry", [GEOMETRIES[1], GEOMETRIES[4], GEOMETRIES[7], GEOMETRIES[14]], ids=str)
def test_same_bits_however_tiles_are_shared_out(geometry: Geometry) -> None:
    for lower, node, arrays in three(geometry, "float32", False)[0]:
        whole = check(lower, node, arrays)
        for options in ({"tiles_at_once": 1}, {"tiles_at_once": 1, "reverse": True}, {"tiles_at_once": 2}):
            np.testing.assert_array_equal(check(lower, node, arrays, **options), whole)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("vectors", [ALL[0], ALL[-1]], ids=lambda v: v.name)
@pytest.mark.parametrize("geometry", [GEOMETRIES[i] for i in (1, 3, 6, 10, 11, 13)], ids=str)
def test_epilogue(geometry: Geometry, vectors: Vectors, dtype: str) -> None:
    """Scale and shift per channel, a residual add and an activation, once per element."""
    _, conv, arrays = three(geometry, dtype, False)[0][0]
    rng = np.random.default_rng(3)
    result = conv.output.type
    channels = result.shape[-1]
    types = [TensorType(result.dtype, shape) for shape in ((channels,), (1,) * (result.rank - 1) + (channels,))]
    types.append(result)
    extras = [Value(t) for t in types]
    scale, shift, residual = extras
    out = b.apply1("relu", b.add(b.add(b.mul(conv.output, scale), shift), residual))
    name = f"fused_{geometry.op}"
    attrs = Attrs({**conv.attrs, "epilogue": graph_of(conv.output, extras, out)})
    node = Node(OPS[name], (*conv.inputs, *extras), attrs, (out.type,))
    more = [rng.standard_normal(t.bind({})).astype(dtype) for t in types]
    (found,) = run_node(LOWERINGS[name], node, [*arrays, *more], vectors=vectors)
    wide = [a.astype(np.float64) for a in (*arrays, *more)]
    (plain,) = OPS[geometry.op].reference(wide[:2], conv.attrs)
    expected = np.maximum(plain * wide[2] + wide[3] + wide[4], 0)
    rtol, atol = (1e-4, 1e-3) if dtype == "float32" else (1e-2, 5e-2)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
