"""`python -m benchmarks [kernels] [PATTERN ...]`: measures, prints a report, writes it with a plot and the raw numbers.

Patterns choose workloads by name, as in `train/*` or `predict/resnet50/1`. Results go to the folder `--output`:
`networks.md`, `.svg` (for each number of threads) and `.json`, or `kernels.md` and so on. `python -m benchmarks
overhead` measures what comes on top of kernels, and writes `overhead.md`.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import libraries, plot, report, rounds
from benchmarks.kernels.cases import CASES
from benchmarks.networks.workloads import WORKLOADS
from benchmarks.overhead import beside
from benchmarks.overhead import report as overhead
from benchmarks.results import Outcome, medians, ratios, to_json


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["overhead"]:
        _overhead(_parser().parse_args(arguments[1:]))
        return
    kernels = arguments[:1] == ["kernels"]
    options = _parser().parse_args(arguments[1:] if kernels else arguments)
    known = list(CASES if kernels else WORKLOADS)
    chosen = [n for n in known if any(fnmatch.fnmatch(n, p) for p in options.patterns or ["*"])]
    if not chosen:
        sys.exit(f"no workload matches {' '.join(options.patterns)}; there are:\n  " + "\n  ".join(known))
    found = _libraries(kernels, options.libraries)
    context = _context(options)
    text = ""
    outcomes: list[Outcome] = []
    for new in _run(chosen, found, options, kernels):
        outcomes += new
        text = _write(Path(options.output), kernels, outcomes, context)
    print(text)


def _overhead(options: argparse.Namespace) -> None:
    context = _context(options)
    count, seconds = (2, 0.1) if options.quick else (options.rounds, options.seconds)
    found = _libraries(False, options.libraries)
    ours = [x for x in found if x.name == "kgraph"]
    costs = {n: overhead.costs(x, n, seconds / 10, options.timeout) for x in ours for n in options.threads}
    others = [x for x in found if x.does(beside.WORKLOAD)]
    steps = [s for n in options.threads for s in beside.measure(others, n, count, seconds, options.timeout)]
    text = overhead.text(costs, steps, context)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "overhead.md").write_text(text, encoding="utf-8")
    print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks [kernels | overhead]")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="workloads to run, as in 'train/*'; all if none")
    parser.add_argument("--libraries", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], metavar="N", help="measure with each of these")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each library")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds that a process may take to answer")
    parser.add_argument("--no-cold", action="store_true", help="use the compiled code that libraries keep")
    parser.add_argument("--quick", action="store_true", help="two short rounds: to see that all works")
    parser.add_argument("--output", default="benchmark-results", metavar="FOLDER")
    return parser


def _libraries(kernels: bool, names: Sequence[str] | None) -> list[libraries.Library]:
    known = libraries.KERNELS if kernels else libraries.NETWORKS
    unknown = set(names or ()) - {x.name for x in known}
    if unknown:
        sys.exit(f"unknown library {', '.join(sorted(unknown))}; there are: {', '.join(x.name for x in known)}")
    wanted = [x for x in known if names is None or x.name in names]
    for x in wanted:
        if x.interpreter() is None:
            print(f"{x.name} was not found; {x.variable} may name a Python that has it", file=sys.stderr)
    return [x for x in wanted if x.interpreter() is not None]


def _run(
    names: Sequence[str], found: Sequence[libraries.Library], options: argparse.Namespace, kernels: bool
) -> Iterator[list[Outcome]]:
    count, seconds = (2, 0.1) if options.quick else (options.rounds, options.seconds)
    how = rounds.Options(count, seconds, options.timeout, cold=not options.no_cold)
    for threads in options.threads:
        for new in (rounds.kernels if kernels else rounds.networks)(names, found, threads, how):
            for workload, row in medians(new).items():
                words = [f"{n} {1e3 * t:.3g}" for n, t in row.items()] + [f"{o.library} failed" for o in new if o.error]
                print(f"{workload}, {threads} threads, ms: {', '.join(words)}", file=sys.stderr, flush=True)
            yield new


def _context(options: argparse.Namespace) -> dict[str, Any]:
    how = "two short rounds" if options.quick else f"{options.rounds} rounds of {options.seconds:g} s"
    return {
        "processor": f"{_processor()}, {os.cpu_count()} visible",
        "load before the run": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "Python": platform.python_version(),
        "turns": how,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _write(folder: Path, kernels: bool, outcomes: Sequence[Outcome], context: dict[str, Any]) -> str:
    """Writes what is known so far, since a run may be long; returns the report."""
    name = "kernels" if kernels else "networks"
    text = report.kernels(outcomes, context, CASES) if kernels else report.networks(outcomes, context)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(to_json(outcomes, context), encoding="utf-8")
    others = [n for n in report.libraries_of(outcomes) if n != "kgraph"]
    for threads in report.threads_of(outcomes):
        rows = {w: ratios(row) for w, row in medians(o for o in outcomes if o.threads == threads).items()}
        picture = plot.svg(f"{name}, threads: {threads}", rows, others)
        (folder / f"{name}-{threads}.svg").write_text(picture, encoding="utf-8")
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
