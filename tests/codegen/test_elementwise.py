"""Elementwise kernels: loop nests, every op for every dtype, literals as slots, updates in place.

The rows of the op table run in `test_ops_cpu.py`, a dtype or two for each op. Here one kernel per dtype computes all
ops that take it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from codegen import targets
from codegen.cpu.elementwise import collapse, lower_elementwise, lower_fused
from codegen.cpu.program import CpuProgram
from codegen.cpu.target import CpuTarget
from codegen.launch import Launch
from codegen.program import compile_graph
from codegen.source import Kernel
from codegen.storage import StoredVariable
from ir import builder as b
from ir import dims, dtypes
from ir.dims import Dim, SymDim
from ir.dtypes import DType
from ir.extract import Assign, extract
from ir.graph import Attrs, Node, Value
from ir.opdef import Elementwise
from ir.ops import OPS
from ir.rewrite import assemble
from ir.types import TensorType, tensor
from tests.codegen.harness import Context, run_node

B, T, H = SymDim("B"), SymDim("T"), SymDim("H")

# Collapsing axes: (shape, operands, sizes of the loops, which of them each operand runs along)

NESTS: list[tuple[tuple[Dim, ...], list[tuple[Dim, ...]], tuple[Dim, ...], list[str]]] = [
    ((), [], (1,), []),
    ((), [()], (1,), ["-"]),
    ((1, 1), [(1, 1), ()], (1,), ["-", "-"]),
    ((B, 4), [(B, 4)], (4 * B,), ["x"]),
    ((B, T, 4), [(B, T, 4), (B, T, 4)], (4 * B * T,), ["x", "x"]),
    ((B, 4), [(B, 4), ()], (4 * B,), ["x", "-"]),
    ((B, 4), [(B, 4), (1, 1)], (4 * B,), ["x", "-"]),
    ((B, 4), [(B, 4), (4,)], (B, 4), ["xx", "-x"]),
    ((B, T, 4), [(B, T, 4), (4,)], (B * T, 4), ["xx", "-x"]),
    ((B, T, 4), [(B, T, 4), (T, 4)], (B, 4 * T), ["xx", "-x"]),
    ((B, T, 4), [(B, T, 4), (B, 1, 1)], (B, 4 * T), ["xx", "x-"]),
    ((B, T, 4), [(B, T, 4), (B, 1, 4)], (B, T, 4), ["xxx", "x-x"]),
    ((B, T, 4), [(B, 1, 4), (T, 1)], (B, T, 4), ["x-x", "-x-"]),
    ((B, 1, 4), [(B, 1, 4), (4,)], (B, 4), ["xx", "-x"]),
    ((B, 4), [(4,)], (B, 4), ["-x"]),
    ((0, 3), [(0, 3), (3,)], (0, 3), ["xx", "-x"]),
    ((2, 3, 5, 7), [(2, 1, 5, 1), (3, 1, 7)], (2, 3, 5, 7), ["x-x-", "-x-x"]),
    ((2, 3, 5, 7), [(2, 3, 1, 1), (5, 7)], (6, 35), ["x-", "-x"]),
]


@pytest.mark.parametrize("shape, operands, sizes, along", NESTS, ids=[f"{r[0]}{r[1]}" for r in NESTS])
def test_axes_that_behave_alike_are_one_loop(
    shape: tuple[Dim, ...], operands: list[tuple[Dim, ...]], sizes: tuple[Dim, ...], along: list[str]
) -> None:
    nest = collapse(shape, operands)
    assert nest.sizes == sizes
    assert ["".join("x" if full else "-" for full in flags) for flags in nest.along] == along
    for i, operand in enumerate(operands):  # the last element that the strides reach is the operand's last
        env = {B: 3, T: 5}
        reached = sum(
            (dims.bind(size, env) - 1) * dims.bind(stride, env)
            for size, stride, full in zip(nest.sizes, nest.strides(i), nest.along[i], strict=True)
            if full
        )
        count = int(np.prod([dims.bind(d, env) for d in operand], dtype=int))
        assert reached == count - 1 or 0 in shape


# Nests that run

SHAPES: list[list[tuple[int, ...]]] = [
    [(2, 3, 5, 7), (2, 1, 5, 1), (3, 1, 7)],
    [(7, 1), (1, 5), ()],
    [(3, 4, 5), (4, 1), (3, 1, 1)],
    [(1, 1, 1), (1,), ()],
    [(4, 0, 3), (3,), (4, 1, 1)],
    [(3, 20000), (20000,), (3, 1)],
    [(20011,), (20011,), (1,)],
    [(5003, 16), (16,), (16,)],  # rows in groups
    [(33, 7, 3), (3,), ()],
    [(71, 256), (71, 256), (256,)],
    [(67, 257), (257,), (257,)],  # too long for groups
    [(1031, 5), (1031, 1), (5,)],  # an operand per row
    [(9, 1, 61, 1, 16), (9, 2, 61, 2, 16), (16,)],  # rows counted over several axes
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("order", [{}, {"tiles_at_once": 1}, {"tiles_at_once": 1, "reverse": True}], ids=str)
def test_broadcasting(shapes: list[tuple[int, ...]], order: dict[str, int]) -> None:
    """Results do not depend on who runs which tiles, and nothing outside the result is written."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype("f4") for s in shapes]
    x, y, z = (b.input_value(tensor("f32", *s)) for s in shapes)
    full = np.broadcast_shapes(*shapes)
    out = b.add(b.mul(b.broadcast_to(x, full), y), b.broadcast_to(z, full))
    node = fused([x, y, z], [out])
    (found,) = run_node(lower_fused, node, arrays, **order)
    np.testing.assert_allclose(found, arrays[0] * arrays[1] + arrays[2], rtol=1e-5, atol=1e-6)


