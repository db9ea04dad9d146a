"""Snippets with pictures: known data sets, augmentation, networks for recognition."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kgraph.callbacks import TensorBoard
from kgraph.layers import Conv2D, Dense, Flatten, Input
from kgraph.models import Model, Sequential
from kgraph.preprocessing.image import ImageDataGenerator
from tests.kgraph import event_reader
from tests.seeds.conftest import Play
from tests.seeds.snippets import plays

Split = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def pictures(*shape: int, train: int = 96, test: int = 32) -> Split:
    """A data set in the place of a known one: two rows are bright, and the class tells which."""
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 10
        images = rng.integers(0, 50, (count, *shape), dtype="uint8")
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 2] += 200
        return images, labels.astype("uint8")

    return part(train), part(test)


# Known data sets


@plays("notes 5")
def test_mnist_with_convolutions(
    name: str, play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kgraph.datasets.mnist.load_data", lambda: pictures(28, 28))
    made = play(name, {"Dense(1024": "Dense(64"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Train on 96 samples, validate on 32 samples", "Epoch 1/1"]
    assert float(lines[-1].removeprefix("Test accuracy: ")) >= 0 and lines[-2].startswith("Test loss: ")
    assert made["createModel"]().count_params() == 32 * 26 + 64 * (25 * 32 + 1) + 64 * (1024 + 1) + 650


@plays("notes 7")
def test_mnist_with_dense_layers(
    name: str, play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kgraph.datasets.mnist.load_data", lambda: pictures(28, 28))
    made = play(name, {"epochs=4": "epochs=5"})
    assert made["accuracy"] > 0.5 and "test accuracy:  " in capsys.readouterr().out
    assert made["rmsprop"].get_config()["epsilon"] == 1e-8


@plays(*(f"guide {i}" for i in (0, 1, 2, 3, 4, 5, 6, 10, 12, 13)))
def test_the_guide(name: str, play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its steps in a row, up to the one that is looked at."""
    (a, b), (c, d) = pictures(32, 32, 3)
    monkeypatch.setattr("kgraph.datasets.cifar10.load_data", lambda: ((a, b[:, None]), (c, d[:, None])))
    small = {"guide 1": {"50000,": "96,", "10000,": "32,"}, "guide 2": {"Dense(512": "Dense(16"}}
    small["guide 4"] = {"batch_size=1000,nb_epoch=10": "batch_size=20,nb_epoch=2"}
    results = {"guide 6": "model.predict", "guide 10": "model.output", "guide 12": "model.get", "guide 13": "model.get"}
    made: dict[str, Any] = {}
    for i in (0, 1, 2, 3, 4, 5, 6, 10, 12, 13):
        step = f"guide {i}"
        replace = small.get(step, {})
        if step in results:
            replace = {results[step]: f"result = {results[step]}"}
        with pytest.warns(UserWarning, match="`nb_epoch`") if i == 4 else nothing():
            made = play(step, replace, **{k: v for k, v in made.items() if not k.startswith("__")})
        if step == name:
            break
    CHECKS.get(name, lambda made, out: None)(made, capsys.readouterr().out)


def nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


CHECKS: dict[str, Any] = {
    "guide 0": lambda made, out: same(made["x_train"].shape, (96, 32, 32, 3)),
    "guide 1": lambda made, out: same([made["x_train"].shape, made["y_test"].shape], [(96, 3072), (32, 10)]),
    "guide 2": lambda made, out: same(made["model"].count_params(), 3073 * 16 + 17 * 120 + 121 * 10),
    "guide 3": lambda made, out: same(made["model"].metrics_names, ["loss", "acc"]),
    "guide 4": lambda made, out: same(list(made["model"].history.history), ["val_loss", "val_acc", "loss", "acc"]),
    "guide 5": lambda made, out: same(out.splitlines()[-1], f"Test accuracy: {made['score'][1]}"),
    "guide 6": lambda made, out: same([made["result"].shape, made["result"].max() < 10], [(32,), True]),
    "guide 10": lambda made, out: same(made["result"], (None, 10)),
    "guide 12": lambda made, out: same(made["result"]["layers"][-1]["config"]["activation"], "sigmoid"),
    "guide 13": lambda made, out: same([w.shape for w in made["result"]][:2], [(3072, 16), (16,)]),
}


def same(got: Any, expected: Any) -> None:
    assert got == expected


# Augmentation


