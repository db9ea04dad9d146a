"""Models on the cpu target compute what the reference computes: predictions, losses, weights after training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph import backend as K
from kgraph.layers import Dropout
from kgraph.models import Model, Sequential
from tests.end_to_end.models import CASES, Case, frozen, resnet, shared_batch_norm


def life(make: Callable[[], Case], target: str) -> dict[str, Any]:
    """Everything that a model says while it predicts, trains with batches of 7 and 4 samples, and predicts again."""
    K.clear_session()
    K.get_session().target = target
    np.random.seed(7)
    model, x, y = make()
    said: dict[str, Any] = {"predictions before": model.predict(x, batch_size=4)}
    said["first step"] = model.train_on_batch(x, y)
    said["history"] = list(model.fit(x, y, batch_size=7, epochs=2, verbose=0, shuffle=False).history.items())
    said["weighted step"] = model.train_on_batch(x, y, sample_weight=weights_for(model))
    said["evaluation"] = model.evaluate(x, y, batch_size=5, verbose=0)
    said["predictions after"] = model.predict(x)
    said["weights"] = {w.name: K.get_value(w) for w in model.weights}
    return said


def weights_for(model: Model) -> Any:
    weights = np.linspace(0, 2, 11)
    return weights if len(model.outputs) == 1 else [weights] * len(model.outputs)


def assert_same(actual: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, value in expected.items():
            assert_same(actual[key], value, f"{where}, {key}")
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_same(a, e, f"{where}, {i}")
    elif isinstance(expected, str):
        assert actual == expected
    else:
        assert np.asarray(expected).dtype == np.asarray(actual).dtype, where
        assert_allclose(actual, expected, rtol=2e-3, atol=2e-4, err_msg=where)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_targets_agree(make: Callable[[], Case]) -> None:
    assert_same(life(make, "cpu"), life(make, "reference"), make.__name__)


def test_resnet_folds_and_fuses() -> None:
    """At phase 0 every normalisation, activation and residual addition is part of a convolution."""
    model, _, _ = resnet()
    graph = model.ir(phase="test", stage="fused")
    ops = [node.op.name for node in graph.nodes]
    assert ops.count("fused_conv2d") == 6 and not {"conv2d", "batch_norm", "add", "relu", "select"} & set(ops)
    outside = [node for node in graph.nodes if node.op.name in ("fused", "mul")]
    assert all(not dim.__class__.__name__ == "SymDim" for n in outside for o in n.outputs for dim in o.shape)
    endings = [[n.op.name for n in c.attrs["epilogue"].nodes] for c in graph.nodes if c.op.name == "fused_conv2d"]
    assert sum("relu" in ending for ending in endings) == 5
    assert sum(ending.count("add") == 2 for ending in endings) == 2  # bias and shortcut


def test_resnet_in_training() -> None:
    """At phase 1 each normalisation is its statistics and part of one loop with what follows it."""
    model, _, _ = resnet()
    graph = model.ir(phase="train", stage="fused")
    ops = [node.op.name for node in graph.nodes]
    assert ops.count("moments") == 6 and not {"batch_norm_train", "batch_norm_grad", "batch_norm", "relu"} & set(ops)
    assert ops.count("batch_norm_sums") == 6
    bodies = [[inner.op.name for inner in n.attrs["body"].nodes] for n in graph.nodes if n.op.name == "fused"]
    assert sum("relu" in body and "sub" in body for body in bodies) == 5
    whole = [n for n in graph.nodes if n.op.name in ("broadcast_to", "reduce_sum") and n.outputs[0].rank == 4]
    assert not whole, "work for the branch of the other phase is left"
    assert {u.variable.path for u in graph.updates} >= {w.name.removesuffix(":0") for w in model.weights}


def test_dropout_masks_are_equal() -> None:
    """The same bits on every target, and other masks in every step."""

    def masks(target: str) -> list[np.ndarray]:
        K.clear_session()
        K.get_session().target = target
        np.random.seed(3)
        model = Sequential([Dropout(0.3, input_shape=(37,))])
        f = K.function([model.input, K.learning_phase()], model.outputs)
        return [f([np.ones((5, 37), np.float32), 1])[0] for _ in range(3)]

    first, second = masks("cpu"), masks("reference")
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])
    assert {float(v) for v in np.unique(first)} == {0.0, float(np.float32(1 / np.float32(0.7)))}
    assert 0.5 < np.mean(np.array(first) > 0) < 0.9


def test_shared_normalisation_moves_twice() -> None:
    model, (left, right), y = shared_batch_norm()
    model.train_on_batch([left, right], y)
    mean = K.get_value(model.get_layer("norm").moving_mean)
    expected = 0.8 * (0.2 * left.mean(axis=0)) + 0.2 * right.mean(axis=0)
    assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)


def test_frozen_layers_do_not_move() -> None:
    model, x, y = frozen()
    conv, norm, free = model.layers[0], model.layers[1], model.layers[2]
    before = conv.get_weights(), norm.get_weights(), free.get_weights()
    model.train_on_batch(x, y)
    after = conv.get_weights(), norm.get_weights(), free.get_weights()
    for i in range(2):
        assert all(np.array_equal(a, b) for a, b in zip(before[i], after[i], strict=True))
    assert not np.array_equal(before[2][0], after[2][0])
