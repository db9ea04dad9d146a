"""Callbacks that watch a quantity or steer the learning rate: checkpoints, early stopping, schedules.

`kgraph.callbacks` offers them under Keras' names.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kgraph.callbacks import Callback, Logs


def _checked_mode(owner: str, mode: str) -> str:
    if mode in ("auto", "min", "max"):
        return mode
    warnings.warn(f"{owner} mode {mode} is unknown, fallback to auto mode.", RuntimeWarning, stacklevel=3)
    return "auto"


def _maximises(mode: str, guess: bool) -> bool:
    """Whether larger is better; `guess` decides where the mode is "auto"."""
    return guess if mode == "auto" else mode == "max"


class ModelCheckpoint(Callback):
    """Saves the model after epochs.

    # Arguments
        filepath: where to; may hold `{epoch}` (from 1) and names of logs, with formats, as in `{val_loss:.2f}`.
        monitor: name of the value that tells which model is best.
        verbose: 1 prints what is saved.
        save_best_only: save only a model better than all before it.
        save_weights_only: save with `save_weights` in place of `save`.
        mode: "min", "max", or "auto" (by the name: "max" for accuracies and f-measures).
        period: number of epochs between two checks.
    """

    def __init__(
        self,
        filepath: str,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        period: int = 1,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.verbose = verbose
        self.filepath = filepath
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.period = period
        self.epochs_since_last_save = 0
        mode = _checked_mode("ModelCheckpoint", mode)
        up = _maximises(mode, "acc" in monitor or monitor.startswith("fmeasure"))
        self.monitor_op = np.greater if up else np.less
        self.best: Any = -np.inf if up else np.inf

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        self.epochs_since_last_save += 1
        if self.epochs_since_last_save < self.period:
            return
        self.epochs_since_last_save = 0
        filepath = self._path(epoch, logs)
        if not self.save_best_only:
            self._say(f"\nEpoch {epoch + 1:05d}: saving model to {filepath}")
            self._save(filepath)
            return
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"Can save best model only with {self.monitor} available, skipping.", RuntimeWarning, stacklevel=2
            )
        elif self.monitor_op(current, self.best):
            self._say(
                f"\nEpoch {epoch + 1:05d}: {self.monitor} improved from {self.best:0.5f} to {current:0.5f},"
                f" saving model to {filepath}"
            )
            self.best = current
            self._save(filepath)
        else:
            self._say(f"\nEpoch {epoch + 1:05d}: {self.monitor} did not improve from {self.best:0.5f}")

    def _path(self, epoch: int, logs: Logs) -> str:
        names = {**logs, "epoch": epoch + 1}
        try:
            return os.fspath(self.filepath).format(**names)
        except KeyError as error:
            raise KeyError(
                f"The `filepath` of ModelCheckpoint, {self.filepath!r}, asks for {error}. Available: {sorted(names)}"
            ) from None

    def _say(self, text: str) -> None:
        if self.verbose > 0:
            print(text)

    def _save(self, filepath: str) -> None:
        if self.save_weights_only:
            self.model.save_weights(filepath, overwrite=True)
        else:
            self.model.save(filepath, overwrite=True)


class EarlyStopping(Callback):
    """Stops training when a value no longer improves.

    # Arguments
        monitor: name of the value.
        min_delta: a smaller change is no improvement.
        patience: number of epochs without improvement after which training stops.
        verbose: 1 prints where it stopped.
        mode: "min", "max", or "auto" (by the name: "max" for accuracies).
        baseline: the value to improve on at first.
        restore_best_weights: go back to the weights of the best epoch when stopping.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.baseline = baseline
        self.patience = patience
        self.verbose = verbose
        self.wait = 0
        self.stopped_epoch = 0
        self.restore_best_weights = restore_best_weights
        self.best_weights: Any = None
        mode = _checked_mode("EarlyStopping", mode)
        up = _maximises(mode, "acc" in monitor)
        self.monitor_op = np.greater if up else np.less
        self.min_delta = min_delta if up else -min_delta

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best_weights = None
        worst = -np.inf if self.monitor_op is np.greater else np.inf
        self.best: Any = worst if self.baseline is None else self.baseline

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.get_monitor_value(logs or {})
        if current is None:
            return
        if self.monitor_op(current - self.min_delta, self.best):
            self.best = current
            self.wait = 0
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True
            # There is nothing to restore where no epoch reached the baseline.
            if self.best_weights is not None:
                if self.verbose > 0:
                    print("Restoring model weights from the end of the best epoch")
                self.model.set_weights(self.best_weights)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1:05d}: early stopping")

    def get_monitor_value(self, logs: Logs) -> Any:
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(
                f"Early stopping conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}",
                RuntimeWarning,
                stacklevel=2,
            )
        return value


