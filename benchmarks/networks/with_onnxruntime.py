"""Predictions on ONNX Runtime, of models that `export_onnx.py` wrote into `$KGRAPH_BENCH_ONNX_FOLDER`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from benchmarks.networks.workloads import WORKLOADS, data


def load(threads: int) -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


def prepare(name: str, threads: int) -> Callable[[], Any]:
    import numpy as np
    import onnxruntime

    workload = WORKLOADS[name]
    x, _ = data(workload)
    if x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    file = os.path.join(os.environ["KGRAPH_BENCH_ONNX_FOLDER"], "model.onnx")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, inputs)[0]
