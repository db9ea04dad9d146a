"""Losses and metrics against numpy, and their look-up by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph import losses, metrics

pytestmark = pytest.mark.usefixtures("reference_session")

R = np.random.RandomState(1)
T = R.rand(5, 4).astype("float32")
P = R.rand(5, 4).astype("float32") * 0.9 + 0.05
SIGNS = np.sign(R.randn(5, 4)).astype("float32")
RAW = R.randn(5, 4).astype("float32")
CLASS = np.array([0, 3, 1, 2, 2])
ONE_HOT = np.eye(4, dtype="float32")[CLASS]
PROBS = P / P.sum(-1, keepdims=True)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).sum(-1, keepdims=True))


def rank(scores: np.ndarray) -> np.ndarray:
    """How many classes score higher than the right one."""
    return (scores > scores[np.arange(5), CLASS][:, None]).sum(-1)


Row = tuple[str, np.ndarray, np.ndarray, np.ndarray]
LOSSES: list[Row] = [
    ("mean_squared_error", T, P, ((T - P) ** 2).mean(-1)),
    ("mean_absolute_error", T, P, abs(T - P).mean(-1)),
    ("mean_absolute_percentage_error", T, P, (100 * abs((T - P) / T)).mean(-1)),
    ("mean_squared_logarithmic_error", T, P, ((np.log1p(T) - np.log1p(P)) ** 2).mean(-1)),
    ("squared_hinge", SIGNS, RAW, (np.maximum(1 - SIGNS * RAW, 0) ** 2).mean(-1)),
    ("hinge", SIGNS, RAW, np.maximum(1 - SIGNS * RAW, 0).mean(-1)),
    ("categorical_hinge", ONE_HOT, RAW,
     np.maximum(0, ((1 - ONE_HOT) * RAW).max(-1) - (ONE_HOT * RAW).sum(-1) + 1)),
    ("logcosh", T, RAW, np.log(np.cosh(RAW - T)).mean(-1)),
    ("categorical_crossentropy", ONE_HOT, P, -np.log(PROBS[np.arange(5), CLASS])),
    ("sparse_categorical_crossentropy", CLASS[:, None].astype("float32"), PROBS, -np.log(PROBS[np.arange(5), CLASS])),
    ("binary_crossentropy", T, P, -(T * np.log(P) + (1 - T) * np.log(1 - P)).mean(-1)),
    ("kullback_leibler_divergence", T, P, (T * np.log(T / P)).sum(-1)),
    ("poisson", T, P, (P - T * np.log(P)).mean(-1)),
    ("cosine_proximity", T, RAW, -(unit(T) * unit(RAW)).sum(-1)),
]  # fmt: skip
METRICS: list[Row] = [
    ("binary_accuracy", (T > 0.5).astype("float32"), P, ((T > 0.5) == (P > 0.5)).mean(-1)),
    ("categorical_accuracy", ONE_HOT, P, rank(P) == 0),
    ("sparse_categorical_accuracy", CLASS[:, None].astype("float32"), P, rank(P) == 0),
    ("sparse_categorical_accuracy", CLASS.astype("float32"), P, rank(P) == 0),
]


@pytest.mark.parametrize("row", LOSSES + METRICS, ids=[r[0] for r in LOSSES + METRICS])
def test_against_numpy(row: Row) -> None:
    name, target, predicted, expected = row
    # Targets come as `compile` makes them: nothing known of their sizes.
    y, x = K.placeholder(ndim=target.ndim), K.placeholder((None, 4))
    module = losses if hasattr(losses, name) else metrics
    result = module.get(name)(y, x)
    assert K.ndim(result) == 1 and result.dtype == "float32"
    (found,) = K.function([y, x], [result])([target, predicted])
    np.testing.assert_allclose(found, np.asarray(expected, "float32"), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k(k: int) -> None:
    y, x = K.placeholder(ndim=2), K.placeholder((None, 4))
    for function, target in (
        (metrics.top_k_categorical_accuracy, ONE_HOT),
        (metrics.sparse_top_k_categorical_accuracy, CLASS[:, None]),
    ):
        (found,) = K.function([y, x], [function(y, x, k)])([target, RAW])
        assert found == pytest.approx((rank(RAW) < k).mean())


@pytest.mark.parametrize("row", LOSSES, ids=[r[0] for r in LOSSES])
def test_gradients_are_finite(row: Row) -> None:
    name, target, predicted, _ = row
    y, x = K.placeholder(target.shape), K.placeholder((5, 4))
    (grad,) = K.gradients(losses.get(name)(y, x), x)
    assert np.isfinite(K.function([y, x], [grad])([target, predicted])[0]).all()


def test_sequences() -> None:
    y, x = K.placeholder(ndim=3), K.placeholder((None, None, 4))
    run = K.function([y, x], [losses.sparse_categorical_crossentropy(y, x)])
    found = run([np.stack([CLASS, CLASS])[..., None], np.stack([PROBS, PROBS])])[0]
    np.testing.assert_allclose(found, -np.log(np.stack([PROBS[np.arange(5), CLASS]] * 2)), rtol=1e-5)


def test_certain_mistakes_stay_finite() -> None:
    y, x = K.placeholder((1, 2)), K.placeholder((1, 2))
    run = K.function([y, x], [losses.categorical_crossentropy(y, x), losses.binary_crossentropy(y, x)])
    one, two = run([[[1, 0]], [[0, 1]]])
    assert one[0] == pytest.approx(-np.log(1e-7), rel=1e-5) and np.isfinite(two[0])


def test_look_up() -> None:
    assert losses.get("mse") is losses.mean_squared_error and losses.get("KLD") is losses.kullback_leibler_divergence
    assert losses.get(None) is None and metrics.get("MAE") is losses.mean_absolute_error
    assert losses.serialize(losses.mse) == "mean_squared_error"

    def own(y_true: Any, y_pred: Any) -> Any:
        return y_pred

    assert losses.get(own) is own and losses.deserialize("own", {"own": own}) is own


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.get("nope"), "Unknown loss function:nope"),
        (lambda: metrics.get("nope"), "Unknown metric function:nope"),
        (lambda: losses.get(3), "Could not interpret loss function identifier:"),
        (lambda: metrics.get(3), "Could not interpret metric function identifier: 3"),
    ],
)
def test_unknown(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
