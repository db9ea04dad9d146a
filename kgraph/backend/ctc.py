"""Connectionist temporal classification: the cost of label sequences that are not aligned with their predictions, and
decoding (Graves et al., Connectionist Temporal Classification, 2006).

The last class is the blank. A path names a class for each step, and spells labels when repetitions are merged and then
blanks dropped; the cost is minus the log of the summed probability of all paths that spell the labels.
"""

from __future__ import annotations

from typing import Any

from ir import builder as b
from ir import dtypes
from ir.dims import Dim, SymDim
from ir.graph import Value
from kgraph.backend import session
from kgraph.backend.loops import scan
from kgraph.backend.sparse import SparseTensor
from kgraph.backend.tensor import Tensor, as_value

_NEVER = -1e30  # the log of probability 0; finite, so that differences of two of them are 0


def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Tensor:
    """The cost of each sample, (samples, 1).

    # Arguments
        y_true: class numbers (samples, longest label sequence).
        y_pred: probabilities (samples, steps, classes); the last class is the blank.
        input_length: (samples, 1), how many steps of each sample count.
        label_length: (samples, 1), how many labels each sample has.

    Infinite, with derivative 0, where the steps are too few for the labels; NaN where a label is no class. Blanks at
    the end of the labels do not count.
    """
    predicted = as_value(y_pred)
    labels = b.cast(as_value(y_true), dtypes.i64)
    if predicted.rank != 3 or labels.rank != 2:
        raise ValueError(
            f"K.ctc_batch_cost takes labels of rank 2 and predictions of rank 3, got {labels.type} and {predicted.type}"
        )
    batch, steps, classes = predicted.shape
    labels = b.reshape(labels, (batch, labels.shape[1]))
    widest = b.cast(predicted, dtypes.f32) if predicted.type.dtype == dtypes.f16 else predicted
    given = _column(label_length, batch)
    lengths, known = _used(labels, given, _number(classes - 1))
    labels = b.minimum(b.maximum(labels, 0), _number(classes - 1))
    blank, label = _log_probabilities(widest, labels)
    ends = _forward(blank, label, labels, _column(input_length, batch), steps)
    cost = b.select(known, _cost(*ends, lengths), float("nan"))
    return Tensor(b.cast(cost, predicted.type.dtype))


def _number(size: Dim) -> Value:
    """A size as a scalar."""
    return b.reshape(b.sizes((size,), dtypes.i64), ())


def _column(lengths: Any, batch: Dim) -> Value:
    return b.reshape(b.cast(as_value(lengths, dtypes.i64), dtypes.i64), (batch, 1))


def _count(size: Dim) -> Value:
    return b.apply1("iota", size=size, dtype=dtypes.i64)


def _used(labels: Value, lengths: Value, blank: Value) -> tuple[Value, Value]:
    """How many labels come before the blanks at the end, and whether these are all classes; both (samples, 1)."""
    inside = b.compare("less", _count(labels.shape[1]), lengths)
    named = b.apply1("logical_and", inside, b.compare("less", labels, blank))
    count = b.reduce_sum(b.cast(named, dtypes.i64), (1,), keepdims=True)
    first = b.compare("less", _count(labels.shape[1]), count)
    wrong = b.apply1("logical_and", inside, b.compare("less", labels, 0))
    late = b.apply1("logical_and", first, b.compare("greater_equal", labels, blank))
    bad = b.reduce("reduce_any", b.apply1("logical_or", wrong, late), (1,), keepdims=True)
    return count, b.unary("logical_not", bad)


def _log_probabilities(y: Value, labels: Value) -> tuple[Value, Value]:
    """The log probabilities, at each step, of the blank (steps, samples, 1) and of each label (steps, samples,
    labels)."""
    batch, steps, classes = y.shape
    fuzz = session.current().config.epsilon
    rows = b.add(b.mul(_count(batch), _number(steps)), b.reshape(_count(steps), (steps, 1)))
    places = b.add(b.mul(b.reshape(rows, (steps, batch, 1)), _number(classes)), labels)
    chosen = b.apply1("gather", b.reshape(y, (y.type.size,)), places, axis=0)
    blank = b.slice(y, (0, 0, classes - 1), (batch, steps, classes))
    total = b.reduce_sum(b.add(y, fuzz), (2,), keepdims=True)
    blank, total = (b.transpose(v, (1, 0, 2)) for v in (blank, b.unary("log", total)))
    return b.sub(b.unary("log", b.add(blank, fuzz)), total), b.sub(b.unary("log", b.add(chosen, fuzz)), total)


