"""Every layer with each of its arguments, through `layer_test`: in models, through its config and weights, in training.

What arguments mean is tested in the other `test_layers_*.py`, on compiled programs; here ops run by their definitions.
A walk over `kgraph.layers` finds a layer, or an argument, that no row has.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from kgraph import layers
from kgraph.engine.base_layer import Layer
from kgraph.layers.merge import _Merge
from kgraph.models import Model
from kgraph.utils.test_utils import layer_test

pytestmark = pytest.mark.usefixtures("reference_session")

Row = tuple[str, dict[str, Any], tuple[int, ...]]


def weights(*names: str) -> dict[str, Any]:
    """An initializer, a regularizer and a constraint for each weight."""
    made: dict[str, Any] = {}
    for name in names:
        made |= {f"{name}_initializer": "he_normal" if name != "bias" else "ones"}
        made |= {f"{name}_regularizer": "l2", f"{name}_constraint": "max_norm"}
    return made


DENSE = {"use_bias": True, "activation": "tanh", "activity_regularizer": "l1", **weights("kernel", "bias")}
APART = {**weights("depthwise", "bias"), "use_bias": True, "activation": "tanh", "activity_regularizer": "l1"}
RECURRENT = {"activation": "relu", "use_bias": True, **weights("kernel", "recurrent", "bias")}
DROPS = {"dropout": 0.2, "recurrent_dropout": 0.3}
RUNS = {"return_sequences": True, "go_backwards": True, "activity_regularizer": "l1"}
KEEPS = {"stateful": True}
GATES = {"recurrent_activation": "sigmoid"}
SPATIAL = ((2, 9, 3), (2, 9, 8, 3), (2, 5, 6, 7, 3))  # by the number of axes, channels last


def first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with its channels first."""
    return (shape[0], shape[-1], *shape[1:-1])


def spatial() -> list[Row]:
    """Layers over sequences, images and volumes, in both data formats."""
    rows: list[Row] = []
    for n, shape in enumerate(SPATIAL, 1):
        conv = {"filters": 4, "kernel_size": (3, 2, 2)[:n]}
        orders: list[tuple[dict[str, Any], tuple[int, ...]]] = [
            ({"data_format": "channels_last"}, shape),
            ({"data_format": "channels_first"}, first(shape)),
        ]
        for order, sizes in orders:
            strided = {**conv, **order, "strides": 2, "padding": "same"}
            rows.append((f"Conv{n}D", {**strided, **DENSE}, sizes))
            rows.append((f"Conv{n}D", {**conv, **order, "dilation_rate": 2}, sizes))
            for kind in ("Max", "Average"):
                rows.append(
                    (f"{kind}Pooling{n}D", {"pool_size": 3, "strides": 2, "padding": "same", **order}, sizes)
                )
                rows.append((f"Global{kind}Pooling{n}D", order, sizes))
            if n > 1:
                rows += [
                    (f"Cropping{n}D", {"cropping": ((1, 2), (2, 1), (1, 1))[:n], **order}, sizes),
                    (f"ZeroPadding{n}D", {"padding": ((1, 2), (2, 1), (0, 1))[:n], **order}, sizes),
                    (f"UpSampling{n}D", {"size": (2, 1, 3)[:n], **order}, sizes),
                    (f"SpatialDropout{n}D", {"rate": 0.5, **order}, sizes),
                    (f"Conv{n}DTranspose", {**strided, "output_padding": 1, **DENSE}, sizes),
                ]
            if n < 3:
                separable = {**APART, **weights("pointwise"), "depth_multiplier": 2}
                rows.append((f"SeparableConv{n}D", {**strided, **separable}, sizes))
                rows.append((f"SeparableConv{n}D", {**conv, **order, "dilation_rate": 2}, sizes))
                local = {**conv, "strides": 2, "padding": "valid", **DENSE}
                if n == 2 or order["data_format"] == "channels_last":
                    rows.append((f"LocallyConnected{n}D", {**local, **order}, sizes))
        rows.append(("Flatten", {"data_format": "channels_first"}, shape))
    for order, sizes in orders_of_images():
        depthwise = {"kernel_size": 3, "strides": 2, "padding": "same", "depth_multiplier": 2, **APART, **order}
        rows.append(("DepthwiseConv2D", depthwise, sizes))
        rows.append(("UpSampling2D", {"size": 2, "interpolation": "bilinear", **order}, sizes))
    rows.append(("Conv2DTranspose", {"filters": 2, "kernel_size": 2, "dilation_rate": 2}, SPATIAL[1]))
    return rows


def orders_of_images() -> list[tuple[dict[str, Any], tuple[int, ...]]]:
    return [({"data_format": "channels_last"}, SPATIAL[1]), ({"data_format": "channels_first"}, first(SPATIAL[1]))]


