"""`kgraph demo`: a small convolutional network on handwritten digits, then an account of what was compiled."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from kgraph.callbacks import Callback
from kgraph.datasets import digits
from kgraph.layers import Activation, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from kgraph.models import Sequential
from kgraph.optimizers import Adam
from kgraph.utils import to_categorical

BATCH_SIZE = 32


class Stopwatch(Callback):
    """Takes the time of the training batches of each epoch, without validation."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.seconds.append(0.0)
        self._start = time.perf_counter()

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.seconds[-1] = time.perf_counter() - self._start

    def usual(self) -> float:
        """The median epoch; the first, which compiles, counts only where it is the only one."""
        return statistics.median(self.seconds[1:] or self.seconds)


def build_model() -> Sequential:
    """The network, compiled; it takes images of shape `(8, 8, 1)`."""
    model = Sequential()
    model.add(Conv2D(32, (3, 3), padding="same", input_shape=(8, 8, 1)))
    model.add(BatchNormalization())
    model.add(Activation("relu"))
    model.add(Conv2D(32, (3, 3), padding="same", activation="relu"))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Dropout(0.25))
    model.add(Conv2D(64, (3, 3), padding="same", activation="relu"))
    model.add(Flatten())
    model.add(Dense(128, activation="relu"))
    model.add(Dropout(0.5))
    model.add(Dense(10, activation="softmax"))
    model.compile(optimizer=Adam(), loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def demo(epochs: int = 20) -> None:
    """Train for `epochs` epochs, and print accuracy, what was compiled, and the speed of training."""
    np.random.seed(1)
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    x_train, x_test = (x[..., np.newaxis].astype("float32") / 16 for x in (x_train, x_test))
    y_train, y_test = (to_categorical(y, 10) for y in (y_train, y_test))

    model = build_model()
    stopwatch = Stopwatch()
    model.fit(
        x_train,
        y_train,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        verbose=1,
        validation_data=(x_test, y_test),
        callbacks=[stopwatch],
    )
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"Test accuracy: {accuracy:.4f}")
    print()
    print(model.compile_report())
    print(f"Training speed: {len(x_train) / stopwatch.usual():,.0f} images per second")
