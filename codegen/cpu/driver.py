"""The driver: the one kernel that walks a program's table and calls all others.

Before it comes `codegen/program.py`, which fills the table; a run is one call of the driver. A row is eight int64:

    column  launch                     LOOP                                BRANCH
    0 FN    address of the kernel      -                                   -
    1 ARGS  address of its slots       where the iteration number is put   address of a bool (one byte)
    2 TILES number of tiles            -                                   -
    3 KIND  BARRIER, INDEPENDENT       LOOP                                BRANCH
            or CHAINED
    4 WORK  estimated work             -                                   -
    5 A     -                          how often                           rows of the branch taken if true
    6 B     -                          rows of the body                    rows of the branch taken if false

The rows of a body or of the branches follow theirs (first those for true, then those for false) and may nest. Before
the first row the patches are applied: pairs (address of a slot, index), for which `*slot = pointers[index]`; so the
user's arrays, which differ from run to run, reach their slots.
"""

from __future__ import annotations

from collections.abc import Callable

from codegen.cache import KernelCache
from codegen.cpu.call import c_function
from codegen.source import Kernel

COLUMNS = 8
FN, ARGS, TILES, KIND, WORK, A, B = range(7)

BARRIER, INDEPENDENT, CHAINED, LOOP, BRANCH = range(5)
"""Kinds of rows. BARRIER: everything before has finished; INDEPENDENT of the row before; CHAINED: tile i needs only
tile i of it.
"""

DRIVER = Kernel(
    name="driver",
    comment="walks the table of a program",
    params=7,
    source=f"""
def kernel(table, n_rows, patches, n_patches, pointers, worker, driver):
    patch = slots(patches)
    pointer = slots(pointers)
    for i in range(n_patches):
        slots(patch[2 * i])[0] = pointer[patch[2 * i + 1]]
    row = table
    end = table + n_rows * {8 * COLUMNS}
    while row < end:
        r = slots(row)
        row += {8 * COLUMNS}
        kind = r[{KIND}]
        if kind == {LOOP}:
            counter = slots(r[{ARGS}])
            for i in range(r[{A}]):
                counter[0] = i
                call_n(driver, row, r[{B}], 0, 0, 0, worker, driver)
            row += r[{B}] * {8 * COLUMNS}
        elif kind == {BRANCH}:
            if boolp(r[{ARGS}])[0]:
                call_n(driver, row, r[{A}], 0, 0, 0, worker, driver)
            else:
                call_n(driver, row + r[{A}] * {8 * COLUMNS}, r[{B}], 0, 0, 0, worker, driver)
            row += (r[{A}] + r[{B}]) * {8 * COLUMNS}
        else:
            call_kernel(r[{FN}], r[{ARGS}], 0, r[{TILES}], worker)
""",
)

Driver = Callable[[int, int, int, int, int, int], None]


def load_driver(cache: KernelCache) -> Driver:
    """The driver `driver(table, n_rows, patches, n_patches, pointers, worker)`: addresses and counts, as integers."""
    address = cache.get(DRIVER)
    function = c_function(address, DRIVER.params)

    def driver(table: int, n_rows: int, patches: int, n_patches: int, pointers: int, worker: int) -> None:
        function(table, n_rows, patches, n_patches, pointers, worker, address)

    return driver