def recurrent() -> list[Row]:
    rows: list[Row] = []
    steps, movie = (2, 4, 3), (2, 3, 4, 5, 2)
    own: dict[str, dict[str, Any]] = {
        "SimpleRNN": {},
        "GRU": {**GATES, "implementation": 2, "reset_after": True},
        "LSTM": {**GATES, "implementation": 2, "unit_forget_bias": False},
    }
    for name, more in own.items():
        rows += [
            (name, {"units": 3, **RECURRENT, **RUNS, **more}, steps),
            (name, {"units": 3, **DROPS, "unroll": True}, steps),
            (name, {"units": 3, **KEEPS}, steps),
            (f"{name}Cell", {"units": 3, **RECURRENT, **more, **DROPS}, steps),
        ]
    for name in ("CuDNNGRU", "CuDNNLSTM"):
        more = {"unit_forget_bias": False} if name == "CuDNNLSTM" else {}
        own_runs = {"return_sequences": True, "activity_regularizer": "l1", **weights("kernel", "recurrent", "bias")}
        rows += [(name, {"units": 3, **own_runs, **more}, steps), (name, {"units": 3, **KEEPS}, steps)]
    image = {"filters": 2, "kernel_size": (2, 3), "padding": "same", **GATES, "unit_forget_bias": False, **RECURRENT}
    rows += [
        ("ConvLSTM2D", {**image, **RUNS, **DROPS, "data_format": "channels_last", "dilation_rate": 1}, movie),
        ("ConvLSTM2D", {**image, "data_format": "channels_first", **KEEPS, "strides": 1}, (2, 3, 2, 4, 5)),
        ("ConvLSTM2DCell", {**image, **DROPS, "data_format": "channels_first", "dilation_rate": 1, "strides": 1},
         (2, 3, 2, 4, 5)),
        ("RNN", {"cell": layers.GRUCell(3), "return_sequences": True, "go_backwards": True, "unroll": True}, steps),
        ("RNN", {"cell": [layers.LSTMCell(3), layers.SimpleRNNCell(2)], **KEEPS}, steps),
        ("StackedRNNCells", {"cells": [layers.LSTMCell(3), layers.SimpleRNNCell(2)]}, steps),
        ("ConvRNN2D", {"cell": layers.ConvLSTM2DCell(2, 2), "return_sequences": True, "go_backwards": True}, movie),
        ("ConvRNN2D", {"cell": layers.ConvLSTM2DCell(2, 2), **KEEPS}, movie),
        ("Bidirectional", {"layer": layers.LSTM(3), "merge_mode": "mul"}, steps),
        ("TimeDistributed", {"layer": layers.Dense(3)}, steps),
    ]  # fmt: skip
    return rows


def named(x: Any, shift: float = 0.0) -> Any:
    return x + shift


LEGACY = {
    "init": "he_normal", "W_regularizer": "l2", "b_regularizer": "l1", "activity_regularizer": "l1",
    "W_constraint": "max_norm", "b_constraint": "non_neg", "bias": True, "input_dim": 4,
}  # fmt: skip

