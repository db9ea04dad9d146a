"""Snippets about layers and backend functions: normalisation, convolutions and what undoes them, joining tensors."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Convolution2D,
    Dense,
    Dropout,
    Input,
    UpSampling2D,
)
from kgraph.models import Model, Sequential
from tests.seeds.conftest import Play
from tests.seeds.snippets import plays

NAMES = {"Sequential": Sequential, "Dense": Dense, "Activation": Activation, "Dropout": Dropout}
NAMES |= {"BatchNormalization": BatchNormalization, "Convolution2D": Convolution2D}
X = np.sin(np.arange(40 * 14.0)).reshape(40, 14)


@plays("notes 2", "notes 3")
def test_importing(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    import kgraph

    assert play(name)["keras"].layers is kgraph.layers
    assert capsys.readouterr().out == ("2.2.4\n" if name == "notes 3" else "")


@plays("notes 4")
def test_core_layers(name: str, play: Play) -> None:
    assert play(name)["Dense"] is Dense


@plays("notes 27")
def test_normalising_before_activations(name: str, play: Play) -> None:
    with pytest.warns(UserWarning, match="Keras 2 API: `Dense.64, input_dim=14, kernel_initializer="):
        model = play(name, None, **NAMES)["model"]
    assert [type(layer).__name__ for layer in model.layers] == 2 * [
        "Dense", "BatchNormalization", "Activation", "Dropout"
    ]  # fmt: skip
    assert np.abs(model.get_weights()[0]).max() <= 0.05, "Keras 1's uniform"
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((40, 64)), batch_size=40, verbose=0)
    kernel, bias, *_, mean, variance = model.get_weights()[:6]
    assert_allclose(mean, 0.01 * (X @ kernel + bias).mean(0), atol=1e-3)
    assert (variance < 1).all()


@plays("notes 28")
def test_a_function_of_three_layers(name: str, play: Play) -> None:
    x = Input((6, 6, 2))
    with pytest.warns(UserWarning, match="Update your `Conv2D` call"):
        y = play(name, None, **NAMES)["Conv2DReluBatchNorm"](3, 3, 3, x)
    model = Model(x, y)
    result = model.predict(np.random.rand(2, 6, 6, 2))
    assert result.shape == (2, 6, 6, 3) and (result >= 0).all()
    assert [type(layer).__name__ for layer in model.layers[1:]] == ["Conv2D", "Activation", "BatchNormalization"]


@plays("notes 29", "notes 30", "notes 31")
def test_layers_without_bias(name: str, play: Play) -> None:
    import keras

    first = Conv2D(2, 3, input_shape=(9, 9, 1)) if name == "notes 30" else Dense(5, input_dim=14)
    model = Sequential([first])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        play(name, None, model=model, bn_axis=-1, keras=keras, **NAMES)
    sizes = [w.shape for w in model.get_weights()[2:]]
    if name == "notes 31":
        assert sizes == [(5,)] * 4
    else:
        assert sizes == [(5, 64) if name == "notes 29" else (3, 3, 2, 64), *[(64,)] * 4]
        assert model.layers[-1].get_config()["activation"] == ("tanh" if name == "notes 29" else "relu")


@plays("notes 98")
def test_normalisation_as_keras_1_wrote_it(name: str, play: Play) -> None:
    import keras

    text = {"keras.layers": "layer = keras.layers"}
    with pytest.warns(UserWarning, match="Update your `BatchNormalization` call to the Keras 2 API"):
        layer = play(name, text, keras=keras)["layer"]
    assert (layer.epsilon, layer.momentum, layer.axis) == (1e-6, 0.9, -1)
    with pytest.raises(TypeError, match="`mode` argument"):
        play(name, {"mode=0": "mode=1"}, keras=keras)


@plays("notes 34", "notes 40")
def test_convolutions_with_every_argument(name: str, play: Play) -> None:
    import keras

    layer = play(name, {"keras.layers": "layer = keras.layers"}, keras=keras, filters=3, kernel_size=(2, 4))["layer"]
    x = Input((8, 8, 2))
    expected = (None, 9, 11, 3) if name == "notes 34" else (None, 7, 5, 3)
    assert K.int_shape(layer(x)) == expected
    assert [K.int_shape(w) for w in layer.weights] == [(2, 4, 3, 2) if name == "notes 34" else (2, 4, 2, 3), (3,)]


@plays("notes 32")
def test_upsampling_written_out(name: str, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes' numpy code repeats pixels as the layer does."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    play.module("Convolution1", Convolution2D=None)
    made = play(name, os=os)
    image = made["a"].transpose(1, 2, 0)[:, :3]
    layer = Sequential([UpSampling2D((2, 3), input_shape=image.shape)])
    assert_array_equal(layer.predict(image[None])[0], made["UpSampling2D"](image, (2, 3)))


@plays("notes 48", "notes 49")
def test_resizing(name: str, play: Play) -> None:
    """The sizes are factors: twice the size, times the size."""
    values = np.arange(2 * 2 * 3.0).reshape(2, 2, 3, 1).astype("float32")
    x = K.constant(values)
    if name == "notes 48":
        y = play(name, {"K.resize": "y = K.resize"}, x=x)["y"]
    else:
        y = play(name, K=K)["resize_images"](x, 4, 6, "channels_last")
    assert_array_equal(K.eval(y), values.repeat(4, 1).repeat(6, 2))


@plays("notes 21")
def test_concatenating(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.module("cv2")
    made = play(name)
    rows = [[[1, 2], [2, 3], [7, 4], [8, 4]], [[4, 4], [5, 3], [2, 10], [15, 11]]]
    columns = [[[1, 2, 7, 4], [2, 3, 8, 4]], [[4, 4, 2, 10], [5, 3, 15, 11]]]
    for i, expected in enumerate((rows, rows, columns, columns)):
        assert_array_equal(K.eval(made[f"d{i}"]), expected)
    shown: Any = [np.array(x, "float32") for x in (rows, rows, columns, columns)]
    assert capsys.readouterr().out == "".join(f"{x}\n" for x in shown)