def _get_lr(model: Any) -> Any:
    """The optimizer's learning rate as a numpy scalar."""
    from kgraph import backend as K

    if not hasattr(model.optimizer, "lr"):
        raise ValueError('Optimizer must have a "lr" attribute.')
    return K.get_value(model.optimizer.lr)


def _set_lr(model: Any, lr: Any) -> None:
    from kgraph import backend as K

    K.set_value(model.optimizer.lr, lr)


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    # Arguments
        schedule: function of the epoch (from 0) and the current rate, or of the epoch alone, giving a float.
        verbose: 1 prints the rate.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        lr: Any = float(_get_lr(self.model))
        try:
            lr = self.schedule(epoch, lr)
        except TypeError:  # a schedule of the epoch alone
            lr = self.schedule(epoch)
        if not isinstance(lr, (float, np.float32, np.float64)):
            raise ValueError('The output of the "schedule" function should be float.')
        _set_lr(self.model, lr)
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1:05d}: LearningRateScheduler setting learning rate to {lr}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["lr"] = _get_lr(self.model)


class ReduceLROnPlateau(Callback):
    """Lowers the learning rate when a value no longer improves.

    # Arguments
        monitor: name of the value.
        factor: what the rate is multiplied by, below 1.
        patience: number of epochs without improvement after which the rate falls.
        verbose: 1 prints the new rate.
        mode: "min", "max", or "auto" (by the name: "max" for accuracies).
        min_delta: a smaller change is no improvement (`epsilon` is its old name).
        cooldown: number of epochs to wait after a change before counting again.
        min_lr: the rate does not fall below it.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if factor >= 1.0:
            raise ValueError("ReduceLROnPlateau does not support a factor >= 1.0.")
        if "epsilon" in kwargs:
            min_delta = kwargs.pop("epsilon")
            warnings.warn(
                "`epsilon` argument is deprecated and will be removed, use `min_delta` instead.", stacklevel=2
            )
        if kwargs:  # Keras drops them without a word, so scripts that run there must run here
            warnings.warn(f"ReduceLROnPlateau does not know the arguments {sorted(kwargs)}.", stacklevel=2)
        self.monitor = monitor
        self.factor = factor
        self.min_lr = min_lr
        self.min_delta = min_delta
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.mode = mode
        self._reset()

    def _reset(self) -> None:
        self.mode = _checked_mode("Learning Rate Plateau Reducing", self.mode)
        self._up = _maximises(self.mode, "acc" in self.monitor)
        self.best: Any = -np.inf if self._up else np.inf
        self.cooldown_counter = 0
        self.wait = 0

    def monitor_op(self, current: Any, best: Any) -> bool:
        """Whether `current` improves on `best` by more than `min_delta`."""
        if self._up:
            return bool(np.greater(current, best + self.min_delta))
        return bool(np.less(current, best - self.min_delta))

    def in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs["lr"] = _get_lr(self.model)
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"Reduce LR on plateau conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.monitor_op(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        old = float(_get_lr(self.model))
        if old <= self.min_lr:
            return
        new = max(old * self.factor, self.min_lr)
        _set_lr(self.model, new)
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1:05d}: ReduceLROnPlateau reducing learning rate to {new}.")
        self.cooldown_counter = self.cooldown
        self.wait = 0