def fused(inputs: Sequence[Value], outputs: Sequence[Value]) -> Node:
    outside = [b.input_value(v.type) for v in inputs]
    node = b.apply("fused", *outside, body=assemble("body", inputs, outputs))[0].node
    assert node is not None
    return node


def test_an_operand_twice_is_read_once() -> None:
    x = b.input_value(tensor("f32", 5))
    node = b.mul(x, x).node
    assert node is not None
    (launch,) = lower_elementwise(node, Context())
    assert len(launch.reads) == 1
    (found,) = run_node(lower_elementwise, Node(node.op, (x, x), node.attrs, (x.type,)), [np.arange(5, dtype="f4")] * 2)
    np.testing.assert_array_equal(found, [0, 1, 4, 9, 16])


def test_a_body_without_operands_fills() -> None:
    value = b.broadcast_to(b.mul(b.constant(3.0, dtypes.f32), b.constant(0.5, dtypes.f32)), (3, 4))
    (found,) = run_node(lower_fused, fused([], [value]), [])
    np.testing.assert_array_equal(found, np.full((3, 4), 1.5, "f4"))


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 16385, 50_003])
@pytest.mark.parametrize("order", [{}, {"tiles_at_once": 1, "reverse": True}], ids=str)
def test_random_numbers_made_in_the_loop(size: int, dtype: str, order: dict[str, int]) -> None:
    """They are those of random_uniform, bit for bit."""
    state = np.array([2**63 + 12345, 2**32 + 77], np.uint64)
    s, x = b.input_value(tensor("u64", 2)), b.input_value(tensor(dtype, size))
    u = b.apply1("random_uniform", s, seed=987654321, shape=(size,), dtype=dtypes.of(dtype))
    a = np.linspace(0, 1, size).astype(dtypes.of(dtype).numpy)
    node = fused([s, x], [u, b.select(b.compare("greater_equal", u, 0.25), x, 0)])
    assert u.node is not None
    (expected,) = u.node.op.reference([state], u.node.attrs)
    drawn, kept = run_node(lower_fused, node, [state, a], **order)
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(kept, np.where(expected >= 0.25, a, 0))


# Every op for every dtype

FLOATS = [0.0, -0.0, 0.5, 1.0, 1.5, 2.5, -0.5, -1.5, 3.7, -7.25, 0.001, 20.0, -20.0, np.inf, -np.inf, np.nan]


def specials(dtype: DType) -> np.ndarray:
    """Awkward elements of a dtype, not a multiple of any vector."""
    if dtype.is_bool:
        return np.array([True, False])
    if dtype.is_float:
        return np.array([*FLOATS, 0.1, -0.1, 60.0]).astype(dtype.numpy)
    low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    return np.array([0, 1, 2, 3, 7, 100, high, high - 1, low, low + 1, *([-1, -2, -7] if low else [5])], dtype.numpy)


def literal_of(dtype: DType) -> Value:
    value = {"b": True, "f": -0.3, "i": -3, "u": 2**63 + 5 if dtype == dtypes.u64 else 200}[dtype.kind]
    return b.constant(value, dtype)


def takes(op: Elementwise, dtype: DType) -> bool:
    return dtype.kind in op.accepts and op.name != "cast"


