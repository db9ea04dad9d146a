"""The loops over batches of arrays behind `fit`, `evaluate` and `predict`.

`ins` is what the function `f` takes: arrays, sliced along their first axis, and at the end the learning phase as a
float where it is fed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph import callbacks as cbks
from kgraph.engine import resume
from kgraph.engine.training_utils import batch_shuffle, check_num_samples, make_batches
from kgraph.utils.generic_utils import Progbar, slice_arrays, to_list, unpack_singleton

__all__ = [
    "batch_shuffle",
    "check_num_samples",
    "fit_loop",
    "make_batches",
    "predict_loop",
    "slice_arrays",
    "test_loop",
    "to_list",
]

_WORTH_A_THREAD = 1 << 20  # bytes of a batch: handing one over takes about as long as gathering a tenth of that
Feed = Callable[[list[Any]], list[Any]]


def fit_loop(
    model: Any,
    f: Feed,
    ins: list[Any],
    out_labels: Sequence[str] | None = None,
    batch_size: int | None = None,
    epochs: int = 100,
    verbose: int = 1,
    callbacks: Any = None,
    val_f: Feed | None = None,
    val_ins: list[Any] | None = None,
    shuffle: Any = True,
    callback_metrics: Sequence[str] | None = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_data: list[Any] | None = None,
) -> Any:
    """Train for some epochs; see `Model.fit`. Returns the `History`.

    `validation_data` is what callbacks see of it; `val_ins` if not given.
    """
    do_validation = bool(val_f is not None and val_ins is not None)
    if do_validation and verbose and _samples(ins) is not None and _samples(val_ins) is not None:
        print(f"Train on {_samples(ins)} samples, validate on {_samples(val_ins)} samples")
    if validation_steps:
        do_validation = True
        if steps_per_epoch is None:
            raise ValueError(
                "Can only use `validation_steps` when doing step-wise training, i.e. `steps_per_epoch` must be set."
            )
    elif do_validation and steps_per_epoch:
        raise ValueError("Must specify `validation_steps` to perform validation when doing step-wise training.")
    samples = check_num_samples(ins, batch_size=batch_size, steps=steps_per_epoch, steps_name="steps_per_epoch")
    if samples == 0:
        raise ValueError("There are no samples to train on.")

    model.history = cbks.History()
    watchers: list[Any] = [cbks.BaseLogger(stateful_metrics=model.stateful_metric_names)]
    if verbose:
        count = "steps" if steps_per_epoch is not None else "samples"
        watchers.append(cbks.ProgbarLogger(count, stateful_metrics=model.stateful_metric_names))
    watchers += [*(callbacks or []), model.history]
    calls = cbks.CallbackList(watchers)
    watched = getattr(model, "callback_model", None) or model  # another model may stand in front of this one
    calls.set_model(watched)
    calls.set_params(
        {
            "batch_size": batch_size,
            "epochs": epochs,
            "steps": steps_per_epoch,
            "samples": samples,
            "verbose": verbose,
            "do_validation": do_validation,
            "metrics": list(callback_metrics or []),
        }
    )
    calls.on_train_begin()
    watched.stop_training = False
    for watcher in calls:
        watcher.validation_data = val_ins if validation_data is None else validation_data
    labels = list(out_labels or [])

    order = resume.go_on(model, initial_epoch)
    if order is None or len(order) != samples:
        order = np.arange(samples or 0)
    for epoch in range(initial_epoch, epochs):
        for metric in model.stateful_metric_functions:
            metric.reset_states()
        calls.on_epoch_begin(epoch)
        logs: dict[str, Any] = {}
        if samples is None:
            finished = _steps(f, ins, labels, calls, watched, steps_per_epoch or 0)
        else:
            if shuffle == "batch":
                order = batch_shuffle(order, batch_size or 1)
            elif shuffle:
                np.random.shuffle(order)
            feed = _batch_reader(ins, order if shuffle else None)
            finished = _batches(f, feed, labels, calls, watched, len(order), batch_size or 1)
        if finished and do_validation and val_f is not None and val_ins is not None:
            results = test_loop(model, val_f, val_ins, batch_size, verbose=0, steps=validation_steps)
            results = results if isinstance(results, list) else [results]
            logs.update((f"val_{label}", value) for label, value in zip(labels, results, strict=True))
        resume.end_epoch(watched, epoch, order if shuffle else None)
        calls.on_epoch_end(epoch, logs)
        if watched.stop_training:
            break
    calls.on_train_end()
    return model.history


def _samples(ins: Any) -> int | None:
    return int(ins[0].shape[0]) if ins and hasattr(ins[0], "shape") and not K.is_tensor(ins[0]) else None


def _batches(
    f: Feed, feed: Callable[[int, int], list[Any]], labels: list[str], calls: Any, watched: Any, count: int, size: int
) -> bool:
    """One epoch over batches. Whether it came to the end of the data."""
    spans = make_batches(count, size)
    with contextlib.closing(_prepared(feed, spans)) as batches:
        for number, ((start, stop), batch) in enumerate(zip(spans, batches, strict=True)):
            logs: dict[str, Any] = {"batch": number, "size": stop - start}
            calls.on_batch_begin(number, logs)
            logs.update(zip(labels, f(batch), strict=True))
            calls.on_batch_end(number, logs)
            if watched.stop_training:
                return stop == count
    return True


def _prepared(
    feed: Callable[[int, int], list[Any]], spans: Sequence[tuple[int, int]]
) -> Generator[list[Any], None, None]:
    """The batches, each large one gathered by another thread while the step before it runs."""
    if not isinstance(feed, _Gather) or len(spans) < 2 or feed.nbytes(*spans[0]) < _WORTH_A_THREAD:
        yield from (feed(start, stop) for start, stop in spans)
        return
    from concurrent.futures import ThreadPoolExecutor  # takes milliseconds to import

    with ThreadPoolExecutor(1, "kgraph-batches") as helper:
        ahead = helper.submit(feed, *spans[0])
        for span in spans[1:]:
            batch = ahead.result()
            ahead = helper.submit(feed, *span)
            yield batch
        yield ahead.result()


def _steps(f: Feed, ins: list[Any], labels: list[str], calls: Any, watched: Any, steps: int) -> bool:
    """One epoch of steps that each take all the data. Whether all steps were made."""
    for number in range(steps):
        logs: dict[str, Any] = {"batch": number, "size": 1}
        calls.on_batch_begin(number, logs)
        logs.update(zip(labels, f(ins), strict=True))
        calls.on_batch_end(number, logs)
        if watched.stop_training:
            return number == steps - 1
    return True


def _batch_reader(ins: list[Any], order: np.ndarray | None) -> Callable[[int, int], list[Any]]:
    """A function that gives what `f` takes for samples `start` to `stop`, in `order` (None: as they come)."""
    tail = [x for x in ins if isinstance(x, float)]
    arrays = [x for x in ins if not isinstance(x, float)]
    if order is None:
        return lambda start, stop: [x[start:stop] for x in arrays] + tail
    if all(type(x) is np.ndarray for x in arrays):
        return _Gather(arrays, order, tail)
    rows = order

    def read(start: int, stop: int) -> list[Any]:
        chosen = rows[start:stop]
        try:
            return slice_arrays(arrays, chosen) + tail
        except TypeError:
            raise TypeError(
                'TypeError while preparing batch. If using HDF5 input data, pass shuffle="batch".'
            ) from None

    return read


class _Gather:
    """Rows of arrays in another order, for samples `start` to `stop`; behind them `tail`."""

    def __init__(self, arrays: Sequence[np.ndarray], order: np.ndarray, tail: Sequence[float]) -> None:
        self._arrays = arrays
        self._order = order
        self._tail = tail

    def __call__(self, start: int, stop: int) -> list[Any]:
        rows = self._order[start:stop]
        return [*(x.take(rows, axis=0) for x in self._arrays), *self._tail]

    def nbytes(self, start: int, stop: int) -> int:
        return sum(x.nbytes // max(1, len(x)) for x in self._arrays) * (stop - start)


def predict_loop(
    model: Any, f: Feed, ins: list[Any], batch_size: int | None = 32, verbose: int = 0, steps: int | None = None
) -> Any:
    """The outputs for all samples: an array, or a list for several outputs."""
    samples = check_num_samples(ins, batch_size=batch_size, steps=steps, steps_name="steps")
    bar = Progbar(target=steps if samples is None else samples) if verbose == 1 else None
    if samples is None:
        parts: list[list[Any]] = []
        for step in range(steps or 0):
            parts.append(f(ins))
            if bar:
                bar.update(step + 1)
        return unpack_singleton([np.concatenate(list(pieces), axis=0) for pieces in zip(*parts, strict=True)])
    feed = _batch_reader(ins, None)
    outputs: list[np.ndarray] = []
    for start, stop in make_batches(samples, batch_size or 1) or [(0, 0)]:
        results = f(feed(start, stop))
        if stop - start == samples:
            outputs = [np.asarray(x) for x in results]
        elif not outputs:
            outputs = [np.zeros((samples, *x.shape[1:]), dtype=x.dtype) for x in results]
        if stop - start < samples:
            for whole, part in zip(outputs, results, strict=True):
                whole[start:stop] = part
        if bar:
            bar.update(stop)
    return unpack_singleton(outputs)


def test_loop(
    model: Any, f: Feed, ins: list[Any], batch_size: int | None = None, verbose: int = 0, steps: int | None = None
) -> Any:
    """The loss and metrics over all samples, each a mean over samples: a number, or a list."""
    for metric in model.stateful_metric_functions:
        metric.reset_states()
    stateful = {i for i, name in enumerate(model.metrics_names) if name in set(model.stateful_metric_names)}
    samples = check_num_samples(ins, batch_size=batch_size, steps=steps, steps_name="steps")
    if samples == 0:
        raise ValueError("There are no samples to evaluate.")
    bar = Progbar(target=steps if samples is None else samples) if verbose == 1 else None
    totals: list[float] = []
    if samples is None:
        batches = [(step, step + 1) for step in range(steps or 0)]
        feed: Callable[[int, int], list[Any]] = lambda start, stop: ins  # noqa: E731
    else:
        batches, feed = make_batches(samples, batch_size or 1), _batch_reader(ins, None)
    for start, stop in batches:
        results = [float(x) for x in f(feed(start, stop))]
        totals = totals or [0.0] * len(results)
        for i, value in enumerate(results):
            totals[i] = value if i in stateful else totals[i] + value * (stop - start)
        if bar:
            bar.update(stop)
    count = batches[-1][1] if batches else 1
    return unpack_singleton([x if i in stateful else x / count for i, x in enumerate(totals)])
