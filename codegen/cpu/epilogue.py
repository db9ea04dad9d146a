"""Epilogues: what happens to a tile of a matmul or convolution after its last block of k, while it is in cache.

An epilogue is a Graph of elementwise nodes whose first input is the sum (`acc`); its other inputs are a number per column (a bias or
scale per channel), one number, or a tensor of the result's shape (a residual). It becomes one small kernel, which `contract.py` calls by
address for each tile, so the kernels around it know nothing of it. Before it come the passes that fuse (`fused_matmul`, `fused_conv2d`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.launch import F32, F64, Buffer, Read, Slot, Write
from codegen.source import Kernel
from ir import dims, dtypes
from ir.dtypes import DType
from ir.graph import Graph, Node, Value
from ir.types import TensorType


@dataclass(frozen=True)
class Epilogue:
    """A kernel `(args, tile, width, rows, height, columns, column)` and the slots at `args`.

    `tile` is the address of sums, `width` elements per row; `rows` a table of byte offsets of rows of the result; `column` the first column.
    """

    kernel: Kernel
    slots: tuple[Slot, ...]


def lower_epilogue(node: Node, ctx: object, operands: int, dtype: DType, outputs: Sequence[Buffer]) -> Epilogue:
    raise ValueError
