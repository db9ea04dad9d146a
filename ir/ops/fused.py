"""Fused ops: what the fusion passes make, after differentiation. Each carries the region that it stands for as a body
Graph, so a reader of the IR sees what was fused and the interpreter still runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from ir.graph import Attrs, Graph, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.ops.conv import Conv2D, Conv2DInputGrad, Conv2DKernelGrad, Conv3D, DepthwiseConv2D
from ir.ops.matmul import MatMul
from ir.ops.reduce import Reduction
from ir.types import TensorType

MADE_LATE = "made by fusion, after differentiation"


def check_operands(name: str, body: Graph, types: Sequence[TensorType]) -> None:
    """Raises TypeRuleError unless the body's inputs have these types."""
    expected = tuple(v.type for v in body.inputs)
    if tuple(types) != expected:
        raise TypeRuleError(
            f"{name}: the body takes {', '.join(map(str, expected))}, got {', '.join(map(str, types))}"
        )


def run_body(body: Graph, inputs: Arrays) -> tuple[Array, ...]:
    from ir.interpreter import run

    return tuple(run(body, inputs, {})[0])


class Fused(Op):
    """An elementwise region: its outputs, all of one shape, computed in one loop over their elements. It may read
    slices of its operands along the last axis, and give values of that shape side by side along it (`concatenate`).
    """

    name = "fused"
    schema: ClassVar[Mapping[str, str]] = {"body": "graph"}
    no_gradient = MADE_LATE

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        body: Graph = attrs["body"]
        check_operands(self.name, body, types)
        out = tuple(v.type for v in body.outputs)
        joined = {v: v.node.inputs for v in body.outputs if v.node is not None and v.node.op.name == "concatenate"}
        if len({part.shape for v in body.outputs for part in joined.get(v, (v,))}) != 1:
            raise TypeRuleError(f"fused: outputs must have one shape, got {', '.join(map(str, out))}")
        return out

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return run_body(attrs["body"], inputs)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        from ir.rewrite import inline

        return inline(attrs["body"], inputs)


class FusedReduce(Op):
    """An elementwise region whose values are reduced in the same pass over memory: its outputs are values of the loop's
    shape and reductions of such values, all over the same axes. A value that is only reduced is never stored.
    """

    name = "fused_reduce"
    schema: ClassVar[Mapping[str, str]] = {"body": "graph"}
    no_gradient = MADE_LATE

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        body: Graph = attrs["body"]
        check_operands(self.name, body, types)
        reductions = [n for n in body.nodes if isinstance(n.op, Reduction)]
        loops = {(n.inputs[0].shape, n.attrs["axes"]) for n in reductions}
        if len(loops) != 1:
            raise TypeRuleError(f"{self.name}: the body must reduce tensors of one shape over the same axes")
        ((shape, _),) = loops
        if any(n.output in body.users for n in reductions):
            raise TypeRuleError(f"{self.name}: nothing in the body may read what was reduced")
        if any(v.shape != shape for v in body.outputs if v.node not in reductions):
            raise TypeRuleError(f"{self.name}: outputs that are not reduced must have the shape {shape} of the loop")
        return tuple(v.type for v in body.outputs)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        return run_body(attrs["body"], inputs)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        from ir.rewrite import inline

        return inline(attrs["body"], inputs)


class _WithEpilogue(Op):
    """A structured op whose result goes through an elementwise epilogue while it is in cache.

    The first input of the epilogue is the result of the op; its others are the node's operands after the first two:
    numbers per channel (last axis), single numbers, or tensors of the result's shape (a residual). It gives one tensor
    or several of that shape.
    """

    no_gradient = MADE_LATE
    inner: Op

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        epilogue: Graph = attrs["epilogue"]
        result = self.inner.infer(types[:2], attrs, meet)
        check_operands(self.name, epilogue, (*result, *types[2:]))
        out = tuple(v.type for v in epilogue.outputs)
        if not out or any(t.shape != result[0].shape for t in out):
            raise TypeRuleError(f"{self.name}: the epilogue must give tensors of shape {result[0].shape}")
        return out

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        result = self.inner.reference(inputs[:2], attrs)
        return run_body(attrs["epilogue"], (*result, *inputs[2:]))

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        from ir.builder import apply
        from ir.rewrite import inline

        plain = {k: v for k, v in attrs.items() if k != "epilogue"}
        return inline(attrs["epilogue"], (*apply(self.inner.name, *inputs[:2], **plain), *inputs[2:]))


class FusedConv2D(_WithEpilogue):
    name = "fused_conv2d"
    inner = Conv2D()
    schema: ClassVar[Mapping[str, str]] = {**Conv2D.schema, "epilogue": "graph"}


class FusedConv2DInputGrad(_WithEpilogue):
    name = "fused_conv2d_input_grad"
    inner = Conv2DInputGrad()
    schema: ClassVar[Mapping[str, str]] = {**Conv2DInputGrad.schema, "epilogue": "graph"}


class FusedConv3D(_WithEpilogue):
    name = "fused_conv3d"
    inner = Conv3D()
    schema: ClassVar[Mapping[str, str]] = {**Conv3D.schema, "epilogue": "graph"}


class FusedDepthwiseConv2D(_WithEpilogue):
    name = "fused_depthwise_conv2d"
    inner = DepthwiseConv2D()
    schema: ClassVar[Mapping[str, str]] = {**DepthwiseConv2D.schema, "epilogue": "graph"}


class FusedMatMul(_WithEpilogue):
    name = "fused_matmul"
    inner = MatMul()
    schema: ClassVar[Mapping[str, str]] = {**MatMul.schema, "epilogue": "graph"}


class _WithSums(Op):
    """A product whose second operand is summed over all axes but the last in the same pass: the gradients of a layer's
    weights and of its bias."""

    no_gradient = MADE_LATE
    inner: Op

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        return (*self.inner.infer(types, attrs, meet), TensorType(types[1].dtype, types[1].shape[-1:]))

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        dy = inputs[1]
        sums = dy.reshape(-1, dy.shape[-1]).sum(axis=0, dtype=np.float64).astype(dy.dtype)
        return (*self.inner.reference(inputs, attrs), sums)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        from ir import builder as b

        leading = tuple(range(inputs[1].rank - 1))
        return (*b.apply(self.inner.name, *inputs, **attrs), b.reduce_sum(inputs[1], leading))


class MatMulSums(_WithSums):
    name = "matmul_sums"
    inner = MatMul()
    schema: ClassVar[Mapping[str, str]] = MatMul.schema


class Conv2DKernelGradSums(_WithSums):
    name = "conv2d_kernel_grad_sums"
    inner = Conv2DKernelGrad()
    schema: ClassVar[Mapping[str, str]] = Conv2DKernelGrad.schema


OPS: tuple[Op, ...] = (
    Fused(), FusedReduce(), FusedConv2D(), FusedConv2DInputGrad(), FusedConv3D(), FusedDepthwiseConv2D(), FusedMatMul(),
    MatMulSums(), Conv2DKernelGradSums(),
)  # fmt: skip
