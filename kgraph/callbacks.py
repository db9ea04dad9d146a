"""What users hang into training: callbacks, called at the start and end of training, epochs and batches.

The training loops of `kgraph.engine` build a `CallbackList` and call it. A callback sees the model as `self.model`,
the run's settings as `self.params` (`batch_size`, `epochs`, `steps`, `samples`, `verbose`, `do_validation`,
`metrics`), and stops training by setting `self.model.stop_training`. `logs` holds numbers by name; what a callback
puts into the epoch's logs, later callbacks and the history see.
"""

from __future__ import annotations

import csv
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from kgraph.utils.generic_utils import Progbar

__all__ = [
    "BaseLogger",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "Progbar",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "TensorBoard",
    "TerminateOnNaN",
]

Logs = dict[str, Any]


class CallbackList:
    """Calls several callbacks in order, and warns where they take longer than the batches themselves.

    # Arguments
        callbacks: `Callback` instances.
        queue_length: over how many batches the time of the callbacks is judged.
    """

    def __init__(self, callbacks: Iterable[Callback] | None = None, queue_length: int = 10) -> None:
        self.callbacks = list(callbacks or [])
        self.queue_length = queue_length
        self._reset_times()

    def _reset_times(self) -> None:
        self._batch_time = 0.0
        self._batch_entered: float | None = None
        self._begin_times: deque[float] = deque(maxlen=self.queue_length)
        self._end_times: deque[float] = deque(maxlen=self.queue_length)

    def append(self, callback: Callback) -> None:
        self.callbacks.append(callback)

    def set_params(self, params: dict[str, Any]) -> None:
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Any) -> None:
        for callback in self.callbacks:
            callback.set_model(model)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)
        self._reset_times()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        start = time.time()
        for callback in self.callbacks:
            callback.on_batch_begin(batch, logs)
        self._batch_entered = time.time()
        self._judge("on_batch_begin", self._begin_times, self._batch_entered - start)

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        start = time.time()
        self._batch_time = 0.0 if self._batch_entered is None else start - self._batch_entered
        for callback in self.callbacks:
            callback.on_batch_end(batch, logs)
        self._judge("on_batch_end", self._end_times, time.time() - start)

    def _judge(self, method: str, times: deque[float], seconds: float) -> None:
        times.append(seconds)
        if max(times) <= 0.1:  # the usual case, at the price of no sorting
            return
        median = float(np.median(times))
        if self._batch_time > 0.0 and median > 0.95 * self._batch_time and median > 0.1:
            warnings.warn(
                f"Method {method}() is slow compared to the batch update ({median:f}). Check your callbacks.",
                stacklevel=3,
            )

    def on_train_begin(self, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            callback.on_train_begin(logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        for callback in self.callbacks:
            callback.on_train_end(logs)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)


class Callback:
    """Base class of callbacks; subclasses override the moments that they care about.

    # Properties
        params: the settings of the run.
        model: the model being trained.
        validation_data: arrays that validation uses, None without validation.
    """

    params: dict[str, Any]

    def __init__(self) -> None:
        self.validation_data: Any = None
        self.model: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_model(self, model: Any) -> None:
        self.model = model

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch; `epoch` counts from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch; `logs` holds its averages and the validation results."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch; `logs` holds its number and its `size` in samples."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch; `logs` holds loss and metrics too."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called once before training."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called once after training."""


class BaseLogger(Callback):
    """Averages the metrics over an epoch, weighted by batch size. Every training run has one, in front.

    # Arguments
        stateful_metrics: names of metrics that are averages already; their last value counts.
    """

    def __init__(self, stateful_metrics: Iterable[str] | None = None) -> None:
        super().__init__()
        self.stateful_metrics = set(stateful_metrics or ())
        self.seen = 0
        self.totals: Logs = {}

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.seen = 0
        self.totals = {}

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        size = logs.get("size", 0)
        self.seen += size
        for name, value in logs.items():
            if name in self.stateful_metrics:
                self.totals[name] = value
            else:
                self.totals[name] = self.totals.get(name, 0.0) + float(value) * size

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is None:
            return
        for name in self.params["metrics"]:
            if name in self.totals:
                total = self.totals[name]
                logs[name] = total if name in self.stateful_metrics else total / self.seen


class TerminateOnNaN(Callback):
    """Stops training when a batch's loss is not a finite number."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            print(f"Batch {batch}: Invalid loss, terminating training")
            self.model.stop_training = True


class ProgbarLogger(Callback):
    """Prints the progress of each epoch; `fit(verbose=1)` adds one.

    # Arguments
        count_mode: "samples" or "steps": what the bar counts.
        stateful_metrics: names of metrics that are averages already.
    """

    def __init__(self, count_mode: str = "samples", stateful_metrics: Iterable[str] | None = None) -> None:
        super().__init__()
        if count_mode not in ("samples", "steps"):
            raise ValueError(f"Unknown `count_mode`: {count_mode}")
        self.use_steps = count_mode == "steps"
        self.stateful_metrics = set(stateful_metrics or ())
        self.seen = 0
        self.log_values: list[tuple[str, Any]] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.verbose = self.params["verbose"]
        self.epochs = self.params["epochs"]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.verbose:
            print(f"Epoch {epoch + 1}/{self.epochs}")
        self.target = self.params["steps" if self.use_steps else "samples"]
        self.progbar = Progbar(target=self.target, verbose=self.verbose, stateful_metrics=self.stateful_metrics)
        self.seen = 0

    def _unfinished(self) -> bool:
        return self.target is None or self.seen < self.target

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        if self._unfinished():
            self.log_values = []

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        self.seen += 1 if self.use_steps else logs.get("size", 0)
        self._collect(logs)
        # The last batch is drawn at the end of the epoch, together with the validation results.
        if self.verbose and self._unfinished():
            self.progbar.update(self.seen, self.log_values)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._collect(logs or {})
        if self.verbose:
            self.progbar.update(self.seen, self.log_values)

    def _collect(self, logs: Logs) -> None:
        self.log_values.extend((name, logs[name]) for name in self.params["metrics"] if name in logs)


class History(Callback):
    """Keeps the epochs' logs as lists in `history`, and their numbers in `epoch`; `fit` returns one."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


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


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file: the epoch (from 0), then the values sorted by name.

    # Arguments
        filename: the file.
        separator: what stands between values.
        append: go on with an existing file (its header line is kept) in place of starting it anew.
    """

    def __init__(self, filename: str, separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename = filename
        self.sep = separator
        self.append = append
        self.append_header = True
        self.keys: list[str] | None = None
        self.writer: Any = None
        self.csv_file: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.append:
            self.append_header = not (os.path.exists(self.filename) and os.path.getsize(self.filename) > 0)
        else:
            self.keys = None  # a new file has columns of its own
        self.csv_file = open(self.filename, "a" if self.append else "w", newline="\n")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
        if self.writer is None:
            self.writer = csv.writer(self.csv_file, delimiter=self.sep)
            if self.append_header:
                self.writer.writerow(["epoch", *self.keys])
        # An epoch that was stopped may lack values; readers of the file still expect the column.
        self.writer.writerow([epoch, *(_csv_value(logs.get(key, "NA")) for key in self.keys)])
        self.csv_file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.csv_file.close()
        self.writer = None


def _csv_value(value: Any) -> Any:
    if isinstance(value, str) or not hasattr(value, "__iter__") or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value
    return f'"[{", ".join(map(str, value))}]"'


class LambdaCallback(Callback):
    """A callback made of functions; each takes what the method of its name takes.

    # Arguments
        on_epoch_begin, on_epoch_end: functions of `epoch, logs`.
        on_batch_begin, on_batch_end: functions of `batch, logs`.
        on_train_begin, on_train_end: functions of `logs`.
        kwargs: further attributes of the callback.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_batch_begin: Callable[..., Any] | None = None,
        on_batch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_batch_begin": on_batch_begin,
            "on_batch_end": on_batch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        self.__dict__.update(kwargs)
        self.__dict__.update({name: function for name, function in given.items() if function is not None})


def __getattr__(name: str) -> Any:
    if name == "standardize_input_data":  # scripts reach for it here; the engine imports this module
        from kgraph.engine.training_utils import standardize_input_data

        return standardize_input_data
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# They need the base class above, so they come last.
from kgraph.callbacks_remote import RemoteMonitor  # noqa: E402
from kgraph.callbacks_tensorboard import TensorBoard  # noqa: E402
