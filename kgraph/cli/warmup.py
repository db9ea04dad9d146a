"""`kgraph warmup`: compiles the kernels of common networks ahead, so that the first training of a script does not.

Kernels depend on what a network is made of, hardly on its sizes: a step of small networks of each family, in training
and in inference, compiles most of what larger ones need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from codegen import targets
from codegen.cpu.target import CpuTarget
from kgraph.backend import clear_session
from kgraph.layers import (
    GRU,
    LSTM,
    Activation,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    Layer,
    MaxPooling1D,
    MaxPooling2D,
    SeparableConv2D,
    SimpleRNN,
)  # fmt: skip
from kgraph.models import Sequential

_BATCH = 4
_WORDS = 50
_OPTIMIZERS = ("sgd", "rmsprop", "adam")


def _dense() -> list[Layer]:
    return [Dense(64, activation="relu", input_shape=(40,)), Dropout(0.5), Dense(32, activation="tanh"), _classes()]


def _images() -> list[Layer]:
    return [
        Conv2D(32, (3, 3), activation="relu", input_shape=(12, 12, 3)), Conv2D(32, (3, 3), padding="same"),
        BatchNormalization(), Activation("relu"), MaxPooling2D((2, 2)), Dropout(0.25), Flatten(),
        Dense(64, activation="relu"), _classes(),
    ]  # fmt: skip


def _mobile_images() -> list[Layer]:
    return [
        Conv2D(32, (3, 3), strides=(2, 2), padding="same", use_bias=False, input_shape=(16, 16, 3)),
        BatchNormalization(), Activation("relu"), DepthwiseConv2D((3, 3), padding="same", use_bias=False),
        BatchNormalization(), Activation("relu"), SeparableConv2D(32, (3, 3)), GlobalAveragePooling2D(), _classes(),
    ]  # fmt: skip


def _convolved_text() -> list[Layer]:
    return [
        Embedding(_WORDS, 32, input_length=20), Conv1D(32, 5, activation="relu"), MaxPooling1D(2),
        Conv1D(32, 3, activation="relu"), GlobalMaxPooling1D(), _classes(),
    ]  # fmt: skip


def _lstm() -> list[Layer]:
    return [
        Embedding(_WORDS, 32, input_length=12), LSTM(64, return_sequences=True), LSTM(64, return_sequences=True),
        LSTM(64, dropout=0.2, recurrent_dropout=0.2), _classes(),
    ]  # fmt: skip


def _masked_lstm() -> list[Layer]:
    return [Embedding(_WORDS, 32, mask_zero=True, input_length=12), Bidirectional(LSTM(64)), _classes()]


def _gru() -> list[Layer]:
    return [Embedding(_WORDS, 32, input_length=12), GRU(64, return_sequences=True), GRU(64), _classes()]


def _simple_rnn() -> list[Layer]:
    return [Embedding(_WORDS, 32, input_length=12), SimpleRNN(64), _classes()]


def _classes() -> Layer:
    return Dense(10, activation="softmax")


FAMILIES: dict[str, Callable[[], list[Layer]]] = {
    "dense": _dense,
    "images": _images,
    "mobile images": _mobile_images,
    "convolved text": _convolved_text,
    "LSTM": _lstm,
    "LSTM with a mask, both ways": _masked_lstm,
    "GRU": _gru,
    "simple RNN": _simple_rnn,
}
"""What is compiled: the name of a family and the layers of a small network of it."""


def warmup(families: Sequence[str] = tuple(FAMILIES)) -> None:
    """Train and run a network of each family, and tell how many kernels that compiled and where they are kept."""
    target = targets.get("cpu")
    assert isinstance(target, CpuTarget)
    cache = target.cache
    start, before = time.perf_counter(), cache.compiled
    for name in families:
        known = cache.compiled
        _use(FAMILIES[name])
        print(f"{name}: {_kernels(cache.compiled - known)}", flush=True)
    seconds = time.perf_counter() - start
    print(f"Compiled {_kernels(cache.compiled - before)} in {seconds:.0f} s; they are kept in {cache.directory}")


def _kernels(count: int) -> str:
    return f"{count} new kernel{'' if count == 1 else 's'}"


def _use(layers: Callable[[], list[Layer]]) -> None:
    """A step of each optimizer, an evaluation and a prediction; with classes, and with two of them."""
    for optimizer in _OPTIMIZERS:
        model = Sequential(layers())
        model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
        shape = (_BATCH, *model.input_shape[1:])
        x = np.zeros(shape, "int32") if len(shape) == 2 and isinstance(model.layers[0], Embedding) else np.zeros(shape)
        y = np.eye(10)[:_BATCH]
        model.train_on_batch(x, y)
        model.test_on_batch(x, y)
        model.predict_on_batch(x)
    model = Sequential([*layers()[:-1], Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.train_on_batch(x, y[:, :1])
    model.test_on_batch(x, y[:, :1])
    clear_session()
