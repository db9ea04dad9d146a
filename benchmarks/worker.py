"""One library in its own process: prepares a workload and times steps on request.

Started by `__main__.py` as `python -m benchmarks.worker LIBRARY THREADS`; commands come as lines of JSON on standard
input, answers go to standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# name -> (input shape, classes, batch size)
WORKLOADS: dict[str, tuple[tuple[int, ...], int, int]] = {
    "mnist_mlp": ((784,), 10, 32),
    "cifar_mlp": ((3072,), 10, 1000),
    "mnist_cnn": ((28, 28, 1), 10, 64),
}

Step = Callable[[], object]


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A batch of made-up images and one-hot labels, the same for every library."""
    shape, classes, batch = WORKLOADS[name]
    rng = np.random.default_rng(0)
    x = rng.random((batch, *shape), dtype=np.float32)
    return x, np.eye(classes, dtype=np.float32)[rng.integers(0, classes, batch)]


def kgraph_step(name: str, threads: int) -> Step:
    import kgraph
    from benchmarks import models

    x, y = data(name)
    model = getattr(models, name)(kgraph)
    return lambda: model.train_on_batch(x, y)


def torch_step(name: str, threads: int, compiled: bool = False) -> Step:
    import torch
    from benchmarks import torch_models

    torch.set_num_threads(threads)
    x, y = data(name)
    images = torch.from_numpy(x)
    if images.ndim == 4:
        images = images.permute(0, 3, 1, 2)  # channels-last memory
    labels = torch.from_numpy(y.argmax(axis=1))
    model, optimizer = getattr(torch_models, name)()
    loss_of = torch.nn.functional.cross_entropy
    run = torch.compile(model) if compiled else model

    def step() -> object:
        optimizer.zero_grad()
        loss = loss_of(run(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def tf_keras_step(name: str, threads: int) -> Step:
    import tensorflow as tf
    import tf_keras
    from benchmarks import models

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    x, y = data(name)
    model = getattr(models, name)(tf_keras)
    return lambda: model.train_on_batch(x, y)


LIBRARIES: dict[str, Callable[[str, int], Step]] = {
    "kgraph": kgraph_step,
    "torch": torch_step,
    "torch.compile": lambda name, threads: torch_step(name, threads, compiled=True),
    "tf_keras": tf_keras_step,
}


def measure(step: Step, seconds: float) -> list[float]:
    """Seconds of each step, for at least `seconds` and three steps."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    library, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    step: Step | None = None
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        if "prepare" in command:
            start = time.perf_counter()
            step = LIBRARIES[library](command["prepare"], threads)
            step()
            answer: dict[str, Any] = {"first_step": time.perf_counter() - start}
            measure(step, 0.3)
        else:
            assert step is not None
            answer = {"times": measure(step, command["seconds"])}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