def applications(dtype: DType, x: Value, y: Value, small: Value, p: Value) -> list[Value]:
    """Every op that takes `dtype`, on all pairs of awkward elements; an op of two operands also on a literal."""
    out = []
    for op in OPS.values():
        if not isinstance(op, Elementwise) or not takes(op, dtype):
            continue
        if op.name == "select":
            out.append(b.select(p, x, y))
        elif op.name == "pow":  # integers to a negative power, and powers that overflow, have no agreed value
            out.append(b.pow(x, small))
        elif op.arity == 3:
            out.append(b.apply1(op.name, x, small, y))
        elif op.arity == 2:
            out += [b.apply1(op.name, x, y), b.apply1(op.name, x, literal_of(dtype))]
        else:
            out.append(b.apply1(op.name, x))
    return out


@pytest.mark.parametrize("name", [d.name for d in dtypes.ALL])
def test_every_op(name: str) -> None:
    dtype = dtypes.of(name)
    a = specials(dtype)
    left, right = np.repeat(a, a.size), np.tile(a, a.size)
    small = np.tile(np.array([0, 1, 2, 3, 1, 0, 2]), left.size)[: left.size].astype(dtype.numpy)
    chosen = np.tile(np.array([True, False, True]), left.size)[: left.size]
    if dtype.is_float:  # sine and cosine of huge numbers, and powers of negative ones, are tested elsewhere
        small = np.abs(small)
    arrays = [left, right, small, chosen]
    inputs = [b.input_value(TensorType(dtypes.of(v.dtype), v.shape)) for v in arrays]
    outputs = applications(dtype, *inputs)
    found = run_node(lower_fused, fused(inputs, outputs), arrays)
    content = dict(zip(inputs, arrays, strict=True))
    tolerance = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-12}.get(name, 0)
    for out, y in zip(outputs, found, strict=True):
        node = out.node
        assert node is not None
        operands = [content[v] if v in content else constant_of(v) for v in node.inputs]
        (expected,) = node.op.reference(operands, node.attrs)
        label = f"{node.op.name} of {name}"
        assert y.dtype == expected.dtype and y.shape == expected.shape, label
        if y.dtype.kind != "f":
            np.testing.assert_array_equal(y, expected, err_msg=label)
        elif node.op.name in ("sin", "cos"):
            near = np.abs(left.astype("f8")) < 100
            np.testing.assert_allclose(y[near], expected[near], rtol=tolerance, atol=tolerance, err_msg=label)
        else:
            np.testing.assert_allclose(y, expected, rtol=tolerance, atol=1e-7 if tolerance else 0, err_msg=label)


def constant_of(v: Value) -> np.ndarray:
    assert v.node is not None
    return np.array(v.node.attrs["value"], v.type.dtype.numpy).reshape(v.node.attrs["shape"])


@pytest.mark.parametrize("name", [d.name for d in dtypes.ALL])
def test_casts_to_every_dtype(name: str) -> None:
    """Of values that both dtypes hold, fractions aside; integers also wrap."""
    dtype = dtypes.of(name)
    a = np.array([0, 1, 0, 1, 1]) if dtype.is_bool else np.array([0, 1, 2, 3, 7, 99, 100, 127])
    a = a.astype(dtype.numpy)
    if dtype.is_float:
        a = np.concatenate([a, np.array([0.5, 1.5, 2.75, 99.9], a.dtype)])
    x = b.input_value(TensorType(dtype, a.shape))
    outputs = [b.apply1("cast", x, dtype=to) for to in dtypes.ALL]
    found = run_node(lower_fused, fused([x], outputs), [a])
    for to, y in zip(dtypes.ALL, found, strict=True):
        (expected,) = OPS["cast"].reference([a], Attrs({"dtype": to}))
        np.testing.assert_array_equal(y, expected, err_msg=f"{name} to {to.name}")


def test_halves_are_rounded_where_they_are_stored_or_cast() -> None:
    a = np.array([1.0, 2048.0, 0.1, 65504.0], "f2")
    x = b.input_value(tensor("f16", 4))
    kept = b.sub(b.add(x, b.constant(1.0, dtypes.f16)), b.constant(1.0, dtypes.f16))
    widened = b.cast(b.cast(b.cast(x, dtypes.f32), dtypes.f16), dtypes.f32)
    found = run_node(lower_fused, fused([x], [kept, b.cast(kept, dtypes.f32), widened]), [a])
    assert found[0].dtype == np.float16 and found[1].dtype == np.float32
    np.testing.assert_allclose(found[0].astype("f4"), a.astype("f4"), rtol=1e-3)
    np.testing.assert_array_equal(found[2], a.astype("f4"))


