"""kgraph among Python's modules: its own packages `ir` and `codegen`, and `keras` as another name for it.

Runs first when kgraph is imported, so it imports nothing of kgraph.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_KERAS_VERSION = "2.2.4"


def check_own_packages() -> None:
    """Raises ImportError where `ir` or `codegen` is not the package installed with kgraph, but a user's file."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in ("ir", "codegen"):
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None) if module else importlib.util.find_spec(name)
        origin = getattr(spec, "origin", None) or getattr(module, "__file__", None)
        if origin is None:
            raise ImportError(f"kgraph's package '{name}' is missing; it should lie in {home}. Install kgraph again.")
        if os.path.realpath(os.path.dirname(os.path.dirname(origin))) != os.path.realpath(home):
            raise ImportError(
                f"kgraph needs its own package '{name}', but Python finds {origin} under that name. "
                "Rename that file or folder, or move it off Python's path."
            )


class _KerasModule(ModuleType):
    """The module called `keras`: kgraph, except for its name and version."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules["kgraph"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(sys.modules["kgraph"], name, value)

    def __dir__(self) -> list[str]:
        return dir(sys.modules["kgraph"])


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `keras.x` as the very module `kgraph.x`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("keras."):
            return None
        real = "kgraph" + fullname[len("keras") :]
        found = importlib.util.find_spec(real)
        if found is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=found.submodule_search_locations is not None)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        # What stands in sys.modules afterwards is what the import gives.
        sys.modules[name] = importlib.import_module("kgraph" + name[len("keras") :])


def install_as_keras() -> ModuleType:
    """Make `import keras`, and every `keras.x.y`, give kgraph's modules from now on. Returns the module `keras`.

    Submodules are the very same objects as kgraph's. Raises ImportError where another keras is imported already.
    """
    present = sys.modules.get("keras")
    if isinstance(present, _KerasModule):
        return present
    if present is not None:
        origin = getattr(present, "__file__", None)
        raise ImportError(f"Another keras ({origin}) is imported already; call install_as_keras() before importing it.")
    kgraph = importlib.import_module("kgraph")
    alias = _KerasModule("keras", kgraph.__doc__)
    alias.__path__ = []
    alias.__package__ = "keras"
    alias.__version__ = _KERAS_VERSION
    alias.__file__ = kgraph.__file__
    sys.meta_path.insert(0, _Alias())
    sys.modules["keras"] = alias
    for name, module in list(sys.modules.items()):
        if name.startswith("kgraph."):
            sys.modules.setdefault("keras" + name[len("kgraph") :], module)
    return alias
