"""Text of loops that reduce many rows to one, column by column: what `reduce.py` and `norm.py` share.

Rows are taken four at a time, so that the totals, which live in memory, are read and written once for four rows.
Narrow rows are taken in *groups* of consecutive rows, so that few columns still fill vectors; at the end the groups
are folded. The order of every sum depends on sizes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from codegen.cpu.tiles import balanced

_GROUP = 64  # elements of a group of rows, about
SUM = "({} + {})"


def group_of(columns: int) -> int:
    """Rows of a group."""
    return max(1, _GROUP // max(1, columns))


def width_of(columns: int) -> int:
    """Elements of a group."""
    return group_of(columns) * columns


def placed(text: str, columns: int) -> str:
    """`text` indented for a placeholder that stands at column `columns`."""
    return indent(text, " " * columns).strip()


_PASS = """\
i = 0
while i + 4 <= groups:
    {four}
    i += 4
while i < groups:
    {one}
    i += 1
{one_short}
"""


def row_pass(arrays: Sequence[str], totals: Sequence[tuple[str, str]], combine: str = SUM) -> str:
    """A loop over `groups` groups of `width` elements, `step` elements apart, and `rest` elements of an incomplete one.

    `arrays` name pointers to the first row. `totals` are pairs of a pointer and a term over `{x}` for each array x
    (and over the column `k`); the terms of all rows are combined into what the pointer holds.
    """

    def rows(n: int, width: str) -> str:
        lines = [f"{a}_{j} = offset({a}, (i + {j}) * step)" for a in arrays for j in range(n)]
        lines.append(f"for k in range({width}):")
        for total, term in totals:
            terms = [term.format(**{a: f"load({a}_{j}, k)" for a in arrays}) for j in range(n)]
            lines.append(f"    store({total}, k, {combine.format(f'load({total}, k)', balanced(combine, terms))})")
        return "\n".join(lines)

    return _PASS.format(four=placed(rows(4, "width"), 4), one=placed(rows(1, "width"), 4), one_short=rows(1, "rest"))


def fold(total: str, columns: str, combine: str = SUM) -> str:
    """Combines the rows of a group of totals into the first of them."""
    value = combine.format(f"load({total}, k)", f"load({total}, j * {columns} + k)")
    return f"for j in range(1, group):\n    for k in range({columns}):\n        store({total}, k, {value})\n"
