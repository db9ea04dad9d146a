"""Plans: micro-kernels that fit the registers and the sizes, the same whatever else is known when they are made."""

from __future__ import annotations

import itertools

import pytest

from codegen.cpu.features import ALL, AVX512, MAX_ROWS, Vectors
from codegen.cpu.tiling import Blocks, packed_plans, plans
from ir.dims import SymDim

B = SymDim("B")


@pytest.mark.parametrize("vectors", ALL, ids=lambda v: v.name)
def test_plans_fit(vectors: Vectors) -> None:
    lanes = vectors.lanes(4)
    for rows, columns, streamed in itertools.product((0, 1, 3, 8, 33, 1000, B), (1, 10, 64, 400, 4097), (False, True)):
        for plan in (*plans(rows, columns, lanes, vectors, streamed), *packed_plans(rows, columns, lanes, vectors)):
            count = -(-columns // lanes)
            assert 1 <= plan.tail[1] <= plan.full[1] <= count
            assert (count - plan.tail[1]) % plan.full[1] == 0
            assert all(high in vectors.heights(wide) and high <= MAX_ROWS for high, wide in (plan.full, plan.tail))
            assert streamed or plan.full[1] <= vectors.widest


def test_few_rows_take_low_tiles() -> None:
    """A row alone is not multiplied six times, and eight rows read B once."""
    choices = plans(B, 512, 16, AVX512, True)
    blocks = Blocks(choices, AVX512, 4)

    def height(rows: int) -> int:
        return choices[blocks.choice(rows, 512, 100, 1, 1)].full[0]

    assert [height(n) for n in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert len({plan.full[1] for plan in packed_plans(B, 512, 16, AVX512)}) == 1


def test_rows_that_are_many_for_every_batch_need_few_plans() -> None:
    assert len(plans(B * 196, 64, 16, AVX512, True)) == 1
    assert len(plans(B, SymDim("N"), 16, AVX512, True)) == 1
