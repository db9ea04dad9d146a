"""kgraph: classic Keras 2 on a compiler of its own.

`import kgraph as keras` gives the API of Keras 2.2.4. Scripts that say `import keras` run unchanged after
`install_as_keras()`, or with `kgraph run script.py`.
"""

from __future__ import annotations

import importlib
from typing import Any

from kgraph.installed import check_own_packages, install_as_keras

check_own_packages()

from codegen.cpu.threads import get_num_threads, set_num_threads  # noqa: E402
from kgraph import (  # noqa: E402
    activations,
    backend,
    callbacks,
    constraints,
    engine,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    utils,
)
from kgraph.engine.training import Model  # noqa: E402
from kgraph.layers import Input  # noqa: E402
from kgraph.models import Sequential  # noqa: E402
from kgraph.version import __version__  # noqa: E402

keras_version = "2.2.4"  # the version whose API this is

# submodules that are imported when they are first used
_ON_DEMAND = ("applications", "datasets", "objectives", "preprocessing", "wrappers")

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "applications",
    "backend",
    "callbacks",
    "constraints",
    "datasets",
    "engine",
    "get_num_threads",
    "initializers",
    "install_as_keras",
    "keras_version",
    "last_compiled_model",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocessing",
    "regularizers",
    "set_num_threads",
    "utils",
    "wrappers",
]


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return importlib.import_module(f"kgraph.{name}")
    raise AttributeError(f"module 'kgraph' has no attribute '{name}'")


def last_compiled_model() -> Any:
    """The model that was compiled last in this session; None where there is none."""
    return backend.get_session().last_compiled_model
