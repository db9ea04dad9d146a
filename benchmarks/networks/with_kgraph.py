"""The workloads on kgraph, as users write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.networks.workloads import WORKLOADS, data


def load(threads: int) -> str:
    import kgraph

    return f"{kgraph.__version__} from {Path(kgraph.__file__).parent}"


def prepare(name: str) -> Callable[[], Any]:
    import kgraph
    from benchmarks.networks import models

    workload = WORKLOADS[name]
    x, y = data(workload)
    if workload.task == "predict":
        model = models.network(kgraph, workload.network)
        return lambda: model.predict_on_batch(x)
    model = models.compiled(kgraph, workload.network)
    return lambda: model.train_on_batch(x, y)
