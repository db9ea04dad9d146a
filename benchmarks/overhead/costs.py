"""Times of calls and of their kernels alone, in a process of its own: `main` prints them as a line of JSON.

Calls and kernels take turns, so that both meet the same machine. Before it comes `report.py`, which starts the process.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.worker import measure

_ROUNDS = 5
_STEPS = 30  # of an epoch of the convolutional network
_NEW_SIZES = 12


def main(threads: str, seconds: str) -> None:
    """Measures on that many threads, each turn that many seconds long."""
    import kgraph

    kgraph.set_num_threads(int(threads))
    found = {"calls": _calls(float(seconds)), "fit": _fit(), "binding": _binding()}
    print(json.dumps(found), flush=True)


def _calls(seconds: float) -> list[dict[str, Any]]:
    import numpy as np

    import kgraph
    from benchmarks.networks import models

    rows = []
    for name, sizes in (("784-400-10", (784, 400, 10)), ("8-8-2", (8, 8, 2))):
        layers = kgraph.layers
        model = kgraph.models.Sequential(
            [
                layers.Dense(sizes[1], activation="relu", input_shape=sizes[:1]),
                layers.Dense(sizes[2], activation="softmax"),
            ]
        )
        model.compile(models.optimizer(kgraph, "mnist_mlp"), "categorical_crossentropy")
        rng = np.random.default_rng(0)
        x = rng.random((32, sizes[0]), dtype=np.float32)
        y = np.eye(sizes[2], dtype=np.float32)[rng.integers(0, sizes[2], 32)]
        for call, step, kind, arrays in (
            ("predict_on_batch, 1 sample", partial(model.predict_on_batch, x[:1]), "predict", [x[:1]]),
            ("predict, 1 sample", partial(model.predict, x[:1]), "predict", [x[:1]]),
            ("train_on_batch, 32 samples", partial(model.train_on_batch, x, y), "train", [x, y]),
        ):
            step()
            alone = _kernels_alone(model, kind, arrays)
            whole, kernels = _in_turns([step, alone], seconds)
            rows.append({"call": f"{call}, {name}", "seconds": whole, "kernels": kernels})
    return rows


def _kernels_alone(model: Any, kind: str, arrays: Sequence[Any]) -> Callable[[], None]:
    """One call of the driver, which walks the launch table of a step."""
    import numpy as np

    from codegen.storage import address_of

    program = model._function(kind).executable(int(kind == "train")).program
    bound = program._bind(arrays)
    instance = bound.check_out()
    kept = [*arrays, *(np.empty(shape, dtype) for shape, dtype in bound.outputs)]
    instance.pointers[:] = [address_of(a) for a in kept]

    def run() -> None:
        kept[-1]  # the arrays live as long as this function
        bound.execute(instance)

    return run


def _in_turns(steps: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """The median of each step's times."""
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(_ROUNDS):
        for step, found in zip(steps, times, strict=True):
            found += measure(step, seconds, 50)
    return [statistics.median(found) for found in times]


def _fit() -> dict[str, float]:
    """An epoch of `fit` on the MNIST CNN and as many steps on one batch; the fastest of each."""
    import numpy as np

    import kgraph
    from benchmarks.networks import models
    from benchmarks.networks.workloads import Workload, data

    model = models.compiled(kgraph, "mnist_cnn")
    x, y = data(Workload("train", "mnist_cnn", 64 * _STEPS))
    batch = np.ascontiguousarray(x[:64]), np.ascontiguousarray(y[:64])

    def epoch() -> None:
        model.fit(x, y, batch_size=64, epochs=1, verbose=0)

    def steps() -> None:
        for _ in range(_STEPS):
            model.train_on_batch(*batch)

    times: dict[str, list[float]] = {"epoch": [], "steps": []}
    for _ in range(_ROUNDS + 1):
        for name, run in (("epoch", epoch), ("steps", steps)):
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: min(found[1:]) for name, found in times.items()}


def _binding() -> list[dict[str, Any]]:
    """What a new batch size takes before its first step."""
    import numpy as np

    import kgraph
    from benchmarks.networks import models
    from benchmarks.networks.workloads import SHAPES
    from codegen.launch import launches_of

    rows = []
    for name in ("mnist_mlp", "mnist_cnn", "resnet20", "resnet50"):
        program = models.compiled(kgraph, name)._function("train").executable(1).program
        shape, classes = SHAPES[name]
        times = []
        for size in range(2, 3 + _NEW_SIZES):
            arrays = [np.zeros((size, *shape), np.float32), np.zeros((size, classes), np.float32)]
            start = time.perf_counter()
            program._bind(arrays)
            times.append(time.perf_counter() - start)
        launches = sum(1 for _ in launches_of((*program.schedule.prologue, *program.schedule.launches)))
        rows.append({"network": name, "launches": launches, "seconds": sorted(times[1:])[len(times) // 2]})
    return rows
