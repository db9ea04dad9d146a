"""Looking inside a model: its graph at each stage of compiling, its kernels, and a report.

`training.py` offers these as methods of `Model`. Everything comes from the executables behind the model's functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ir import dims
from kgraph import backend as K

_PHASES = ("train", "test")


def model_ir(model: Any, phase: str, stage: str) -> Any:
    """See `Model.ir`."""
    function, number = _function(model, phase)
    if stage == "source":
        if phase == "train":
            inputs = function.inputs
            return K.function(inputs, [model.total_loss, *model.metrics_tensors], name="train_source").graph
        return function.graph
    if stage == "differentiated":
        return function.graph
    executable = function.executable(number)
    if stage == "fused":
        return executable.graph
    if stage not in executable.stages:
        known = ["source", "differentiated", *(name for name in executable.stages if name != "source"), "fused"]
        raise ValueError(f"Unknown stage {stage!r}; the stages are {', '.join(known)}.")
    return executable.stages[stage]


def model_kernels(model: Any, phase: str) -> Any:
    """See `Model.kernels`."""
    function, number = _function(model, phase)
    return function.executable(number).kernels()


@dataclass(frozen=True)
class ProgramReport:
    """What compiling one of a model's functions did.

    `passes` holds (name, nodes before, nodes after, seconds); `peak_memory` formulas in bytes, of which the largest
    counts; `kernels` the number of distinct kernels; `seconds` the time it took up to now, running not included.
    """

    name: str
    passes: tuple[tuple[str, int, int, float], ...]
    kernels: int
    peak_memory: tuple[Any, ...]
    seconds: float


@dataclass(frozen=True)
class CompileReport:
    """What compiling a model did, program by program. `str()` of it is a table."""

    model: str
    target: str
    programs: tuple[ProgramReport, ...]

    def __str__(self) -> str:
        heads = "".join(f"{p.name + ': nodes':>20}{'ms':>8}" for p in self.programs)
        lines = [f"{self.model} on target {self.target}", f"{'pass':<20}{heads}"]
        for rows in zip(*(p.passes for p in self.programs), strict=True):
            cells = "".join(f"{f'{before} -> {after}':>20}{1e3 * s:>8.1f}" for _, before, after, s in rows)
            lines.append(f"{rows[0][0]:<20}{cells}")
        for label, cell in (
            ("kernels", lambda p: str(p.kernels)),
            ("compile time", lambda p: f"{p.seconds:.2f} s"),
        ):
            lines.append(f"{label:<20}" + "".join(f"{cell(p):>20}{'':>8}" for p in self.programs).rstrip())
        for p in self.programs:
            largest = [str(x) for x in _largest(p.peak_memory)]
            peak = f"max({', '.join(largest)})" if len(largest) > 1 else largest[0]
            lines.append(f"planned peak memory of {p.name}, in bytes: {peak}")
        return "\n".join(lines)


def _largest(formulas: tuple[Any, ...]) -> list[Any]:
    """Those of the formulas that are the largest of all for some power of two as the value of every symbol."""
    symbols = set().union(*(dims.symbols(f) for f in formulas)) if formulas else set()
    kept: dict[Any, None] = {}
    for size in (2**i for i in range(17)):
        values = [dims.bind(f, dict.fromkeys(symbols, size)) for f in formulas]
        kept.setdefault(formulas[values.index(max(values))])
    return list(kept)


def compile_report(model: Any, phases: tuple[str, ...]) -> CompileReport:
    """See `Model.compile_report`."""
    functions = [(phase, *_function(model, phase)) for phase in phases]
    reports = []
    for phase, function, number in functions:
        executable = function.executable(number)
        kernels, peak = executable.kernels(), executable.peak_memory()
        passes = tuple((r.name, r.nodes_before, r.nodes_after, r.seconds) for r in executable.records)
        reports.append(ProgramReport(phase, passes, len(kernels), peak, executable.compile_seconds))
    return CompileReport(model.name, functions[0][1].target, tuple(reports))


def _function(model: Any, phase: str) -> tuple[Any, int]:
    if phase not in _PHASES:
        raise ValueError(f"Unknown phase {phase!r}; the phases are 'train' and 'test'.")
    if phase == "train":
        model._require_compiled()
        return model._function("train"), 1
    return model._function("predict"), 0
