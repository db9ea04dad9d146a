"""Models that real Keras 2.2.4 and tf_keras 2.19 built, predicted with and trained: the same files give the same here.

`tests/data/oracles/PACKAGE/NAME.h5` is a model as saved before training. `NAME.npz` holds inputs `x`, targets `y`,
sample weights `sw`, predictions `p`, the `loss` of each step, then weights `w` and predictions `q` after the steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph.backend import session
from kgraph.backend.config import Config
from kgraph.engine.preprocess_weights import mirrored_variables
from kgraph.models import load_model
from kgraph.utils.conv_utils import convert_kernel

ORACLES = Path(__file__).parent.parent / "data" / "oracles"
CASES = sorted(f"{path.parent.name}/{path.stem}" for path in ORACLES.glob("*/*.h5"))

# Where these packages mean something else than Keras 2.2.4 on TensorFlow.
#
# A bias in front of a BatchNormalization has no gradient but rounding errors, which Adam makes large.
NOISE = {"tf_keras-2.19/residual_bn": ("conv2d/bias:0", "conv2d_1/bias:0")}
# Theano's moving variance contains epsilon (0.001), here weighted by six steps of momentum 0.8, over 4 samples.
EPSILON = {"keras-2.2.4/bn_dense": ("batch_normalization_1/moving_variance:0", (1 - 0.8**6) * 0.001 * 4 / (3 - 0.001))}
# Where elements of a pooling window tie, Theano gives all of them the gradient and TensorFlow the first.
TIES = {"keras-2.2.4/conv_channels_first"}


@pytest.fixture(params=["reference", "cpu"])
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """A session of its own for each target."""
    before = session.current()
    fresh = session.Session(Config())
    fresh.target = request.param
    session.set_session(fresh)
    yield request.param
    session.set_session(before)


def arrays(data: Any, prefix: str) -> list[np.ndarray]:
    found = []
    while f"{prefix}{len(found)}" in data:
        found.append(data[f"{prefix}{len(found)}"])
    return found


def alone(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def check_predictions(model: Any, data: Any, expected: str, batch: int, **tolerance: float) -> None:
    if model.stateful:
        model.reset_states()
    result = model.predict(alone(arrays(data, "x")), batch_size=batch)
    for got, want in zip(result if isinstance(result, list) else [result], arrays(data, expected), strict=True):
        assert_allclose(got, want, **tolerance)


def train(model: Any, data: Any, batch: int, steps: int) -> None:
    """Train on three batches in turn, comparing each loss."""
    if model.stateful:
        model.reset_states()
    for step in range(steps):
        rows = slice(batch * (step % 3), batch * (step % 3) + batch)
        x, y = ([a[rows] for a in arrays(data, prefix)] for prefix in "xy")
        weights = data["sw"][rows] if "sw" in data else None
        loss = np.ravel(model.train_on_batch(alone(x), alone(y), sample_weight=weights))[0]
        assert_allclose(loss, np.ravel(data["loss"][step])[0], rtol=5e-4, atol=1e-6, err_msg=f"step {step}")


def all_that_tie(window: Any, x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
    """In place of `ir.ops.pool._winners`: Theano's rule."""
    wide = window.padded(x, -np.inf)
    for _, at in window.taps(x.shape):
        yield at, wide[at] == window.to_last(y)


@pytest.mark.parametrize("case", CASES)
def test_oracle(case: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, name = case.split("/")
    settings = json.loads((ORACLES / package / "index.json").read_text())[name]
    batch = settings["batch"]
    data = np.load(ORACLES / package / f"{name}.npz")
    model = load_model(ORACLES / package / f"{name}.h5")
    check_predictions(model, data, "p", batch, rtol=1e-4, atol=1e-5)
    if case in TIES and target != "reference":
        return train(model, data, batch, 1)
    if case in TIES:
        monkeypatch.setattr("ir.ops.pool._winners", all_that_tie)
        # Both passes rely on windows that choose one element.
        monkeypatch.setattr(import_module("ir.passes.pool_gradients"), "_POOLINGS", {})
        monkeypatch.setattr(import_module("ir.passes.pool_places"), "_MOST", 0)
    train(model, data, batch, settings["steps"])

    variables = [w for layer in model.layers for w in layer.weights]
    expected = arrays(data, "w")
    if settings["package"] == "keras":  # written with Theano
        mirrored = mirrored_variables(model.layers)
        expected = [convert_kernel(w) if id(v) in mirrored else w for v, w in zip(variables, expected, strict=True)]
    for variable, got, want in zip(variables, model.get_weights(), expected, strict=True):
        of, amount = EPSILON.get(case, ("", 0.0))
        if variable.name not in NOISE.get(case, ()):
            want = want - amount if variable.name == of else want
            assert_allclose(got, want, rtol=2e-3, atol=2e-5, err_msg=variable.name)
    if case in EPSILON:
        model.set_weights(expected)
    check_predictions(model, data, "q", batch, rtol=2e-3, atol=1e-5)
