"""Models in files: what is written, what comes back, and what is refused."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kgraph import backend as K
from kgraph import regularizers
from kgraph.engine import saving
from kgraph.layers import Conv2D, Dense, Input, Layer
from kgraph.models import Model, Sequential, load_model, save_model
from kgraph.utils.generic_utils import CustomObjectScope
from kgraph.utils.io_utils import H5Dict
from tests.kgraph.saved_models import data, equal_weights, mlp

pytestmark = pytest.mark.usefixtures("reference_session")
ORACLES = Path(__file__).parent.parent / "data" / "oracles" / "keras-2.2.4"


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


# HDF5 as a dictionary


@pytest.mark.parametrize("kind", ["file", "group", "dict"])
def test_h5dict(kind: str, tmp_path: Path) -> None:
    place: Any = {"file": str(tmp_path / "a.h5"), "dict": {}}.get(kind)
    f = H5Dict(h5py.File(tmp_path / "a.h5", "w") if kind == "group" else place)
    f["version"] = b"1"
    f["inner"]["values"] = np.arange(3)
    f["inner"].update({"names": ["a", "b"], "scalar": np.float32(2.0)})
    assert f["version"] == b"1" and f.get("missing", 7) == 7 and "inner" in f and "version" in f
    inner = f["inner"]
    assert_array_equal(inner["values"], np.arange(3))
    assert [x.decode() if isinstance(x, bytes) else x for x in inner["names"]] == ["a", "b"]
    assert inner["scalar"] == 2.0
    if kind != "dict":
        f["long"] = ["x" * 300] * 300
        assert len(f["long"]) == 300 and sorted(f.iter()) == list(f) == ["inner"] and len(f) == 1
        with pytest.raises(KeyError, match="exists"):
            f["inner"] = 1
    f.close()
    if kind == "file":
        reading = H5Dict(place, "r")
        for action in (lambda: reading["new"], lambda: reading.update({"a": 1})):
            with pytest.raises(ValueError, match="read only mode"):
                action()
        reading.close()
    with pytest.raises(TypeError, match="Required Group, str or dict"):
        H5Dict(3)
