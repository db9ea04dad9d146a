"""Snippets that train: fit and its generator, callbacks, schedules of the learning rate, metrics, class predictions."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kgraph import backend as K
from kgraph import callbacks
from kgraph.layers import Dense, Input
from kgraph.models import Model, Sequential
from kgraph.optimizers import SGD, Adam
from tests.kgraph import event_reader
from tests.seeds.conftest import Play
from tests.seeds.snippets import plays

X = np.sin(np.arange(180.0)).reshape(60, 3)
Y = np.eye(4)[np.arange(60) % 4]
XY = {"x": X, "y": Y, "X": X, "Y": Y}


def classifier(optimizer: Any = "sgd", metrics: Any = ("acc",), units: int = 4) -> Any:
    model = Sequential([Dense(5, activation="tanh", input_dim=3), Dense(units, activation="softmax")])
    model.compile(optimizer, "categorical_crossentropy", metrics=list(metrics))
    return model


# Stopping, history


@plays("faq_cn 16", "faq_tw 16", "notes 99")
def test_early_stopping(name: str, play: Play) -> None:
    model = classifier(SGD(lr=0.0))
    play(name, {"validation_split": "epochs=9, verbose=0, validation_split"}, model=model, **{**XY, "y": Y})
    assert model.history.epoch == [0, 1, 2], "no better for two epochs"


@plays("guide 9")
def test_early_stopping_on_other_data(name: str, play: Play) -> None:
    model = classifier(SGD(lr=0.0))
    play(name, model=model, x_train=X, y_train=Y, x_test=X[:9], y_test=Y[:9])
    assert model.history.epoch == [0, 1, 2] and set(model.history.history) == {"loss", "acc", "val_loss", "val_acc"}


@plays("faq_cn 17", "faq_tw 17")
def test_history(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    hist = play(name, model=classifier(), **XY)["hist"]
    out = capsys.readouterr().out
    assert out.startswith("Train on 48 samples, validate on 12 samples\nEpoch 1/1\n")
    assert out.splitlines()[-1] == str(hist.history) and list(hist.history) == ["val_loss", "val_acc", "loss", "acc"]


@plays("notes 92")
def test_a_log_of_losses(name: str, play: Play) -> None:
    with pytest.warns(UserWarning, match="The `nb_epoch` argument in `fit` has been renamed `epochs`"):
        hist = play(name, model=classifier(), train_set_x=X, train_set_y=Y, nb_epoch=3)["hist"]
    assert Path("log_sgd_big_32.txt").read_text() == str(hist.history)
    assert hist.epoch == [0, 1, 2] and all(len(v) == 3 for v in hist.history.values())


@plays("notes 105")
def test_evaluating(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier()
    play(name, model=model, test_set_x=X, test_set_y=Y)
    assert capsys.readouterr().out.splitlines()[-1] == str(model.evaluate(X, Y, verbose=0, batch_size=256))


# Learning rates


def by_drops(epoch: int, start: float) -> float:
    return start * math.pow(0.5, math.floor((1 + epoch) / 10.0))


@plays("notes 54", "notes 93")
def test_dropping_rates(name: str, play: Play) -> None:
    model = classifier(SGD(lr=0.0))
    names = {"LearningRateScheduler": callbacks.LearningRateScheduler, "SGD": SGD, "math": math, "model": model}
    names |= {"train_set_x": X, "train_set_y": Y, **XY}
    if name == "notes 54":
        play(name, {"callbacks=[lrate]": "callbacks=[lrate], epochs=12, verbose=0"}, **names)
    else:
        with pytest.warns(UserWarning, match="nb_epoch"):
            play(name, {"nb_epoch=200": "nb_epoch=12, verbose=0"}, **names)
    start = 0.1 if name == "notes 54" else 0.01
    assert_allclose(model.history.history["lr"], [by_drops(epoch, start) for epoch in range(12)], rtol=1e-6)


@plays("notes 53")
def test_the_formula_of_drops(name: str, play: Play) -> None:
    for epoch in range(40):
        names = {"InitialLearningRate": 0.1, "DropRate": 0.5, "EpochDrop": 10.0, "Epoch": 1 + epoch}
        assert play(name, floor=math.floor, **names)["LearningRate"] == by_drops(epoch, 0.1)


@plays("notes 50")
def test_the_formula_of_decay(name: str, play: Play) -> None:
    """What SGD does; it counts updates where the notes count epochs."""
    constants = play("notes 51")
    x = Input((1,))
    model = Model(x, Dense(1, use_bias=False, kernel_initializer="ones")(x))
    rate, decay = constants["LearningRate"], 100 * constants["decay"]
    model.compile(SGD(lr=rate, decay=decay), lambda y_true, y_pred: K.mean(y_pred))
    weight = 1.0
    for step in range(5):
        model.train_on_batch(np.ones((2, 1)), np.ones((2, 1)))
        weight -= play(name, LearningRate=rate, decay=decay, epoch=step)["LearningRate"]
        assert float(model.get_weights()[0][0, 0]) == pytest.approx(weight, rel=1e-6)
    assert float(K.get_value(model.optimizer.lr)) == pytest.approx(rate), "the rate itself stays"


@plays("notes 51")
def test_constants(name: str, play: Play) -> None:
    made = play(name)
    assert (made["LearningRate"], made["decay"]) == (0.1, 0.001)


@plays("notes 52", "notes 94", "notes 103")
def test_making_sgd(name: str, play: Play) -> None:
    import keras

    if name == "notes 103":
        text = {"keras.optimizers": "sgd = keras.optimizers"}
        config = play(name, text, keras=keras)["sgd"].get_config()
        expected: dict[str, Any] = {"lr": 0.01, "momentum": 0.0, "decay": 0.0, "nesterov": False}
    else:
        config = play(name, SGD=SGD, learning_rate=0.5, nb_epoch=10)["sgd"].get_config()
        expected = {"lr": 0.5, "momentum": 0.9, "decay": 0.05, "nesterov": True}
    assert config == pytest.approx(expected)


@plays("notes 95", "notes 97")
def test_rates_on_a_plateau(name: str, play: Play) -> None:
    import keras

    model = classifier(SGD(lr=0.1))
    if name == "notes 97":
        train = {"train_x": X, "train_y": Y, "model": model}
        reduce = play(name, {"epochs=5": "epochs=3, verbose=0"}, **train)["reduce_lr"]
        assert_allclose(model.history.history["lr"], [0.1] * 3, rtol=1e-6)
        assert reduce.patience == 10 and reduce.best == min(model.history.history["val_loss"])
        return
    with pytest.warns(UserWarning, match="`epsilon` argument is deprecated"):
        reduce = play(name, {"keras.call": "made = keras.call", "patience=10": "patience=1"}, keras=keras)["made"]
    flat = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_loss=1.0))
    model.fit(X, Y, epochs=4, verbose=0, callbacks=[flat, reduce])
    assert reduce.min_delta == 0.0001
    assert_allclose(model.history.history["lr"], [0.1, 0.1, 0.01, 0.001], rtol=1e-6)


# Checkpoints and TensorBoard


@plays("notes 71", "notes 73", "notes 74", "notes 80", "notes 81", "notes 82")
def test_checkpoints(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    made = play(
        name,
        {"keras.callbacks.ModelCheckpoint(": "checkpoint = keras.callbacks.ModelCheckpoint("}
        if name in ("notes 73", "notes 82")
        else None,
        keras=keras,
        ModelCheckpoint=callbacks.ModelCheckpoint,
        model_name="unet",
        file_name="best.h5",
        filepath="best.h5",
    )
    if name == "notes 80":
        assert made["ModelCheckpoint"] is callbacks.ModelCheckpoint
        return
    checkpoint = made["checkpoint"]
    best = name in ("notes 71", "notes 74", "notes 81")
    assert bool(checkpoint.save_best_only) == best
    assert checkpoint.save_weights_only == (name == "notes 71")
    # "auto" looks for "acc" in the name, so that a coefficient is minimised.
    assert checkpoint.monitor_op is (np.greater if name in ("notes 74", "notes 81") else np.less)
    values = iter([0.5, 0.7, 0.6])
    key = checkpoint.monitor
    invent = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update({key: next(values)}))
    classifier().fit(X, Y, epochs=3, verbose=0, callbacks=[invent, checkpoint])
    assert Path("unet_model.h5" if name == "notes 71" else "best.h5").exists()
    if name in ("notes 74", "notes 81"):
        lines = [line for line in capsys.readouterr().out.splitlines() if line]
        assert lines == [
            "Epoch 00001: val_acc improved from -inf to 0.50000, saving model to best.h5",
            "Epoch 00002: val_acc improved from 0.50000 to 0.70000, saving model to best.h5",
            "Epoch 00003: val_acc did not improve from 0.70000",
        ]


@plays("notes 72")
def test_checkpoints_of_an_own_metric(name: str, play: Play) -> None:
    """The notes' generator, metric and checkpoint, together."""
    dice_coef = play("notes 75", K=K)["dice_coef"]
    model = classifier()
    play("notes 76", model=model, Adam=Adam, lr_init=0.01, lr_decay=0.001, dice_coef=dice_coef)
    checkpoint = play("notes 71", ModelCheckpoint=callbacks.ModelCheckpoint, model_name="unet")["checkpoint"]
    Path("dataset_parser").mkdir()
    with h5py.File("dataset_parser/data_remote_images.h5", "w") as f:
        f["train/x"], f["train/y"], f["val/x"], f["val/y"] = X[:40], Y[:40], X[40:], Y[40:]

    def data_generator(path: str, batch: int, part: str) -> Any:
        with h5py.File(path) as f:
            x, y = f[f"{part}/x"][:], f[f"{part}/y"][:]
        while True:
            rows = np.random.permutation(len(x))[:batch]
            yield x[rows], y[rows]

    small = {"7500 //": "40 //", "2500 //": "20 //", "epochs=10": "epochs=2"}
    names = {"TRAIN_BATCH": 8, "VAL_BATCH": 5, "train_check": callbacks.TerminateOnNaN()}
    history = play(name, small, model=model, data_generator=data_generator, checkpoint=checkpoint, **names)["history"]
    assert set(history.history) == {"val_loss", "val_dice_coef", "loss", "dice_coef"}
    assert checkpoint.best == min(history.history["val_dice_coef"])
    copy = classifier()
    copy.load_weights("unet_model.h5")


