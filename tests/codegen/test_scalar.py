"""The table of scalar functions against what the CPU target offers and what ops use."""

from __future__ import annotations

import re

import pytest

from codegen.cpu import scalar as cpu_scalar
from codegen.scalar import FUNCTIONS
from ir import dtypes
from ir.opdef import Elementwise, Op
from ir.ops import OPS


def test_every_function_is_there() -> None:
    casts = {f"cast_{dtype.short}" for dtype in dtypes.ALL}
    assert set(FUNCTIONS) | casts <= set(cpu_scalar.NAMESPACE)
    for name, function in FUNCTIONS.items():
        assert function.kinds and set(function.kinds) <= set("fiub") and function.meaning, name


@pytest.mark.parametrize("op", [op for op in OPS.values() if isinstance(op, Elementwise)], ids=lambda op: op.name)
def test_ops_use_only_functions_of_the_table(op: Op) -> None:
    for name in re.findall(r"(\w+)\(", getattr(op, "scalar", "")):
        assert name in FUNCTIONS, f"{op.name} uses {name}"
