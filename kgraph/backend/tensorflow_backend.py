"""Keras' name for the module that implements the TensorFlow backend: what `kgraph.backend` holds."""

from __future__ import annotations

from kgraph.backend import *  # noqa: F403
from kgraph.backend import __all__ as __all__
