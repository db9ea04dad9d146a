"""Text of loops that reduce many rows to one, column by column: what `reduce.py` and `norm.py` share.

Rows are taken four at a time, so that the totals, which live in memory, are read and written once for four rows.
Narrow rows are taken in *groups* of consecutive rows, so that few columns still fill vectors; at the end the groups
are folded. The order of every sum depends on sizes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from codegen.cpu.tiles import balanced

_GROUP = 512  # elements of a group of rows, about
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


def row_pass(
    arrays: Sequence[str], totals: Sequence[tuple[str, str]], combine: str = SUM, vectors: Sequence[str] = ()
) -> str:
    """A loop over `groups` groups of `width` elements, `step` elements apart, and `rest` elements of an incomplete one.

    `arrays` name pointers to the first row, `vectors` pointers to a group of elements that all rows share. `totals` are
    pairs of a pointer and a term over `{x}` for each array or vector x; the terms of all rows are combined into what
    the pointer holds.
    """

    def rows(n: int, width: str) -> str:
        lines = [f"{a}_{j} = offset({a}, (i + {j}) * step)" for a in arrays for j in range(n)]
        lines.append(f"for k in range({width}):")
        # Everything is read before anything is written: the compiler cannot know that what is written is not read.
        reads = [f"e_{v} = load({v}, k)" for v in vectors]
        reads += [f"e_{a}_{j} = load({a}_{j}, k)" for a in arrays for j in range(n)]
        sums, writes = [], []
        for i, (total, term) in enumerate(totals):
            names = [{**{v: f"e_{v}" for v in vectors}, **{a: f"e_{a}_{j}" for a in arrays}} for j in range(n)]
            terms = balanced(combine, [term.format(**x) for x in names])
            sums.append(f"sum{i} = {combine.format(f'load({total}, k)', terms)}")
            writes.append(f"store({total}, k, sum{i})")
        return "\n".join([*lines, *(f"    {line}" for line in (*reads, *sums, *writes))])

    return _PASS.format(four=placed(rows(4, "width"), 4), one=placed(rows(1, "width"), 4), one_short=rows(1, "rest"))


_FOLD = """\
left = group
while left > 1:
    half = (left + 1) // 2
    for k in range((left - half) * {columns}):
        store({total}, k, {value})
    left = half
"""


def fold(total: str, columns: str, combine: str = SUM) -> str:
    """Combines the rows of a group of totals into the first of them, the second half into the first again and again."""
    value = combine.format(f"load({total}, k)", f"load({total}, half * {columns} + k)")
    return _FOLD.format(total=total, columns=columns, value=value)


_SPREAD = """\
done = 1
while done < group:
    more = min(done, group - done)
    for k in range(more * {columns}):
        store({vector}, done * {columns} + k, load({vector}, k))
    done += more
"""


def spread(vector: str, columns: str) -> str:
    """Writes the first row of a group into all others."""
    return _SPREAD.format(vector=vector, columns=columns)