ROWS: list[Row] = [
    *spatial(),
    *recurrent(),
    ("Dense", {"units": 3, **DENSE}, (2, 4)),
    ("Dense", {"units": 3, "use_bias": False}, (2, 3, 4)),
    ("MaxoutDense", {"output_dim": 3, "nb_feature": 2, **LEGACY}, (2, 4)),
    ("MaxoutDense", {"output_dim": 3, "bias": False}, (2, 4)),
    ("Highway", {"activation": "tanh", **LEGACY}, (2, 4)),
    ("Highway", {"bias": False}, (2, 4)),
    ("Activation", {"activation": "softplus"}, (2, 4)),
    ("ActivityRegularization", {"l1": 0.1, "l2": 0.2}, (2, 4)),
    ("Dropout", {"rate": 0.5, "noise_shape": (None, 1), "seed": 3}, (2, 4)),
    ("AlphaDropout", {"rate": 0.5, "noise_shape": (2, 1), "seed": 3}, (2, 4)),
    ("GaussianDropout", {"rate": 0.5}, (2, 4)),
    ("GaussianNoise", {"stddev": 0.5}, (2, 4)),
    ("SpatialDropout1D", {"rate": 0.5}, (2, 3, 4)),
    ("ELU", {"alpha": 0.5}, (2, 4)),
    ("LeakyReLU", {"alpha": 0.5}, (2, 4)),
    ("ThresholdedReLU", {"theta": 4.0}, (2, 4)),
    ("ReLU", {"max_value": 6.0, "negative_slope": 0.1, "threshold": 2.0}, (2, 4)),
    ("Softmax", {"axis": 1}, (2, 3, 4)),
    ("PReLU", {**weights("alpha"), "shared_axes": [1]}, (2, 3, 4)),
    ("BatchNormalization", {"axis": 1, "momentum": 0.5, "epsilon": 0.1, "center": True, "scale": True,
                            "moving_mean_initializer": "ones", "moving_variance_initializer": "ones",
                            **weights("beta", "gamma")}, (3, 4, 2)),
    ("BatchNormalization", {"center": False, "scale": False}, (3, 4)),
    ("Masking", {"mask_value": 1.0}, (2, 3, 4)),
    ("Permute", {"dims": (2, 1)}, (2, 3, 4)),
    ("RepeatVector", {"n": 3}, (2, 4)),
    ("Reshape", {"target_shape": (-1, 2)}, (2, 3, 4)),
    ("Lambda", {"function": named, "output_shape": (4,), "arguments": {"shift": 2.0}, "mask": None}, (2, 4)),
    ("Cropping1D", {"cropping": (1, 2)}, (2, 5, 3)),
    ("ZeroPadding1D", {"padding": (1, 2)}, (2, 5, 3)),
    ("UpSampling1D", {"size": 2}, (2, 5, 3)),
    ("Embedding", {"input_dim": 7, "output_dim": 3, "input_length": 4, "mask_zero": True,
                   "activity_regularizer": "l1", **weights("embeddings")}, (2, 4)),
    *((name, {}, (2, 3, 4)) for name in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")),
    ("Concatenate", {"axis": 1}, (2, 3, 4)),
    ("Dot", {"axes": 2, "normalize": True}, (2, 3, 4)),
]  # fmt: skip

ABSTRACT = {"Layer", "Wrapper", "Recurrent", "ConvRecurrent2D"}  # `test_layers_recurrent.py` has subclasses
ELSEWHERE = {
    "InputLayer": "no layer to call; test_network.py",
    "return_state": "several outputs, so not for layer_test; test_layers_recurrent.py",
    "ConvRNN2D.unroll": "Keras refuses it; test_layers_recurrent.py",
    "weights": "a shape that depends on the input's; below, and test_layers_recurrent.py",
    "LocallyConnected1D.padding": "only 'valid'",
}


def run(name: str, kwargs: dict[str, Any], shape: tuple[int, ...]) -> None:
    cls = getattr(layers, name)
    if name == "Embedding":
        layer_test(cls, kwargs, input_data=np.arange(8).reshape(shape) % 7, input_dtype="int32",
                   expected_output_dtype="float32")  # fmt: skip
    elif name.endswith(("Cell", "Cells")):
        layer_test(layers.ConvRNN2D if "Conv" in name else layers.RNN, {"cell": cls(**kwargs)}, input_shape=shape)
    else:
        layer_test(cls, kwargs, input_shape=shape, fixed_batch_size=bool(kwargs.get("stateful")))


@pytest.mark.parametrize("row", ROWS, ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(ROWS)])
def test_layer(row: Row) -> None:
    name, kwargs, shape = row
    if not issubclass(getattr(layers, name), _Merge):
        return run(name, kwargs, shape)
    x = [np.random.default_rng(i).random(shape).astype("float32") for i in range(2)]
    inputs = [layers.Input(shape[1:]) for _ in x]
    layer = getattr(layers, name)(**kwargs)
    model = Model(inputs, layer(inputs))
    found = model.predict(x)
    assert found.shape == tuple(layer.compute_output_shape([shape, shape]))
    again = Model.from_config(model.get_config())
    np.testing.assert_array_equal(again.predict(x), found)
    np.testing.assert_array_equal(Model(inputs, getattr(layers, name.lower())(inputs, **kwargs)).predict(x), found)


CLASSES = sorted(
    {found.__name__ for found in vars(layers).values() if isinstance(found, type) and issubclass(found, Layer)}
    - ABSTRACT - set(ELSEWHERE)
)  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_has_a_row(name: str) -> None:
    given = {key for row, kwargs, _ in ROWS if row == name for key in kwargs}
    cls = getattr(layers, name)
    parameters = set(inspect.signature(cls.__init__).parameters) - {"self", "args", "kwargs"}
    parameters -= {key for key in parameters if key in ELSEWHERE or f"{name}.{key}" in ELSEWHERE}
    assert name in {row for row, _, _ in ROWS}
    assert parameters <= given


@pytest.mark.parametrize("name", ["MaxoutDense", "Highway"])
def test_layers_of_keras_1(name: str) -> None:
    """Against numpy, from weights that are given."""
    rng = np.random.default_rng(0)
    x, shapes = rng.normal(size=(5, 3)), {"MaxoutDense": [(4, 3, 2), (4, 2)], "Highway": [(3, 3), (3, 3), (3,), (3,)]}
    values = [rng.normal(size=shape) for shape in shapes[name]]
    inputs = layers.Input((3,))
    if name == "MaxoutDense":
        layer = layers.MaxoutDense(2, weights=values)
        wanted = (np.einsum("bi,fio->bfo", x, values[0]) + values[1]).max(1)
    else:
        layer = layers.Highway(weights=values, activation="tanh")
        share = 1 / (1 + np.exp(-(x @ values[1] + values[3])))
        wanted = np.tanh(x @ values[0] + values[2]) * share + (1 - share) * x
    np.testing.assert_allclose(Model(inputs, layer(inputs)).predict(x), wanted, rtol=1e-5, atol=1e-6)
    names = [w.name.split("/")[-1] for w in layer.weights]
    assert names == (["W:0", "b:0"] if name == "MaxoutDense" else ["W:0", "W_carry:0", "b:0", "b_carry:0"])
