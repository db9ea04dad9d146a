"""The progress bar of `fit`, `evaluate` and `predict`, as Keras 2.2.4 prints it.

Users import it as `kgraph.utils.Progbar`. `kgraph.callbacks.ProgbarLogger` and the training loops drive it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np


class Progbar:
    """Prints how far a loop has come, how long it may take, and averages of values.

    # Arguments
        target: total number of steps, None if unknown.
        width: length of the bar in characters.
        verbose: 0 silent, 1 a bar redrawn at every update, 2 one line at the end.
        interval: least time between two redraws, in seconds; the last step is always drawn.
        stateful_metrics: names of values that are printed as they are; the others are averaged over steps.
    """

    def __init__(
        self,
        target: float | None,
        width: int = 30,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
    ) -> None:
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.stateful_metrics = set(stateful_metrics or ())
        self._dynamic_display = _can_redraw()
        self._total_width = 0
        self._seen_so_far: float = 0
        self._values: dict[str, tuple[Any, float]] = {}  # name -> sum and weight, or value and 1
        self._start = time.time()
        self._last_update = 0.0

    def update(self, current: float, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """Take note of `current` steps done in all, and of `(name, value)` pairs for the steps since the last call."""
        self._record(current, values or ())
        now = time.time()
        if self.verbose == 1:
            if not self._finished(current) and self.target is not None and now - self._last_update < self.interval:
                return
            self._draw(current, now - self._start)
        elif self.verbose == 2 and (self.target is None or self._finished(current)):
            elapsed = f" - {now - self._start:.0f}s"
            _write(elapsed + self._averages(lambda average: average > 1e-3) + "\n")
        self._last_update = now

    def add(self, n: float, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """Like `update`, with the number of steps since the last call."""
        self.update(self._seen_so_far + n, values)

    def _finished(self, current: float) -> bool:
        return self.target is not None and current >= self.target

    def _record(self, current: float, values: Iterable[tuple[str, Any]]) -> None:
        steps = current - self._seen_so_far
        for name, value in values:
            if name in self.stateful_metrics:
                self._values[name] = (value, 1)
            else:
                total, weight = self._values.get(name, (0.0, 0))
                self._values[name] = (total + np.float64(value) * steps, weight + steps)
        self._seen_so_far = current

    def _draw(self, current: float, elapsed: float) -> None:
        last_width = self._total_width
        text = self._bar(current) + self._timing(current, elapsed) + self._averages(lambda average: abs(average) > 1e-3)
        self._total_width = len(text)
        end = "\n" if self._finished(current) else ""
        back = "\b" * last_width + "\r" if self._dynamic_display else "\n"
        _write(back + text.ljust(last_width) + end)

    def _bar(self, current: float) -> str:
        if self.target is None:
            return f"{int(current):7d}/Unknown"
        total = str(int(self.target))
        done = int(self.width * (current / self.target)) if self.target else self.width
        tip = "=" if self._finished(current) else ">"
        bar = "=" * (done - 1) + tip if done > 0 else ""
        return f"{int(current):{len(total)}d}/{total} [{bar}{'.' * (self.width - done)}]"

    def _timing(self, current: float, elapsed: float) -> str:
        per_step = elapsed / current if current else 0.0
        if self.target is not None and current < self.target:
            return f" - ETA: {_duration(per_step * (self.target - current))}"
        if per_step >= 1:
            step = f"{per_step:.0f}s"
        elif per_step >= 1e-3:
            step = f"{per_step * 1e3:.0f}ms"
        else:
            step = f"{per_step * 1e6:.0f}us"
        return f" - {elapsed:.0f}s {step}/step"

    def _averages(self, plain: Any) -> str:
        """The values so far; `plain` decides between fixed and scientific notation (verbose 2 judges the sign too)."""
        text = ""
        for name, (total, weight) in self._values.items():
            average = float(np.mean(total / max(1, weight)))
            text += f" - {name}: {average:.4f}" if plain(average) else f" - {name}: {average:.4e}"
        return text


def _duration(seconds: float) -> str:
    if seconds > 3600:
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"
    if seconds > 60:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
    return f"{int(seconds)}s"


def _can_redraw() -> bool:
    """Whether a line can be written over: on a terminal and in a notebook."""
    return (hasattr(sys.stdout, "isatty") and sys.stdout.isatty()) or "ipykernel" in sys.modules


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
