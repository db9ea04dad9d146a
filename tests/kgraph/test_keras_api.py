"""Modules, names, arguments and defaults are those of Keras 2.2.4, all of them.

`tests/data/api/keras_api.json` holds for each module `names`: "= module.name" for the same object defined elsewhere, or
an entry with a `kind`: functions with their `signature` (and what a wrapper `accepts`), classes with `init`, `methods`,
`properties`, `class_attributes` and `bases`. Every deliberate difference stands below with its reason.
"""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kgraph import layers

API = json.loads((Path(__file__).parents[1] / "data" / "api" / "keras_api.json").read_text(encoding="utf-8"))

ELSEWHERE = {
    "keras.backend.cntk_backend": "a backend that kgraph does not stand in for",
    "keras.backend.theano_backend": "a backend that kgraph does not stand in for",
}
DIFFERENT = {
    "keras.__version__": "kgraph's own version; kgraph.keras_version is '2.2.4'",
    "keras.activations.Layer": "an import that only shows through; engine imports activations, not the reverse",
    "keras.optimizers.TFOptimizer": "wraps an optimizer object of TensorFlow, and there is no TensorFlow",
    "keras.backend.Function._make_callable": "private; takes a TensorFlow session",
    "keras.backend.Function._call": "private; takes a TensorFlow session",
    "keras.backend.Function._legacy_call": "private; takes a TensorFlow session",
    "keras.callbacks.TensorBoard.on_train_end": "also takes `logs` by name, as every other callback does",
    "keras.engine.training_arrays.fit_loop": "one argument of ours after Keras' own: validation_data",
}
# Properties in Keras, attributes of each object here: instances that show them.
SHOWN_BY = {
    "keras.engine.base_layer.Layer": lambda: layers.Layer(),
    "keras.layers.cudnn_recurrent.CuDNNGRU": lambda: layers.CuDNNGRU(2),
    "keras.layers.cudnn_recurrent.CuDNNLSTM": lambda: layers.CuDNNLSTM(2),
    "keras.layers.recurrent.RNN": lambda: layers.RNN(layers.GRUCell(2)),
    "keras.layers.wrappers.Bidirectional": lambda: layers.Bidirectional(layers.GRU(2)),
    "keras.layers.wrappers.Wrapper": lambda: layers.Wrapper(layers.Dense(2)),
}
NAMES = [(m, n) for m, entry in API.items() for n in entry.get("names", {}) if f"{m}.{n}" not in DIFFERENT]


def ours(module: str) -> ModuleType:
    """The module in place of Keras' `module`."""
    return importlib.import_module("kgraph" + module.removeprefix("keras"))


def signature(thing: Any) -> str:
    found = inspect.signature(thing)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def method(owner: type, name: str) -> tuple[str, str]:
    """'classmethod ' or 'staticmethod ' or '', and the signature as Keras' file has it."""
    static = inspect.getattr_static(owner, name)
    kind = type(static).__name__ if isinstance(static, (classmethod, staticmethod)) else ""
    return kind, signature(getattr(owner, name) if kind else static)


@pytest.mark.parametrize("module", sorted(set(API) - set(ELSEWHERE)))
def test_module_exists(module: str) -> None:
    found = ours(module)
    for name in API[module].get("submodules", []):
        assert isinstance(getattr(found, name), ModuleType), f"{module}.{name}"


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{m}.{n}" for m, n in NAMES])
def test_name(module: str, name: str) -> None:
    entry, thing = API[module]["names"][name], getattr(ours(module), name)
    if isinstance(entry, str):
        where, original = entry.removeprefix("= ").rsplit(".", 1)
        if "<locals>" not in where:  # decorators, made by one function
            assert thing is getattr(ours(where), original)
    elif entry["kind"] == "function":
        assert signature(thing) in (entry["signature"], entry.get("accepts"))
    elif entry["kind"] == "class":
        check_class(f"{module}.{name}", entry, thing)
    elif entry["kind"] == "constant" and entry["value"] != "partial":
        assert repr(thing) == entry["value"]


def check_class(path: str, entry: dict[str, Any], found: type) -> None:
    for base in entry["bases"]:
        where, _, name = base.rpartition(".")
        if where.startswith("keras.") and not name.startswith("_"):
            assert issubclass(found, getattr(ours(where), name)), base
    if "init" in entry:
        assert signature(found.__init__) == entry["init"]  # type: ignore[misc]
    for name, expected in entry.get("methods", {}).items():
        if f"{path}.{name}" not in DIFFERENT:
            kind, text = method(found, name)
            assert f"{kind} {text}".strip() == expected.removesuffix(" [legacy arguments accepted]"), name
    shown = SHOWN_BY[path]() if path in SHOWN_BY else found
    for name in (*entry.get("properties", []), *entry.get("class_attributes", [])):
        plain = name.removesuffix(" (settable)")
        assert hasattr(found, plain) or hasattr(shown, plain), plain


def test_aliases_of_python_and_tensorflow() -> None:
    from kgraph import backend as K

    assert (K.py_all, K.py_any, K.py_slice, K.py_sum) == (all, any, slice, sum)
    with K.name_scope("block"):
        assert K.variable(0.0, name="v").name.startswith("block")


def test_exceptions_are_needed() -> None:
    """No entry of the tables has been overtaken."""
    for module in ELSEWHERE:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("kgraph" + module.removeprefix("keras"))
    for path in DIFFERENT:
        module = max((m for m in API if path.startswith(m + ".")), key=len)
        assert path.removeprefix(module + ".").split(".")[0] in API[module]["names"], path
