"""kgraph among Python's modules: `import keras`, its own packages, what importing loads. Each in its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(code: str, *, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    if folder is not None:
        path += f"sys.path.insert(0, {str(folder)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", path + code], capture_output=True, text=True, timeout=120, cwd=folder or ROOT.parent
    )


def test_keras_is_kgraph() -> None:
    done = run(
        """
import kgraph
kgraph.install_as_keras()
import keras
import keras.layers as layers
from keras.layers.core import Dense
from keras.engine.topology import Layer
from keras import backend as K
import kgraph.layers.core, kgraph.engine.base_layer
assert keras.__version__ == "2.2.4" and kgraph.keras_version == "2.2.4" and kgraph.__version__ != "2.2.4"
assert keras.layers is kgraph.layers is layers
assert Dense is kgraph.layers.Dense and sys.modules["keras.layers.core"] is kgraph.layers.core
assert Layer is kgraph.engine.base_layer.Layer and K is kgraph.backend
assert kgraph.layers.core.__name__ == "kgraph.layers.core"
assert keras.Sequential is kgraph.Sequential and "models" in dir(keras)
keras.something = 3
assert kgraph.something == 3
assert kgraph.install_as_keras() is keras
try:
    import keras.nonsense
except ModuleNotFoundError as error:
    assert "keras.nonsense" in str(error), error
else:
    raise AssertionError
print("fine")
"""
    )
    assert done.stdout == "fine\n", done.stderr


def test_another_keras_is_not_replaced() -> None:
    done = run(
        "import types; sys.modules['keras'] = types.ModuleType('keras'); import kgraph; kgraph.install_as_keras()"
    )
    assert "ImportError: Another keras" in done.stderr


def test_shadowed_package(tmp_path: Path) -> None:
    (tmp_path / "codegen.py").write_text("x = 1\n")
    done = run("import kgraph", folder=tmp_path)
    assert f"kgraph needs its own package 'codegen', but Python finds {tmp_path / 'codegen.py'}" in done.stderr


def test_import_leaves_heavy_packages_alone() -> None:
    heavy = "('numba', 'llvmlite', 'h5py', 'yaml', 'networkx', 'PIL', 'scipy', 'pandas', 'sklearn')"
    ours = "kgraph, kgraph.datasets, kgraph.preprocessing, kgraph.wrappers"
    done = run(f"import {ours}; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_last_compiled_model() -> None:
    done = run(
        """
import kgraph
assert kgraph.last_compiled_model() is None
model = kgraph.Sequential([kgraph.layers.Dense(2, input_shape=(3,))])
model.compile("sgd", "mse")
assert kgraph.last_compiled_model() is model
kgraph.backend.clear_session()
assert kgraph.last_compiled_model() is None
print("fine")
"""
    )
    assert done.stdout == "fine\n", done.stderr
