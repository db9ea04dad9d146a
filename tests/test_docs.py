"""README and `docs/` tell the truth: their Python runs, the files and names in them exist, every setting is explained.

`docs/map.md` is made from the docstrings of all modules; `pytest tests/test_docs.py --update-golden` writes it.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ir import passes
from kgraph import backend as K
from kgraph.backend.config import Config
from kgraph.backend.session import Session
from kgraph.datasets import digits

ROOT = Path(__file__).parents[1]
PAGES = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
ROOMS = ("ir", "codegen", "kgraph", "benchmarks", "examples")
MAP = "map.md"
# Of users, made by running something, or only said not to exist.
NO_FILES = {"script.py", "FILE.py", "fashion-mnist/", "benchmark-results/", "networks.md", "kernels.md", "overhead.md"}
NO_NAMES = {
    "keras.x.y", "kgraph.x.y", "kgraph.targets", "keras.json", "keras.activations.Layer",
}  # fmt: skip


def names(text: str) -> list[str]:
    """What stands in backticks in the running text."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"(?s)```.*?```", "", text))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A session, a folder and an `import keras` of its own, and digits that are few."""
    (x, y), (x_test, y_test) = digits.load_data()
    few = ((x[:64], y[:64]), (x_test[:64], y_test[:64]))
    monkeypatch.setattr(digits, "load_data", lambda: few)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    present = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "keras"}
    for name in present:
        del sys.modules[name]
    before = K.get_session()
    K.set_session(Session(Config()))
    np.random.seed(0)
    yield
    K.set_session(before)
    for name in [n for n in sys.modules if n.partition(".")[0] == "keras"]:
        del sys.modules[name]
    sys.modules.update(present)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "```python" in text])
def test_python_runs(page: str) -> None:
    """On the interpreter, which compiles nothing. Only the CPU has kernels to show, which does not compile either."""
    room: dict[str, Any] = {"__name__": "__main__"}
    for block in re.finditer(r"```python\n(.*?)```", PAGES[page], re.S):
        K.get_session().target = "cpu" if ".kernels(" in block[1] else "reference"
        line = PAGES[page][: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], page, "exec"), room)  # errors tell the line of the page


@pytest.mark.parametrize("page", PAGES)
def test_files_exist(page: str) -> None:
    folder = ROOT if page == "README.md" else ROOT / "docs"
    links = [x.partition("#")[0] for x in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]) if "://" not in x]
    assert [x for x in links if not (folder / x).exists()] == []
    if page == MAP:
        return  # it is made from the files
    files = {x for x in names(PAGES[page]) if re.fullmatch(r"[\w.-][\w./-]*(\.py|\.md|/)", x)} - NO_FILES
    assert sorted(x for x in files if not (ROOT / x).exists() and not (folder / x).exists()) == []


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page: str) -> None:
    for name in names(PAGES[page]):
        found = re.match(r"(K|kgraph|keras)((?:\.\w+)+)", name)
        if found is None or name in NO_NAMES:
            continue
        thing: Any = importlib.import_module("kgraph.backend" if found[1] == "K" else "kgraph")
        for part in found[2][1:].split("."):
            if not hasattr(thing, part):  # a module that nothing has imported yet
                importlib.import_module(f"{thing.__name__}.{part}")
            thing = getattr(thing, part)


def test_settings_are_explained() -> None:
    """Variables of the environment that the code reads, and those that the pages name, are the same."""
    variable = r"KGRAPH_[A-Z_]*[A-Z]|KERAS_HOME"
    files = [*(p for room in ROOMS for p in (ROOT / room).rglob("*.py")), ROOT / "tests" / "conftest.py"]
    code = "\n".join(p.read_text(encoding="utf-8") for p in files)
    assert set(re.findall(variable, "\n".join(PAGES.values()))) == set(re.findall(f'"({variable})"', code))


def test_passes_are_explained() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \|", PAGES["reading-the-ir.md"])
    assert rows == [*(name for name, _ in passes.TRAIN), "decompose"]


def module_map() -> str:
    """A line for each module: the first sentence of its docstring."""
    lines = ["# Map", "", "Every file of the packages in a line, from its docstring. Made by `tests/test_docs.py`.", ""]
    for room in ROOMS:
        folders: dict[Path, list[Path]] = {}
        for path in sorted((ROOT / room).rglob("*.py")):
            folders.setdefault(path.parent, []).append(path)
        for folder in sorted(folders):
            lines += [f"## {folder.relative_to(ROOT).as_posix()}", ""]
            for path in folders[folder]:
                text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
                assert text, f"{path} has no docstring"
                first = re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(text.split("\n\n")[0].split()))[0]
                entry = f"- `{path.name}`: {first}"
                lines += textwrap.wrap(entry, 120, subsequent_indent="  ", break_long_words=False)
            lines.append("")
    return "\n".join(lines)


def test_map_is_up_to_date(request: pytest.FixtureRequest) -> None:
    path = ROOT / "docs" / MAP
    if request.config.getoption("--update-golden"):
        path.write_text(module_map(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == module_map(), "run: pytest tests/test_docs.py --update-golden"
