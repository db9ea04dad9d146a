"""Being written."""

from __future__ import annotations

from tests.op_case import Case

CASES: list[Case] = []
