"""The command line, with the parts of kgraph that it calls replaced."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import kgraph
from kgraph.cli import main
from kgraph.version import __version__


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(kgraph, "install_as_keras", lambda: calls.append("install"), raising=False)
    return calls


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"kgraph {__version__}\n"


@pytest.mark.parametrize("argv", [[], ["fly"], ["ir", "x.py", "--phase", "both"], ["run"]])
def test_bad_command_lines(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: kgraph" in capsys.readouterr().err


def test_run(installed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "neighbour_of_the_script.py").write_text("word = 'hello'\n")
    script = tmp_path / "script.py"
    script.write_text("import sys\nfrom neighbour_of_the_script import word\nprint(__name__, word, sys.argv)\n")
    before = sys.argv, list(sys.path)
    assert main(["run", str(script), "--epochs", "3", "-x"]) == 0
    assert capsys.readouterr().out == f"__main__ hello {[str(script), '--epochs', '3', '-x']}\n"
    assert installed == ["install"]
    assert (sys.argv, sys.path) == before
    sys.modules.pop("neighbour_of_the_script")


def test_warmup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from kgraph.cli import warmup

    run = warmup.warmup
    monkeypatch.setattr(warmup, "warmup", lambda: run(("dense",)))
    assert main(["warmup"]) == 0
    assert "they are kept in" in capsys.readouterr().out
    assert main(["warmup"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == "dense: 0 new kernels"
    assert last.startswith("Compiled 0 new kernels in ")


def test_run_without_a_file(installed: list[str]) -> None:
    with pytest.raises(SystemExit, match="^kgraph: there is no file 'nowhere.py'$"):
        main(["run", "nowhere.py"])
    assert installed == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"phase": "train"}),
        (["--phase", "test", "--stage", "fold_batch_norm"], {"phase": "test", "stage": "fold_batch_norm"}),
    ],
)
def test_ir(
    options: list[str],
    expected: dict[str, str],
    installed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Model:
        def ir(self, **arguments: Any) -> str:
            assert arguments == expected
            return "graph @model(B) {\n}"

    monkeypatch.setattr(kgraph, "last_compiled_model", Model, raising=False)
    script = tmp_path / "script.py"
    script.write_text("print('training')\n")
    assert main(["ir", str(script), *options]) == 0
    output = capsys.readouterr()
    assert (output.out, output.err) == ("graph @model(B) {\n}\n", "training\n")


def test_ir_without_a_model(installed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kgraph, "last_compiled_model", lambda: None, raising=False)
    script = tmp_path / "script.py"
    script.write_text("")
    with pytest.raises(SystemExit, match="script.py compiled no model; it must call `model.compile"):
        main(["ir", str(script)])
