"""Sequences of numbers: padding, pairs of words for word vectors, windows of a time series."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kgraph import utils
from kgraph.utils.data_utils import Sequence as KerasSequence

__all__ = [
    "TimeseriesGenerator",
    "make_sampling_table",
    "pad_sequences",
    "skipgrams",
    "timeseries_generator_from_json",
    "utils",
]


def pad_sequences(
    sequences: Any,
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Sequences as one array, all with the same length.

    # Arguments
        sequences: list of lists, or of arrays whose first axis is time and whose other axes agree.
        maxlen: length of all; by default that of the longest.
        dtype: of the result; `object` for strings.
        padding: "pre" or "post": where the filling goes.
        truncating: "pre" or "post": where too long sequences lose elements.
        value: the filling.

    # Returns
        Array of shape `(len(sequences), maxlen, ...)`.
    """
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    for name, choice in (("padding", padding), ("truncating", truncating)):
        if choice not in ("pre", "post"):
            kind = "Padding" if name == "padding" else "Truncating"
            raise ValueError(f'{kind} type "{choice}" not understood; expected "pre" or "post"')
    shape: tuple[int, ...] | None = None
    longest = 0
    for x in sequences:
        if not hasattr(x, "__len__"):
            raise ValueError(f"`sequences` must be a list of iterables. Found non-iterable: {x}")
        longest = max(longest, len(x))
        if shape is None and len(x):
            shape = np.asarray(x).shape[1:]
    shape = shape or ()
    maxlen = longest if maxlen is None else maxlen
    if isinstance(value, str) and np.dtype(dtype) != object and np.dtype(dtype).kind not in "US":
        raise ValueError(
            f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}\nYou should set `dtype=object` for "
            "variable length strings."
        )
    result = np.full((len(sequences), maxlen, *shape), value, dtype=dtype)
    for row, x in zip(result, sequences, strict=True):
        if not len(x) or not maxlen:
            continue
        part = np.asarray(x[-maxlen:] if truncating == "pre" else x[:maxlen], dtype=dtype)
        if part.shape[1:] != shape:
            raise ValueError(
                f"Shape of sample {part.shape[1:]} of sequence at position {_position(sequences, x)} is different from "
                f"expected shape {shape}"
            )
        row[(slice(len(part)) if padding == "post" else slice(maxlen - len(part), None))] = part
    return result


def _position(sequences: Iterable[Any], wanted: Any) -> int:
    return next(i for i, x in enumerate(sequences) if x is wanted)


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> np.ndarray:
    """The probability to keep a word, by its rank in the order of frequency, so that frequent words are thinned out.

    The frequency of rank `r` is taken by Zipf's law as `1 / (r (log r + gamma) + 1/2 - 1/(12 r))` (gamma is Euler's
    constant), the probability as `min(1, sqrt(sampling_factor / frequency))`.

    # Arguments
        size: number of ranks. Rank 0 counts as rank 1.
        sampling_factor: the frequency from which on words are thinned out.

    # Returns
        float64 array of shape `(size,)`.
    """
    gamma = 0.577
    rank = np.arange(size, dtype=np.float64)
    rank[:1] = 1
    inverse = rank * (np.log(rank) + gamma) + 0.5 - 1.0 / (12.0 * rank)
    f = sampling_factor * inverse
    return np.minimum(1.0, f / np.sqrt(f))


def skipgrams(
    sequence: Sequence[int],
    vocabulary_size: int,
    window_size: int = 4,
    negative_samples: float = 1.0,
    shuffle: bool = True,
    categorical: bool = False,
    sampling_table: Any = None,
    seed: int | None = None,
) -> tuple[list[list[int]], list[Any]]:
    """Pairs of words: those that stand near each other, and pairs of a word and a random one.

    # Arguments
        sequence: word numbers; 0 is no word and skipped.
        vocabulary_size: the highest word number and one.
        window_size: how far apart the words of a pair may be.
        negative_samples: random pairs for each true pair.
        shuffle: whether to shuffle the pairs.
        categorical: labels are `[0, 1]` and `[1, 0]` instead of 1 and 0.
        sampling_table: the probability to keep each word, see `make_sampling_table`.
        seed: of the shuffling; by default a random one.

    # Returns
        The pairs, and their labels: 1 for a true pair, 0 for a random one.
    """
    couples: list[list[int]] = []
    labels: list[Any] = []
    true, false = ([0, 1], [1, 0]) if categorical else (1, 0)
    for i, word in enumerate(sequence):
        if not word or (sampling_table is not None and sampling_table[word] < random.random()):
            continue
        for j in range(max(0, i - window_size), min(len(sequence), i + window_size + 1)):
            if j != i and sequence[j]:
                couples.append([word, sequence[j]])
                labels.append(true)
    if negative_samples > 0:
        count = int(len(labels) * negative_samples)
        words = [couple[0] for couple in couples]
        random.shuffle(words)
        couples += [[words[i % len(words)], random.randint(1, vocabulary_size - 1)] for i in range(count)]
        labels += [false] * count
    if shuffle:
        seed = random.randint(0, 10**7) if seed is None else seed
        for items in (couples, labels):  # both in the same order
            random.seed(seed)
            random.shuffle(items)
    return couples, labels


