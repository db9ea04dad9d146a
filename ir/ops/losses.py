"""Cross entropies of logits, kept whole because they are more accurate, and faster, than their parts. Before it comes
`norm.py` (softmax), after it the passes that share one softmax between a loss and its gradient.
"""

from __future__ import annotations

import numpy as np

from ir import builder as b
from ir import dtypes
from ir.graph import Attrs, Node, Value
from ir.opdef import Array, Arrays, Elementwise, Meet, Op, TypeRuleError
from ir.ops.base import SingleOutput, operands
from ir.ops.norm import log_softmax
from ir.types import TensorType


def _check_logits(op: str, logits: TensorType) -> None:
    if not logits.dtype.is_float or logits.rank == 0:
        raise TypeRuleError(f"{op}: logits must be a float tensor with an axis of classes, got {logits}")


def _softmax(op: str, logits: Value) -> Value:
    return b.apply1(op, logits, axis=logits.rank - 1)


def _per_class(v: Value) -> Value:
    """`v` with an axis of size 1 for the classes."""
    return b.reshape(v, (*v.shape, 1))


class SoftmaxCrossentropy(SingleOutput):
    """softmax_crossentropy(labels, logits): minus the sum over the last axis of labels * log_softmax(logits); labels
    are probabilities."""

    name = "softmax_crossentropy"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        labels, logits = types
        _check_logits(self.name, logits)
        if labels.dtype != logits.dtype or labels.rank != logits.rank:
            raise TypeRuleError(f"{self.name}: labels must have the type of logits, {logits}, got {labels}")
        pairs = zip(labels.shape, logits.shape, strict=True)
        shape = [meet.same(p, q, f"{self.name}: axis {k} of labels and logits") for k, (p, q) in enumerate(pairs)]
        return (TensorType(logits.dtype, tuple(shape[:-1])),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        labels, logits = inputs
        with np.errstate(all="ignore"):
            loss = np.asarray(-(labels * log_softmax(logits, -1)).sum(-1))
            return (loss.astype(logits.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        labels, logits = node.inputs
        weight = b.reduce_sum(labels, (labels.rank - 1,), keepdims=True)
        slope = b.sub(b.mul(_softmax("softmax", logits), weight), labels)
        per_class = _per_class(g)
        return b.neg(b.mul(_softmax("log_softmax", logits), per_class)), b.mul(slope, per_class)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        labels, logits = inputs
        return (b.neg(b.reduce_sum(b.mul(labels, _softmax("log_softmax", logits)), (logits.rank - 1,))),)


class SparseSoftmaxCrossentropy(SingleOutput):
    """sparse_softmax_crossentropy(labels, logits): minus log_softmax(logits) at the class that `labels` (integers, one
    axis fewer) names; NaN where there is no such class."""

    name = "sparse_softmax_crossentropy"

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        operands(self.name, types, 2)
        labels, logits = types
        _check_logits(self.name, logits)
        if not labels.dtype.is_integer:
            raise TypeRuleError(f"{self.name}: labels must be integers (cast them with K.cast), got {labels}")
        if labels.rank != logits.rank - 1:
            raise TypeRuleError(f"{self.name}: labels must have one axis fewer than logits {logits}, got {labels}")
        pairs = zip(labels.shape, logits.shape[:-1], strict=True)
        shape = [meet.same(p, q, f"{self.name}: axis {k} of labels and logits") for k, (p, q) in enumerate(pairs)]
        return (TensorType(logits.dtype, tuple(shape)),)

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        labels, logits = inputs
        known = (labels >= 0) & (labels < logits.shape[-1])
        loss = np.full(labels.shape, np.nan)
        loss[known] = -log_softmax(logits, -1)[known, labels[known].astype(np.int64)]
        return (loss.astype(logits.dtype),)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        labels, logits = node.inputs
        chosen = b.cast(_chosen(labels, logits), logits.type.dtype)
        return None, b.mul(b.sub(_softmax("softmax", logits), chosen), _per_class(g))

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...]:
        labels, logits = inputs
        classes = (logits.rank - 1,)
        chosen = _chosen(labels, logits)
        picked = b.reduce_sum(b.select(chosen, _softmax("log_softmax", logits), 0.0), classes)
        return (b.select(b.reduce("reduce_any", chosen, classes), b.neg(picked), float("nan")),)


def _chosen(labels: Value, logits: Value) -> Value:
    """One-hot labels as bools, of the shape of `logits`. They are compared, not scattered, so that it fuses."""
    classes = b.apply1("iota", size=logits.shape[-1], dtype=dtypes.i64)
    return b.compare("equal", _per_class(b.cast(labels, dtypes.i64)), classes)


class SigmoidCrossentropy(SingleOutput, Elementwise):
    """sigmoid_crossentropy(labels, logits): -z*log(sigmoid(x)) - (1 - z)*log(1 - sigmoid(x)) for labels z and logits x,
    written so that it does not overflow."""

    name = "sigmoid_crossentropy"
    arity = 2
    scalar = "maximum({1}, 0) - {1} * {0} + log1p(exp(-absolute({1})))"
    accepts = "f"

    def compute(self, *arrays: Array, attrs: Attrs) -> Array:
        labels, logits = arrays
        out = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
        return np.asarray(out)

    def backward(self, node: Node, g: Value) -> tuple[Value | None, ...]:
        labels, logits = node.inputs
        return b.neg(b.mul(g, logits)), b.mul(g, b.sub(b.unary("sigmoid", logits), labels))


OPS: tuple[Op, ...] = (SoftmaxCrossentropy(), SparseSoftmaxCrossentropy(), SigmoidCrossentropy())
