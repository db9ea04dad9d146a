"""Names, arguments and defaults of the backend and its neighbours are those of Keras 2.2.4."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import pytest

API = json.loads((Path(__file__).parents[1] / "data" / "api" / "backend_signatures.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", sorted(API))
def test_signatures(module: str) -> None:
    found = importlib.import_module(f"kgraph.{module}")
    for name, expected in API[module].items():
        if not hasattr(found, name) or expected.startswith("="):
            continue
        thing = getattr(found, name)
        signature = inspect.signature(thing.__init__ if inspect.isclass(thing) else thing)
        bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
        plain = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
        assert str(plain) == expected, f"{module}.{name}"


@pytest.mark.parametrize("module", sorted(set(API) - {"backend"}))
def test_every_name_exists(module: str) -> None:
    found = importlib.import_module(f"kgraph.{module}")
    missing = {name for name in API[module] if not hasattr(found, name)}
    assert missing <= {"TFOptimizer", "Layer"}  # TensorFlow's own optimizers; an import that only leaked through


@pytest.mark.parametrize("module", ["losses", "metrics", "optimizers", "initializers", "constraints"])
def test_aliases_are_the_same_objects(module: str) -> None:
    found = importlib.import_module(f"kgraph.{module}")
    for name, expected in API[module].items():
        if expected.startswith("= keras.") and hasattr(found, name):
            where, original = expected[2:].rsplit(".", 1)
            other = importlib.import_module("kgraph" + where.removeprefix("keras"))
            assert getattr(found, name) is getattr(other, original), name
