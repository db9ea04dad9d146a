"""When a program shares its work with other threads: as long as that pays.

A thread that shares a core with another program is stopped for milliseconds at a time, and if it has claimed a part of
a step, the step waits. What the system will do is not known beforehand, but it shows in how long runs take. So a run
that took far too long is followed by a rest, in which programs run on their caller's thread alone; and the rests become
longer as long as that is faster on the whole. Results do not depend on it. `program.py` asks before each run, and says
how long the run took.
"""

from __future__ import annotations

_FAR_TOO_LONG = 500_000  # ns beyond twice the best run: the system took a core away
_SHORTEST = 5_000_000  # ns of a rest
_LONGEST = 1_000_000_000
_GAIN = 1.1  # by which sharing must be faster, to be worth waiting now and then
_CALM = 100_000_000  # ns without a rest after one that did not pay


class Pace:
    """The runs of one program with one set of sizes. Times are in nanoseconds."""

    def __init__(self) -> None:
        self._best = 1 << 62
        self._rest = _SHORTEST
        self._resting = False
        self._until = 0  # the end of the rest, or of the time without any
        self._shared = _Mean()
        self._alone = _Mean()

    def shares(self, now: int) -> bool:
        """Whether a run that begins now should share its work."""
        if self._resting and now >= self._until:
            self._resting = False
            if self._alone.value < _GAIN * self._shared.value:
                self._rest = min(2 * self._rest, _LONGEST)
            else:  # what took too long was an exception
                self._rest = _SHORTEST
                self._until = now + _CALM
        return not self._resting

    def note(self, shared: bool, now: int, took: int) -> None:
        """A run that began at `now` took so long."""
        if shared:
            self._best = min(self._best, took)
        most = 2 * self._best + _FAR_TOO_LONG
        # One run that was stopped says little about the others, so it does not count by how long it was stopped.
        (self._shared if shared else self._alone).add(min(took, most))
        if shared and took > most and now >= self._until:
            self._resting = True
            self._until = now + took + self._rest
            self._shared.fade()
            self._alone.fade()


class _Mean:
    """A mean in which the past counts half each time it fades."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0.0

    def add(self, x: float) -> None:
        self._sum += x
        self._count += 1

    def fade(self) -> None:
        self._sum /= 2
        self._count /= 2

    @property
    def value(self) -> float:
        return self._sum / max(self._count, 1e-9)
