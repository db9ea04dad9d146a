"""Cross entropies of the CPU target against the references: label dtypes, odd class counts, infinities and NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codegen.cpu.losses import LOWERINGS
from ir import dtypes
from ir.dims import SymDim
from ir.graph import Attrs, Node, Value
from ir.ops import OPS
from ir.types import TensorType
from tests.codegen.harness import Array, make_node, run_node
from tests.op_case import Case
from tests.op_cases.losses import CASES

SOFT, SPARSE = "softmax_crossentropy", "sparse_softmax_crossentropy"
TOLERANCE = {"float16": 1e-3, "float32": 2e-6, "float64": 1e-14}
SIZES = [(0, 3), (1, 1), (3, 1), (5, 3), (3, 5), (4097, 10), (7, 4097), (3, 33_333), (2, 3, 17)]
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def node_of(op: str, labels: Array, logits: Array, symbolic: bool = False) -> Node:
    shape: tuple[Any, ...] = logits.shape
    if symbolic:
        shape = (SymDim("B"), *shape[1:-1], SymDim("C"))
    label_shape = shape if op == SOFT else shape[:-1]
    x = Value(TensorType(dtypes.of(logits.dtype), shape), name="logits")
    z = Value(TensorType(dtypes.of(labels.dtype), label_shape), name="labels")
    return make_node(op, [z, x], TensorType(x.type.dtype, shape[:-1]))


def run(op: str, labels: Array, logits: Array, **options: Any) -> Array:
    return run_node(LOWERINGS[op], node_of(op, labels, logits), [labels, logits], **options)[0]


def reference(op: str, labels: Array, logits: Array) -> Array:
    return OPS[op].reference([labels, logits], Attrs({}))[0]


def agree(op: str, labels: Array, logits: Array) -> None:
    found, wanted = run(op, labels, logits), reference(op, labels, logits)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    tolerance = TOLERANCE[logits.dtype.name]
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def data(op: str, shape: tuple[int, ...], dtype: str = "float32", label: str = "int32") -> tuple[Array, Array]:
    rng = np.random.default_rng(sum(shape))
    logits = (3.0 * rng.standard_normal(shape)).astype(dtype)
    if op == SPARSE:
        return rng.integers(0, min(shape[-1], 127), shape[:-1]).astype(label), logits
    p = rng.uniform(0.0, 1.0, shape)
    return (p / p.sum(-1, keepdims=True)).astype(dtype), logits


@pytest.mark.parametrize("case", [c for c in CASES if c.op in LOWERINGS], ids=lambda c: c.name)
def test_row(case: Case) -> None:
    agree(case.op, *case.inputs)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("op", LOWERINGS)
def test_sizes(op: str, dtype: str) -> None:
    for shape in SIZES:
        agree(op, *data(op, shape, dtype))


@pytest.mark.parametrize("label", INTEGERS)
def test_label_dtypes(label: str) -> None:
    labels, logits = data(SPARSE, (6, 11), label=label)
    info = np.iinfo(label)
    labels[:3] = (info.max, info.min, 11)  # the smallest is class 0 where labels are unsigned
    agree(SPARSE, labels, logits)
    assert np.isnan(run(SPARSE, labels, logits)).tolist() == [True, info.min < 0, True, False, False, False]


@pytest.mark.parametrize("op", LOWERINGS)
def test_symbolic(op: str) -> None:
    """One lowering, several numbers of rows and classes."""
    for shape in ((0, 4), (3, 5), (129, 10)):
        labels, logits = data(op, shape)
        node = node_of(op, labels, logits, symbolic=True)
        env = dict(zip(node.inputs[1].shape, shape, strict=True))
        (found,) = run_node(LOWERINGS[op], node, [labels, logits], env)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, reference(op, labels, logits), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("op", LOWERINGS)
def test_any_cut_into_tiles(op: str) -> None:
    labels, logits = data(op, (10_001, 10))
    whole = run(op, labels, logits)
    for cut in ({"tiles_at_once": 1}, {"tiles_at_once": 2, "reverse": True}):
        assert run(op, labels, logits, **cut).tobytes() == whole.tobytes()


@pytest.mark.parametrize("classes", [3, 1000])
@pytest.mark.parametrize("op", LOWERINGS)
def test_far_from_zero(op: str, classes: int) -> None:
    """Logits whose common part is large, in short and in long rows."""
    logits = np.round(data(SPARSE, (4, classes))[1]) + np.array([[1e4], [-1e4], [1e6], [1e-4]], np.float32)
    labels: Array = np.array([1, 0, 2, 1], np.int32)
    wanted = reference(SPARSE, labels, logits)
    if op == SOFT:
        labels = np.eye(classes, dtype=np.float32)[labels]
    np.testing.assert_allclose(run(op, labels, logits), wanted, rtol=2e-6)


@pytest.mark.parametrize("op", LOWERINGS)
def test_no_classes(op: str) -> None:
    logits = np.zeros((3, 0), np.float32)
    labels = logits if op == SOFT else np.zeros(3, np.int32)
    np.testing.assert_array_equal(run(op, labels, logits), reference(op, labels, logits))


@pytest.mark.parametrize("op", LOWERINGS)
def test_not_finite(op: str) -> None:
    inf, nan = np.inf, np.nan
    logits = np.array([[0, -inf, 1], [0, inf, 1], [0, nan, 1], [-inf, -inf, -inf]], np.float32)
    for k in (0, 1):
        labels: Array = np.full(4, k, np.int32)
        if op == SOFT:
            labels = np.eye(3, dtype=np.float32)[labels]
        np.testing.assert_allclose(run(op, labels, logits), reference(op, labels, logits), rtol=2e-6)
