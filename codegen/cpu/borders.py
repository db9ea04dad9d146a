"""Steps of a convolution's sum that would only multiply padding: which they are, so that `contract.py` leaves them out.

Lines of pixels at the border of an image meet lines of the kernel outside of it. That is little of a large image's
work, but a tenth where 7x7 pixels meet a 3x3 kernel, and more in the input gradient of a `valid` convolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ir import dims
from ir.dims import Dim

_LEAST_WASTE = 0.03  # of the work, for which it pays to leave the padding out

Arrange = Callable[..., tuple[Dim, ...]]


@dataclass(frozen=True)
class Lines:
    """Line i of the rows of A (`rows` of them) and line j of k (`steps` of them) meet at place
    `i * advance + j * step - before`, and are zero where that is none of `size` places.
    """

    rows: Dim
    steps: Dim
    advance: int
    step: int
    before: int
    size: int

    @property
    def slots(self) -> tuple[Dim, ...]:
        return self.rows, self.steps, self.advance, self.step, self.before, self.size

    def waste(self, lines: int, taps: int) -> float:
        """The part of the work that is zero, where there are `lines` lines of rows and `taps` of k."""
        places = (i * self.advance + j * self.step - self.before for i in range(lines) for j in range(taps))
        return 1 - sum(0 <= p < self.size for p in places) / (lines * taps) if lines * taps else 0.0


LINE_SLOTS = "line_rows line_steps line_advance line_step line_before line_size"
"""The names of `Lines.slots`, which are all 0 where nothing is left out."""


@dataclass(frozen=True)
class Side:
    """The lines of the rows or of k: how many, the sizes of the digits within each, and by how many places of the image
    one line is after another."""

    lines: Dim
    inner: tuple[Dim, ...]
    advance: int


def border_lines(rows: Side, steps: Side, before: Dim, size: Dim) -> tuple[Lines | None, Arrange]:
    """What to leave out, if that is worth it, and how to arrange digits (image, line, ...) for it: lines come first
    then, so that neighbouring rows meet the same padding.
    """
    sizes = (rows.lines, steps.lines, before, size)
    if all(isinstance(d, int) for d in sizes):
        lines, taps, first, places = (int(d) for d in sizes)  # type: ignore[arg-type]
        found = Lines(dims.product(rows.inner), dims.product(steps.inner), rows.advance, steps.advance, first, places)
        if found.waste(lines, taps) >= _LEAST_WASTE:
            return found, lambda image, line, *rest: (line, image, *rest)
    return None, lambda *digits: digits
