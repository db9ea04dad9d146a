"""Measuring one workload on several libraries, which take turns, several rounds. Before it comes the command line."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.libraries import Library, torch_interpreter
from benchmarks.process import Process, WorkerError, command, environment
from benchmarks.results import Outcome

_LEAST = 3  # steps per turn, however long they take


@dataclass(frozen=True)
class Options:
    """`seconds` is the length of a turn, `timeout` (seconds) the longest that a process may take to answer."""

    rounds: int
    seconds: float
    timeout: float
    cold: bool = True


def measure(workload: str, libraries: Sequence[Library], threads: int, options: Options) -> list[Outcome]:
    """An outcome for each library that was found."""
    outcomes = []
    with contextlib.ExitStack() as stack:
        running: list[tuple[Process, Outcome]] = []
        for library in libraries:
            outcome = Outcome(workload, library.name, threads)
            outcomes.append(outcome)
            try:
                running.append((_start(stack, library, outcome, options), outcome))
            except WorkerError as error:
                outcome.error = str(error)
        for _ in range(options.rounds):
            for process, outcome in running:
                if not outcome.error:
                    _turn(process, outcome, options.seconds)
    return outcomes


def _turn(process: Process, outcome: Outcome, seconds: float) -> None:
    try:
        answer = process.ask(seconds=seconds, least=_LEAST)
    except WorkerError as error:
        outcome.error, outcome.times = str(error), []
    else:
        outcome.times += answer["times"]
        outcome.peak_bytes = answer["peak_bytes"]


def _start(stack: contextlib.ExitStack, library: Library, outcome: Outcome, options: Options) -> Process:
    """The library's process with the workload prepared. Where the library keeps compiled code, that is its second
    process: the first found an empty folder."""
    extra = dict(library.environment)
    if library.name == "onnxruntime":
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        _export(outcome.workload, folder, options.timeout)
        extra["KGRAPH_BENCH_ONNX_FOLDER"] = folder
    cold = library.cache is not None and options.cold
    if cold and library.cache is not None:
        extra[library.cache] = stack.enter_context(tempfile.TemporaryDirectory())
        with contextlib.ExitStack() as first:
            outcome.cold_seconds = _prepared(first, library, outcome, extra, options)[1]
    process, seconds = _prepared(stack, library, outcome, extra, options)
    if cold:
        outcome.warm_seconds = seconds
    elif library.cache is None:
        outcome.cold_seconds = seconds
    return process


def _prepared(
    stack: contextlib.ExitStack, library: Library, outcome: Outcome, extra: dict[str, str], options: Options
) -> tuple[Process, float]:
    """A new process, and the time to its first step."""
    python = library.interpreter()
    if python is None:
        raise WorkerError("not found")
    process = Process(python, library.adapter, outcome.threads, extra, options.timeout)
    stack.callback(process.close)
    answer = process.ask(prepare=outcome.workload)
    outcome.version = answer["version"]
    outcome.import_seconds = answer["import_seconds"]
    outcome.peak_bytes = answer["peak_bytes"]
    return process, float(answer["first_seconds"])


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
