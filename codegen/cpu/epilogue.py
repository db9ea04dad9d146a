"""Epilogues: what happens to a tile of a matmul or convolution after its last block of k, while it is in cache.

An epilogue is a Graph of elementwise nodes whose first input is the sum (`acc`); its other inputs are a number per
column (a bias or scale per channel), one number, or a tensor of the result's shape (a residual). It becomes one small
kernel, which `contract.py` calls by address for each tile, so the kernels around it know nothing of it. Before it come
the passes that fuse (`fused_matmul`, `fused_conv2d`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.expression import Body, body
from codegen.launch import Buffer, LowerContext, Read, Slot, Write
from codegen.source import Kernel
from ir import dtypes
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Graph, Node, Value


@dataclass(frozen=True)
class Epilogue:
    """A kernel `(args, tile, width, rows, height, columns, column)` and the slots at `args`.

    `tile` is the address of sums, `width` elements a row; `rows` a table of the byte offsets of these rows in a result
    of the sums' type; `height` rows and `columns` columns are valid; `column` is the first column.
    """

    kernel: Kernel
    slots: tuple[Slot, ...]
    inplace: tuple[tuple[Buffer, Buffer], ...] = ()  # as in `Launch`
    ahead: tuple[Read, ...] = ()  # operands like the sums in shape and type, worth fetching before they are needed


def lower_epilogue(
    node: Node, ctx: LowerContext, operands: int, dtype: DType, outputs: Sequence[Buffer]
) -> Epilogue:
    """The epilogue of a fused node, whose inputs after the first `operands` are those of `attrs["epilogue"]` after
    `acc`.

    `dtype` is the type of the sums, `outputs` the buffers of the results (of type float32 where the node's is float16).
    Raises ValueError for an operand that broadcasts in another way than the module says.
    """
    graph: Graph = node.attrs["epilogue"]
    extras = node.inputs[operands:]
    shape = node.outputs[0].shape
    kinds = [_kind(node, v, shape) for v in extras]
    names = {value: f"e{i}" for i, value in enumerate(graph.inputs)}
    text = body(graph.nodes, names, graph.outputs)
    slots: tuple[Slot, ...] = (
        *(Write(b) for b in outputs), *(Read(ctx.buffer(v)) for v in extras), *(c.slot() for c in text.literals)
    )  # fmt: skip
    results = [dtypes.f32 if v.type.dtype == dtypes.f16 else v.type.dtype for v in node.outputs]
    source = _print(text, dtype, results, [v.type.dtype for v in extras], kinds)
    large = [v for v, kind in zip(extras, kinds, strict=True) if kind == _EACH and v.type.dtype == dtype]
    ahead = tuple(Read(ctx.buffer(v)) for v in large)
    inplace = tuple(
        (w, ctx.buffer(v))
        for w, result in zip(outputs, results, strict=True)
        for v, kind in zip(extras, kinds, strict=True)
        if kind == _EACH and v.type.dtype.itemsize == result.itemsize
    )
    return Epilogue(Kernel(f"epilogue_{node.op.name}", source, params=7), slots, inplace, ahead)


_EACH, _COLUMN, _ONE = "base + j", "column + j", ""
"""Where an operand's element stands for column j of a tile: a tensor like the result, a number per column, one
number."""


def _kind(node: Node, value: Value, shape: tuple[Dim, ...]) -> str:
    if value.shape == shape:
        return _EACH
    if all(d == 1 for d in value.shape):
        return _ONE
    if all(d == 1 for d in value.shape[:-1]) and value.shape[-1] == shape[-1] and value.rank <= len(shape):
        return _COLUMN
    raise ValueError(
        f"{node.op.name}: an operand of an epilogue is a number, a vector along the last axis or like the result "
        f"{node.outputs[0].type}; got {value.type}"
    )


def _print(text: Body, dtype: DType, results: Sequence[DType], extras: Sequence[DType], kinds: Sequence[str]) -> str:
    lines = ["a = slots(args)", f"e0_at = {dtype.short}p(tile)", "table = slots(rows)"]
    lines += [f"y{i} = {t.short}p(a[{i}])" for i, t in enumerate(results)]
    first = len(results)
    lines += [f"x{i} = {t.short}p(a[{first + i}])" for i, t in enumerate(extras)]
    first += len(extras)
    lines += [f"{c.name} = {c.load(first + i)}" for i, c in enumerate(text.literals)]
    lines += [f"e{i + 1} = x{i}[0]" for i, kind in enumerate(kinds) if kind == _ONE]
    inner = ["e0 = load(e0_at, r * width + j)"]
    inner += [f"e{i + 1} = load(x{i}, {kind})" for i, kind in enumerate(kinds) if kind != _ONE]
    inner += text.lines
    inner += [f"store(y{i}, base + j, {name})" for i, name in enumerate(text.results)]
    lines.append("for r in range(height):")
    lines.append(f"    base = table[r] // {dtype.itemsize} + column")
    lines.append("    for j in range(columns):")
    lines += [f"        {line}" for line in inner]
    head = "def kernel(args, tile, width, rows, height, columns, column):\n"
    return head + "".join(f"    {line}\n" for line in lines)
