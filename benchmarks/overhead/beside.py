"""The step of the MNIST MLP while other programs take a core: a loop that does nothing else on each core in turn."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.libraries import Library
from benchmarks.process import Process, WorkerError

WORKLOAD = "train/mnist_mlp/32"

_LOOP = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True:\n    pass"


@dataclass
class Steps:
    """The steps of one library (seconds) for each core that was taken, None standing for a quiet machine."""

    library: str
    threads: int
    times: dict[int | None, list[float]] = field(default_factory=dict)
    error: str = ""

    def percentile(self, core: int | None, share: float) -> float | None:
        """The time that this share of the steps does not exceed."""
        times = sorted(self.times.get(core, ()))
        return times[min(int(share * len(times)), len(times) - 1)] if times else None


def cores() -> list[int]:
    """The cores that a loop can be put on; none where the system does not let us choose."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


def measure(libraries: Sequence[Library], threads: int, rounds: int, seconds: float, timeout: float) -> list[Steps]:
    """All libraries, which take turns, on a quiet machine and with a loop on each core."""
    found = [Steps(x.name, threads) for x in libraries]
    with contextlib.ExitStack() as stack:
        processes: dict[str, Process] = {}
        for library, steps in zip(libraries, found, strict=True):
            with _noting(steps):
                python = library.interpreter()
                assert python is not None
                process = Process(python, library.adapter, threads, library.environment, timeout, pinned=False)
                stack.callback(process.close)
                process.ask(prepare=WORKLOAD)
                processes[library.name] = process
        for _ in range(rounds):
            for core in (None, *cores()):
                with _loop(core):
                    for steps in found:
                        if not steps.error:
                            with _noting(steps):
                                answer = processes[steps.library].ask(seconds=seconds, least=20)
                                steps.times.setdefault(core, []).extend(answer["times"])
    return found


@contextlib.contextmanager
def _noting(steps: Steps) -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        steps.error = str(error)


@contextlib.contextmanager
def _loop(core: int | None) -> Iterator[None]:
    """A process that keeps a core busy."""
    if core is None:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", _LOOP, str(core)])
    try:
        yield
    finally:
        process.kill()
        process.wait()
