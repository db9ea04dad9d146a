"""Batch normalization, softmax and cross entropies beyond the op table: decompositions, statistics, edges, second
derivatives and errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ir import builder as b
from ir.autodiff import gradients
from ir.dims import SymDim
from ir.graph import Attrs
from ir.interpreter import evaluate
from ir.opdef import TypeRuleError
from ir.ops import OPS
from ir.types import TensorType, tensor
from tests.ir.derivatives import check_second_derivatives
from tests.op_case import Case
from tests.op_cases import losses, norm

RNG = np.random.default_rng(0)
BN = Attrs({"axis": 1, "epsilon": 1e-3})


@pytest.mark.parametrize("case", norm.CASES + losses.CASES, ids=lambda c: c.name)
def test_decomposition_agrees(case: Case) -> None:
    op, attrs = OPS[case.op], Attrs(case.attrs)
    arrays = [a.astype("f8") if a.dtype.kind == "f" else a for a in case.inputs]
    values = tuple(b.input_value(tensor(a.dtype, *a.shape)) for a in arrays)
    simpler = op.decompose(values, attrs)
    if simpler is None:
        assert case.op == "sigmoid_crossentropy"
        return
    assert [v.type for v in simpler] == [v.type for v in b.apply(case.op, *values, **attrs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = evaluate(simpler, dict(zip(values, arrays, strict=True)))
    for array, expected in zip(found, op.reference(arrays, attrs), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-9)


def test_training_statistics() -> None:
    x = (RNG.standard_normal((64, 3)) * [1, 10, 0.1] + [0, 1e4, -7]).astype("f4")
    gamma, beta = np.array([1, 2, 3], "f4"), np.array([0, -1, 5], "f4")
    y, mean, variance = OPS["batch_norm_train"].reference([x, gamma, beta], BN)
    np.testing.assert_allclose(mean, x.astype("f8").mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, x.astype("f8").var(0), rtol=1e-6)
    np.testing.assert_allclose(y.astype("f8").mean(0), beta, atol=1e-5)
    (again,) = OPS["batch_norm"].reference([x, mean, variance, gamma, beta], BN)
    np.testing.assert_allclose(again, y, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("error")
def test_batch_norm_of_an_empty_batch() -> None:
    x, gamma, beta = np.zeros((0, 3), "f4"), np.ones(3, "f4"), np.zeros(3, "f4")
    y, mean, variance = OPS["batch_norm_train"].reference([x, gamma, beta], BN)
    assert y.shape == (0, 3) and np.isnan(mean).all() and np.isnan(variance).all()
    dx, dgamma, dbeta = OPS["batch_norm_grad"].reference([y, x, gamma, mean, variance], BN)
    assert dx.shape == (0, 3) and not dgamma.any() and not dbeta.any()


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 1, 2)])
def test_batch_norm_train_gradient_of_each_output(used: tuple[int, ...]) -> None:
    """The gradient through any of y, mean and variance agrees with that of the decomposition."""
    arrays = [RNG.standard_normal((4, 3, 2)), RNG.standard_normal(3), RNG.standard_normal(3)]
    inputs = [b.input_value(tensor("f64", *a.shape)) for a in arrays]
    whole = b.apply("batch_norm_train", *inputs, **BN)
    parts = OPS["batch_norm_train"].decompose(tuple(inputs), BN)
    assert parts is not None
    starts = [b.constant(RNG.standard_normal(tuple(whole[k].shape))) for k in used]
    feeds = dict(zip(inputs, arrays, strict=True))
    found = gradients([whole[k] for k in used], inputs, starts)
    expected = gradients([parts[k] for k in used], inputs, starts)
    for g, h in zip(found, expected, strict=True):
        assert (g is None) == (h is None)
        if g is not None and h is not None:
            np.testing.assert_allclose(*evaluate([g, h], feeds), rtol=1e-9, atol=1e-12)


def test_usual_batch_norm_gradient_is_one_node() -> None:
    x, gamma, beta = (b.input_value(tensor("f32", *s)) for s in ((SymDim("B"), 3), (3,), (3,)))
    y, _, _ = b.apply("batch_norm_train", x, gamma, beta, **BN)
    found = gradients([y], [x, gamma, beta])
    assert {g.node.op.name for g in found if g is not None and g.node is not None} == {"batch_norm_grad"}
    assert len({g.node for g in found if g is not None}) == 1


@pytest.mark.parametrize(
    "build, shapes",
    [
        (lambda *v: b.apply("batch_norm_train", *v, **BN), [(3, 2, 2), (2,), (2,)]),
        (lambda *v: b.apply("batch_norm_train", *v, **BN)[0], [(3, 2, 2), (2,), (2,)]),
        (lambda x, m, *v: b.apply1("batch_norm", x, m, b.add(b.mul(m, m), 0.5), *v, **BN), [(3, 2), (2,), (2,), (2,)]),
        (lambda x: b.apply1("softmax", x, axis=1), [(2, 3)]),
        (lambda x: b.apply1("log_softmax", x, axis=0), [(3, 2)]),
        (lambda z, x: b.apply1("softmax_crossentropy", z, x), [(2, 3), (2, 3)]),
        (lambda x: b.apply1("sparse_softmax_crossentropy", b.constant(np.array([2, 0])), x), [(2, 3)]),
        (lambda z, x: b.apply1("sigmoid_crossentropy", z, x), [(2, 3), (2, 3)]),
    ],
    ids=["train", "train_y", "batch_norm", "softmax", "log_softmax", "soft", "sparse", "sigmoid"],
)
def test_second_derivatives(build: Callable[..., Any], shapes: list[tuple[int, ...]]) -> None:
    check_second_derivatives(build, [RNG.standard_normal(s) + 0.1 for s in shapes])


def test_softmax_neither_overflows_nor_loses_small_values() -> None:
    x = np.array([[1e30, 0.0, -1e30], [-1000.0, -1000.0, -1000.0]], "f4")
    (y,) = OPS["softmax"].reference([x], Attrs({"axis": 1}))
    np.testing.assert_allclose(y, [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    (log_y,) = OPS["log_softmax"].reference([np.array([[0, -200, 5]], "f4")], Attrs({"axis": 1}))
    np.testing.assert_allclose(log_y[0, 1], -205 - np.log1p(np.exp(-5.0)), rtol=1e-6)


def test_softmax_over_a_million_classes() -> None:
    (y,) = OPS["softmax"].reference([np.zeros((1, 1_000_000), "f4")], Attrs({"axis": 1}))
    np.testing.assert_array_equal(y, np.float32(1e-6))


def test_crossentropy_of_certain_and_of_wrong_logits() -> None:
    logits = np.array([[100.0, 0.0, -100.0]], "f4")
    for k, expected in enumerate((0.0, 100.0, 200.0)):
        (sparse,) = OPS["sparse_softmax_crossentropy"].reference([np.array([k]), logits], Attrs())
        (soft,) = OPS["softmax_crossentropy"].reference([np.eye(3, dtype="f4")[[k]], logits], Attrs())
        assert sparse[0] == soft[0] == expected
    labels, sure = np.array([0, 1, 0, 1], "f4"), np.array([99, 99, -99, -99], "f4")
    (binary,) = OPS["sigmoid_crossentropy"].reference([labels, sure], Attrs())
    np.testing.assert_allclose(binary, [99, 0, 0, 99], atol=1e-30)


def test_sparse_crossentropy_takes_symbolic_classes() -> None:
    batch, classes = SymDim("B"), SymDim("C")
    labels, logits = b.input_value(tensor("i32", batch)), b.input_value(tensor("f32", batch, classes))
    loss = b.apply1("sparse_softmax_crossentropy", labels, logits)
    (slope,) = gradients([loss], [logits])
    assert slope is not None and slope.type == logits.type
    x = RNG.standard_normal((4, 3)).astype("f4")
    (found,) = evaluate([slope], {labels: np.array([0, 2, 1, 1], "i4"), logits: x})
    expected = np.exp(x) / np.exp(x).sum(1, keepdims=True) - np.eye(3)[[0, 2, 1, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "op, operands, attrs, message",
    [
        ("softmax", [("f32", 2, 3)], {"axis": -1}, "axis must be counted from the front and lie in 0..1"),
        ("softmax", [("f32", 2, 3)], {"axis": 2}, "axis must be .* got 2"),
        ("log_softmax", [("i32", 2, 3)], {"axis": 1}, "takes float tensors"),
        ("batch_norm_train", [("f32", 2, 3), ("f32", 4), ("f32", 3)], BN, "gamma and x: sizes 4 and 3 differ"),
        ("batch_norm_train", [("f32", 2, 3), ("f32", 3), ("f32", 1, 3)], BN, r"beta must have shape \[3\]"),
        ("batch_norm_train", [("f16", 2, 3), ("f32", 3), ("f16", 3)], BN, "gamma is float32 but x is float16"),
        ("batch_norm", [("f32", 2, 3), ("f32", 3)], BN, "takes 5 operands, got 2"),
        ("softmax_crossentropy", [("f32", 2, 3), ("f32", 2, 4)], {}, "axis 1 of labels and logits: sizes 3 and 4"),
        ("softmax_crossentropy", [("f32", 3), ("f32", 2, 3)], {}, "labels must have the type of logits"),
        ("sparse_softmax_crossentropy", [("f32", 2), ("f32", 2, 3)], {}, "labels must be integers"),
        ("sparse_softmax_crossentropy", [("i32", 2, 1), ("f32", 2, 3)], {}, "one axis fewer"),
        ("sigmoid_crossentropy", [("f32", 2), ("f64", 2)], {}, "different dtypes float32, float64"),
    ],
)
def test_refuses(op: str, operands: list[Any], attrs: Any, message: str) -> None:
    with pytest.raises(TypeRuleError, match=f"^{op}.*{message}"):
        b.apply(op, *(b.input_value(tensor(*t)) for t in operands), **attrs)


def test_types_of_batch_norm_train() -> None:
    x = TensorType(b.dtypes.f32, (SymDim("B"), 4, 3))
    values = [b.input_value(x), *(b.input_value(tensor("f32", 4)) for _ in range(2))]
    y, mean, variance = b.apply("batch_norm_train", *values, **BN)
    assert y.type == x and mean.type == variance.type == tensor("f32", 4)
