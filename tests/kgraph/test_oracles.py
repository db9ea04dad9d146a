"""Models that real Keras 2.2.4 and tf_keras 2.19 built, predicted with and trained: their files give the same here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kgraph import backend as K
from kgraph.models import load_model
from kgraph.utils.conv_utils import convert_kernel

ORACLES = Path(__file__).parent.parent / "data" / "oracles"
CASES = sorted(f"{path.parent.name}/{path.stem}" for path in ORACLES.glob("*/*.h5"))
# Weights where these packages mean something else than Keras 2.2.4 on TensorFlow; later predictions then differ too.
OTHER_MEANING = {
    # tf_keras: the moving variance estimates the batch's variance, not the population's. A bias in front of a
    # BatchNormalization has no gradient but rounding errors, which Adam makes large.
    "tf_keras-2.19/conv_bn_relu": {"moving_variance"},
    "tf_keras-2.19/residual_bn": {"moving_variance", "conv2d/bias", "conv2d_1/bias"},
    # Theano: the moving variance contains epsilon.
    "keras-2.2.4/bn_dense": {"moving_variance"},
}
# Theano: where elements of a pooling window tie, all get the gradient; TensorFlow gives it to the first.
ONE_STEP_ONLY = {"keras-2.2.4/conv_channels_first"}


def arrays(data: Any, prefix: str) -> list[np.ndarray]:
    found = []
    while f"{prefix}{len(found)}" in data:
        found.append(data[f"{prefix}{len(found)}"])
    return found


def alone(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def predict(model: Any, inputs: list[np.ndarray], batch: int) -> list[np.ndarray]:
    result = model.predict(alone(inputs), batch_size=batch)
    return result if isinstance(result, list) else [result]


@pytest.mark.parametrize("case", CASES)
def test_oracle(case: str) -> None:
    K.clear_session()
    package, name = case.split("/")
    settings = json.loads((ORACLES / package / "index.json").read_text())[name]
    batch = settings["batch"]
    data = np.load(ORACLES / package / f"{name}.npz")
    model = load_model(str(ORACLES / package / f"{name}.h5"))
    inputs, targets = arrays(data, "x"), arrays(data, "y")
    for got, expected in zip(predict(model, inputs, batch), arrays(data, "p"), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    for step in range(1 if case in ONE_STEP_ONLY else settings["steps"]):
        rows = slice(batch * (step % 3), batch * (step % 3) + batch)
        weights = data["sw"][rows] if "sw" in data else None
        result = model.train_on_batch(
            alone([x[rows] for x in inputs]), alone([y[rows] for y in targets]), sample_weight=weights
        )
        loss = np.ravel(result)[0]
        np.testing.assert_allclose(loss, np.ravel(data["loss"][step])[0], rtol=5e-4, atol=1e-6)
    if case in ONE_STEP_ONLY:
        return
    other = OTHER_MEANING.get(case, set())
    layers = [w for layer in model.layers for w in layer.weights]
    for variable, got, expected in zip(layers, model.get_weights(), arrays(data, "w"), strict=True):
        if package == "keras-2.2.4" and expected.ndim == 4:
            expected = convert_kernel(expected)  # Theano wrote it, and mirrors the kernels of convolutions
        if not any(part in variable.name for part in other):
            np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-5, err_msg=variable.name)
    if not other:
        for got, expected in zip(predict(model, inputs, batch), arrays(data, "q"), strict=True):
            np.testing.assert_allclose(got, expected, rtol=2e-3, atol=1e-5)
