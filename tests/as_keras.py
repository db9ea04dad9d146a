"""kgraph as `keras`, with what stands in for `tensorflow`, inside a block and no longer."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import kgraph
from kgraph.legacy import tensorflow_stub


@contextlib.contextmanager
def as_keras() -> Iterator[None]:
    """`import keras` and `import tensorflow` work in this block as in a script under `kgraph run`."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    kgraph.install_as_keras()
    try:
        with tensorflow_stub.supplied():
            yield
    finally:
        sys.meta_path[:] = finders
        for name in [n for n in sys.modules if n.split(".")[0] == "keras" and n not in modules]:
            del sys.modules[name]
