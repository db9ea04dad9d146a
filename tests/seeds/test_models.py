"""Snippets about models themselves: inner outputs, freezing, removing layers, states, devices, repeatable results."""

from __future__ import annotations

import os
import random
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph.layers import LSTM, Add, Conv1D, Conv2D, Dense, Dropout, Input, Lambda
from kgraph.models import Model, Sequential
from kgraph.utils import multi_gpu_utils, plot_model
from tests.seeds.conftest import Play
from tests.seeds.snippets import plays

X = np.sin(np.arange(60.0)).reshape(20, 3).astype("float32")
Y = np.cos(np.arange(20.0 * 2)).reshape(20, 2).astype("float32")


# Outputs inside


@plays("faq_cn 13", "faq_tw 13")
def test_a_model_of_an_inner_output(name: str, play: Play) -> None:
    model = Sequential([Dense(5, input_dim=3, activation="tanh", name="my_layer"), Dense(2)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = play(name, {"model = ...": "model = original"}, original=model, data=X)
    assert any("Update your `Model` call" in str(w.message) for w in caught) == (name == "faq_cn 13")
    kernel, bias = model.layers[0].get_weights()
    assert_allclose(made["intermediate_output"], np.tanh(X @ kernel + bias), rtol=1e-5, atol=1e-6)


@plays("tutorial 11")
def test_a_convolution_inside(name: str, play: Play) -> None:
    inp = Input((8, 8, 1))
    y_hat = Conv2D(2, 3, name="Conv2D_1")(inp)
    x = np.ones((2, 8, 8, 1))
    made = play(name, inp=inp, y_hat=y_hat, x=x)
    assert made["Middle_layer_out"].shape == (2, 6, 6, 2)
    assert_array_equal(made["Middle_layer_out"], made["model"].predict(x))


def deep() -> Any:
    return Sequential([Dense(4, input_dim=3), Dropout(0.5), Dense(3), Dropout(0.5), Dense(2)])


@plays("faq_cn 14", "faq_tw 14")
def test_a_function_of_an_inner_output(name: str, play: Play) -> None:
    model = deep()
    made = play(name, model=model, X=X, x=X)
    first, second = model.layers[0].get_weights()[0], model.layers[2].get_weights()[0]
    assert_allclose(made["layer_output"], X @ first @ second, rtol=1e-5, atol=1e-6)


@plays("faq_cn 15", "faq_tw 15")
def test_a_function_of_the_learning_phase(name: str, play: Play) -> None:
    model = deep()
    made = play(name, {"# output in train mode": "test = layer_output\n#"}, model=model, X=X, x=X, K=K)
    assert_array_equal(made["test"], Model(model.input, model.layers[3].output).predict(X))
    dropped = made["layer_output"] == 0
    assert 0.1 < dropped.mean() < 0.9 and not (made["test"] == 0).any()


# Layers


@plays("faq_cn 22", "faq_tw 19")
def test_freezing(name: str, play: Play) -> None:
    data, labels = np.ones((64, 32)), np.zeros((64, 32))
    fits: list[tuple[Any, bool]] = []

    class Watched(Model):
        def fit(self, *args: Any, **kwargs: Any) -> Any:
            before = self.layers[1].get_weights()[0]
            history = super().fit(*args, verbose=0, **kwargs)
            fits.append((self, np.array_equal(before, self.layers[1].get_weights()[0])))
            return history

    made = play(name, Input=Input, Dense=Dense, Model=Watched, data=data, labels=labels)
    assert fits == [(made["frozen_model"], True), (made["trainable_model"], False)]


@plays("faq_cn 32", "faq_tw 18", "notes 100")
def test_a_frozen_layer(name: str, play: Play) -> None:
    layer = play(name, Dense=Dense)["frozen_layer"]
    model = Sequential([Dense(3, input_dim=3), layer])
    assert not layer.trainable and len(layer.get_weights()) == 2 and model.trainable_weights == model.layers[0].weights


@plays("notes 101")
def test_a_layer_frozen_later(name: str, play: Play) -> None:
    made = play(name, Input=Input, Dense=Dense)
    model = Model(made["x"], made["y"])
    assert model.trainable_weights == [] and model.count_params() == 33 * 32


@plays("tutorial 12")
def test_freezing_for_fine_tuning(name: str, play: Play) -> None:
    from kgraph.optimizers import Adam

    base = Sequential([Dense(3, input_dim=3), *(Dense(3) for _ in range(25)), Dense(1, activation="sigmoid")])
    made = play(name, Conv1D=Conv1D, Adam=Adam, base_model=base, model=base)
    assert not made["a"].trainable and base.trainable_weights == [*base.layers[25].weights, *base.layers[26].weights]
    assert float(K.get_value(base.optimizer.decay)) == pytest.approx(1e-4)
    assert base.metrics_names == ["loss", "acc"]


@plays("faq_cn 23", "faq_tw 21", "notes 102")
def test_removing_a_layer(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    model = play(name, Sequential=Sequential, Dense=Dense)["model"]
    assert capsys.readouterr().out == "2\n1\n"
    assert model.predict(np.ones((2, 784))).shape == (2, 32)


@plays("faq_cn 21", "faq_tw 20")
def test_stateful_networks(name: str, play: Play) -> None:
    x = np.sin(np.arange(32 * 21 * 16.0)).reshape(32, 21, 16)
    steps: list[np.ndarray] = []

    class Watched(Sequential):
        def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
            steps.append(K.get_value(self.layers[0].states[0]))
            return super().train_on_batch(*args, **kwargs)

        def reset_states(self) -> None:
            steps.append(K.get_value(self.layers[0].states[0]))
            super().reset_states()

    model = play(name, X=x, x=x, np=np, Sequential=Watched, LSTM=LSTM, Dense=Dense)["model"]
    assert not steps[0].any() and steps[1].any() and (steps[2] != steps[1]).any()
    assert not K.get_value(model.layers[0].states[0]).any()
    model.predict(x[:, :10])
    assert K.get_value(model.layers[0].states[0]).any(), "predicting changes the state too"


# Devices


@plays("faq_cn 3")
def test_several_devices(name: str, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_gpu_utils, "_available_devices", lambda: [f"/cpu:{i}" for i in range(8)])
    model = Sequential([Dense(4, activation="softmax", input_dim=3)])
    x, y = np.resize(X, (300, 3)), np.eye(4)[np.arange(300) % 4]
    before = model.get_weights()[0]
    made = play(name, {"epochs=20": "epochs=2, verbose=0"}, model=model, x=x, y=y)
    assert (model.get_weights()[0] != before).any()
    assert_allclose(made["parallel_model"].predict(x), model.predict(x), rtol=1e-6)


@plays("notes 11")
def test_several_devices_for_a_model_of_the_authors(
    name: str, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unet(rows: int, columns: int, channels: int) -> Any:
        x = Input((rows, columns, channels))
        return Model(x, Conv2D(1, 3, padding="same", activation="sigmoid")(x))

    import keras
    import tensorflow as tf

    from kgraph.optimizers import Adam

    monkeypatch.setattr(multi_gpu_utils, "_available_devices", lambda: [f"/cpu:{i}" for i in range(3)])
    play.module("model", unet=unet)
    x = np.resize(X, (7, 6, 5, 1))
    y = (x > 0).astype("float32")
    sizes = {"input_rows": 6, "input_cols": 5, "batch_size": 1, "nb_epoch": 2}
    data = {"X_train": x, "y_train": y, "X_valid": x, "y_valid": y}
    made = play(name, {"/path/to/save/": ""}, tf=tf, keras=keras, Adam=Adam, **sizes, **data)
    assert list(made["model"].history.history) == ["val_loss", "val_acc", "loss", "acc"]
    copy = unet(6, 5, 1)
    copy.load_weights("model.h5")
    assert_array_equal(copy.predict(x), made["M"].predict(x))


@plays("faq_cn 4")
def test_device_scopes(name: str, play: Play) -> None:
    import keras
    import tensorflow as tf

    made = play(name, {"140, 256": "14, 6"}, keras=keras, tf=tf)
    assert K.int_shape(made["merged_vector"]) == (None, 128)
    model = Model([made["input_a"], made["input_b"]], made["merged_vector"])
    x = np.resize(X, (3, 14, 6))
    merged = model.predict([x, x])
    assert_array_equal(merged[:, :64], merged[:, 64:])
    assert len(model.get_weights()) == 3, "one layer for both"


@plays("notes 10")
def test_visible_devices(name: str, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    play(name)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    assert Sequential([Dense(2, input_dim=3)]).predict(X).shape == (20, 2)


@plays("faq_cn 31", "faq_tw 26")
def test_repeatable_results(name: str, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    results = []
    for _ in range(2):
        made = play(name)
        model = Sequential([Dense(8, input_dim=3), Dropout(0.5), Dense(2)])
        model.compile("adam", "mse")
        model.fit(X, Y, epochs=2, verbose=0)
        results.append((model.predict(X), np.random.rand(), random.random()))
        assert K.get_session() is made["sess"]
        K.clear_session()
    assert_array_equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]


@plays("guide 14")
def test_a_session_of_ones_own(name: str, play: Play) -> None:
    made = play(name)
    assert K.get_session() is made["sess"] and made["K"] is K
    assert made["sess"].run(K.constant([1.0, 2.0]) * 2).tolist() == [2.0, 4.0]


# Looking at models


@plays("notes 12", "notes 104", "guide 8", "guide 11")
def test_summary(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "notes 12":
        play(name, Model=Model, xx=Input((3,), name="xx"))
    else:
        play(name, model=Sequential([Dense(4, input_dim=3)]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "Layer (type)                 Output Shape              Param #   "
    assert f"Total params: {0 if name == 'notes 12' else 16}" in lines
    assert (lines[-1] == "None") == (name == "notes 104")


class Dot:
    """Stands for what the library pydot gives."""

    drawn: list[tuple[str, Any]] = []

    def __init__(self) -> None:
        self.nodes: list[str] = []

    def set(self, name: str, value: Any) -> None: ...

    def set_node_defaults(self, **settings: Any) -> None: ...

    def add_node(self, node: tuple[str, str]) -> None:
        self.nodes.append(node[1])

    def add_edge(self, edge: Any) -> None: ...

    def write(self, path: str, format: str) -> None:
        self.drawn.append((f"{path} {format}", self.nodes))

    def create(self, prog: str, format: str) -> bytes:
        return f"{prog} {format} {len(self.nodes)}".encode()


@plays("notes 13", "notes 14", "notes 15", "notes 16")
def test_pictures(name: str, play: Play) -> None:
    Dot.drawn.clear()
    play.module("pydot", Dot=Dot, Node=lambda name, label: (name, label), Edge=lambda a, b: (a, b))
    play.module("IPython.display", SVG=lambda data: Dot.drawn.append(("svg", data)))
    model = Sequential([Dense(4, input_dim=3, name="out")])
    play(name, model=model, my_model=model, Mod=model, plot_model=plot_model)
    ((to, what),) = Dot.drawn
    if name == "notes 16":
        assert (to, what) == ("svg", b"dot svg 2")
    else:
        files = {"notes 13": "my_vgg16_model", "notes 14": "model1", "notes 15": "model_segnet"}
        assert to == f"{files[name]}.png png" and what[1].startswith("out: Dense")
        assert ("(None, 4)" in what[1]) == (name != "notes 13")


@plays("notes 42")
def test_a_layer_that_calls_tensorflow(name: str, play: Play) -> None:
    """Plain Keras up to the call of tf.image, whose stand-in names what to use."""
    import tensorflow as tf

    maps = {f"conv38_{i}": Input((4, 4, 1)) for i in range(1, 5)}
    with pytest.raises(AttributeError, match="K.resize_images"):
        play(name, Add=Add, Lambda=Lambda, tf=tf, H=8, W=8, **maps)
