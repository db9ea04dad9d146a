"""What convolutions leave out at the borders of images."""

from __future__ import annotations

import itertools

import pytest

from codegen.cpu.borders import Lines, Side, border_lines
from ir.dims import SymDim


def test_small_images_leave_padding_out() -> None:
    """A 3x3 kernel on 7x7 pixels: the first and the last line meet padding in one of three lines of the kernel."""
    found, arrange = border_lines(Side(7, (2, 7), 1), Side(3, (3, 5), 1), 1, 7)
    assert found == Lines(rows=14, steps=15, advance=1, step=1, before=1, size=7)
    assert found.waste(7, 3) == pytest.approx(2 / 21)
    assert arrange("image", "line", "pixel") == ("line", "image", "pixel")


@pytest.mark.parametrize(
    "sides",
    [
        (Side(56, (2, 56), 1), Side(3, (3, 5), 1), 1, 56),  # a large image
        (Side(7, (2, 7), 1), Side(1, (5,), 1), 0, 7),  # no padding
        (Side(7, (2, 7), 1), Side(0, (0, 5), 1), 0, 7),  # no taps
        (Side(SymDim("H"), (2, 7), 1), Side(3, (3, 5), 1), 1, SymDim("H")),  # unknown sizes
    ],
)
def test_nothing_to_leave_out(sides: tuple[Side, Side, int, int]) -> None:
    found, arrange = border_lines(*sides)
    assert found is None
    assert arrange("image", "line") == ("image", "line")


def test_waste_counts_places_outside() -> None:
    for lines, taps, advance, step, before in itertools.product((1, 4, 7), (1, 3, 5), (1, 2), (1, 3), (0, 2)):
        size = 6
        found = Lines(1, 1, advance, step, before, size)
        outside = sum(
            i * advance + j * step - before not in range(size) for i in range(lines) for j in range(taps)
        )
        assert found.waste(lines, taps) == pytest.approx(outside / (lines * taps))
