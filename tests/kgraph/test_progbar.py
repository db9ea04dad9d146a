"""The progress bar against recorded output of Keras 2.2.4, byte for byte."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kgraph.utils import progbar
from kgraph.utils.progbar import Progbar

CASES = Path(__file__).parents[1] / "data" / "console"


class Stdout(io.StringIO):
    def __init__(self, tty: bool) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.mark.parametrize("path", sorted(CASES.glob("progbar_*.json")), ids=lambda path: path.stem)
def test_prints_what_keras_printed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = json.loads(path.read_text())
    code = "\n".join(case["code"]).replace("from keras.", "from kgraph.")
    expected = path.with_suffix(".txt").read_bytes().decode()
    stdout = Stdout(case["stdout_is_tty"])
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(time, "time", time.time)  # the case replaces it; this puts it back
    exec(compile(code, path.name, "exec"), {})
    assert stdout.getvalue() == expected


@pytest.mark.parametrize(
    ("verbose", "loss", "expected"),
    [
        (1, 0.5, "loss: 0.5000"),
        (1, -0.5, "loss: -0.5000"),
        (1, 0.001, "loss: 1.0000e-03"),
        (1, float("nan"), "loss: nan"),
        (2, 0.5, "loss: 0.5000"),
        (2, -0.5, "loss: -5.0000e-01"),
    ],
)
def test_number_format(
    verbose: int, loss: float, expected: str, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    Progbar(1, verbose=verbose).update(1, [("loss", loss)])
    assert capsys.readouterr().out.endswith(f" - {expected}\n")


def test_sequence_of_arguments_and_empty_target(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    bar: Any = Progbar(0, 4, 1)
    bar.update(0)
    assert capsys.readouterr().out == "\n0/0 [====] - 0s 0us/step\n"


def test_averages_are_weighted_by_steps(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progbar(10, verbose=2)
    bar.update(8, [("loss", 1.0)])
    bar.update(10, [("loss", 2.0)])
    assert capsys.readouterr().out == " - 0s - loss: 1.2000\n"


def test_durations() -> None:
    assert [progbar._duration(s) for s in (0.9, 60, 61, 3600, 3661.5)] == ["0s", "60s", "1:01", "60:00", "1:01:01"]
