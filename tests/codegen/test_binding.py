"""Sizes of a program, all computed at once: against the dims' own arithmetic."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from codegen import collector
from codegen.binding import Formulas
from codegen.launch import Choose, Size
from ir import dims
from ir.dims import SymDim, ceildiv, dim_max, dim_min

B, T = SymDim("B"), SymDim("T")


def area(rows: int, columns: int) -> int:
    return rows * columns + 1


@dataclass(frozen=True)
class Blocks:
    width: int

    def count(self, n: int) -> int:
        return -(-n // self.width)


def bound(size: Size, env: dict[SymDim, int]) -> int:
    return size.function(*(bound(d, env) for d in size.dims)) if isinstance(size, Choose) else dims.bind(size, env)


@pytest.mark.parametrize("env", [{B: 1, T: 1}, {B: 0, T: 7}, {B: 33, T: 1000}])
def test_sizes_are_what_their_dims_say(env: dict[SymDim, int]) -> None:
    sizes: list[Size] = [
        0, 5, -3, B, B * T + 2, ceildiv(B, 7), (3 * B + T) % 5, dim_max(B, T), dim_min(2 * B, T + 1),
        Choose(area, (B, T)), Choose(area, (B * T, 3)), Choose(Blocks(8).count, (B,)), Choose(area, (2, 3)), B, 5,
    ]  # fmt: skip
    formulas = Formulas([B, T])
    numbers = formulas.numbers(sizes)
    found = formulas.evaluate(env)
    assert found.dtype == np.int64
    assert found[numbers].tolist() == [bound(size, env) for size in sizes]


def test_equal_sizes_share_a_place() -> None:
    formulas = Formulas([B])
    calls: list[int] = []

    def seen(n: int) -> int:
        calls.append(n)
        return n

    functions: list[Callable[..., int]] = [seen, Blocks(8).count, Blocks(4).count]
    first = [formulas.number(Choose(f, (B + 1,))) for f in functions]
    functions[1] = Blocks(8).count
    assert [formulas.number(Choose(f, (1 + B,))) for f in functions] == first and len(set(first)) == 3
    assert formulas.evaluate({B: 8})[first].tolist() == [9, 2, 3] and calls == [9]


def test_without_sizes_and_without_symbols() -> None:
    assert Formulas([]).evaluate({}).tolist() == []
    formulas = Formulas([])
    number = formulas.number(Choose(area, (3, 4)))
    assert formulas.evaluate({})[number] == 13


def test_the_collector_pauses_until_all_have_left() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), collector.pause:
        with collector.pause:
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with collector.pause:
            pass
        assert not gc.isenabled(), "who has switched it off wants it to stay so"
    finally:
        gc.enable()
