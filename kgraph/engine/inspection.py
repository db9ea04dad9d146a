"""Looking inside a model: its graph at each stage of compiling, its kernels, and a report.

`training.py` offers these as methods of `Model`. Everything comes from the executables behind the model's functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
class CompileReport:
    """What compiling a model's graph did. `str()` of it is a table.

    `passes` holds (name, nodes before, nodes after, seconds); `peak_memory` formulas in bytes, of which the largest
    counts; `kernels` the number of distinct kernels.
    """

    model: str
    phase: str
    target: str
    passes: tuple[tuple[str, int, int, float], ...]
    kernels: int
    peak_memory: tuple[Any, ...]
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.model}, phase {self.phase!r}, target {self.target!r}"]
        lines.append(f"{'pass':<24}{'nodes before':>14}{'after':>8}{'ms':>10}")
        for name, before, after, seconds in self.passes:
            lines.append(f"{name:<24}{before:>14}{after:>8}{seconds * 1e3:>10.2f}")
        peak = ", ".join(str(p) for p in self.peak_memory) or "0"
        lines.append(f"kernels: {self.kernels}")
        lines.append(f"planned peak memory in bytes: {'max(' + peak + ')' if len(self.peak_memory) > 1 else peak}")
        lines.append(f"compile time: {self.seconds:.3f} s")
        return "\n".join(lines)


def compile_report(model: Any, phase: str) -> CompileReport:
    """See `Model.compile_report`."""
    import time

    function, number = _function(model, phase)
    start = time.perf_counter()
    executable = function.executable(number)
    kernels = executable.kernels()
    waited = time.perf_counter() - start
    return CompileReport(
        model=model.name,
        phase=phase,
        target=function.target,
        passes=tuple((r.name, r.nodes_before, r.nodes_after, r.seconds) for r in executable.records),
        kernels=len(kernels),
        peak_memory=tuple(executable.peak_memory()),
        seconds=max(waited, executable.pass_seconds),
    )


def _function(model: Any, phase: str) -> tuple[Any, int]:
    if phase not in _PHASES:
        raise ValueError(f"Unknown phase {phase!r}; the phases are 'train' and 'test'.")
    if phase == "train":
        model._require_compiled()
        return model._function("train"), 1
    return model._function("predict"), 0