# Literals are slots


def target() -> CpuTarget:
    found = targets.get("cpu")
    assert isinstance(found, CpuTarget)
    return found


def scaled(alpha: float, epsilon: float) -> tuple[tuple[Kernel, ...], np.ndarray]:
    x = b.input_value(tensor("f32", SymDim.fresh("B"), 3), "x")
    y = b.apply1("leaky_relu", b.add(x, epsilon), b.lift(alpha, x))
    executable = compile_graph(extract("g", [x], [y]))
    return executable.kernels(), executable.run([np.array([[-1, 0, 2]], "f4")])[0]


def test_another_alpha_makes_no_new_kernel() -> None:
    kernels, found = scaled(0.3, 0.5)
    before = target().cache.compiled
    more_kernels, more = scaled(0.7, 0.25)
    assert more_kernels == kernels and target().cache.compiled == before
    np.testing.assert_allclose(found, [[-0.15, 0.5, 2.5]], rtol=1e-6)
    np.testing.assert_allclose(more, [[-0.525, 0.25, 2.25]], rtol=1e-6)


def test_names_and_layers_make_no_new_kernel() -> None:
    def kernel(layer: str) -> Kernel:
        with b.origin((layer,)):
            node = b.unary("tanh", b.input_value(tensor("f32", B, 3), layer)).node
        assert node is not None
        return lower_elementwise(node, Context())[0].kernel

    assert kernel("dense_1") == kernel("dense_2")


# In place


def adam(shape: tuple[int, ...]) -> tuple[list[StoredVariable], Value, list[Assign]]:
    rng = np.random.default_rng(1)
    p, m = (StoredVariable(rng.standard_normal(shape), tensor("f32", *shape), n) for n in "pm")
    v = StoredVariable(rng.uniform(0, 1, shape), tensor("f32", *shape), "v")
    rate = StoredVariable(np.array(0.01), tensor("f32"), "rate")
    g = b.input_value(tensor("f32", *shape), "gradient")
    m_new = b.add(b.mul(m.value, 0.9), b.mul(g, 0.1))
    v_new = b.add(b.mul(v.value, 0.999), b.mul(b.unary("square", g), 0.001))
    p_new = b.sub(p.value, b.div(b.mul(m_new, rate.value), b.add(b.unary("sqrt", v_new), 1e-7)))
    return [p, m, v, rate], g, [Assign(m, m_new), Assign(v, v_new), Assign(p, p_new)]


@pytest.mark.parametrize("shape", [(3, 5), (20011,), (1,), ()], ids=str)
def test_an_optimizer_updates_in_place(shape: tuple[int, ...]) -> None:
    """One launch, no copies, no memory of its own; and the right numbers."""
    (p, m, v, rate), g, updates = adam(shape)
    executable = compile_graph(extract("adam", [g], [], updates))
    assert isinstance(executable.program, CpuProgram)
    plan = executable.program.schedule
    launches: tuple[Launch, ...] = plan.launches
    assert len(launches) == 1 and len(plan.alias) == 3 and executable.peak_memory() == (0,)
    for _ in range(2):
        old = [x.get().astype("f8") for x in (p, m, v)]
        grad = np.random.default_rng(2).standard_normal(shape).astype("f4")
        executable.run([np.asarray(grad)])
        m_new = 0.9 * old[1] + 0.1 * grad
        v_new = 0.999 * old[2] + 0.001 * grad.astype("f8") ** 2
        p_new = old[0] - 0.01 * m_new / (np.sqrt(v_new) + 1e-7)
        for x, expected in ((p, p_new), (m, m_new), (v, v_new)):
            np.testing.assert_allclose(x.get(), expected, rtol=1e-5, atol=1e-6)
    assert rate.get() == np.float32(0.01)


def test_what_may_be_computed_in_place() -> None:
    """Operands of the result's shape and element size, for each result."""
    full, row, wide, other = (b.input_value(t) for t in (
        tensor("f32", B, 4), tensor("f32", 4), tensor("f64", B, 4), tensor("i32", B, 4))
    )  # fmt: skip
    total = b.add(b.add(full, row), b.cast(other, dtypes.f32))
    node = fused([full, row, wide, other], [total, b.add(wide, b.cast(total, dtypes.f64))])
    ctx = Context()
    (launch,) = lower_fused(node, ctx)
    a, _, c, d = (ctx.buffer(v) for v in node.inputs)
    y, z = (ctx.buffer(v) for v in node.outputs)
    assert set(launch.inplace) == {(y, a), (y, d), (z, c)}
