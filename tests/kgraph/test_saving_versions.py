"""Files of other versions and backends: weights and configs in our form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kgraph import backend as K
from kgraph.engine import saving
from kgraph.layers import BatchNormalization, Conv2D, Dense, Flatten
from kgraph.legacy import tf_keras
from kgraph.models import Sequential, load_model
from tests.kgraph.saved_models import data, equal_weights, mlp

pytestmark = pytest.mark.usefixtures("reference_session")


def test_kernels_of_theano_are_mirrored(tmp_path: Path) -> None:
    inner = Sequential([Conv2D(2, (2, 3), input_shape=(5, 5, 2)), BatchNormalization(), Conv2D(1, 2, use_bias=False)])
    model = Sequential([Conv2D(2, 3, input_shape=(7, 7, 1)), inner, Flatten(), Dense(1)])
    model.compile("adam", "mse")
    model.train_on_batch(np.sin(np.arange(98.0)).reshape(2, 7, 7, 1), np.ones((2, 1)))
    model.save(tmp_path / "m.h5")

    def mirror(_: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset) and found.ndim == 4:
            found[...] = found[...][::-1, ::-1]

    with h5py.File(tmp_path / "m.h5", "r+") as f:
        f.visititems(mirror)
        for group in (f, f["model_weights"]):
            group.attrs["backend"] = b"theano"
    again = load_model(tmp_path / "m.h5")
    equal_weights(again.get_weights(), model.get_weights())
    equal_weights(again.optimizer.get_weights(), model.optimizer.get_weights())


def fake(kind: str, shapes: Any = (), **attributes: Any) -> Any:
    """A layer of a class called `kind` with weights of these shapes."""
    made = type(kind, (), attributes)()
    made.weights = [K.zeros(shape) for shape in shapes]
    made.trainable_weights = made.weights
    return made


def preprocess(layer: Any, weights: Any, version: str = "2.2.4", backend: str = "tensorflow") -> Any:
    return saving.preprocess_weights_for_loading(layer, weights, version, backend)


def test_wrapped_layers() -> None:
    kernel, bias = np.arange(24.0).reshape(2, 3, 2, 2), np.zeros(2)
    conv = fake("Conv2D", [(2, 3, 2, 2), (2,)])
    got = preprocess(fake("TimeDistributed", layer=conv), [kernel, bias], backend="theano")
    assert_array_equal(got[0], kernel[::-1, ::-1])
    lstm = fake("ConvLSTM2D", [(2, 3, 2, 2)] * 2)
    both = fake("Bidirectional", forward_layer=lstm, backward_layer=lstm)
    got = preprocess(both, [kernel, kernel, bias] * 2, backend="theano")
    for i, value in enumerate(got):
        assert_array_equal(value, kernel[::-1, ::-1] if i % 3 < 2 else bias)
    assert saving.mirrored_variables([both]) == {id(w) for w in lstm.weights}


def test_weights_of_version_1() -> None:
    gates = [[np.full((4, 3), g), np.full((3, 3), g), np.full(3, g)] for g in "icfo"]
    merged = preprocess(fake("LSTM"), [part for gate in gates for part in gate], "1")
    assert [w.shape for w in merged] == [(4, 12), (3, 12), (12,)]
    assert "".join(merged[2]) == "iiifffcccooo"
    merged = preprocess(fake("GRU", reset_after=False), [part for gate in gates[:3] for part in gate], "1")
    assert "".join(merged[2]) == "iiicccfff"
    kernel = np.arange(30.0).reshape(3, 1, 5, 2)
    conv = fake("Conv1D", [(3, 5, 2)], kernel_size=(3,), filters=2)
    assert_array_equal(preprocess(conv, [kernel], "1")[0], kernel[:, 0])
    assert_array_equal(preprocess(conv, [kernel.transpose(3, 2, 0, 1)], "1")[0], kernel[:, 0])
    kernel = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    conv = fake("Conv2D", [(4, 5, 3, 2)], data_format="channels_first")
    assert_array_equal(preprocess(conv, [kernel], "1")[0], kernel.transpose(2, 3, 1, 0))
    conv = fake("Conv2DTranspose", [(2, 3, 5, 4)], data_format="channels_last")
    assert_array_equal(preprocess(conv, [kernel], "1")[0], kernel.transpose(0, 1, 3, 2))


def test_weights_between_cudnn_and_plain_layers() -> None:
    units, inputs = 3, 2
    pairs = (fake("LSTM"), fake("CuDNNLSTM"), 4), (fake("GRU", reset_after=True), fake("CuDNNGRU"), 3)
    for plain, cudnn, gates in pairs:
        kernel = np.arange(inputs * units * gates, dtype=float).reshape(inputs, units * gates)
        recurrent = np.arange(units * units * gates, dtype=float).reshape(units, units * gates)
        bias = np.arange(2 * units * gates, dtype=float)
        got = preprocess(plain, [kernel, recurrent, bias])
        # Each gate's block of memory in CuDNN is the transposed matrix.
        assert_array_equal(got[0][:, :units].T.ravel(), kernel[:, :units].ravel()[: got[0][:, :units].size])
        assert_array_equal(got[1][:, :units], recurrent[:, :units].T)
        assert got[2].shape == ((units * gates,) if gates == 4 else (2, units * gates))
        back = preprocess(cudnn, got)
        assert_array_equal(back[0], kernel)
        assert_array_equal(back[1], recurrent)
        assert preprocess(cudnn, back)[0] is back[0]
    with pytest.raises(ValueError, match=r"CuDNNGRU is not compatible with GRU\(reset_after=False\)"):
        preprocess(fake("GRU", reset_after=False), [kernel, recurrent, bias])
    with pytest.raises(ValueError, match="Invalid bias shape"):
        preprocess(fake("LSTM"), [kernel, recurrent, np.zeros(5)])


def later(kind: str, config: dict[str, Any], **entry: Any) -> Any:
    made = tf_keras.model_config({"class_name": kind, "config": {"name": "x", **config}, **entry}, "2.19.0")
    made["config"].pop("name")
    return made


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("Dense", {"units": 2, "dtype": "float32"}, {"units": 2}),
        (
            "Dense",
            {"batch_input_shape": [None, 1], "dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}},
            {"batch_input_shape": [None, 1], "dtype": "float32"},
        ),
        ("Conv2D", {"groups": 1, "kernel_size": [3, 3]}, {"kernel_size": [3, 3]}),
        ("BatchNormalization", {"axis": [3], "fused": True}, {"axis": 3}),
        ("InputLayer", {"batch_shape": [None, 2], "ragged": False}, {"batch_input_shape": [None, 2]}),
        ("GaussianNoise", {"stddev": 1.0, "seed": 3}, {"stddev": 1.0}),
        (
            "Dense",
            {"kernel_initializer": {"module": "m", "class_name": "HeNormal", "config": {"seed": 3}}},
            {
                "kernel_initializer": {
                    "class_name": "VarianceScaling",
                    "config": {"scale": 2.0, "mode": "fan_in", "distribution": "normal", "seed": 3},
                }
            },
        ),
        (
            "Dense",
            {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.5}, "registered_name": None}},
            {"kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}}},
        ),
        (
            "Dense",
            {"activation": {"class_name": "function", "config": "swish"}, "kernel_constraint": None},
            {"activation": "swish", "kernel_constraint": None},
        ),
        (
            "TimeDistributed",
            {"layer": {"class_name": "Dense", "config": {"name": "d", "dtype": "float32"}, "module": "keras.layers"}},
            {"layer": {"class_name": "Dense", "config": {"name": "d"}}},
        ),
    ],
)
def test_configs_of_later_versions(kind: str, config: Any, expected: Any) -> None:
    assert later(kind, config)["config"] == expected


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("Conv2D", {"groups": 2}, r"layer 'x' \(Conv2D\) has groups=2"),
        ("Dense", {"dtype": "float64"}, r"set_floatx\('float64'\)"),
        ("BatchNormalization", {"axis": [1, 2]}, "several axes"),
        ("TFOpLambda", {"function": "math.add"}, "TensorFlow operation"),
    ],
)
def test_configs_of_later_versions_that_mean_more(kind: str, config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        later(kind, config)


def test_models_of_later_versions() -> None:
    call = [["a", 0, 0, {"training": False, "mask": None, "n": 1}]]
    with pytest.warns(UserWarning, match="training=False"):
        model = later("Functional", {"trainable": True, "layers": []}, inbound_nodes=[call], registered_name="F")
    assert model == {"class_name": "Model", "config": {"layers": []}, "inbound_nodes": [[["a", 0, 0, {"n": 1}]]]}
    with pytest.raises(ValueError, match="Keras 3"):
        tf_keras.model_config({}, "3.4.1")
    assert [tf_keras.is_later(v) for v in ("2.2.4", "2.1.6", "1.2.2", None)] == [False] * 4
    assert [tf_keras.is_later(v) for v in ("2.2.4-tf", "2.3.1", "2.19.0", "2.10.0", "3.0")] == [True] * 5


def test_training_of_later_versions() -> None:
    config = {
        "optimizer_config": {
            "class_name": "Adam",
            "config": {"name": "Adam", "learning_rate": 0.5, "clipnorm": None, "global_clipnorm": 2.0},
        },
        "loss": {"class_name": "CategoricalCrossentropy", "config": {"reduction": "auto", "from_logits": False}},
        "metrics": [[{"class_name": "MeanMetricWrapper", "config": {"fn": "categorical_accuracy"}}, "mae"]],
    }
    made = tf_keras.training_config(config)
    assert made["optimizer_config"] == {"class_name": "Adam", "config": {"lr": 0.5, "clipnorm": 2.0}}
    assert made["loss"] == "categorical_crossentropy"
    assert made["metrics"] == ["categorical_accuracy", "mae"]
    for part, value, message in (
        ("optimizer_config", {"class_name": "SGD", "config": {"learning_rate": {"class_name": "Decay"}}}, "schedule"),
        ("optimizer_config", {"class_name": "SGD", "config": {"weight_decay": 0.1}}, "weight_decay=0.1"),
        ("optimizer_config", {"class_name": "Lion", "config": {}}, "Lion of this file is not known"),
        ("loss", {"class_name": "BinaryCrossentropy", "config": {"from_logits": True}}, "from_logits=True"),
    ):
        with pytest.raises(ValueError, match=message):
            tf_keras.training_config({**config, part: value})


def test_optimizer_state_of_later_versions(tmp_path: Path) -> None:
    """Adam without the slots that are never used; RMSprop with its count first; Adagrad's start."""
    for name, count in (("adam", 9), ("rmsprop", 5), ("adagrad", None)):
        model = mlp(name)
        model.train_on_batch(*data())
        expected = model.optimizer.get_weights()
        model.save(tmp_path / "m.h5")
        with h5py.File(tmp_path / "m.h5", "r+") as f:
            for group in (f, f["model_weights"]):
                group.attrs["keras_version"] = b"2.11.0"
            if count is None:
                del f["optimizer_weights"]
                expected = [np.full_like(x, 0.1) for x in expected]
            else:
                stored = f["optimizer_weights"]
                names = list(stored.attrs["weight_names"])
                if name == "rmsprop":
                    stored.create_dataset("iter:0", data=np.int64(7))
                    names = [b"iter:0", *names]
                stored.attrs["weight_names"] = np.array(names[:count])
        again = load_model(tmp_path / "m.h5")
        equal_weights(again.optimizer.get_weights(), expected)
        if name == "rmsprop":
            assert K.get_value(again.optimizer.iterations) == 7
