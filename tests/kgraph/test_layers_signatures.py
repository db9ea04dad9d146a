"""Arguments and defaults of the engine and of layers are those of Keras 2.2.4."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1] / "data" / "api" / "engine_signatures.json"
API = json.loads(DATA.read_text(encoding="utf-8"))
CASES = [(module, name) for module, names in API.items() for name in names]
# Arguments of ours after Keras' own.
MORE = {"validation_data=None"}


def plain(thing: Any) -> str:
    signature = inspect.signature(thing)
    empty = inspect.Parameter.empty
    parameters = [p.replace(annotation=empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize("module, name", CASES, ids=[".".join(case) for case in CASES])
def test_signature(module: str, name: str) -> None:
    found = getattr(importlib.import_module(f"kgraph.{module}"), name)
    for method, expected in API[module][name].items():
        thing = found if not method else getattr(found, method)
        got = plain(thing)
        if expected.startswith("classmethod "):
            expected = expected[len("classmethod ") :]
        for extra in MORE:
            if f", {extra})" in got and extra not in expected:
                got = got.replace(f", {extra})", ")")
        assert got == expected, f"{name}.{method}"
