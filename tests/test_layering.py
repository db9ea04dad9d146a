"""The rooms import in one direction only, and a plain `import kgraph` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPILERS = {"numba", "llvmlite"}
# What each room may import beside the standard library. None: anything but the compilers.
ALLOWED = {
    "ir": {"ir", "numpy", "networkx"},
    "codegen": {"codegen", "ir", "numpy", "networkx"} | COMPILERS,
    "kgraph": None,
}
HEAVY = [*sorted(COMPILERS), "h5py", "yaml", "networkx"]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top package of every absolute import in a file, those by name at run time included."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__"):
                names = [str(node.args[0].value)]
        for name in names:
            yield node.lineno, name.split(".")[0]


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_go_one_way(room: str) -> None:
    allowed = ALLOWED[room]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {package}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, package in imported(path)
        if (package in COMPILERS if allowed is None else package not in allowed | sys.stdlib_module_names)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ALLOWED)
def test_every_folder_is_a_package(room: str) -> None:
    folders = {path.parent for path in (ROOT / room).rglob("*.py")}
    assert [str(f.relative_to(ROOT)) for f in sorted(folders) if not (f / "__init__.py").exists()] == []


def test_importing_kgraph_is_light() -> None:
    code = f"import sys, kgraph; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
