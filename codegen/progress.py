"""A line on the terminal while kernels are being compiled, for those who would wonder what takes so long.

It appears after two seconds, and only where standard error is a terminal; it is wiped when compiling is done.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

PATIENCE = 2.0  # seconds before the line appears


class Progress:
    """Counts the kernels compiled since the last `done`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._start = 0.0
        self._count = 0
        self._width = 0

    def compiling(self, name: str) -> None:
        """Says that a kernel is about to be compiled."""
        now = time.perf_counter()
        if not self._count:
            self._start = now
        self._count += 1
        stream = self._stream or sys.stderr
        if now - self._start >= PATIENCE and stream is not None and stream.isatty():
            self._show(stream, f"kgraph: compiling kernel {self._count} ({name}); they are kept for the next time")

    def done(self) -> None:
        """Wipes the line."""
        if self._width:
            self._show(self._stream or sys.stderr, "")
        self._count = 0

    def _show(self, stream: TextIO, text: str) -> None:
        stream.write("\r" + text.ljust(self._width) + ("" if text else "\r"))
        stream.flush()
        self._width = len(text)
