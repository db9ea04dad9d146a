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
from kgraph.callbacks_monitor import (  # noqa: E402
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from kgraph.callbacks_remote import RemoteMonitor  # noqa: E402
from kgraph.callbacks_tensorboard import TensorBoard  # noqa: E402