@plays("notes 75", "notes 76")
def test_the_dice_coefficient(name: str, play: Play) -> None:
    dice_coef = play("notes 75", K=K)["dice_coef"]
    model = classifier()
    if name == "notes 76":
        play(name, model=model, Adam=Adam, lr_init=0.01, lr_decay=0.001, dice_coef=dice_coef)
        assert model.metrics_names == ["loss", "dice_coef"]
        p = model.predict(X)
        assert_allclose(
            model.evaluate(X, Y, batch_size=60, verbose=0)[1],
            (2 * (Y * p).sum() + 1) / (Y.sum() + p.sum() + 1),
            rtol=1e-5,
        )
    else:
        assert K.eval(dice_coef(K.constant([1.0, 0.0]), K.constant([1.0, 1.0]))) == pytest.approx(3 / 4)


@plays("notes 78", "notes 79", "notes 83")
def test_tensorboard(name: str, play: Play) -> None:
    if name == "notes 78":
        assert play(name)["TensorBoard"] is callbacks.TensorBoard
        return
    sizes = {"batch_size": 16, "epoch": 2, "epochs": 2}
    play(name, model=classifier(), x_train=X, y_train=Y, **sizes)
    found = event_reader.scalars(event_reader.the_file(Path("log")))
    expected = {"loss", "acc"} | ({"val_loss", "val_acc"} if name == "notes 83" else set())
    assert {(step, tag) for step, tag, _ in found} == {(step, tag) for step in (0, 1) for tag in expected}
    assert Path("file_name").exists() == (name == "notes 83")


