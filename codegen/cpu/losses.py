"""Cross entropies of logits on the CPU, row by row. Before it come the ops of `ir/ops/losses.py`; `softmax.py` gives the text of a row's sum."""

from __future__ import annotations

import functools

from codegen.cpu.columns import placed
from codegen.cpu.softmax import ROW_TOTAL
from codegen.cpu.tiles import computed_in, count, literal, named_slots, per, tiles
from codegen.launch import Launch, LowerContext, Lowering, Read, Write
from codegen.source import Kernel
from ir.dtypes import DType
from ir.graph import Node

_ROWS = """
def kernel(args, lo, hi, worker):
    {slots}
    for r in range(lo * per, min(hi * per, rows)):
        p = offset(x, r * n)
        {total}
        shift = {value}(log(total))
        {loss}
"""

_SOFT = """\
z = offset(labels, r * n)
loss = f64(0)
for b in range(0, n, 4096):
    s = {value}(0)
    for i in range(b, min(b + 4096, n)):
        s += load(z, i) * ((load(p, i) - top) - shift)
    loss -= f64(s)
y[r] = {value}(loss)
"""

_SPARSE = """\
label = i64(labels[r])
loss = {value}(f64_bits({nan}))
if 0 <= label and label < n:
    loss = shift - (p[label] - top)
y[r] = loss
"""

_NAN = 0x7FF8000000000000


@functools.lru_cache(maxsize=None)
def _kernel(labels: DType, logits: DType) -> Kernel:
    value = computed_in(logits)
    loss = _SPARSE if labels.is_integer else _SOFT
    text = _ROWS.format(
        slots=named_slots(f"{labels.short}:labels {logits.short}:x {logits.short}:y {value}=lowest rows n per"),
        total=placed(ROW_TOTAL.format(value=value, keep=""), 8),
        value=value,
        loss=placed(loss.format(value=value, nan=_NAN), 8),
    )
    return Kernel(f"softmax_crossentropy_{labels.short}_{logits.short}", text, fastmath=True)


def lower_softmax_crossentropy(node: Node, ctx: LowerContext) -> list[Launch]:
    """Labels are probabilities, of the shape of the logits, or integers, one for each row."""
    labels, x = node.inputs
    rows, n = count(*x.shape[:-1]), x.shape[-1]
    slots = (
        Read(ctx.buffer(labels)), Read(ctx.buffer(x)), Write(ctx.buffer(node.output)),
        literal(float("-inf"), computed_in(x.type.dtype)), rows, n, per(n),
    )  # fmt: skip
    return [Launch(_kernel(labels.type.dtype, x.type.dtype), slots, tiles(rows, n), count(12, x.type.size))]


LOWERINGS: dict[str, Lowering] = {
    "softmax_crossentropy": lower_softmax_crossentropy,
    "sparse_softmax_crossentropy": lower_softmax_crossentropy,
}
