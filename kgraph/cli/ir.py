"""`kgraph ir`: prints the graph that a script's model turns into."""

from __future__ import annotations

import contextlib
import sys

import kgraph
from kgraph.cli.run import run_script


def print_ir(path: str, phase: str, stage: str | None = None) -> None:
    """Run the Python file, then print the graph of the model that it compiled last.

    `phase` is "train" or "test"; `stage` names how far to compile, None for all the way. What the file itself prints
    goes to stderr. Exits with a message where it compiled no model.
    """
    with contextlib.redirect_stdout(sys.stderr):
        run_script(path)
    model = kgraph.last_compiled_model()
    if model is None:
        raise SystemExit(f"kgraph ir: {path} compiled no model; it must call `model.compile(...)`")
    stages = {} if stage is None else {"stage": stage}
    print(model.ir(phase=phase, **stages))
