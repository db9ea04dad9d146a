"""What the kernel printers of structured ops share: how work is cut into tiles, and how slots get names in a kernel's
text.

Before it comes `launch.py`; `pool.py`, `norm.py`, `reduce.py`, `shape.py`, `losses.py` and `random.py` build on it. A
kernel counts its work in *items* (rows, say); a tile is `per` consecutive items, chosen so that a tile is worth
starting. All choices depend on sizes alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from codegen.launch import F32, F64, Choose, Slot
from codegen.scalar import COMPUTED_IN
from ir import dims
from ir.dims import Dim
from ir.dtypes import DType

TILE_WORK = 32768
"""Elements that a tile should handle at least, where there are as many."""


def items_per_tile(each: int) -> int:
    """How many items of `each` elements make a tile."""
    return max(1, TILE_WORK // max(1, each))


def tile_count(items: int, each: int) -> int:
    """How many tiles `items` items of `each` elements make."""
    return -(-items // items_per_tile(each))


def per(each: Dim) -> Choose:
    """Slot: items per tile."""
    return Choose(items_per_tile, (each,))


def tiles(items: Dim, each: Dim) -> Choose:
    """Number of tiles of a launch."""
    return Choose(tile_count, (items, each))


def named_slots(names: str, indent: int = 4) -> str:
    """Lines that give the slots of `a`, in order, their names; `short:name` makes a pointer (`f32:x`), `short=name` a
    literal."""
    lines = ["a = slots(args)"]
    for i, item in enumerate(names.split()):
        if ":" in item:
            short, name = item.split(":")
            lines.append(f"{name} = {short}p(a[{i}])")
        elif "=" in item:
            short, name = item.split("=")
            bits = f"{short}_bits(a[{i}])" if short in ("f32", "f64") else f"cast_{short}(a[{i}])"
            lines.append(f"{name} = {bits}")
        else:
            lines.append(f"{item} = a[{i}]")
    return "".join(" " * indent + line + "\n" for line in lines).lstrip(" ").rstrip("\n")


def computed_in(dtype: DType) -> str:
    """Short name of the type of a dtype's values in registers."""
    return COMPUTED_IN.get(dtype.short, dtype.short)


def literal(value: float | int, short: str) -> Slot:
    """Slot: a number that the kernel reads as `short`."""
    if short == "f32":
        return F32(float(value))
    if short == "f64":
        return F64(float(value))
    return int(value)


def balanced(op: str, parts: Sequence[str]) -> str:
    """Text of an operation of two ("max({}, {})") over all parts, as a tree: `max(max(a, b), max(c, d))`."""
    items = list(parts)
    while len(items) > 1:
        pairs = [op.format(items[i], items[i + 1]) for i in range(0, len(items) - 1, 2)]
        items = pairs + items[len(pairs) * 2 :]
    return items[0]


def count(*sizes: Dim) -> Dim:
    """The product of sizes."""
    return dims.product(sizes)
