"""The libraries that are measured, and where each is found.

A library is looked for in the interpreter that `KGRAPH_BENCH_<NAME>` names (see `Library.variable`), else in this one.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Library:
    """A library and the module (`load`, `prepare`) that drives it. `cache` is the environment variable that says where
    it keeps compiled code between processes, `without` are patterns of workloads that it does not do."""

    name: str
    adapter: str
    modules: tuple[str, ...]
    variable: str
    environment: dict[str, str] = field(default_factory=dict)
    cache: str | None = None
    without: tuple[str, ...] = ()

    def does(self, workload: str) -> bool:
        """Whether the library does a workload at all."""
        return not any(fnmatch.fnmatch(workload, pattern) for pattern in self.without)

    def interpreter(self) -> str | None:
        """The Python that has the library, or None where it is not found."""
        named = os.environ.get(self.variable)
        if named:
            return named
        found = all(importlib.util.find_spec(m) is not None for m in self.modules)
        return sys.executable if found else None


_KGRAPH = "KGRAPH_BENCH_KGRAPH"
_TORCH = "KGRAPH_BENCH_TORCH"
_INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}

NETWORKS: tuple[Library, ...] = (
    Library("kgraph", "benchmarks.networks.with_kgraph", ("kgraph",), _KGRAPH, cache="KGRAPH_HOME"),
    Library(
        "tf_keras",
        "benchmarks.networks.with_tf_keras",
        ("tensorflow", "tf_keras"),
        "KGRAPH_BENCH_TF_KERAS",
        {"TF_CPP_MIN_LOG_LEVEL": "3", **_NO_GPU},
    ),
    Library(
        "keras_jax",
        "benchmarks.networks.with_keras_jax",
        ("jax", "keras"),
        "KGRAPH_BENCH_KERAS_JAX",
        {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    ),
    Library("torch", "benchmarks.networks.with_torch", ("torch",), _TORCH, _NO_GPU),
    Library("torch.compile", "benchmarks.networks.with_torch_compile", ("torch",), _TORCH, _NO_GPU, cache=_INDUCTOR),
    Library(
        "onnxruntime",
        "benchmarks.networks.with_onnxruntime",
        ("onnxruntime",),
        "KGRAPH_BENCH_ONNXRUNTIME",
        without=("train/*", "*/mnist_lstm/*"),
    ),
)

KERNELS: tuple[Library, ...] = (
    Library("kgraph", "benchmarks.kernels.with_kgraph", ("kgraph",), _KGRAPH),
    Library(
        "numpy",
        "benchmarks.kernels.with_numpy",
        ("numpy",),
        _KGRAPH,
        without=("limit/fma", "conv*", "*_pool*", "batch_norm*", "warp/*"),
    ),
    Library("torch", "benchmarks.kernels.with_torch", ("torch",), _TORCH, _NO_GPU, without=("limit/fma", "warp/*")),
    Library("scipy", "benchmarks.kernels.with_scipy", ("scipy",), _KGRAPH, without=("[!w]*",)),
)


def torch_interpreter() -> str | None:
    """The Python that has torch, which also makes the files of ONNX Runtime."""
    return next(x for x in NETWORKS if x.name == "torch").interpreter()
