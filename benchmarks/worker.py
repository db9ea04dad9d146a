"""A library's process: loads it, prepares a workload and times steps on request.

Questions come as lines of JSON on standard input, answers go to standard output (`process.py`). An adapter is a module
with `load(threads)`, which imports the library and returns its version, and `prepare(name, threads)`, which returns a
function that does one step of the workload of that name and returns a number, an array or None.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Step = Callable[[], Any]

_WARM_UP = 0.3  # seconds of steps before the first that count


def main(adapter: str, count: str, cores: str = "") -> None:
    """Answers questions until standard input ends. `cores` is "free" where the process is not bound to some."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    threads = int(count)
    if cores != "free":
        _use_cores(threads)
    module = importlib.import_module(adapter)
    start = time.perf_counter()
    version = module.load(threads)
    import_seconds = time.perf_counter() - start
    step: Step | None = None
    for line in sys.stdin:
        question: dict[str, Any] = json.loads(line)
        try:
            if "prepare" in question:
                step, answer = _prepare(module, question["prepare"], threads)
                answer |= {"version": version, "import_seconds": import_seconds}
            else:
                assert step is not None
                answer = {"times": measure(step, question["seconds"], question["least"])}
            answer["peak_bytes"] = peak_bytes()
        except Exception as error:  # whatever a library raises is its result
            answer = {"error": f"{type(error).__name__}: {str(error).strip()[:500]}"}
        print(json.dumps(answer), file=answers, flush=True)


def _prepare(module: Any, name: str, threads: int) -> tuple[Step, dict[str, Any]]:
    start = time.perf_counter()
    step: Step = module.prepare(name, threads)
    value = step()
    first = time.perf_counter() - start
    _check(value)
    measure(step, _WARM_UP, 1)
    return step, {"first_seconds": first}


def _check(value: Any) -> None:
    import numpy as np

    if value is not None and not np.isfinite(value).all():
        raise ValueError("the first step gave numbers that are not finite")


def measure(step: Step, seconds: float, least: int) -> list[float]:
    """The time of each step, in seconds, for about `seconds` and at least `least` steps. One more step comes before,
    because another process had the cores."""
    step()
    gc.collect()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def peak_bytes() -> int:
    """The most memory that this process ever had resident."""
    try:
        with open("/proc/self/status") as lines:  # getrusage also counts what the parent had when it forked
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _use_cores(threads: int) -> None:
    """Every library gets the same cores: the last ones, since the first serves most interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
