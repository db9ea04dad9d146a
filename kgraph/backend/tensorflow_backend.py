"""Keras' name for the module that implements the TensorFlow backend: what `kgraph.backend` holds."""

from __future__ import annotations

from typing import Any

from kgraph import backend as _backend
from kgraph.backend import *  # noqa: F403
from kgraph.backend import __all__ as __all__


def _get_available_gpus() -> list[str]:
    """What scripts ask to see whether there is a GPU: none, for programs run on the CPU."""
    return []


def __getattr__(name: str) -> Any:
    return getattr(_backend, name)
