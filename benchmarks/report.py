"""Results as Markdown. Before it comes `rounds.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.results import Outcome, best_ratio, geometric_mean, medians

_NOTHING = "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float | None, digits: int = 3) -> str:
    """A positive number with that many significant digits, but all digits before the point."""
    if value is None:
        return _NOTHING
    whole = len(str(int(value))) if value >= 1 else 0
    return f"{value:.{max(digits - whole, 0)}f}"


def libraries_of(outcomes: Iterable[Outcome]) -> list[str]:
    """The names of all libraries, in order of first appearance."""
    return list(dict.fromkeys(o.library for o in outcomes))


def threads_of(outcomes: Iterable[Outcome]) -> list[int]:
    return sorted({o.threads for o in outcomes})


def networks(outcomes: Sequence[Outcome], context: dict[str, Any]) -> str:
    """The report of a run on networks: steps, first steps, memory."""
    parts = ["# Networks\n", _context(outcomes, context)]
    for threads in threads_of(outcomes):
        chosen = [o for o in outcomes if o.threads == threads]
        parts += [
            f"## {_thread_words(threads)}\n",
            "Median step, ms. The last column is the time of the best other library over kgraph's.\n",
            _steps(chosen),
            "Seconds to import each library.\n",
            _imports(chosen),
            "First step, s, with model building and compilation: in a process that finds no compiled code, and in one "
            "that finds that of the process before, where a library keeps it.\n",
            _by_library(chosen, _first_step),
            "Peak memory of the process, MB.\n",
            _by_library(chosen, lambda o: number(o.peak_bytes / 1e6 if o.peak_bytes else None)),
        ]
    return "\n".join([*parts, *_errors(outcomes)])


def _steps(outcomes: Sequence[Outcome]) -> str:
    names = libraries_of(outcomes)
    rows = []
    best = []
    for workload, row in medians(outcomes).items():
        ratio = best_ratio(row)
        best += [ratio] if ratio else []
        times = [number(1e3 * row[n]) if n in row else _NOTHING for n in names]
        rows.append([workload, *times, number(ratio)])
    rows.append(["geometric mean", *[""] * len(names), number(geometric_mean(best))])
    return table(["workload", *names, "best other / kgraph"], rows)


def _imports(outcomes: Sequence[Outcome]) -> str:
    names = libraries_of(outcomes)
    found: dict[str, list[float]] = {n: [] for n in names}
    for o in outcomes:
        found[o.library] += [o.import_seconds] if o.import_seconds else []
    return table(["", *names], [["import", *(number(min(seconds, default=None)) for seconds in found.values())]])


def _first_step(outcome: Outcome) -> str:
    warm = f" / {number(outcome.warm_seconds)}" if outcome.warm_seconds else ""
    return number(outcome.cold_seconds) + warm


def _by_library(outcomes: Sequence[Outcome], cell: Callable[[Outcome], str]) -> str:
    names = libraries_of(outcomes)
    found = {(o.workload, o.library): cell(o) for o in outcomes}
    workloads = dict.fromkeys(o.workload for o in outcomes)
    return table(["workload", *names], [[w, *(found.get((w, n), _NOTHING) for n in names)] for w in workloads])


def kernels(outcomes: Sequence[Outcome], context: dict[str, Any], cases: dict[str, Any]) -> str:
    """The report of a run on kernels: rates, and their share of what the machine can do."""
    parts = ["# Kernels\n", _context(outcomes, context)]
    for threads in threads_of(outcomes):
        chosen = [o for o in outcomes if o.threads == threads]
        peak, bandwidth = limits(chosen, cases)
        parts += [
            f"## {_thread_words(threads)}\n",
            f"Fused multiply-adds reach {number(peak)} GFLOP/s, copies {number(bandwidth)} GB/s (bytes read and "
            "written). The shares are kgraph's of these; data that fits into caches can exceed the latter.\n",
            _rates(chosen, cases, peak, bandwidth),
        ]
    return "\n".join([*parts, *_errors(outcomes)])


def limits(outcomes: Sequence[Outcome], cases: dict[str, Any]) -> tuple[float | None, float | None]:
    """The best rates of multiply-adds (GFLOP/s) and copies (GB/s) that any library reached."""
    rates: dict[str, list[float]] = {"fma": [], "copy": []}
    for o in outcomes:
        case = cases[o.workload]
        if case.kind in rates and o.times:
            rates[case.kind].append(case.work(o.threads) / min(o.times) / 1e9)
    return max(rates["fma"], default=None), max(rates["copy"], default=None)


def _rates(outcomes: Sequence[Outcome], cases: dict[str, Any], peak: float | None, bandwidth: float | None) -> str:
    names = libraries_of(outcomes)
    threads = outcomes[0].threads
    rows = []
    for workload, row in medians(outcomes).items():
        case = cases[workload]
        rates = {n: case.work(threads) / t / 1e9 for n, t in row.items()}
        limit = peak if case.unit == "GFLOP/s" else bandwidth
        share = f"{100 * rates['kgraph'] / limit:.0f} %" if limit and "kgraph" in rates else _NOTHING
        cells = [number(rates.get(n)) for n in names]
        rows.append([workload, case.unit, *cells, share, number(best_ratio(row))])
    return table(["kernel", "unit", *names, "of limit", "kgraph / best other"], rows)


def _thread_words(threads: int) -> str:
    return f"{threads} thread" + ("s" if threads > 1 else "")


def _context(outcomes: Sequence[Outcome], context: dict[str, Any]) -> str:
    versions = {o.library: o.version for o in outcomes if o.version}
    lines = [f"- {key}: {value}" for key, value in {**context, **versions}.items()]
    noisy = max(outcomes, key=lambda o: o.spread, default=None)
    if noisy is not None and noisy.times:
        where = f"{noisy.library}, {noisy.workload}"
        lines.append(f"- largest distance between quartiles: {100 * noisy.spread:.0f} % of the median ({where})")
    return "\n".join(lines) + "\n"


def _errors(outcomes: Sequence[Outcome]) -> list[str]:
    lines = [f"- {o.library}, {o.workload}, {_thread_words(o.threads)}: {o.error}" for o in outcomes if o.error]
    return ["## What did not work\n", "\n".join(lines) + "\n"] if lines else []
