"""Snippets that save and load: whole models, architectures, weights, custom objects, settings."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kgraph import backend as K
from kgraph.backend.config import load_config
from kgraph.layers import Dense, Layer
from kgraph.models import Sequential, load_model
from tests.seeds.conftest import Play
from tests.seeds.snippets import plays, snippet

X = np.sin(np.arange(24.0)).reshape(8, 3)
Y = np.eye(4)[np.arange(8) % 4]


def trained(optimizer: str = "adam") -> Any:
    model = Sequential([Dense(5, activation="relu", input_dim=3), Dense(4, activation="softmax")])
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, epochs=2, verbose=0)
    return model


def same_weights(a: Any, b: list[np.ndarray]) -> None:
    for x, y in zip(a.get_weights(), b, strict=True):
        assert_array_equal(x, y)


@plays("faq_cn 7", "faq_tw 3", "notes 61", "notes 88", "guide 7", "tutorial 9")
def test_whole_model(name: str, play: Play) -> None:
    model = trained()
    expected, state = model.predict(X), model.optimizer.get_weights()
    copy = play(name, model=model, load_model=load_model)["model"]
    assert copy.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    assert_array_equal(copy.predict(X), expected)
    for x, y in zip(copy.optimizer.get_weights(), state, strict=True):
        assert_array_equal(x, y)
    if name == "guide 7":  # it goes on with the model itself
        assert copy is model and load_model("model.h5").predict(X).tolist() == expected.tolist()
    else:
        assert copy.train_on_batch(X, Y) == model.train_on_batch(X, Y)


@plays("faq_cn 8", "faq_tw 4", "notes 62")
def test_architecture_as_text(name: str, play: Play) -> None:
    made = play(name, model=trained())
    config = json.loads(made["json_string"])
    assert config["class_name"] == "Sequential" and config["keras_version"] == "2.2.4"
    assert [x["config"]["units"] for x in config["config"]["layers"]] == [5, 4]
    assert "class_name: Sequential" in made["yaml_string"]


@plays("faq_cn 9", "faq_tw 5", "notes 63")
def test_architecture_from_text(name: str, play: Play) -> None:
    model = trained()
    copy = play(name, json_string=model.to_json(), yaml_string=model.to_yaml())["model"]
    assert copy is not model and copy.get_config() == model.get_config() and copy.optimizer is None


@plays("faq_cn 10", "faq_tw 6", "notes 64")
def test_saving_weights(name: str, play: Play) -> None:
    model = trained()
    play(name, model=model)
    with h5py.File("my_model_weights.h5") as f:
        assert [x.decode() for x in f.attrs["layer_names"]] == [layer.name for layer in model.layers]


@plays("faq_cn 11", "faq_tw 7", "notes 65")
def test_loading_weights(name: str, play: Play) -> None:
    model = trained()
    model.save_weights("my_model_weights.h5")
    copy = Sequential.from_config(model.get_config())
    play(name, model=copy)
    same_weights(copy, model.get_weights())


@plays("notes 87", "tutorial 10")
def test_saving_and_loading_weights(name: str, play: Play) -> None:
    model = trained()
    before = model.get_weights()
    play(name, model=model)
    same_weights(model, before)
    assert len(list(Path().glob("*.h5"))) == 1


@plays("faq_cn 12", "faq_tw 9", "notes 67")
def test_weights_by_name_into_another_model(name: str, play: Play) -> None:
    saved = Sequential([Dense(2, input_dim=3, name="dense_1"), Dense(3, name="dense_2")])
    saved.save_weights("w.h5")
    model = play(name, Sequential=Sequential, Dense=Dense, fname="w.h5")["model"]
    assert_array_equal(model.get_layer("dense_1").get_weights()[0], saved.get_weights()[0])
    assert model.get_layer("new_dense").get_weights()[0].shape == (2, 10)


@plays("faq_cn 33", "faq_tw 8", "notes 66")
def test_weights_by_name(name: str, play: Play) -> None:
    model = trained()
    model.save_weights("my_model_weights.h5")
    other = Sequential([Dense(5, input_dim=3, name=model.layers[0].name), Dense(7)])
    last = other.layers[1].get_weights()
    play(name, model=other)
    same_weights(other, [*model.layers[0].get_weights(), *last])


class AttentionLayer(Layer):
    def __init__(self, scale: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        return inputs * K.softmax(inputs * self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def attentive() -> Any:
    model = Sequential([Dense(4, input_dim=3), AttentionLayer(scale=3.0)])
    model.compile("sgd", "mse")
    return model


@plays("faq_tw 10", "faq_tw 11", "notes 89")
def test_custom_layers(name: str, play: Play) -> None:
    model = attentive()
    path = "model1/GRUAttention(0.8574).h5" if name == "notes 89" else "my_model.h5"
    Path(path).parent.mkdir(exist_ok=True)
    model.save(path)
    with pytest.raises(ValueError, match="AttentionLayer"):
        play("notes 88", model=model, load_model=load_model)
    copy = play(name, load_model=load_model, AttentionLayer=AttentionLayer)["model"]
    assert copy.layers[1].scale == 3.0
    assert_array_equal(copy.predict(X), model.predict(X))


@plays("faq_tw 12")
def test_custom_layers_from_text(name: str, play: Play) -> None:
    copy = play(name, json_string=attentive().to_json(), AttentionLayer=AttentionLayer)["model"]
    assert isinstance(copy.layers[1], AttentionLayer)


def focal_loss(y_true: Any, y_pred: Any) -> Any:
    return K.mean(K.pow(1 - y_pred, 2.0) * K.square(y_true - y_pred), axis=-1)


@plays("notes 90", "notes 91")
def test_own_losses(name: str, play: Play) -> None:
    def focal_loss_fixed(y_true: Any, y_pred: Any) -> Any:
        return focal_loss(y_true, y_pred)

    Path("model1").mkdir()
    model = Sequential([Dense(4, input_dim=3, activation="sigmoid")])
    model.compile("sgd", focal_loss_fixed)
    model.save("model1/GRUAttention(0.8574).h5")
    with pytest.raises(ValueError, match="focal_loss_fixed"):
        load_model("model1/GRUAttention(0.8574).h5")
    copy = play(name, load_model=load_model, focal_loss=focal_loss)["model"]
    assert_array_equal(copy.predict(X), model.predict(X))
    if name == "notes 90":
        assert copy.optimizer is None
    else:
        assert copy.train_on_batch(X, Y) == model.train_on_batch(X, Y)


@plays("notes 84")
def test_evaluating_a_loaded_model(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    model = trained()
    model.save("best_weights.h5")
    made = play(name, x_test=X, y_test=Y, batch_size=4)
    expected = model.evaluate(X, Y, batch_size=4, verbose=0)
    assert [made["loss"], made["acc"]] == expected
    assert capsys.readouterr().out.split()[0] == "test_loss"


@plays("faq_cn 27", "faq_tw 23")
def test_hdf5_input(name: str, play: Play) -> None:
    Path("input").mkdir()
    with h5py.File("input/file.hdf5", "w") as f:
        f["X_data" if name == "faq_cn 27" else "x_data"] = X
    seen: list[Any] = []
    model = trained()
    predict = model.predict
    model.predict = lambda x: seen.append((type(x), predict(x)))
    play(name, model=model)
    assert seen[0][0] is h5py.Dataset
    assert_array_equal(seen[0][1], predict(X))


@plays("faq_cn 29", "faq_tw 25", "guide 15")
def test_settings(name: str, play: Play, tmp_path: Path) -> None:
    """`keras.json`, as shown, in the user's folder."""
    (tmp_path / ".keras").mkdir(exist_ok=True)
    (tmp_path / ".keras" / "keras.json").write_text(snippet(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_config()
    first = "channels_first" if name == "guide 15" else "channels_last"
    assert (config.image_data_format, config.epsilon, config.floatx) == (first, 1e-7, "float32")
