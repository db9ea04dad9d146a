"""`python -m benchmarks`: training steps of small networks on kgraph and on every library found.

Each library runs in a process of its own, in the interpreter that an environment variable names (`KGRAPH_BENCH_TORCH`,
`KGRAPH_BENCH_TF_KERAS`) or else in this one if it can be imported. Libraries take turns, several rounds; the table shows the
median step and the ratio of the best other library's time to kgraph's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.worker import LIBRARIES, WORKLOADS

_MODULE = {"kgraph": "kgraph", "torch": "torch", "torch.compile": "torch", "tf_keras": "tf_keras"}
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "KGRAPH_NUM_THREADS")


def interpreter(library: str) -> str | None:
    """The Python that has `library`, or None."""
    if library != "kgraph":
        named = os.environ.get("KGRAPH_BENCH_" + _MODULE[library].upper())
        if named:
            return named
    return sys.executable if importlib.util.find_spec(_MODULE[library]) else None


class Worker:
    """A library's process."""

    def __init__(self, library: str, python: str, threads: int) -> None:
        self.library = library
        env = {**os.environ, **dict.fromkeys(_ONE_THREAD, str(threads))}
        root = Path(__file__).parent.parent
        command = [python, "-m", "benchmarks.worker", library, str(threads)]
        self.process = subprocess.Popen(
            command, cwd=root, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.library} stopped with exit code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def run(workload: str, libraries: list[str], threads: int, rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """For each library the median step and the time to the first step, in seconds."""
    workers = [Worker(name, python, threads) for name in libraries if (python := interpreter(name)) is not None]
    try:
        first: dict[str, float] = {}
        for worker in list(workers):
            try:
                first[worker.library] = worker.ask(prepare=workload)["first_step"]
            except RuntimeError as error:
                print(f"{workload}: {error}", file=sys.stderr)
                workers.remove(worker)
        times: dict[str, list[float]] = {w.library: [] for w in workers}
        for _ in range(rounds):
            for worker in workers:
                times[worker.library] += worker.ask(seconds=seconds)["times"]
    finally:
        for worker in workers:
            worker.close()
    return {name: (statistics.median(t), first[name]) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--libraries", nargs="*", default=list(LIBRARIES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each library's turn")
    options = parser.parse_args()
    names = [n for n in options.libraries if interpreter(n)]
    print(f"Training steps in ms, {options.threads} thread(s).\n")
    print("| workload | " + " | ".join(names) + " | best other / kgraph |")
    print("|---" * (len(names) + 2) + "|")
    for workload in options.workloads:
        found = run(workload, names, options.threads, options.rounds, options.seconds)
        cells = [f"{1e3 * found[n][0]:.2f}" if n in found else "-" for n in names]
        others = [t for n, (t, _) in found.items() if n != "kgraph"]
        ratio = f"{min(others) / found['kgraph'][0]:.2f}" if others and "kgraph" in found else "-"
        print(f"| {workload} | " + " | ".join(cells) + f" | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
