"""The loops behind `fit_generator`, `evaluate_generator` and `predict_generator`.

Batches come from a `Sequence` or a generator, prepared in the background by `utils/data_utils.py`; each then goes
through `train_on_batch`, `test_on_batch` or `predict_on_batch` of `training.py`. `training_arrays.py` has the loops
over arrays.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from kgraph import callbacks as cbks
from kgraph.engine import feeding, resume
from kgraph.engine.training_utils import iter_sequence_infinite
from kgraph.utils.data_utils import GeneratorEnqueuer, OrderedEnqueuer, Sequence, SequenceEnqueuer
from kgraph.utils.generic_utils import Progbar, to_list, unpack_singleton

__all__ = [
    "GeneratorEnqueuer",
    "OrderedEnqueuer",
    "Progbar",
    "Sequence",
    "evaluate_generator",
    "fit_generator",
    "iter_sequence_infinite",
    "predict_generator",
    "to_list",
    "unpack_singleton",
]

_PATIENCE = 10.0  # seconds that workers have to finish their last batch
_DUPLICATES = (
    "Using a generator with `use_multiprocessing=True` and multiple workers may duplicate your data. Please consider "
    "using the`keras.utils.Sequence class."
)


def fit_generator(
    model: Any,
    generator: Any,
    steps_per_epoch: float | None = None,
    epochs: int = 1,
    verbose: int = 1,
    callbacks: Any = None,
    validation_data: Any = None,
    validation_steps: float | None = None,
    class_weight: Any = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    shuffle: bool = True,
    initial_epoch: int = 0,
) -> Any:
    """Train on batches; see `Model.fit_generator`. Returns the `History`."""
    model._require_compiled()
    feeding.check_run(epochs, callbacks)
    _warn_of_duplicates(generator, use_multiprocessing, workers)
    steps = _steps(generator, steps_per_epoch, "steps_per_epoch")
    epochs_to_do = max(0, epochs - initial_epoch)
    validation = _Validation(model, validation_data, validation_steps)
    batches = _Feed(
        generator, math.ceil(steps) * epochs_to_do, workers, max_queue_size, use_multiprocessing, shuffle=shuffle
    )
    resume.go_on(model, initial_epoch)
    with batches, validation.started(epochs_to_do, workers, max_queue_size, use_multiprocessing):
        if not model.built:
            feeding.build_for(model, _training_batch(batches.peek())[0])
            model._require_compiled()
        calls, watched = _callbacks(model, callbacks, verbose)
        labels = list(model.metrics_names)
        calls.set_params(
            {
                "epochs": epochs,
                "steps": steps,
                "verbose": verbose,
                "do_validation": validation.wanted,
                "metrics": [*labels, *(f"val_{label}" for label in labels)],
            }
        )
        calls.on_train_begin()
        validation.prepare(calls)
        watched.stop_training = False
        logs: dict[str, Any] = {}  # shared by all epochs, so that one cut short keeps the last validation's results
        for epoch in range(initial_epoch, epochs):
            for metric in model.stateful_metric_functions:
                metric.reset_states()
            calls.on_epoch_begin(epoch)
            finished, size = _train_epoch(model, batches, steps, labels, calls, watched, class_weight)
            resume.end_epoch(watched, epoch)
            if finished:
                batches.end_epoch()
                if validation.wanted:
                    results = to_list(validation.run(size))
                    logs.update((f"val_{label}", value) for label, value in zip(labels, results, strict=True))
            calls.on_epoch_end(epoch, logs)
            if watched.stop_training:
                break
    calls.on_train_end()
    return model.history


def _callbacks(model: Any, given: Any, verbose: int) -> tuple[Any, Any]:
    """The callbacks of a run, and the model that they watch."""
    model.history = cbks.History()
    watchers: list[Any] = [cbks.BaseLogger(stateful_metrics=model.stateful_metric_names)]
    if verbose:
        watchers.append(cbks.ProgbarLogger("steps", stateful_metrics=model.stateful_metric_names))
    calls = cbks.CallbackList([*watchers, *(given or []), model.history])
    watched = getattr(model, "callback_model", None) or model
    calls.set_model(watched)
    return calls, watched


def _train_epoch(
    model: Any, batches: Iterator[Any], steps: float, labels: list[str], calls: Any, watched: Any, class_weight: Any
) -> tuple[bool, int]:
    """Train for one epoch. Returns whether all steps were made, and the size of the last batch."""
    done = size = 0
    while done < steps:
        x, y, weights = _training_batch(next(batches))
        size = _batch_size(x)
        logs: dict[str, Any] = {"batch": done, "size": size}
        calls.on_batch_begin(done, logs)
        results = to_list(model.train_on_batch(x, y, sample_weight=weights, class_weight=class_weight))
        logs.update(zip(labels, results, strict=True))
        calls.on_batch_end(done, logs)
        done += 1
        if watched.stop_training:
            break
    return done >= steps, size


def evaluate_generator(
    model: Any,
    generator: Any,
    steps: float | None = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    verbose: int = 0,
) -> Any:
    """The loss and metrics on batches; see `Model.evaluate_generator`. A number, or a list."""
    model._require_compiled()
    _warn_of_duplicates(generator, use_multiprocessing, workers)
    steps = _steps(generator, steps, "steps")
    with _Feed(generator, math.ceil(steps), workers, max_queue_size, use_multiprocessing) as batches:
        return _evaluate(model, batches, steps, Progbar(target=steps) if verbose == 1 else None)


def _evaluate(model: Any, batches: Iterator[Any], steps: float, bar: Progbar | None = None) -> Any:
    """The mean of loss and metrics over some batches, weighted by their sizes."""
    for metric in getattr(model, "stateful_metric_functions", ()):
        metric.reset_states()
    results: list[list[Any]] = []
    sizes: list[int] = []
    while len(results) < steps:
        x, y, weights = _training_batch(next(batches))
        sizes.append(_batch_size(x))
        results.append(to_list(model.test_on_batch(x, y, sample_weight=weights)))
        if bar:
            bar.update(len(results))
    stateful = set(model.stateful_metric_names)
    return unpack_singleton(
        [
            np.float64(values[-1]) if name in stateful else np.average(values, weights=sizes)
            for name, values in zip(model.metrics_names, zip(*results, strict=True), strict=True)
        ]
    )


def predict_generator(
    model: Any,
    generator: Any,
    steps: float | None = None,
    max_queue_size: int = 10,
    workers: int = 1,
    use_multiprocessing: bool = False,
    verbose: int = 0,
) -> Any:
    """The outputs for batches; see `Model.predict_generator`. An array, or a list."""
    _warn_of_duplicates(generator, use_multiprocessing, workers)
    steps = _steps(generator, steps, "steps")
    bar = Progbar(target=steps) if verbose == 1 else None
    results: list[list[np.ndarray]] = []
    with _Feed(generator, math.ceil(steps), workers, max_queue_size, use_multiprocessing) as batches:
        while len(results) < steps:
            batch = next(batches)
            # Generators made for training give targets too.
            x = _training_batch(batch)[0] if isinstance(batch, tuple) else batch
            results.append(to_list(model.predict_on_batch(x)))
            if bar:
                bar.update(len(results))
    if len(results) == 1:
        return unpack_singleton(results[0])
    return unpack_singleton([np.concatenate(parts) for parts in zip(*results, strict=True)])


class _Feed(Iterator[Any]):
    """The batches of a `Sequence` or generator, prepared by workers, or on the spot where there are none.

    # Arguments
        total: how many will be asked for; no more are prepared, so a generator is not read further than it is used.
    """

    def __init__(
        self,
        generator: Any,
        total: int,
        workers: int,
        max_queue_size: int,
        use_multiprocessing: bool,
        shuffle: bool = False,
    ) -> None:
        self._enqueuer: SequenceEnqueuer | None = None
        self._workers, self._max_queue_size = workers, max_queue_size
        self._peeked: list[Any] = []
        self._taken = 0
        is_sequence = isinstance(generator, Sequence)
        if not is_sequence and not hasattr(generator, "__next__"):
            raise TypeError(f"Expected a generator or a `keras.utils.Sequence`, got {type(generator).__name__}")
        if workers > 0:
            self._enqueuer = (
                OrderedEnqueuer(generator, use_multiprocessing, shuffle=shuffle)
                if is_sequence
                else GeneratorEnqueuer(generator, use_multiprocessing)
            )
            self._enqueuer.limit = total
            self._batches: Iterator[Any] = self._enqueuer.get()
        else:
            self._batches = iter_sequence_infinite(generator) if is_sequence else generator

    def __enter__(self) -> _Feed:
        if self._enqueuer is not None:
            self._enqueuer.start(self._workers, self._max_queue_size)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._enqueuer is not None:
            self._enqueuer.stop(timeout=_PATIENCE if error is None else 1.0)

    def __next__(self) -> Any:
        return self._peeked.pop() if self._peeked else self._take()

    def _take(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration as end:
            if end.args:
                raise
            raise StopIteration(
                f"The generator ended after {self._taken} batches, before the run did: it must give as many batches as "
                "there are steps in all epochs together."
            ) from None
        self._taken += 1
        return batch

    def peek(self) -> Any:
        """The batch that comes next."""
        if not self._peeked:
            self._peeked.append(self._take())
        return self._peeked[0]

    def end_epoch(self) -> None:
        """An epoch of training or validation is over; tell a `Sequence` so, if all its batches were taken."""
        if self._enqueuer is not None:
            self._enqueuer.end_epoch()


class _Validation:
    """Validation after each epoch: on arrays, or on the batches of a `Sequence` or generator."""

    def __init__(self, model: Any, data: Any, steps: float | None) -> None:
        self.wanted = feeding.is_given(data)
        self._model = model
        self._data = data
        self._feed: _Feed | None = None
        self._arrays: Any = None
        self._from_batches = self.wanted and (isinstance(data, Sequence) or hasattr(data, "__next__"))
        self._steps: float = _steps(data, steps, "validation_steps") if self._from_batches else 0
        is_tuple = isinstance(data, (list, tuple)) and len(data) in (2, 3)
        if self.wanted and not self._from_batches and not is_tuple:
            raise ValueError(
                "`validation_data` should be a tuple `(val_x, val_y, val_sample_weight)` or `(val_x, val_y)`. "
                f"Found: {data}"
            )

    def started(self, epochs: int, workers: int, max_queue_size: int, use_multiprocessing: bool) -> _Validation:
        """Itself, to use in a `with` statement, for a number of epochs."""
        if self._from_batches:
            total = math.ceil(self._steps) * epochs
            self._feed = _Feed(self._data, total, workers, max_queue_size, use_multiprocessing)
        return self

    def __enter__(self) -> _Validation:
        if self._feed is not None:
            self._feed.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._feed is not None:
            self._feed.__exit__(*error)

    def prepare(self, calls: Any) -> None:
        """Check arrays, and show them to the callbacks."""
        if not self.wanted or self._from_batches:
            return
        x, y, *weights = self._data
        checked = self._model._standardize_user_data(x, y, sample_weight=weights[0] if weights else None)
        self._arrays = checked
        for callback in calls:
            callback.validation_data = feeding.shown_to_callbacks(self._model, checked)

    def run(self, batch_size: int) -> Any:
        """Loss and metrics; arrays are taken in batches of `batch_size`."""
        if self._feed is not None:
            results = _evaluate(self._model, self._feed, self._steps)
            self._feed.end_epoch()
            return results
        x, y, weights = self._arrays
        return self._model.evaluate(x, y, batch_size=batch_size, sample_weight=weights or None, verbose=0)


def _warn_of_duplicates(generator: Any, use_multiprocessing: bool, workers: int) -> None:
    if use_multiprocessing and workers > 1 and not isinstance(generator, Sequence):
        warnings.warn(_DUPLICATES, stacklevel=5)


def _steps(generator: Any, steps: float | None, name: str) -> float:
    """The number of steps asked for, or the length of a `Sequence`."""
    if steps is None or (name == "validation_steps" and not steps):
        if not isinstance(generator, Sequence):
            raise ValueError(
                f"`{name}=None` is only valid for a generator based on the `keras.utils.Sequence` class. Please "
                f"specify `{name}` or use the `keras.utils.Sequence` class."
            )
        steps = len(generator)
        if not steps:
            raise ValueError(f"{type(generator).__name__} has no batches: its length is 0.")
    if not steps > 0:
        raise ValueError(f"`{name}` must be a positive number. Received: {steps}")
    return steps


def _training_batch(batch: Any) -> tuple[Any, Any, Any]:
    """A batch as inputs, targets and sample weights."""
    if not hasattr(batch, "__len__") or len(batch) not in (2, 3):
        raise ValueError(f"Output of generator should be a tuple `(x, y, sample_weight)` or `(x, y)`. Found: {batch}")
    x, y, *weights = batch
    return x, y, weights[0] if weights else None


def _batch_size(x: Any) -> int:
    """The number of samples in a batch's inputs."""
    if isinstance(x, dict):
        x = next(iter(x.values()), None)
    elif isinstance(x, (list, tuple)) and (not x or hasattr(x[0], "shape")):
        x = x[0] if x else None
    if x is None:
        return 1  # a model without inputs
    size = int(x.shape[0]) if hasattr(x, "shape") else len(x)
    if not size:
        raise ValueError("Received an empty batch. Batches should contain at least one item.")
    return size
