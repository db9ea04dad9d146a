"""`python -m benchmarks overhead`: measures and writes `overhead.md`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from benchmarks.libraries import Library
from benchmarks.overhead import beside
from benchmarks.process import ROOT, command, environment
from benchmarks.report import number, table


def costs(library: Library, threads: int, seconds: float, timeout: float) -> dict[str, Any]:
    """What `costs.py` found, in a process of kgraph's interpreter."""
    python = library.interpreter()
    assert python is not None
    line = command(python, "benchmarks.overhead.costs", str(threads), str(seconds))
    done = subprocess.run(
        line, cwd=ROOT, env=environment({}, threads), timeout=timeout, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def text(found: dict[int, dict[str, Any]], steps: Sequence[beside.Steps], context: dict[str, Any]) -> str:
    """The report; `found` holds what `costs` gives for each number of threads."""
    parts = ["# Overhead\n", "\n".join(f"- {key}: {value}" for key, value in context.items()) + "\n"]
    for threads, costs in found.items():
        parts += [
            f"## Threads: {threads}\n",
            "Median call and the driver's walk over its launch table alone, microseconds.\n",
            _calls(costs["calls"]),
            "Training of the MNIST CNN: the fastest epoch of `fit` and as many steps on one batch, ms.\n",
            _fit(costs["fit"]),
            "A new batch size: what is done before the first step with it, ms.\n",
            _binding(costs["binding"]),
        ]
    if steps:
        parts += [
            "## Beside another program\n",
            f"Steps of {beside.WORKLOAD}, ms: median / 99th percentile, on a quiet machine and beside a loop that "
            "keeps one core busy. No library is bound to cores.\n",
            _beside(steps),
        ]
    return "\n".join(parts)


def _calls(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        [r["call"], *(number(1e6 * t) for t in (r["seconds"], r["kernels"], max(0.0, r["seconds"] - r["kernels"])))]
        for r in rows
    ]
    return table(["call", "whole", "kernels", "beyond"], cells)


def _fit(times: dict[str, float]) -> str:
    more = 100 * (times["epoch"] / times["steps"] - 1)
    return table(["", "epoch", "steps", "more"], [["fit", *(number(1e3 * t) for t in times.values()), f"{more:.1f} %"]])


def _binding(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        [r["network"], str(r["launches"]), number(1e3 * r["seconds"]), number(2e5 * r["seconds"] / r["launches"])]
        for r in rows
    ]
    return table(["training step of", "launches", "ms", "ms for 200 launches"], cells)


def _beside(steps: Sequence[beside.Steps]) -> str:
    cores = list(dict.fromkeys(core for s in steps for core in s.times))
    head = ["library, threads", *("quiet" if core is None else f"core {core} busy" for core in cores)]
    rows = [[f"{s.library}, {s.threads}", *(_pair(s, core) for core in cores)] for s in steps]
    return table(head, rows)


def _pair(steps: beside.Steps, core: int | None) -> str:
    times = [steps.percentile(core, share) for share in (0.5, 0.99)]
    return " / ".join(number(None if t is None else 1e3 * t) for t in times)
