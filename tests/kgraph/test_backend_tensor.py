"""Symbolic tensors: what they tell, how they index, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kgraph import backend as K

pytestmark = pytest.mark.usefixtures("reference_session")


def test_facts() -> None:
    x = K.placeholder((None, 3), name="x")
    assert x.name == "x:0" and x.op.name == "x"
    assert x.dtype == "float32" and x.dtype.name == "float32" and x.dtype == np.float32 and x.dtype != "int32"
    assert np.dtype(x.dtype) == np.float32 and hash(x.dtype) == hash("float32")
    assert x.shape[1].value == 3 and x.shape[0].value is None and int(x.shape[1]) == 3
    assert x.get_shape().as_list() == [None, 3] and x.shape.ndims == 2 and len(x.shape) == 2
    assert x.shape[1:] == (3,) and x.shape == [None, 3] and str(x.shape) == "(?, 3)"
    assert x.shape[1] * 2 == 6 and 7 - x.shape[1] == 4 and x.shape[1] // 2 == 1
    assert K.int_shape(x) == (None, 3) and K.ndim(x) == 2 and K.dtype(x) == "float32"
    assert str(x) == 'Tensor("x:0", shape=(?, 3), dtype=float32)'
    assert K.is_tensor(x) and K.is_placeholder(x) and not K.is_variable(x) and not K.is_placeholder(x + 1)
    with pytest.raises(TypeError, match="K.shape"):
        int(x.shape[0])


def test_identity_is_equality() -> None:
    x, y = K.placeholder((2,)), K.placeholder((2,))
    assert x == x and not x == y and x != y and x in [y, x] and len({x, y}) == 2
    assert (x < y).dtype == "bool"


def test_refuses_python_control_flow_and_numpy() -> None:
    x = K.placeholder((2,))
    with pytest.raises(TypeError, match="K.switch"):
        bool(x > 0)
    with pytest.raises(TypeError, match="by index"):
        list(x)
    with pytest.raises(TypeError, match="K.eval"):
        np.array(x)
    with pytest.raises(TypeError):
        np.exp(x)
    with pytest.raises(TypeError, match="K.function"):
        float(x)


def test_keras_tensor() -> None:
    x = K.placeholder((2,))
    assert not K.is_keras_tensor(x)
    x._keras_history = ()  # type: ignore[attr-defined]
    assert K.is_keras_tensor(x)
    with pytest.raises(ValueError, match="Expected a symbolic tensor instance"):
        K.is_keras_tensor(np.zeros(2))


S = slice
KEYS: list[Any] = [
    0, -1, S(1, None), S(None, -1), S(None, None, -1), S(3, 0, -2), S(1, 100), S(-100, 2), ..., None,
    (S(None), 1), (..., -1), (0, S(1, 3), None, 2), (S(None), S(1, None), ...), (None, ..., None), (S(2, 1),),
    (S(None), S(None, None, 2), S(-2, None)), (1, 2, 3), (S(None), np.int64(1)),
]  # fmt: skip


@pytest.mark.parametrize("sizes", ["known", "open"])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_index(key: Any, sizes: str) -> None:
    array = np.arange(60, dtype="float32").reshape(3, 4, 5)
    if sizes == "open" and key in (S(3, 0, -2), S(-100, 2), (S(2, 1),)):
        return  # these reach beyond an axis, and starts must lie within one whose size is not known
    x = K.placeholder(array.shape if sizes == "known" else (None, 4, 5))
    (found,) = K.function([x], [x[key]])([array])
    np.testing.assert_array_equal(found, array[key])


def test_index_by_tensors() -> None:
    array = np.arange(60, dtype="float32").reshape(3, 4, 5)
    x, i = K.placeholder((None, 4, 5)), K.placeholder((), dtype="int32")
    run = K.function(
        [x, i], [x[:, i], x[i, :2, K.constant([1, 1], "int32")], x[: K.shape(x)[0] - 1], x[K.shape(x)[0] - 1]]
    )
    found = run([array, 2])
    for a, b in zip(found, (array[:, 2], array[2, :2][:, [1, 1]], array[:2], array[2]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((0, 0, 0), "too many indices"),
        (2, "out of range"),
        ((..., ...), "one '...'"),
        (S(None, None, 0), "other than 0"),
    ],
    ids=str,
)
def test_index_errors(key: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        K.zeros((2, 3))[key]


def test_variables() -> None:
    v = K.variable([[1, 2], [3, 4]], name="w")
    assert v.name == "w:0" and K.int_shape(v) == (2, 2) and v.dtype == "float32" and K.is_variable(v)
    assert K.count_params(v) == 4 and K.get_variable_shape(v) == (2, 2)
    K.set_value(v, v.stored.array * 2)
    np.testing.assert_array_equal(K.get_value(v), [[2, 4], [6, 8]])
    got = K.get_value(v)
    got[:] = 0
    assert K.eval(K.sum(v)) == 20
    with pytest.raises(ValueError, match="shape"):
        K.set_value(v, np.zeros(3))
    K.batch_set_value([(v, np.ones((2, 2)))])
    assert [x.sum() for x in K.batch_get_value([v, v])] == [4, 4]
    assert K.variable(1).name == "Variable:0" and K.variable(1).name == "Variable_1:0"
    scalar = K.get_value(K.variable(0.5))
    assert isinstance(scalar, np.float32) and scalar == 0.5
    assert K.eval(K.eye(2)).tolist() == [[1, 0], [0, 1]]
    assert K.is_variable(K.zeros((2,))) and K.is_variable(K.ones(3))
    with pytest.raises(TypeError, match="changes variables"):
        K.set_value(K.constant(1.0), 2)


def test_values_of_tensors_start_variables() -> None:
    v = K.variable(K.constant([1.0, 2.0]) * 2)
    assert K.get_value(v).tolist() == [2, 4]


def test_constants() -> None:
    assert K.eval(K.constant(2, shape=(2, 2))).tolist() == [[2, 2], [2, 2]]
    assert K.eval(K.constant([1, 2, 3, 4], shape=(2, 2))).tolist() == [[1, 2], [3, 4]]
    assert K.eval(K.constant(3, "int64")).dtype == np.int64
    assert K.eval(K.ones((), name="one")) == 1