def _forward(blank: Value, label: Value, labels: Value, lengths: Value, steps: Dim) -> tuple[Value, Value]:
    """The log probabilities of having spelled the first i labels in the steps of a sample: ending in a blank, i from 0
    (samples, labels + 1), and ending in label i, i from 1 (samples, labels)."""
    batch, count = labels.shape
    dtype = label.type.dtype
    none = b.full((batch, 1), _NEVER, dtype)
    # Two equal labels in a row need a blank between them.
    before = b.concatenate([b.full((batch, 1), -1, dtypes.i64), labels], 1)
    differs = b.compare("not_equal", labels, b.slice(before, (0, 0), (batch, count)))
    started = b.concatenate([b.full((batch, 1), 0, dtype), b.full((batch, count), _NEVER, dtype)], 1)

    def step(elements: list[Value], states: list[Value]) -> tuple[list[Value], list[Value]]:
        p_blank, p_label, t = elements
        in_blank, in_label = states
        spelled = b.concatenate([none, in_label], 1)
        shorter = b.slice(spelled, (0, 0), (batch, count))
        new_blank = b.add(_log_sum(in_blank, spelled), p_blank)
        entered = _log_sum(in_label, b.slice(in_blank, (0, 0), (batch, count)), b.select(differs, shorter, _NEVER))
        new_label = b.add(entered, p_label)
        counts = b.compare("less", t, lengths)
        return [], [b.select(counts, new_blank, in_blank), b.select(counts, new_label, in_label)]

    _, (in_blank, in_label) = scan(
        step, [blank, label, _count(steps)], [started, b.full((batch, count), _NEVER, dtype)], steps
    )
    return in_blank, in_label


def _log_sum(*logs: Value) -> Value:
    """log(sum(exp(x))) of the elements beside each other; its derivative is right where they are equal, too."""
    peak = logs[0]
    for x in logs[1:]:
        peak = b.maximum(peak, x)
    peak = b.unary("stop_gradient", peak)
    total = b.unary("exp", b.sub(logs[0], peak))
    for x in logs[1:]:
        total = b.add(total, b.unary("exp", b.sub(x, peak)))
    return b.add(b.unary("log", total), peak)


def _cost(in_blank: Value, in_label: Value, lengths: Value) -> Value:
    """Minus the log probability of having spelled all labels, (samples, 1)."""
    last = [
        b.reduce_sum(b.select(b.compare("equal", _count(x.shape[1]), at), x, 0), (1,), keepdims=True)
        for x, at in ((in_blank, lengths), (in_label, b.sub(lengths, 1)))
    ]
    no_label = b.compare("equal", lengths, 0)
    total = _log_sum(last[0], b.select(no_label, _NEVER, last[1]))
    return b.select(b.compare("greater", total, _NEVER / 2), b.neg(total), float("inf"))


def ctc_decode(
    y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100, top_paths: int = 1
) -> tuple[list[Tensor], Tensor]:
    """The most likely label sequences of predictions.

    # Arguments
        y_pred: probabilities (samples, steps, classes); the last class is the blank.
        input_length: (samples,), how many steps of each sample count.
        greedy: whether to take the best class at each step, or else to search with `beam_width` prefixes.
        top_paths: how many sequences to give for each sample, where not greedy.

    # Returns
        A list of integer matrices (samples, longest sequence), one for each path, filled up with -1; and (samples,
        paths) the log probabilities, or minus the sum of the logs of the best predictions where greedy.
    """
    predicted, lengths = as_value(y_pred), as_value(input_length, dtypes.i32)
    scores = b.unary("log", b.add(predicted, session.current().config.epsilon))
    paths = 1 if greedy else int(top_paths)
    *decoded, numbers = b.apply(
        "ctc_decode", scores, b.cast(lengths, dtypes.i32),
        greedy=bool(greedy), beam_width=int(beam_width), top_paths=paths,
        sizes=tuple(SymDim.fresh("L") for _ in range(paths)),
    )  # fmt: skip
    return [Tensor(v) for v in decoded], Tensor(numbers)


def ctc_label_dense_to_sparse(labels: Any, label_lengths: Any) -> SparseTensor:
    """Labels (samples, longest label sequence) as a sparse tensor that stores the first `label_lengths` of each row."""
    given = as_value(labels)
    lengths = b.cast(as_value(label_lengths, dtypes.i64), dtypes.i64)
    if given.rank != 2:
        raise ValueError(f"K.ctc_label_dense_to_sparse takes labels of rank 2, got {given.type}")
    inside = b.compare("less", _count(given.shape[1]), b.reshape(lengths, (given.shape[0], 1)))
    return SparseTensor(b.select(inside, given, 0), mask=inside)
