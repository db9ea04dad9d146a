"""`kgraph run`: runs a script with `keras` standing for kgraph.

`kgraph/legacy/tensorflow_stub.py` stands for what such scripts take from `tensorflow`.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence

import kgraph


def run_script(path: str, arguments: Sequence[str] = ()) -> None:
    """Run the Python file as `python FILE ARGS` would, with `import keras` finding kgraph, and `import tensorflow`
    the little that Keras scripts need of it.

    `sys.argv` and the import path are put back afterwards. Exits with a message where there is no such file.
    """
    if not os.path.isfile(path):
        raise SystemExit(f"kgraph: there is no file {path!r}")
    from kgraph.legacy import tensorflow_stub

    kgraph.install_as_keras()
    argv, import_path = sys.argv, sys.path[:]
    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        with tensorflow_stub.supplied():
            runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = argv
        sys.path[:] = import_path