# Compiling, metrics


@plays("notes 59")
def test_compiling_with_sgd(name: str, play: Play) -> None:
    model = classifier("adam")
    play(name, model=model, SGD=SGD)
    assert isinstance(model.optimizer, SGD) and model.metrics_names == ["loss", "acc"]
    assert float(K.get_value(model.optimizer.decay)) == pytest.approx(1e-6)


@plays("notes 60")
def test_own_metrics(name: str, play: Play) -> None:
    model = Sequential([Dense(1, activation="sigmoid", input_dim=3)])
    play(name, model=model)
    labels = (X[:, :1] > 0).astype(int)
    _, accuracy, mean = model.evaluate(X, labels, verbose=0)
    p = model.predict(X)
    assert_allclose([accuracy, mean], [((p > 0.5) == labels).mean(), p.mean()], rtol=1e-5)


@plays("tutorial 2")
def test_an_f_score(name: str, play: Play) -> None:
    fbeta = play(name, K=K)["fbeta"]
    truth = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], "float32")
    guess = np.array([[0.9, 0.1, 0.8, 0.2], [0.1, 0.7, 0.9, 0.4]], "float32")
    # One right, one missed and one false in the first row; all right in the second.
    assert K.eval(fbeta(K.constant(truth), K.constant(guess))) == pytest.approx((0.5 + 1) / 2, rel=1e-4)
    model = Sequential([Dense(4, activation="sigmoid", input_dim=3)])
    model.compile("sgd", "binary_crossentropy", metrics=[fbeta])
    assert model.fit(X, Y, verbose=0).history["fbeta"][0] >= 0


