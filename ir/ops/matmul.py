"""Matrix product."""

from __future__ import annotations

import numpy as np

from ir import builder as b
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops.base import SingleOutput, of_kind, operands
from ir.types import TensorType


class MatMul(SingleOutput):
    """`[..., M, K] x [..., K, N] -> [..., M, N]`; leading axes broadcast as in numpy, `transpose_a` and `transpose_b`
    swap the last two axes of an operand first.
    """

    name = "matmul"
    schema = {"transpose_a": "bool", "transpose_b": "bool"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        x, y = types
        if x.dtype != y.dtype:
            raise TypeRuleError(f"matmul: operands have different dtypes {x.dtype.name}, {y.dtype.name}")
        of_kind(self.name, x, "iuf")
        if x.rank < 2 or y.rank < 2:
            raise TypeRuleError(f"matmul takes operands of rank 2 or more, got {x} and {y}")
        m, k = x.shape[-2:] if not attrs["transpose_a"] else x.shape[:-3:-1]
        k2, n = y.shape[-2:] if not attrs["transpose_b"] else y.shape[:-3:-1]
        meet.same(k, k2, f"matmul of {x} and {y}: inner axes")
        lead = meet.broadcast_shapes([x.shape[:-2], y.shape[:-2]], f"matmul of {x} and {y}: leading axes")
        return (TensorType(x.dtype, (*lead, m, n)),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        x, y = (a.astype(np.float64) if a.dtype.kind == "f" else a for a in inputs)
        x = np.swapaxes(x, -1, -2) if attrs["transpose_a"] else x
        y = np.swapaxes(y, -1, -2) if attrs["transpose_b"] else y
        with np.errstate(all="ignore"):
            return (np.matmul(x, y).astype(inputs[0].dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        x, y = node.inputs
        ta, tb = node.attrs["transpose_a"], node.attrs["transpose_b"]
        dx = b.matmul(y, g, tb, True) if ta else b.matmul(g, y, False, not tb)
        dy = b.matmul(g, x, True, ta) if tb else b.matmul(x, g, not ta, False)
        return dx, dy


OPS: tuple[Op, ...] = (MatMul(),)
