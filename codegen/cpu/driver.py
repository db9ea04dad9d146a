"""The driver: the kernels that walk a program's table and call all others.

Before it comes `codegen/cpu/program.py`, which fills the table; a run is one call of the driver. A row is eight int64:

    column  launch                     LOOP                                BRANCH
    0 FN    address of the kernel      -                                   -
    1 ARGS  address of its slots       where the iteration number is put   address of a bool (one byte)
    2 TILES number of tiles            -                                   -
    3 KIND  BARRIER, INDEPENDENT       LOOP                                BRANCH
            or CHAINED
    4 WORK  estimated time of the      -                                   -
            launch or region, ns
    5 A     rows of the region that    how often                           rows of the branch taken if true
            starts here, or 0
    6 B     tiles of that region       rows of the body                    rows of the branch taken if false

The rows of a body or of the branches follow theirs (first those for true, then those for false) and may nest. A region
(`regions.py`) is a few rows whose tiles threads share (`threads.py`), if the run has a pool; all other rows run on the
calling thread. Before the first row the patches are applied: pairs (address of a slot, index), for which `*slot =
pointers[index]`; so the user's arrays, which differ from run to run, reach their slots.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from codegen.cache import KernelCache
from codegen.cpu.call import c_function
from codegen.source import Kernel

COLUMNS = 8
FN, ARGS, TILES, KIND, WORK, A, B = range(7)

BARRIER, INDEPENDENT, CHAINED, LOOP, BRANCH = range(5)
"""Kinds of rows. BARRIER: everything before has finished; INDEPENDENT of the rows before it since the last BARRIER
(that one included); CHAINED: tile i needs only tile i of the row before.
"""

REGION_OF_POOL = 0
"""The first slot of a pool: the address of a function (pool, first row, rows, tiles, worker, stride) that runs a
region."""

_FRAME = ("table", "n_rows", "patches", "n_patches", "pointers", "worker", "stride", "pool", "walk")
"""What a run is told, in the order of the frame's slots; `walk` is the address of `WALK`."""

_SLOT = {name: i for i, name in enumerate(_FRAME)}

WALK = Kernel(
    name="walk",
    comment="runs the rows of a table, or of a body in it",
    params=3,
    source=f"""
def kernel(table, n_rows, frame):
    f = slots(frame)
    worker = f[{_SLOT["worker"]}]
    pool = f[{_SLOT["pool"]}]
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
                call_n(f[{_SLOT["walk"]}], row, r[{B}], frame)
            row += r[{B}] * {8 * COLUMNS}
        elif kind == {BRANCH}:
            if boolp(r[{ARGS}])[0]:
                call_n(f[{_SLOT["walk"]}], row, r[{A}], frame)
            else:
                call_n(f[{_SLOT["walk"]}], row + r[{A}] * {8 * COLUMNS}, r[{B}], frame)
            row += (r[{A}] + r[{B}]) * {8 * COLUMNS}
        elif pool != 0 and r[{A}] != 0:
            call_n(slots(pool)[{REGION_OF_POOL}], pool, addr(r), r[{A}], r[{B}], worker, f[{_SLOT["stride"]}])
            row += (r[{A}] - 1) * {8 * COLUMNS}
        else:
            call_kernel(r[{FN}], r[{ARGS}], 0, r[{TILES}], worker)
""",
)

MOVE = Kernel(
    name="move",
    comment="at the start of an iteration: the addresses in slots of the body that move with the iteration number",
    source="""
def kernel(args, lo, hi, worker):
    a = slots(args)
    for k in range(a[1]):
        slots(a[2 + 5 * k])[0] = a[3 + 5 * k] + a[4 + 5 * k] + a[5 + 5 * k] + a[0] * a[6 + 5 * k]
""",
)
"""Slots: the iteration number, how many slots there are, and for each its address, a base, two offsets and a step in
bytes. An address is always computed from its base, never from that of the iteration before."""

TEST = Kernel(
    name="test",
    comment="the condition of a branch, from wherever it lies to where the branch's row looks",
    source="""
def kernel(args, lo, hi, worker):
    a = slots(args)
    a[1] = boolp(a[0])[0]
""",
)

START = Kernel(
    name="start",
    comment="applies the patches of a run, then walks its table",
    params=1,
    source=f"""
def kernel(frame):
    f = slots(frame)
    patch = slots(f[{_SLOT["patches"]}])
    pointer = slots(f[{_SLOT["pointers"]}])
    for i in range(f[{_SLOT["n_patches"]}]):
        slots(patch[2 * i])[0] = pointer[patch[2 * i + 1]]
    floats = flush_subnormals()
    call_n(f[{_SLOT["walk"]}], f[{_SLOT["table"]}], f[{_SLOT["n_rows"]}], frame)
    restore_floats(floats)
""",
)


class Driver:
    """Runs tables. `run(address of a frame)` is one C call with one argument, since each costs a tenth of a
    microsecond.
    """

    def __init__(self, cache: KernelCache) -> None:
        self._walk = cache.get(WALK)
        self.run: Callable[[int], None] = c_function(cache.get(START), START.params)

    def frame(
        self, table: int, n_rows: int, patches: int = 0, n_patches: int = 0, pointers: int = 0, worker: int = 0,
        stride: int = 0, pool: int = 0,
    ) -> np.ndarray:  # fmt: skip
        """What a run is told: addresses and counts. The calling thread's scratch is at `worker`, that of helper k of
        `pool` at `worker + k * stride`; without a pool (0) the run has one thread.
        """
        return np.array((table, n_rows, patches, n_patches, pointers, worker, stride, pool, self._walk), np.int64)