def _remove_long_seq(maxlen: int, seq: Sequence[Any], label: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The sequences shorter than `maxlen`, and their labels."""
    kept = [(x, y) for x, y in zip(seq, label, strict=False) if len(x) < maxlen]
    return [x for x, _ in kept], [y for _, y in kept]


class TimeseriesGenerator(KerasSequence):
    """Batches of windows of a time series, each with the target that follows it.

    # Arguments
        data: list or array whose first axis is time.
        targets: list or array of the same length.
        length: how far back a window reaches, in time steps.
        sampling_rate: take every so many-th step of a window.
        stride: steps between two windows.
        start_index: data before it are not used.
        end_index: nor those after it; by default the last.
        shuffle: draw the windows of each batch at random instead of taking them in order.
        reverse: turn the windows around in time.
        batch_size: windows in a batch; the last may have fewer.
    """

    def __init__(
        self,
        data: Any,
        targets: Any,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
    ) -> None:
        if len(data) != len(targets):
            raise ValueError(
                f"Data and targets have to be of same length. Data length is {len(data)} while target length is "
                f"{len(targets)}"
            )
        self.data = data
        self.targets = targets
        self.length = length
        self.sampling_rate = sampling_rate
        self.stride = stride
        self.start_index = start_index + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        self.shuffle = shuffle
        self.reverse = reverse
        self.batch_size = batch_size
        if self.start_index > self.end_index:
            raise ValueError(
                f"`start_index+length={self.start_index} > end_index={self.end_index}` is disallowed, as no part of "
                "the sequence would be left to be used as current step."
            )

    def __len__(self) -> int:
        return (self.end_index - self.start_index + self.batch_size * self.stride) // (self.batch_size * self.stride)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self.shuffle:
            rows = np.random.randint(self.start_index, self.end_index + 1, size=self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * index
            rows = np.arange(first, min(first + self.batch_size * self.stride, self.end_index + 1), self.stride)
        samples = np.array([self.data[row - self.length : row : self.sampling_rate] for row in rows])
        targets = np.array([self.targets[row] for row in rows])
        return (samples[:, ::-1, ...], targets) if self.reverse else (samples, targets)

    def get_config(self) -> dict[str, Any]:
        """The arguments, with data and targets as JSON. Raises TypeError for data that JSON cannot hold."""
        data, targets = (x.tolist() if type(x).__module__ == np.__name__ else x for x in (self.data, self.targets))
        try:
            text, target_text = json.dumps(data), json.dumps(targets)
        except TypeError as error:
            raise TypeError(f"Data and targets must hold numbers and strings only: {error}") from error
        return {
            "data": text,
            "targets": target_text,
            "length": self.length,
            "sampling_rate": self.sampling_rate,
            "stride": self.stride,
            "start_index": self.start_index,
            "end_index": self.end_index,
            "shuffle": self.shuffle,
            "reverse": self.reverse,
            "batch_size": self.batch_size,
        }

    def to_json(self, **kwargs: Any) -> str:
        """The generator as JSON; `timeseries_generator_from_json` makes it again. Arguments are `json.dumps`'s."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **kwargs)


def timeseries_generator_from_json(json_string: str) -> TimeseriesGenerator:
    """The generator that `TimeseriesGenerator.to_json` wrote."""
    config = json.loads(json_string)["config"]
    config["data"], config["targets"] = json.loads(config["data"]), json.loads(config["targets"])
    config["start_index"] -= config["length"]  # the stored one is that of the first target
    if config["end_index"] is not None:
        config["end_index"] = int(config["end_index"])
    return TimeseriesGenerator(**config)
