"""The line that is shown while kernels are being compiled."""

from __future__ import annotations

import io

import pytest

from codegen import progress
from codegen.progress import Progress


class Terminal(io.StringIO):
    def __init__(self, tty: bool) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_appears_after_two_seconds_and_is_wiped(clock: list[float]) -> None:
    screen = Terminal(tty=True)
    line = Progress(screen)
    line.compiling("add")
    clock[0] += 1.9
    line.compiling("mul")
    assert screen.getvalue() == ""
    clock[0] += 0.2
    line.compiling("conv")
    text = "kgraph: compiling kernel 3 (conv); they are kept for the next time"
    assert screen.getvalue() == "\r" + text
    line.done()
    assert screen.getvalue() == "\r" + text + "\r" + " " * len(text) + "\r"
    line.compiling("later")  # a new count, and new patience
    line.done()
    assert screen.getvalue().count("kgraph") == 1


def test_silent_without_a_terminal(clock: list[float]) -> None:
    screen = Terminal(tty=False)
    line = Progress(screen)
    for _ in range(3):
        line.compiling("add")
        clock[0] += 5
    line.done()
    assert screen.getvalue() == ""
