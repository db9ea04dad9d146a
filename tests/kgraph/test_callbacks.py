"""Callbacks on a model that only remembers what was done to it: messages, defaults and order as in Keras 2.2.4."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kgraph
from kgraph import callbacks as C


class Optimizer:
    def __init__(self, lr: float) -> None:
        self.lr = np.array(lr, dtype="float32")


class Model:
    def __init__(self, lr: float = 0.1) -> None:
        self.optimizer = Optimizer(lr)
        self.stop_training = False
        self.weights = [0]
        self.saved: list[tuple[str, str]] = []

    def get_weights(self) -> list[int]:
        return list(self.weights)

    def set_weights(self, weights: list[int]) -> None:
        self.weights = list(weights)

    def save(self, path: str, overwrite: bool) -> None:
        self.saved.append(("model", path))

    def save_weights(self, path: str, overwrite: bool) -> None:
        self.saved.append(("weights", path))


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = types.ModuleType("kgraph.backend")
    fake.get_value = lambda variable: np.float32(variable)
    fake.set_value = lambda variable, value: variable.__setitem__((), value)
    monkeypatch.setitem(sys.modules, "kgraph.backend", fake)
    monkeypatch.setattr(kgraph, "backend", fake, raising=False)


def run(model: Model, callbacks: list[C.Callback], epochs: list[dict[str, Any]]) -> C.History:
    """The training loop's part: one batch per epoch, which ends with the given logs."""
    history = C.History()
    calls = C.CallbackList([*callbacks, history])
    calls.set_model(model)
    calls.set_params({"metrics": ["loss", "acc", "val_loss"], "epochs": len(epochs), "verbose": 0})
    calls.on_train_begin()
    for epoch, logs in enumerate(epochs):
        calls.on_epoch_begin(epoch)
        model.weights = [epoch + 1]
        calls.on_batch_begin(0, {"batch": 0, "size": 1})
        calls.on_batch_end(0, {"batch": 0, "size": 1, **logs})
        calls.on_epoch_end(epoch, dict(logs))
        if model.stop_training:
            break
    calls.on_train_end()
    return history


def losses(*values: float) -> list[dict[str, Any]]:
    return [{"loss": value} for value in values]


def test_list_calls_in_order_and_passes_logs_on() -> None:
    seen: list[Any] = []

    class Log(C.Callback):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs[self.name] = epoch
            seen.append((self.name, sorted(logs)))

    first, second = Log("a"), Log("b")
    calls = C.CallbackList([first])
    calls.append(second)
    calls.on_epoch_end(3)
    assert seen == [("a", ["a"]), ("b", ["a", "b"])]
    assert list(calls) == [first, second]
    assert first.validation_data is None and first.model is None


