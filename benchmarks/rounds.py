"""Measuring workloads on several libraries, which take turns, several rounds. Before it comes the command line."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.libraries import Library, torch_interpreter
from benchmarks.process import Process, WorkerError, command, environment
from benchmarks.results import Outcome

_LEAST = 3  # steps per turn, however long they take
_PAUSE = 0.05  # seconds between turns, in which the threads of the one before stop spinning


@dataclass(frozen=True)
class Options:
    """`seconds` is the length of a turn, `timeout` (seconds) the longest that a process may take to answer."""

    rounds: int
    seconds: float
    timeout: float
    cold: bool = True


def networks(
    workloads: Sequence[str], libraries: Sequence[Library], threads: int, options: Options
) -> Iterator[list[Outcome]]:
    """For each workload the outcomes of all libraries. Every workload gets new processes, for the sake of first steps
    and of peak memory."""
    for workload in workloads:
        outcomes = _outcomes(workload, libraries, threads)
        with contextlib.ExitStack() as stack:
            processes = {}
            for library, outcome in outcomes:
                with _noting(outcome):
                    processes[library.name] = _network(stack, library, outcome, options)
            _take_turns(processes, outcomes, options)
        yield [outcome for _, outcome in outcomes]


def kernels(
    workloads: Sequence[str], libraries: Sequence[Library], threads: int, options: Options
) -> Iterator[list[Outcome]]:
    """For each workload the outcomes of all libraries. A process serves all workloads, until it fails."""
    with contextlib.ExitStack() as stack:
        processes: dict[str, Process] = {}
        for workload in workloads:
            outcomes = _outcomes(workload, libraries, threads)
            for library, outcome in outcomes:
                with _noting(outcome):
                    if library.name not in processes:
                        processes[library.name] = _process(stack, library, threads, library.environment, options)
                    _prepare(processes[library.name], outcome)
            _take_turns(processes, outcomes, options)
            for _, outcome in outcomes:
                if outcome.error and outcome.library in processes:
                    processes.pop(outcome.library).close()
            yield [outcome for _, outcome in outcomes]


def _outcomes(workload: str, libraries: Sequence[Library], threads: int) -> list[tuple[Library, Outcome]]:
    return [(x, Outcome(workload, x.name, threads)) for x in libraries if x.does(workload)]


@contextlib.contextmanager
def _noting(outcome: Outcome) -> Iterator[None]:
    """An error of a library in this block becomes its outcome."""
    try:
        yield
    except WorkerError as error:
        outcome.error, outcome.times = str(error), []


def _take_turns(processes: dict[str, Process], outcomes: Sequence[tuple[Library, Outcome]], options: Options) -> None:
    for _ in range(options.rounds):
        for _, outcome in outcomes:
            if not outcome.error:
                time.sleep(_PAUSE)
                with _noting(outcome):
                    answer = processes[outcome.library].ask(seconds=options.seconds, least=_LEAST)
                    outcome.times += answer["times"]
                    outcome.peak_bytes = answer["peak_bytes"]


def _network(stack: contextlib.ExitStack, library: Library, outcome: Outcome, options: Options) -> Process:
    """The library's process with the workload prepared. Where the library keeps compiled code, that is its second
    process: the first found an empty folder."""
    extra = dict(library.environment)
    if library.name == "onnxruntime":
        extra["KGRAPH_BENCH_ONNX_FOLDER"] = folder = stack.enter_context(tempfile.TemporaryDirectory())
        _export(outcome.workload, folder, options.timeout)
    if library.cache is not None and options.cold:
        extra[library.cache] = stack.enter_context(tempfile.TemporaryDirectory())
        with contextlib.ExitStack() as first:
            outcome.cold_seconds = _prepare(_process(first, library, outcome.threads, extra, options), outcome)
    process = _process(stack, library, outcome.threads, extra, options)
    seconds = _prepare(process, outcome)
    if library.cache is not None:
        outcome.warm_seconds = seconds
    else:
        outcome.cold_seconds = seconds
    return process


def _process(
    stack: contextlib.ExitStack, library: Library, threads: int, extra: dict[str, str], options: Options
) -> Process:
    python = library.interpreter()
    if python is None:
        raise WorkerError("not found")
    process = Process(python, library.adapter, threads, extra, options.timeout)
    stack.callback(process.close)
    return process


def _prepare(process: Process, outcome: Outcome) -> float:
    """Prepares the workload; the seconds to its first step."""
    answer = process.ask(prepare=outcome.workload)
    outcome.version = answer["version"]
    outcome.import_seconds = answer["import_seconds"]
    outcome.peak_bytes = answer["peak_bytes"]
    return float(answer["first_seconds"])


def _export(workload: str, folder: str, timeout: float) -> None:
    """Writes the model that ONNX Runtime loads."""
    python = torch_interpreter()
    if python is None:
        raise WorkerError("there is no torch to export the model")
    line = command(python, "benchmarks.networks.export_onnx", workload, folder)
    try:
        done = subprocess.run(
            line, cwd=folder, env=environment({}, 1), timeout=timeout, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise WorkerError(f"torch exported no model within {timeout:g} s") from None
    if done.returncode:
        raise WorkerError(f"torch cannot export the model: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
