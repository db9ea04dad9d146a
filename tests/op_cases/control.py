"""Rows of `ir/ops/control.py`. Bodies have fixed types; symbols are tested in `tests/ir/test_scan.py`."""

from __future__ import annotations

import numpy as np

from ir import builder as b
from ir.closure import close
from ir.graph import Graph
from ir.types import tensor
from tests.op_case import Case

_rng = np.random.default_rng(7)


def _recurrence(batch: int, width: int) -> Graph:
    """Inputs x, h, c, w: gives an output, and new states of which one is the old other one."""
    x, h, c, w = (b.input_value(tensor("f64", rows, width)) for rows in (batch, batch, batch, width))
    new = b.unary("tanh", b.add(b.matmul(h, w), x))
    return close("step", [x, h, c, w], [b.mul(new, c), new, h])


def _scan(length: int, batch: int, width: int, reverse: bool) -> Case:
    shapes = ((length, batch, width), (batch, width), (batch, width), (width, width))
    attrs = {"body": _recurrence(batch, width), "n_seq": 1, "n_state": 2, "length": length, "reverse": reverse}
    return Case("scan", [_rng.normal(size=s) for s in shapes], attrs, f"{length}-{batch}-{width}-{reverse}")


def _cond(taken: bool) -> Case:
    x, y = (b.input_value(tensor("f64", 3, 2)) for _ in range(2))
    then = close("then", [x, y], [b.mul(x, y), x])
    otherwise = close("otherwise", [x, y], [b.unary("square", y), b.full((3, 2), 2.5, x.type.dtype)])
    inputs = [np.array(taken), _rng.normal(size=(3, 2)), _rng.normal(size=(3, 2))]
    return Case("cond", inputs, {"then": then, "otherwise": otherwise}, str(taken))


CASES: list[Case] = [
    _scan(4, 3, 5, False),
    _scan(5, 2, 3, True),
    _scan(1, 3, 2, False),
    _scan(0, 3, 2, False),
    _cond(True),
    _cond(False),
]
