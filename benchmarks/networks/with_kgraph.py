"""The workloads on kgraph, as users write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.networks.workloads import WORKLOADS, data


def load(threads: int) -> str:
    import kgraph

    ours = Path(kgraph.__file__).parents[1] == Path(__file__).parents[2]
    return f"{kgraph.__version__} ({'this tree' if ours else 'installed'})"


def prepare(name: str, threads: int) -> Callable[[], Any]:
    import kgraph
    from benchmarks.networks import models

    workload = WORKLOADS[name]
    x, y = data(workload)
    if workload.task == "predict":
        model = models.network(kgraph, workload.network)
        return lambda: model.predict_on_batch(x)
    model = models.compiled(kgraph, workload.network)
    return lambda: model.train_on_batch(x, y)
