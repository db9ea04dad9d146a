"""One row of the op test table: an op, its inputs and attributes. `tests/op_cases/` holds the rows, by file of
`ir/ops`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """Applies `op` to `inputs` with `attrs`. The tests derive from each row: type rule against reference, every target
    against reference, gradient against finite differences in float64, symbolic against concrete batch.

    `differentiable` lists the inputs whose gradients are checked (None: every float input, if the op has a gradient).
    `batch` names the axis of each input that becomes a symbol in the symbolic test (None: that input stays concrete);
    where it is empty there is no symbolic test for the row.
    `rtol`, `atol` are for targets in float32.
    """

    op: str
    inputs: Sequence[np.ndarray]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    differentiable: tuple[int, ...] | None = None
    batch: tuple[int | None, ...] = ()
    rtol: float = 1e-5
    atol: float = 1e-6

    @property
    def name(self) -> str:
        shapes = ",".join("x".join(map(str, a.shape)) or "scalar" for a in self.inputs)
        return f"{self.op}-{self.id or shapes}"
