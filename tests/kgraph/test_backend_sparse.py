"""Sparse tensors: what is fed, what variables hold, and models with sparse inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph import layers
from kgraph.models import Model

pytestmark = pytest.mark.usefixtures("reference_session")

scipy_sparse = pytest.importorskip("scipy.sparse")
DENSE = np.array([[0, 2, 0, 0], [1, 0, 0, 3], [0, 0, 0, 0]], "float32")


def matrix() -> Any:
    return scipy_sparse.csr_matrix(DENSE)


def test_placeholders() -> None:
    x = K.placeholder((None, 4), sparse=True, name="x")
    assert K.is_sparse(x) and K.is_tensor(x) and K.is_placeholder(x) and x.name == "x:0" and K.int_shape(x) == (None, 4)
    assert not K.is_sparse(K.to_dense(x)) and not K.is_sparse(x + 1) and not K.is_sparse(K.placeholder((2,)))
    dense = K.placeholder((2,))
    assert K.to_dense(dense) is dense
    run = K.function([x], [K.to_dense(x), x.indices, x.values, x.dense_shape])
    for fed in (matrix(), matrix().tocoo(), DENSE):
        content, indices, values, shape = run([fed])
        np.testing.assert_array_equal(content, DENSE)
        assert indices.tolist() == [[0, 1], [1, 0], [1, 3]] and values.tolist() == [2, 1, 3]
        assert shape.tolist() == [3, 4]


def test_variables_and_products() -> None:
    y = np.arange(8, dtype="float32").reshape(4, 2)
    twice = scipy_sparse.coo_matrix(([1, 1, 1, 3], ([0, 0, 1, 1], [1, 1, 0, 3])), (3, 4))  # one element in two parts
    for given in (matrix(), matrix().tocsc(), twice):
        x = K.variable(given, name="w")
        assert K.is_sparse(x) and K.int_shape(x) == (3, 4) and x.dtype == "float32"
        np.testing.assert_array_equal(K.eval(x), DENSE)
        weights = K.variable(y)
        product = K.dot(x, weights)
        assert not K.is_sparse(product)
        np.testing.assert_array_equal(K.eval(product), DENSE @ y)
        (slope,) = K.gradients(product * product, [weights])
        np.testing.assert_allclose(K.eval(slope), 2 * DENSE.T @ (DENSE @ y))
    fed = K.placeholder((None, 4), sparse=True)
    np.testing.assert_array_equal(K.function([fed], [K.dot(fed, K.variable(y))])([matrix()])[0], DENSE @ y)


def test_concatenate() -> None:
    x, y = (K.placeholder((None, 4), sparse=True) for _ in range(2))
    both, mixed = K.concatenate([x, y], axis=0), K.concatenate([x, y + 1])
    assert K.is_sparse(both) and not K.is_sparse(mixed)
    found = K.function([x, y], [both, mixed])([matrix(), matrix()])
    np.testing.assert_array_equal(found[0], np.concatenate([DENSE, DENSE]))
    np.testing.assert_array_equal(found[1], np.concatenate([DENSE, DENSE + 1], -1))


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array"])
def test_models(kind: str) -> None:
    """Trained on sparse rows as on dense ones; scipy slices the batches, which are dense only then."""
    x = np.random.RandomState(0).rand(10, 6) * (np.random.RandomState(1).rand(10, 6) > 0.6)
    y, stored = np.random.RandomState(2).rand(10, 1), getattr(scipy_sparse, kind)(x)
    results = []
    for sparse in (True, False):
        np.random.seed(0)
        a, b = layers.Input((6,), sparse=sparse), layers.Input((6,), sparse=sparse)
        assert K.is_sparse(a) == sparse
        joined = layers.concatenate([a, b])
        model = Model([a, b], layers.Dense(1)(layers.Dense(3, activation="tanh")(joined)))
        model.compile("sgd", "mse")
        fed = stored if sparse else x
        history = model.fit([fed, fed], y, epochs=2, batch_size=4, verbose=0, validation_data=([fed, fed], y))
        results.append([*history.history["loss"], model.evaluate([fed, fed], y, verbose=0),
                        *model.predict([fed, fed], batch_size=3).ravel()])  # fmt: skip
        again = Model.from_config(model.get_config())
        assert again.layers[0].sparse == sparse
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


def test_labels_of_sequences() -> None:
    labels = K.placeholder((None, None))
    sparse = K.ctc_label_dense_to_sparse(labels, np.array([2, 0, 3]))
    assert K.is_sparse(sparse)
    run = K.function([labels], [K.to_dense(sparse), sparse.indices, sparse.values, sparse.dense_shape])
    dense, indices, values, shape = run([[[5, 0, 7], [1, 1, 1], [2, 3, 4]]])
    assert dense.tolist() == [[5, 0, 0], [0, 0, 0], [2, 3, 4]] and shape.tolist() == [3, 3]
    assert indices.tolist() == [[0, 0], [0, 1], [2, 0], [2, 1], [2, 2]] and values.tolist() == [5, 0, 2, 3, 4]
    with pytest.raises(ValueError, match="rank 2"):
        K.ctc_label_dense_to_sparse(K.zeros((3,)), [1])
