"""Python's cyclic garbage collector, paused while many small objects are made.

Graphs are cycles of objects that stay. Compiling makes so many that the collector, which looks at all of them again and
again, would take as long as the work itself.
"""

from __future__ import annotations

import gc
import threading


class _Pause:
    """A context that may nest and be entered by several threads: the collector goes on when all have left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._goes_on = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._goes_on = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._goes_on:
                gc.enable()


pause = _Pause()