@plays("tutorial 3")
def test_focal_loss(name: str, play: Play) -> None:
    import tensorflow as tf

    loss = play(name, K=K, tf=tf)["focal_loss"]
    p = np.array([[0.9, 0.2], [0.3, 0.6]])
    y = np.array([[1.0, 0.0], [1.0, 1.0]])
    expected = np.where(y == 1, -0.25 * (1 - p) ** 2 * np.log(p), -0.75 * p**2 * np.log(1 - p))
    assert_allclose(K.eval(loss(K.constant(y), K.constant(p))), expected.mean(-1), rtol=1e-4)
    model = Sequential([Dense(4, activation="sigmoid", input_dim=3)])
    model.compile("adam", loss)
    history = model.fit(X, Y, epochs=3, verbose=0).history["loss"]
    assert history[2] < history[0]


@plays("tutorial 4")
def test_two_outputs(name: str, play: Play) -> None:
    def f2_score(y_true: Any, y_pred: Any) -> Any:
        return K.mean(y_pred)

    x = Input((3,))
    outputs = [Dense(1, activation="sigmoid", name=f"sigmoid_{i}")(x) for i in (1, 2)]
    model = Model(x, outputs)
    play(name, model=model, opt=Adam(), f2_score=f2_score)
    assert model.metrics_names == [
        "loss", "sigmoid_1_loss", "sigmoid_2_loss", "sigmoid_1_f2_score", "sigmoid_2_f2_score"
    ]  # fmt: skip
    label = Y[:, :1]
    total, first, second, *_ = model.evaluate(X, [label, label], verbose=0)
    assert total == pytest.approx(0.5 * first + 0.5 * second, rel=1e-5)


# Calls with every argument named


