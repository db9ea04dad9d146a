"""`python -m benchmarks.long_life [FRACTION]`: what long use leaves behind in memory.

10,000 steps of training, 10,000 predictions, and 200 models that are built, trained and cleared away (times FRACTION).
Each row says, for the second half of its turns: growth of resident memory, of Python's and numpy's memory, live
objects, arenas (memory for one run at a time) and kernels in use. The first half is warming up.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Usage:
    """What a process holds at one moment; memory in bytes. `resident` is 0 where the system does not tell."""

    resident: int
    traced: int
    objects: int
    arenas: int
    kernels: int

    def since(self, before: Usage) -> Usage:
        return Usage(*(getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__))


def usage() -> Usage:
    """What this process holds now."""
    from codegen.cpu.table import Instance

    gc.collect()
    traced = tracemalloc.get_traced_memory()[0]
    objects = gc.get_objects()
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text(encoding="ascii").split()[1]) if statm.exists() else 0
    arenas = sum(isinstance(x, Instance) for x in objects)
    return Usage(pages * 4096, traced, len(objects), arenas, _kernels())


def _kernels() -> int:
    """Kernels that this process has loaded or compiled."""
    from codegen.cache import KernelCache

    return sum(len(x._addresses) for x in gc.get_objects() if isinstance(x, KernelCache))


def growth(action: Callable[[], Any], turns: int) -> Usage:
    """What the second half of `turns` calls leaves behind."""
    for _ in range(turns - turns // 2):
        action()
    tracemalloc.start()
    try:
        action()
        before = usage()
        for _ in range(turns // 2):
            action()
        return usage().since(before)
    finally:
        tracemalloc.stop()


def actions() -> dict[str, tuple[Callable[[], Any], int]]:
    """What is done, by name, and how many times."""
    from kgraph import backend as K
    from kgraph.layers import LSTM, BatchNormalization, Conv2D, Dense, Dropout, Reshape
    from kgraph.models import Sequential

    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 8, 8, 1)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[rng.integers(3, size=16)]

    def build() -> Any:
        model = Sequential([Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)), BatchNormalization()])
        for layer in (Dropout(0.3), Reshape((36, 4)), LSTM(5), Dense(3, activation="softmax")):
            model.add(layer)
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        return model

    def come_and_go() -> None:
        model = build()
        model.fit(x, y, batch_size=5, validation_split=0.2, verbose=0)
        model.predict(x)
        K.clear_session()

    model = build()
    return {
        "train_on_batch": (lambda: model.train_on_batch(x, y), 10_000),
        "predict": (lambda: model.predict(x, batch_size=6), 10_000),
        "build, fit, clear_session": (come_and_go, 200),
    }


def main(fraction: float = 1.0) -> None:
    columns = "| what | turns | seconds | resident MB | traced kB | objects | arenas | kernels |"
    print(columns, "|---|" + "---:|" * 7, sep="\n")
    for name, (action, turns) in actions().items():
        count = max(2, round(turns * fraction))
        start = time.perf_counter()
        left = growth(action, count)
        seconds = time.perf_counter() - start
        memory = f"{left.resident / 1e6:+.1f} | {left.traced / 1e3:+.0f}"
        counts = f"{left.objects:+d} | {left.arenas:+d} | {left.kernels:+d}"
        print(f"| {name} | {count} | {seconds:.0f} | {memory} | {counts} |", flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