@plays("notes 19", "notes 68", "notes 69")
def test_generators_of_images(name: str, play: Play) -> None:
    import keras

    from kgraph import backend as K

    text = {"keras.preprocessing": "datagen = keras.preprocessing"} if name == "notes 68" else None
    made = play(name, text, keras=keras, K=K)
    generator = made["train_datagen" if name == "notes 19" else "datagen"]
    x = np.random.rand(4, 8, 8, 3) * 255
    batch = next(generator.flow(x, batch_size=4, shuffle=False))
    if name == "notes 69":
        assert batch.max() <= 1 and batch.shape == x.shape
    else:
        assert_allclose(batch, x, rtol=1e-6)


@plays("notes 70")
def test_augmented_images_in_a_folder(name: str, play: Play) -> None:
    image = pytest.importorskip("PIL.Image")
    Path("data/train/cats").mkdir(parents=True)
    Path("preview").mkdir()
    image.fromarray((np.random.rand(150, 150, 3) * 255).astype("uint8")).save("data/train/cats/cat.0.jpg")
    made = play(name)
    assert made["x"].shape == (1, 150, 150, 3), "channels come last"
    assert made["batch"].shape == made["x"].shape
    files = list(Path("preview").glob("cat_*.jpeg"))
    assert files and image.open(files[0]).size == (150, 150)


def tiny(classes: int, activation: str, size: int) -> Any:
    model = Sequential([Conv2D(2, 3, strides=4, input_shape=(size, size, 3)), Flatten()])
    model.add(Dense(classes, activation=activation))
    model.compile("sgd", "binary_crossentropy", metrics=["acc"])
    return model


@plays("notes 25")
def test_training_on_augmented_images(name: str, play: Play) -> None:
    x, y = np.random.rand(64, 12, 12, 3), np.eye(2)[np.arange(64) % 2]
    data = {"trainX": x, "trainY": y, "testX": x[:8], "testY": y[:8], "model": tiny(2, "softmax", 12)}
    history = play(name, {"EPOCHS = 100": "EPOCHS = 2"}, ImageDataGenerator=ImageDataGenerator, **data)["H"]
    assert history.params["steps"] == 2 and list(history.history) == ["val_loss", "val_acc", "loss", "acc"]


@plays("notes 26")
def test_training_on_images_in_folders(name: str, play: Play) -> None:
    image = pytest.importorskip("PIL.Image")
    for kind in ("cats", "dogs"):
        Path("train", kind).mkdir(parents=True)
        for i in range(5):
            image.new("RGB", (40, 30), (40 * i, 0, 200)).save(Path("train", kind, f"{i}.png"))
    generator = ImageDataGenerator(rescale=1 / 255)
    flows = [generator.flow_from_directory("train", (128, 128), batch_size=4, class_mode="binary") for _ in range(2)]
    made = play(
        name,
        {"steps_per_epoch=100,epochs=50": "steps_per_epoch=3,epochs=2", "validation_steps=100": "validation_steps=2"},
        train_pic_gen=generator,
        train_dir="train",
        model=tiny(1, "sigmoid", 128),
        morph=SimpleNamespace(train_flow=flows[0], test_flow=flows[1]),
        TensorBoard=TensorBoard,
    )
    assert made["train_flow"].class_indices == {"cats": 0, "dogs": 1}
    found = event_reader.scalars(event_reader.the_file(Path("logs/1")))
    assert {(step, tag) for step, tag, _ in found} >= {(0, "loss"), (1, "val_acc")}


# Recognition


@plays("faq_cn 25", "faq_tw 22")
def test_known_networks(name: str, play: Play) -> None:
    """The imports, and VGG16 without its weights and its large layers."""
    text = {"weights='imagenet', include_top=True": "weights=None, include_top=False, input_shape=(32, 32, 3)"}
    made = play(name, text)
    assert made["model"].output_shape == (None, 1, 1, 512) and made["model"].count_params() == 14_714_688
    assert {"ResNet50", "InceptionV3", "VGG19"} <= set(made)


@plays("notes 8")
def test_own_layers_behind_a_known_network(
    name: str, play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"weights='imagenet'": "weights=None", "Dense(4096": "Dense(40", "Dense(512": "Dense(51"}
    names = {"Input": Input, "Flatten": Flatten, "Dense": Dense, "Model": Model}
    with pytest.warns(UserWarning, match="Update your `Model` call"):
        made = play(name, small, input_shape=(40, 40, 3), **names)
    out = capsys.readouterr().out
    assert "block5_pool (MaxPooling2D)   (None, None, None, 512)   0         \n" in out
    summary = out.split("This is my vgg16 model for the task\n")[1]
    assert "vgg16 (Model)                multiple                  14714688  \n" in summary
    assert (made["my_model"].predict(np.zeros((2, 40, 40, 3))) == 1).all(), "softmax of one number"