@plays("tutorial 5", "tutorial 7")
def test_fit_with_defaults(name: str, play: Play) -> None:
    class Batches(callbacks.Callback):
        pass

    from kgraph.utils import Sequence

    class Whole(Sequence):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return X, Y

    model = classifier()
    if name == "tutorial 5":
        with pytest.raises(ValueError, match="`steps_per_epoch`"):
            play(name, model=model)
        play(name, {"x=None, y=None": "x=X, y=Y"}, model=model, **XY)
        assert model.history.params["samples"] == 60 and model.history.params["batch_size"] == 32
    else:
        play(name, model=model, generator=Whole())
        assert model.history.params["steps"] == 2
    assert model.history.epoch == [0]


@plays("tutorial 6", "tutorial 8")
def test_methods_with_defaults(name: str, play: Play) -> None:
    model = classifier()
    if name == "tutorial 6":
        loss, _ = model.test_on_batch(X, Y)
        made = play(name, {"train_on_batch": "result = train_on_batch"}, train_on_batch=model.train_on_batch, **XY)
        assert made["result"][0] == pytest.approx(loss, rel=1e-6)
    else:
        made = play(name, {"predict": "result = predict"}, predict=model.predict, **XY)
        assert made["result"].shape == (60, 4)


# Classes


@plays("notes 55", "notes 57")
def test_predicting_classes(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier()
    encoder = SimpleNamespace(inverse_transform=lambda rows: np.asarray(rows) + 1.0)
    made = play(name, model=model, X_test=X, encoder=encoder, argmax=np.argmax)
    expected = model.predict(X).argmax(1)
    assert_array_equal(made["inverted"], [expected + 1.0])
    classes = made["predict_test"] if name == "notes 55" else made["predict"]
    assert_array_equal(classes, expected)
    assert classes.dtype.kind == "i" and str(expected) in capsys.readouterr().out
    assert not hasattr(Model(model.input, model.output), "predict_classes")


# Two ways to train


@plays("tutorial 0", "tutorial 1")
def test_two_kinds_of_models(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    data = np.random.rand(70, 100 if name == "tutorial 0" else 784)
    labels = np.eye(10)[np.arange(70) % 10]
    model = play(name, {"nb_epoch=10": "nb_epoch=2"} if name == "tutorial 0" else None, data=data, labels=labels)[
        "model"
    ]
    assert model.count_params() == (7114 if name == "tutorial 0" else 55050)
    assert model.history.epoch == list(range(2 if name == "tutorial 0" else 1))
    assert "70/70 [==============================]" in capsys.readouterr().out


@plays("notes 23")
def test_fit_on_arrays_in_files(name: str, play: Play) -> None:
    pytest.importorskip("sklearn")
    np.save("data.npy", np.random.rand(90, 784))
    np.save("labels.npy", np.array(["cat", "dog", "eel"])[np.arange(90) % 3])
    small = {
        r"D:\\machineTest\\testmulPE_win7\\data_sprase.npy": "data.npy",
        r"D:\\machineTest\\testmulPE_win7\\lable_sprase.npy": "labels.npy",
        "OneHotEncoder(sparse=False)": "OneHotEncoder(sparse_output=False)",  # scikit-learn's new name
        "units=1000": "units=50",
        "epochs=50": "epochs=2",
    }
    made = play(name, small)
    assert made["model"].output_shape == (None, 3) and made["model"].history.params["samples"] == 63
    assert len(made["score"]) == 2 and 0 <= made["score"][1] <= 1


@plays("notes 24")
def test_fit_generator_on_a_file(name: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "1 2 0 1\n2 3 1 0\n1 3 0 1\n1 4 0 1\n2 4 1 0\n2 5 1 0\n"
    Path("fit_generate.txt").write_text(rows)
    model = play(name, {r"D:\\fit_generate.txt": "fit_generate.txt"})["model"]
    out = capsys.readouterr().out
    assert out.startswith("Epoch 1/2\n") and "10/10 [==============================]" in out
    assert {f"count:{i}" for i in range(1, 21)} <= set(out.replace("count:", "\ncount:").split())
    assert model.history.params["steps"] == 10 and len(model.history.history["val_acc"]) == 2