@pytest.mark.parametrize("method", ["on_batch_begin", "on_batch_end"])
def test_list_warns_of_slow_callbacks(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(C.time, "time", lambda: now[0])

    def slow(batch: int, logs: Any) -> None:
        now[0] += 0.5

    calls = C.CallbackList([C.LambdaCallback(**{method: slow})])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calls.on_epoch_begin(0)
        for batch in range(2):
            calls.on_batch_begin(batch)
            now[0] += 0.01
            calls.on_batch_end(batch)
    expected = f"Method {method}() is slow compared to the batch update (0.500000). Check your callbacks."
    assert {str(w.message) for w in caught} == {expected}


def test_base_logger_weighs_by_batch_size() -> None:
    logger = C.BaseLogger(stateful_metrics=["auc"])
    logger.set_params({"metrics": ["loss", "auc", "val_loss"]})
    for _ in range(2):  # a second epoch starts afresh
        logger.on_epoch_begin(0)
        logger.on_batch_end(0, {"size": 3, "batch": 0, "loss": 1.0, "auc": 0.2})
        logger.on_batch_end(1, {"size": 1, "batch": 1, "loss": 2.0, "auc": 0.6})
        logs = {"val_loss": 9.0}
        logger.on_epoch_end(0, logs)
        assert list(logs.items()) == [("val_loss", 9.0), ("loss", 1.25), ("auc", 0.6)]


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_terminate_on_nan(loss: float, capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    history = run(model, [C.TerminateOnNaN()], losses(1.0, loss, 1.0))
    assert capsys.readouterr().out == "Batch 0: Invalid loss, terminating training\n"
    assert history.epoch == [0, 1]


def test_history() -> None:
    history = run(Model(), [], [{"loss": 1.0}, {"loss": 2.0, "lr": 3.0}])
    assert history.history == {"loss": [1.0, 2.0], "lr": [3.0]}
    assert history.epoch == [0, 1]


@pytest.mark.parametrize(("mode", "target", "start"), [("samples", 6, "4/6"), ("steps", 2, "1/2")])
def test_progbar_logger(mode: str, target: int, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger = C.ProgbarLogger(mode)
    logger.set_params(
        {"metrics": ["loss", "val_loss"], "verbose": 1, "epochs": 3, "samples": 6, "steps": 2, "batch_size": 4}
    )
    logger.on_train_begin()
    logger.on_epoch_begin(1)
    logger.progbar.interval = 0
    for batch, (size, loss) in enumerate([(4, 1.0), (2, 4.0)]):
        logger.on_batch_begin(batch, {"batch": batch, "size": size})
        logger.on_batch_end(batch, {"batch": batch, "size": size, "loss": loss})
    logger.on_epoch_end(1, {"loss": 2.0 if mode == "samples" else 2.5, "val_loss": 7.0})
    head, blank, first, last, end = capsys.readouterr().out.split("\n")
    assert head == "Epoch 2/3"
    assert first.startswith(start) and first.endswith(" - loss: 1.0000")
    assert last.startswith(f"{target}/{target} [====")
    assert last.endswith(f" - loss: {'2.0000' if mode == 'samples' else '2.5000'} - val_loss: 7.0000")
    assert blank == end == ""


def test_progbar_logger_rejects_other_modes() -> None:
    with pytest.raises(ValueError, match="Unknown `count_mode`: epochs"):
        C.ProgbarLogger("epochs")


# Checkpoints


def test_checkpoint_every_period(capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    run(model, [C.ModelCheckpoint("w{epoch:02d}-{loss:.2f}.h5", period=2, verbose=1)], losses(0.5, 0.25, 0.1, 0.125))
    assert model.saved == [("model", "w02-0.25.h5"), ("model", "w04-0.12.h5")]
    assert capsys.readouterr().out == (
        "\nEpoch 00002: saving model to w02-0.25.h5\n\nEpoch 00004: saving model to w04-0.12.h5\n"
    )


def test_checkpoint_best(capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    run(
        model,
        [C.ModelCheckpoint("best.h5", "loss", verbose=1, save_best_only=True, save_weights_only=True)],
        losses(0.15085, 0.14632, 0.14632),
    )
    assert model.saved == [("weights", "best.h5")] * 2
    assert capsys.readouterr().out == (
        "\nEpoch 00001: loss improved from inf to 0.15085, saving model to best.h5\n"
        "\nEpoch 00002: loss improved from 0.15085 to 0.14632, saving model to best.h5\n"
        "\nEpoch 00003: loss did not improve from 0.14632\n"
    )


@pytest.mark.parametrize(
    ("monitor", "mode", "saves"),
    [
        ("val_acc", "auto", 2),
        ("fmeasure", "auto", 2),
        ("val_dice_coef", "auto", 1),
        ("val_dice_coef", "max", 2),
        ("val_acc", "min", 1),
    ],
)
def test_checkpoint_mode(monitor: str, mode: str, saves: int) -> None:
    model = Model()
    checkpoint = C.ModelCheckpoint("x.h5", monitor, save_best_only=True, mode=mode)
    run(model, [checkpoint], [{monitor: 0.5}, {monitor: 0.6}])
    assert len(model.saved) == saves


def test_checkpoint_without_its_value() -> None:
    model = Model()
    with pytest.warns(RuntimeWarning, match="Can save best model only with val_loss available, skipping."):
        run(model, [C.ModelCheckpoint("x.h5", save_best_only=True)], losses(1.0))
    assert model.saved == []
    with pytest.raises(KeyError, match="asks for 'val_loss'.*'epoch', 'loss'"):
        run(model, [C.ModelCheckpoint("{val_loss}.h5")], losses(1.0))


@pytest.mark.parametrize(
    ("make", "owner"),
    [
        (lambda: C.ModelCheckpoint("x", mode="best"), "ModelCheckpoint"),
        (lambda: C.EarlyStopping(mode="best"), "EarlyStopping"),
        (lambda: C.ReduceLROnPlateau(mode="best"), "Learning Rate Plateau Reducing"),
    ],
)
def test_unknown_mode(make: Any, owner: str) -> None:
    with pytest.warns(RuntimeWarning, match=f"^{owner} mode best is unknown, fallback to auto mode.$"):
        make()


# Early stopping


@pytest.mark.parametrize(
    ("arguments", "values", "epochs"),
    [
        ({"patience": 2}, [1.0, 1.0, 1.0, 1.0], 3),
        ({"patience": 0}, [1.0, 0.9, 0.9, 0.9], 3),
        ({"patience": 1, "min_delta": 0.2}, [1.0, 0.9, 0.5], 2),
        ({"patience": 1, "mode": "max"}, [1.0, 1.1, 1.2, 1.0], 4),
        ({"patience": 1, "mode": "max", "min_delta": 0.5}, [1.0, 1.1, 1.2, 1.0], 2),
        ({"patience": 2, "baseline": 0.5}, [1.0, 0.9, 0.8], 2),
        ({"patience": 2, "baseline": 0.5}, [1.0, 0.4, 0.3], 3),
    ],
)
def test_early_stopping(arguments: dict[str, Any], values: list[float], epochs: int) -> None:
    stopping = C.EarlyStopping("loss", **arguments)
    for _ in range(2):  # a second run starts afresh
        assert len(run(Model(), [stopping], losses(*values)).epoch) == epochs


def test_early_stopping_by_name_of_accuracy() -> None:
    assert C.EarlyStopping("val_acc").monitor_op is np.greater
    assert C.EarlyStopping("val_dice_coef").monitor_op is np.less


def test_early_stopping_restores_weights(capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    run(
        model,
        [C.EarlyStopping("loss", patience=2, verbose=1, restore_best_weights=True)],
        losses(3.0, 1.0, 2.0, 2.0, 0.0),
    )
    assert model.weights == [2]
    assert capsys.readouterr().out == (
        "Restoring model weights from the end of the best epoch\nEpoch 00004: early stopping\n"
    )


def test_early_stopping_has_nothing_to_restore_below_the_baseline() -> None:
    model = Model()
    run(model, [C.EarlyStopping("loss", patience=2, baseline=0.5, restore_best_weights=True)], losses(3.0, 1.0, 1.0))
    assert model.weights == [2] and model.stop_training


def test_early_stopping_without_its_value() -> None:
    with pytest.warns(RuntimeWarning) as caught:
        history = run(Model(), [C.EarlyStopping()], [{"loss": 1.0, "acc": 0.5}] * 2)
    expected = "Early stopping conditioned on metric `val_loss` which is not available. Available metrics are: loss,acc"
    assert [str(w.message) for w in caught] == [expected] * 2
    assert history.epoch == [0, 1]


# Learning rates


def test_scheduler_of_epoch_and_rate(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = C.LearningRateScheduler(lambda epoch, lr: lr * 0.5, verbose=1)
    history = run(Model(0.1), [scheduler], losses(1.0, 1.0))
    assert capsys.readouterr().out == (
        "\nEpoch 00001: LearningRateScheduler setting learning rate to 0.05000000074505806.\n"
        "\nEpoch 00002: LearningRateScheduler setting learning rate to 0.02500000037252903.\n"
    )
    assert history.history["lr"] == [np.float32(0.05), np.float32(0.025)]


def test_scheduler_of_epoch_alone() -> None:
    model = Model()
    run(model, [C.LearningRateScheduler(lambda epoch: 0.25 * (epoch + 1))], losses(1.0, 1.0))
    assert float(model.optimizer.lr) == 0.5


def test_scheduler_errors() -> None:
    with pytest.raises(ValueError, match='^The output of the "schedule" function should be float.$'):
        run(Model(), [C.LearningRateScheduler(lambda epoch: "fast")], losses(1.0))
    model: Any = Model()
    model.optimizer = object()
    with pytest.raises(ValueError, match='^Optimizer must have a "lr" attribute.$'):
        run(model, [C.LearningRateScheduler(lambda epoch: 0.1)], losses(1.0))


def test_reduce_on_plateau(capsys: pytest.CaptureFixture[str]) -> None:
    reduce = C.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=2, min_delta=1.0, verbose=1)
    history = run(Model(0.001), [reduce], losses(1.0, 0.9, 0.8, 0.7, 0.6))
    assert capsys.readouterr().out == (
        "\nEpoch 00003: ReduceLROnPlateau reducing learning rate to 0.0005000000237487257.\n"
        "\nEpoch 00005: ReduceLROnPlateau reducing learning rate to 0.0002500000118743628.\n"
    )
    assert [f"{v:.6f}" for v in history.history["lr"]] == ["0.001000"] * 3 + ["0.000500"] * 2


@pytest.mark.parametrize(
    ("arguments", "rates"),
    [
        ({"patience": 1}, [1, 1, 0.5, 0.25, 0.125]),
        ({"patience": 1, "cooldown": 1}, [1, 1, 0.5, 0.25, 0.125]),
        ({"patience": 1, "cooldown": 2}, [1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 1, "min_lr": 0.3}, [1, 1, 0.5, 0.3, 0.3]),
        ({"patience": 1, "mode": "max"}, [1, 1, 0.5, 0.25, 0.125]),
        ({"patience": 9}, [1, 1, 1, 1, 1]),
    ],
)
def test_reduce_on_plateau_timing(arguments: dict[str, Any], rates: list[float]) -> None:
    reduce = C.ReduceLROnPlateau("loss", factor=0.5, **arguments)
    for _ in range(2):  # a second run starts afresh
        history = run(Model(1.0), [reduce], losses(2.0, 2.0, 2.0, 2.0, 2.0))
        np.testing.assert_allclose(history.history["lr"], rates, rtol=1e-6)


def test_reduce_on_plateau_arguments() -> None:
    with pytest.raises(ValueError, match=r"^ReduceLROnPlateau does not support a factor >= 1.0.$"):
        C.ReduceLROnPlateau(factor=1.0)
    with pytest.warns(UserWarning, match="^`epsilon` argument is deprecated and will be removed, use `min_delta`"):
        assert C.ReduceLROnPlateau(epsilon=0.5).min_delta == 0.5
    with pytest.warns(RuntimeWarning, match="metric `val_loss` which is not available. Available metrics are: loss,lr"):
        run(Model(), [C.ReduceLROnPlateau()], losses(1.0))


# Files


def test_csv_logger(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    logs = {"loss": np.float64(0.1), "acc": np.float32(0.5), "lr": np.array(2.0), "per_class": np.array([1, 2])}
    run(Model(), [C.CSVLogger(str(path))], [logs])
    assert path.read_bytes() == b'epoch,acc,loss,lr,per_class\r\n0,0.5,0.1,2.0,"""[1, 2]"""\r\n'


def test_csv_logger_starts_anew_or_appends(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for append in (True, True, False):
        run(Model(), [C.CSVLogger(str(path), separator=";", append=append)], losses(1.0))
        lines = path.read_text().splitlines()
    assert lines == ["epoch;loss", "0;1.0"]
    logger = C.CSVLogger(str(path), separator=";", append=True)
    for _ in range(2):
        run(Model(), [logger], losses(2.0))
    assert path.read_text().splitlines() == ["epoch;loss", "0;1.0", "0;2.0", "0;2.0"]


def test_csv_logger_when_stopped_before_validation(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    logs = [{"loss": 1.0, "val_loss": 2.0}, {"loss": np.nan}]
    run(Model(), [C.TerminateOnNaN(), C.CSVLogger(str(path))], logs)
    assert path.read_text().splitlines() == ["epoch,loss,val_loss", "0,1.0,2.0", "1,nan,NA"]


def test_lambda_callback() -> None:
    seen: list[Any] = []
    names = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_train_end"]
    callback: Any = C.LambdaCallback(
        **{name: lambda *args, name=name: seen.append(name) for name in names},  # type: ignore[misc]
        owner="me",
    )
    run(Model(), [callback, C.LambdaCallback()], losses(1.0))
    assert seen == names
    assert callback.owner == "me"
