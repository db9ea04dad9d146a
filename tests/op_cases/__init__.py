"""The op test table: `CASES` is every row of every module here."""

from __future__ import annotations

from tests.op_case import Case
from tests.op_cases import control, conv, effects, elementwise, losses, matmul, norm, pool, random, reduce, shape

CASES: list[Case] = [
    case
    for module in (elementwise, reduce, shape, matmul, conv, pool, norm, losses, random, control, effects)
    for case in module.CASES
]
