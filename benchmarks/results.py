"""What a run found, and arithmetic on it. Before it comes `rounds.py`, after it `report.py` and `plot.py`."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any


@dataclasses.dataclass
class Outcome:
    """One library on one workload with one number of threads. Times are in seconds; `times` is empty where `error` says
    what went wrong. `cold_seconds` and `warm_seconds` are for the first step, model building and compilation included,
    without and with compiled code of an earlier process; `warm_seconds` is None where a library keeps none."""

    workload: str
    library: str
    threads: int
    version: str = ""
    times: list[float] = dataclasses.field(default_factory=list)
    import_seconds: float | None = None
    cold_seconds: float | None = None
    warm_seconds: float | None = None
    peak_bytes: int | None = None
    error: str = ""

    @property
    def median(self) -> float | None:
        """The median step."""
        return statistics.median(self.times) if self.times else None

    @property
    def spread(self) -> float:
        """Distance between the quartiles of the steps over their median."""
        if len(self.times) < 2:
            return 0.0
        low, middle, high = statistics.quantiles(self.times, n=4)
        return (high - low) / middle


def medians(outcomes: Iterable[Outcome]) -> dict[str, dict[str, float]]:
    """Workload -> library -> median step, of those that worked."""
    found: dict[str, dict[str, float]] = {}
    for o in outcomes:
        row = found.setdefault(o.workload, {})
        if o.median is not None:
            row[o.library] = o.median
    return found


def ratios(row: dict[str, float], ours: str = "kgraph") -> dict[str, float]:
    """Every other library's time over ours: above 1 where we are faster. Empty where ours is missing."""
    if ours not in row:
        return {}
    return {library: time / row[ours] for library, time in row.items() if library != ours}


def best_ratio(row: dict[str, float], ours: str = "kgraph") -> float | None:
    """The fastest other library's time over ours, or None where there is nothing to compare."""
    return min(ratios(row, ours).values(), default=None)


def geometric_mean(values: Sequence[float]) -> float | None:
    """None for no values."""
    return math.exp(statistics.fmean(math.log(v) for v in values)) if values else None


def to_json(outcomes: Sequence[Outcome], context: dict[str, Any]) -> str:
    """All that was measured, as text."""
    return json.dumps({"context": context, "outcomes": [dataclasses.asdict(o) for o in outcomes]}, indent=1) + "\n"
