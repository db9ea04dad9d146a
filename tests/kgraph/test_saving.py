"""Models in files: what is written, what comes back, and what is refused."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph import regularizers
from kgraph.engine import saving
from kgraph.layers import BatchNormalization, Conv2D, Dense, Flatten, Input, Lambda, Layer
from kgraph.legacy import tf_keras
from kgraph.models import Model, Sequential, load_model, model_from_json, model_from_yaml, save_model
from kgraph.utils.generic_utils import CustomObjectScope

pytestmark = pytest.mark.usefixtures("reference_session")
ORACLES = Path(__file__).parent.parent / "data" / "oracles" / "keras-2.2.4"


def mlp(optimizer: Any = "adam", **settings: Any) -> Any:
    model = Sequential([Dense(5, activation="tanh", input_shape=(4,), name="first"), Dense(2, name="last")], name="mlp")
    if optimizer:
        model.compile(optimizer, "mse", **settings)
    return model


def data(rows: int = 8) -> tuple[np.ndarray, np.ndarray]:
    x = np.sin(np.arange(rows * 4, dtype=np.float32)).reshape(rows, 4)
    return x, x[:, :2] ** 2


def equal_weights(a: Any, b: Any) -> None:
    for x, y in zip(a, b, strict=True):
        assert_array_equal(x, y)


# What is written


@pytest.mark.parametrize("name", sorted(path.stem for path in ORACLES.glob("*.h5")))
def test_files_hold_what_keras_wrote(name: str, tmp_path: Path) -> None:
    """Loading a file of Keras 2.2.4 and saving the model again gives the same configs and lists."""
    load_model(ORACLES / f"{name}.h5").save(tmp_path / "again.h5")
    with h5py.File(ORACLES / f"{name}.h5") as old, h5py.File(tmp_path / "again.h5") as new:
        assert json.loads(new.attrs["model_config"]) == json.loads(old.attrs["model_config"])
        assert json.loads(new.attrs["training_config"]) == json.loads(old.attrs["training_config"])
        assert set(new) - set(old) <= {"optimizer_weights"} and set(new.attrs) == set(old.attrs)
        groups = old["model_weights"], new["model_weights"]
        names = [saving.load_attributes_from_hdf5_group(g, "layer_names") for g in groups]
        assert names[0] == names[1]
        for layer in names[0]:
            weights = [saving.load_attributes_from_hdf5_group(g[layer], "weight_names") for g in groups]
            assert [w + ":0" for w in weights[0]] == weights[1]  # Theano's names lack the number of the output
            shapes = [[g[layer][w].shape for w in ws] for g, ws in zip(groups, weights, strict=True)]
            assert shapes[0] == shapes[1]


def test_layout(tmp_path: Path) -> None:
    model = mlp("sgd")
    model.train_on_batch(*data())
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as f:
        for attrs in (f.attrs, f["model_weights"].attrs):
            assert (attrs["keras_version"], attrs["backend"]) == ("2.2.4", "tensorflow")
        layers = f["model_weights"].attrs["layer_names"]
        assert layers.dtype.kind == "S" and layers.tolist() == [b"first", b"last"]
        assert f["model_weights/first"].attrs["weight_names"].tolist() == [b"first/kernel:0", b"first/bias:0"]
        assert_array_equal(f["model_weights/first/first/kernel:0"], model.get_weights()[0])
        state = f["optimizer_weights"].attrs["weight_names"]
        assert [f["optimizer_weights"][name].shape for name in state] == [(), (4, 5), (5,), (5, 2), (2,)]
        assert json.loads(f.attrs["training_config"])["sample_weight_mode"] is None


def test_values_without_json() -> None:
    def swish(x: Any) -> Any:
        return x

    value = {"a": np.float32(0.5), "b": np.arange(3), "c": swish, "d": Layer, "e": regularizers.l2(0.5), "f": (1, None)}
    assert json.loads(json.dumps(value, default=saving.json_default)) == {
        "a": 0.5,
        "b": {"type": "ndarray", "value": [0, 1, 2]},
        "c": "swish",
        "d": "Layer",
        "e": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}},
        "f": [1, None],
    }
    with pytest.raises(TypeError, match="Not JSON Serializable"):
        json.dumps(object(), default=saving.json_default)


def test_long_lists_of_names_are_split(tmp_path: Path) -> None:
    names = [f"{i:04d}".encode() * 100 for i in range(700)]
    with h5py.File(tmp_path / "a.h5", "w") as f:
        saving.save_attributes_to_hdf5_group(f, "layer_names", names)
        saving.save_attributes_to_hdf5_group(f, "none", [])
        assert sorted(f.attrs) == [*(f"layer_names{i}" for i in range(5)), "none"]
        assert [n.encode() for n in saving.load_attributes_from_hdf5_group(f, "layer_names")] == names
        assert saving.load_attributes_from_hdf5_group(f, "none") == []
        with pytest.raises(RuntimeError, match="larger than 64512 bytes"):
            saving.save_attributes_to_hdf5_group(f, "x", [b"x" * 64513])
    model = Sequential([Dense(1, input_shape=(1,), name="n" * 250 + str(i)) for i in range(270)])
    model.save(tmp_path / "m.h5")
    with pytest.warns(UserWarning, match="No training configuration"):
        equal_weights(load_model(tmp_path / "m.h5").get_weights(), model.get_weights())


# Round trips


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamax", "nadam"])
def test_training_goes_on_where_it_stopped(optimizer: str, tmp_path: Path) -> None:
    model = mlp(optimizer, metrics=["mae"])
    x, y = data()
    for _ in range(3):
        model.train_on_batch(x, y)
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert again.metrics_names == ["loss", "mean_absolute_error"]
    equal_weights(again.get_weights(), model.get_weights())
    equal_weights(again.optimizer.get_weights(), model.optimizer.get_weights())
    if optimizer in ("sgd", "adam", "adamax", "nadam"):  # the others do not keep their count, Nadam not its schedule
        assert K.get_value(again.optimizer.iterations) == 3
    if optimizer != "nadam":
        assert again.train_on_batch(x, y) == model.train_on_batch(x, y)


@pytest.mark.parametrize("kind", ["path", "pathlib", "file", "group", "buffer"])
def test_places(kind: str, tmp_path: Path) -> None:
    model, path = mlp(), tmp_path / "m.h5"
    if kind in ("path", "pathlib"):
        place: Any = str(path) if kind == "path" else path
        model.save(place)
        again = load_model(place)
    elif kind == "buffer":
        place = io.BytesIO()
        model.save(place)
        again = load_model(place)
    else:
        with h5py.File(path, "w") as f:
            place = f if kind == "file" else f.create_group("a/b")
            save_model(model, place)
            again = load_model(place)
            assert f.id.valid
    equal_weights(again.get_weights(), model.get_weights())
    assert again.get_config() == model.get_config()


def test_without_optimizer(tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.h5", include_optimizer=False)
    with pytest.warns(UserWarning) as caught:
        model = load_model(tmp_path / "m.h5")
    assert [str(w.message) for w in caught] == [
        "No training configuration found in save file: the model was *not* compiled. Compile it manually."
    ]
    assert model.optimizer is None
    mlp().save(tmp_path / "m.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(tmp_path / "m.h5", compile=False).optimizer is None


def test_losses_of_several_outputs(tmp_path: Path) -> None:
    x = Input((3,))
    model = Model(x, [Dense(2, name="a")(x), Dense(1, name="b")(x)])
    model.compile("sgd", {"a": "mse", "b": "mae"}, metrics={"a": ["mae"]}, loss_weights={"a": 0.5, "b": 2.0})
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert (again.loss, again.metrics, again.loss_weights) == (model.loss, model.metrics, model.loss_weights)


def test_custom_objects(tmp_path: Path) -> None:
    class Scale(Layer):
        def build(self, input_shape: Any) -> None:
            self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")
            super().build(input_shape)

        def call(self, inputs: Any) -> Any:
            return inputs * self.scale

    def squared(y_true: Any, y_pred: Any) -> Any:
        return K.mean(K.square(y_true - y_pred), axis=-1)

    model = Sequential([Scale(input_shape=(3,))])
    model.compile("sgd", squared, metrics=[squared])
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5", custom_objects={"Scale": Scale, "squared": squared})
    assert again.loss is squared and again.metrics == [squared]
    with CustomObjectScope({"Scale": Scale, "squared": squared}):
        load_model(tmp_path / "m.h5")
    with pytest.raises(ValueError, match="Unknown layer: Scale"):
        load_model(tmp_path / "m.h5")
    with pytest.raises(ValueError, match="Unknown loss function:squared"):
        load_model(tmp_path / "m.h5", {"Scale": Scale})


def test_optimizer_state_that_does_not_fit(tmp_path: Path) -> None:
    model = mlp()
    model.train_on_batch(*data())
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as f:
        names = f["optimizer_weights"].attrs["weight_names"]
        f["optimizer_weights"].attrs["weight_names"] = names[:-1]
    with pytest.warns(UserWarning, match="Error in loading the saved optimizer state"):
        assert not np.any(load_model(tmp_path / "m.h5").optimizer.get_weights()[1])


def test_copies() -> None:
    model = mlp()
    model.train_on_batch(*data())
    bare = mlp(optimizer=None)
    for original in (model, bare):
        for again in (pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
            equal_weights(again.get_weights(), original.get_weights())
            assert (again.optimizer is None) == (original.optimizer is None)


def test_a_model_that_is_not_built_yet(tmp_path: Path) -> None:
    model = Sequential([Dense(2)])
    model.compile("sgd", "mse")
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert not again.built and again.train_on_batch(np.ones((2, 3)), np.ones((2, 2))) > 0


# Overwriting, and errors of files


def test_overwriting_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(b"precious")
    asked: list[str] = []
    answers = iter(["n", "maybe", "Y"])

    def answer(question: str) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("builtins.input", answer)
    mlp().save(str(path), overwrite=False)
    assert path.read_bytes() == b"precious"
    mlp().save_weights(str(path), overwrite=False)
    assert path.read_bytes() != b"precious"
    assert asked == [
        f"[WARNING] {path} already exists - overwrite? [y/n]",
        f"[WARNING] {path} already exists - overwrite? [y/n]",
        'Enter "y" (overwrite) or "n" (cancel).',
    ]
    assert capsys.readouterr().out == "[TIP] Next time specify overwrite=True!\n"


def test_nothing_is_lost_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Layer):
        def get_config(self) -> Any:
            return {"odd": object()}

    path = tmp_path / "m.h5"
    mlp().save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match="Not JSON Serializable"):
        Sequential([Odd(input_shape=(2,))]).save(path)

    def full(group: Any, variables: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("kgraph.engine.weights_file.save_variables", full)
    for save in (mlp().save, mlp().save_weights):
        with pytest.raises(OSError, match="No space left"):
            save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.h5"]


def test_replacing_keeps_links_and_permissions(tmp_path: Path) -> None:
    real, link = tmp_path / "real.h5", tmp_path / "link.h5"
    real.write_bytes(b"")
    real.chmod(0o640)
    link.symlink_to(real)
    mlp().save(link)
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o640 and real.stat().st_size > 0


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no file of HDF5")
    mlp().save_weights(tmp_path / "weights.h5")
    for name, error, message in (
        ("missing.h5", FileNotFoundError, "missing.h5"),
        (".", IsADirectoryError, "is a folder"),
        ("text.h5", OSError, "text.h5 as HDF5"),
        ("weights.h5", ValueError, "No model found.*load_weights"),
    ):
        with pytest.raises(error, match=message):
            load_model(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        mlp().save(tmp_path / "nowhere" / "m.h5")


# Weights


def test_weights(tmp_path: Path) -> None:
    model, other = mlp(), mlp()
    model.save_weights(tmp_path / "w.h5")
    other.load_weights(tmp_path / "w.h5")
    equal_weights(other.get_weights(), model.get_weights())
    model.save(tmp_path / "m.h5")
    third = mlp()
    third.load_weights(str(tmp_path / "m.h5"))
    equal_weights(third.get_weights(), model.get_weights())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([(5, "first")], "You are trying to load a weight file containing 2 layers into a model with 1 layers."),
        ([(5, "a"), (3, "b")], r'Layer #1 \(named "b"\), weight b/kernel:0 has shape \(5, 3\).*saved weight has shape'),
    ],
)
def test_weights_that_do_not_fit(layers: Any, message: str, tmp_path: Path) -> None:
    mlp().save_weights(tmp_path / "w.h5")
    model = Sequential([Dense(units, name=name) for units, name in layers])
    model.build((None, 4))
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.load_weights(tmp_path / "w.h5")
    equal_weights(model.get_weights(), before)


def test_number_of_weights(tmp_path: Path) -> None:
    mlp().save_weights(tmp_path / "w.h5")
    model = Sequential([Dense(5, input_shape=(4,), name="first"), Dense(2, use_bias=False, name="last")])
    with pytest.raises(ValueError, match='Layer #1 .named "last" in the current model. was found to correspond to'):
        model.load_weights(tmp_path / "w.h5")
    with pytest.raises(ValueError, match=r'Layer #1 \(named "last"\) expects 1 weight\(s\), but the saved .* have 2'):
        model.load_weights(tmp_path / "w.h5", by_name=True)
    with pytest.warns(UserWarning, match=r"layer last due to mismatch in number of weights \(1 vs 2\)"):
        model.load_weights(tmp_path / "w.h5", by_name=True, skip_mismatch=True)


def test_weights_by_name(tmp_path: Path) -> None:
    source = mlp()
    source.save_weights(tmp_path / "w.h5")
    model = Sequential([Dense(5, input_shape=(4,), name="first"), Dense(3, name="new"), Dense(2, name="last")])
    new, last = model.layers[1].get_weights(), model.layers[2].get_weights()
    with pytest.raises(ValueError, match='named "last".*has shape'):
        model.load_weights(tmp_path / "w.h5", by_name=True)
    with pytest.warns(UserWarning, match=r"layer last due to mismatch in shape \(\(3, 2\) vs \(5, 2\)\)"):
        model.load_weights(tmp_path / "w.h5", by_name=True, skip_mismatch=True)
    equal_weights(model.layers[0].get_weights(), source.layers[0].get_weights())
    equal_weights(model.layers[1].get_weights(), new)
    assert_array_equal(model.layers[2].get_weights()[0], last[0])
    assert_array_equal(model.layers[2].get_weights()[1], source.layers[1].get_weights()[1])


def test_reshape(tmp_path: Path) -> None:
    source = Sequential([Conv2D(2, (1, 4), input_shape=(4, 4, 3))])
    source.save_weights(tmp_path / "w.h5")
    model = Sequential([Conv2D(2, (4, 1), input_shape=(4, 4, 3))])
    model.load_weights(tmp_path / "w.h5", reshape=True)
    assert_array_equal(model.get_weights()[0].ravel(), source.get_weights()[0].ravel())
    with pytest.raises(ValueError, match="must be of equal size to apply a reshape operation"):
        Sequential([Conv2D(2, 2, input_shape=(4, 4, 1))]).load_weights(tmp_path / "w.h5", reshape=True)


# Other backends and versions


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


# Lambda


def half(x: Any) -> Any:
    return x / 2.0


def lambdas() -> Any:
    def times(k: float) -> Any:
        return Lambda(lambda x: x * k, name=f"times_{k}")

    return Sequential([Lambda(half, input_shape=(3,), name="half"), times(2.0), times(3.0)])


def test_lambdas_find_their_functions_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgraph.utils.generic_utils.func_load", lambda *_: pytest.fail("bytecode was read"))
    x = np.arange(6.0).reshape(2, 3)
    model = lambdas()
    model.save(tmp_path / "m.h5", include_optimizer=False)
    text = model.to_json()
    K.clear_session()
    for again in (load_model(tmp_path / "m.h5", compile=False), model_from_json(text)):
        assert_allclose(again.predict(x), x * 3)


def test_lambdas_of_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgraph.utils.generic_utils.func_load", lambda *_: pytest.fail("bytecode was read"))
    model = Sequential([Lambda(half, input_shape=(3,), output_shape=lambda s: s, name="layer_1")])
    model.save(tmp_path / "m.h5")
    K.get_session().functions.clear()
    with pytest.raises(ValueError, match="'layer_1' is a Lambda whose function is stored as bytecode.*custom_objects="):
        load_model(tmp_path / "m.h5", compile=False)
    for known in ({"layer_1": half}, {"half": half}):
        again = load_model(tmp_path / "m.h5", known, compile=False)
        assert_allclose(again.predict(np.ones((1, 3))), np.full((1, 3), 0.5))


# Files that mean harm


def bomb(f: Any) -> None:
    f["model_weights/first/first"].create_dataset("big", (1 << 40,), "f4", chunks=(1 << 16,), compression="gzip")


def chunk_bomb(f: Any) -> None:
    group = f["model_weights/first/first"]
    group.create_dataset("big", (4,), "f4", maxshape=(None,), chunks=(1 << 28,), compression="gzip")


def virtual(f: Any) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
    f["model_weights/first/first"].create_virtual_dataset("big", layout)


def assign(value: Any) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        f["model_weights/first/first/big"] = value

    return change


def external(f: Any) -> None:
    f["model_weights/first/first"].create_dataset("big", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def renamed(name: bytes) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        f["model_weights/first"].attrs["weight_names"] = np.array([name, name])

    return change


def no_texts(f: Any) -> None:
    f["model_weights/first"].attrs["weight_names"] = np.arange(3)


def too_many_texts(f: Any) -> None:
    del f["model_weights"]
    f.create_group("model_weights").attrs.create("layer_names", np.zeros(1 << 17, "S1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bomb, "declares 4398046511104 bytes"),
        (chunk_bomb, "declares 1073741824 bytes"),
        (virtual, "made of parts of other datasets"),
        (external, "lies in another file"),
        (assign(h5py.SoftLink("/model_weights/last/last/bias:0")), "SoftLink"),
        (assign(h5py.ExternalLink("/etc/other.h5", "/x")), "ExternalLink"),
        (assign("some text"), "not an array of numbers"),
        (assign(np.zeros(2, [("a", "f4"), ("b", "i4")])), "not an array of numbers"),
        (assign(np.zeros(2, np.complex64)), "not an array of numbers"),
        (assign(h5py.Empty("f4")), "not an array of numbers"),
        (renamed(b"first"), "a dataset was expected"),
        (renamed(b"first/nothing"), "holds no 'first/nothing'"),
        (renamed(b"/model_weights/last/last/bias:0"), "absolute path"),
        (renamed(b"../last/last/bias:0"), "holds no"),
        (no_texts, "not text"),
        (too_many_texts, "declares 131072 texts"),
    ],
)
def test_hostile_files(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    mlp().save(path)
    with h5py.File(path, "r+", libver="latest") as f:
        f["model_weights/first"].attrs["weight_names"] = np.array([b"first/kernel:0", b"first/big"])
        change(f)
    with pytest.raises(ValueError, match=message):
        load_model(path)
    with pytest.raises(ValueError, match=message):
        mlp().load_weights(path)


def test_files_with_circles(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    model = mlp()
    model.save(path)
    with h5py.File(path, "r+") as f:
        f["model_weights/loop"] = f["/"]
        f["model_weights"].attrs["layer_names"] = np.array([b"loop/model_weights/first", b"last"])
    equal_weights(load_model(path).get_weights(), model.get_weights())


def edited(path: Path, change: Callable[[Any], Any], what: str = "model_config") -> None:
    with h5py.File(path, "r+") as f:
        config = json.loads(f.attrs[what])
        f.attrs[what] = json.dumps(change(config) or config).encode()


def layer(config: Any, **change: Any) -> None:
    config["config"]["layers"][0]["config"].update(change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: layer(c, units=10**12), ValueError, "Layer first: weight 'kernel'.*does not fit the file"),
        (lambda c: layer(c, units=-(10**12)), ValueError, "Layer first: weight 'kernel'"),
        (lambda c: layer(c, batch_input_shape=[None, 10**9]), ValueError, "does not fit the file"),
        (lambda c: layer(c, activation="exec"), ValueError, "Unknown activation function:exec"),
        (lambda c: layer(c, kernel_initializer={"class_name": "os.system", "config": {}}), ValueError, "Unknown init"),
        (lambda c: layer(c, colour="red"), TypeError, "Keyword argument not understood"),
        (lambda c: {"class_name": "deserialize", "config": c}, ValueError, "Unknown layer: deserialize"),
        (lambda c: {"class_name": "Model", "config": {"name": "m"}}, ValueError, "lacks 'layers'"),
        (lambda c: [c], ValueError, "must have a 'class_name'"),
    ],
)
def test_hostile_configs(change: Callable[[Any], Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.h5")
    edited(tmp_path / "m.h5", change)
    with pytest.raises(error, match=message):
        load_model(tmp_path / "m.h5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested deeper"),
        ("[" * 300 + "]" * 300, "nested deeper"),
        ("{", "not valid JSON"),
        ('{"class_name": "Sequential", "config": ' + '{"a": ' * 150 + "1" + "}" * 150 + "}", "lacks"),
    ],
)
def test_hostile_json(text: str, message: str, tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as f:
        f.attrs["model_config"] = text.encode()
    for read in (lambda: load_model(tmp_path / "m.h5"), lambda: model_from_json(text)):
        with pytest.raises(ValueError, match=message):
            read()


def test_training_configuration_without_optimizer(tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.h5")
    edited(tmp_path / "m.h5", lambda c: c.pop("optimizer_config") and None, "training_config")
    with pytest.raises(ValueError, match="names no optimizer"):
        load_model(tmp_path / "m.h5")


def test_yaml() -> None:
    model = mlp(None)
    assert model_from_yaml(model.to_yaml()).get_config() == model.get_config()
    tuples = model.to_yaml().replace("batch_input_shape:", "batch_input_shape: !!python/tuple")
    assert model_from_yaml(tuples).get_config() == model.get_config()
    bombs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(8)
    )
    for text, message in (
        ("!!python/object/apply:os.system ['echo']", "not plain YAML"),
        ("class_name: !!python/name:os.system", "not plain YAML"),
        (bombs, "references unfold"),
        ("a: &a [*a]", "nested deeper"),
        ("[" * 3000, "nested too deep|not plain YAML"),
        ("just text", "must have a 'class_name'"),
    ):
        with pytest.raises(ValueError, match=message):
            model_from_yaml(text)
