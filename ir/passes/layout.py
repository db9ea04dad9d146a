"""layout: channels-first convolutions and poolings, and what lies between them, are computed channels last.

Kernels exist for channels-last data only. Each value that such an op makes gets a channels-last twin; ops that can
work on twins do, so that transposes remain only where channels-first data enters, leaves or meets an op that needs its
order (a Flatten, say). It comes after fold_batch_norm and before fuse_conv.
"""

from __future__ import annotations

from collections.abc import Sequence

from ir import builder as b
from ir.dims import Dim
from ir.graph import Graph, Node, Value
from ir.opdef import Elementwise
from ir.rewrite import rebuild

_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)
_WINDOWED = frozenset(
    {
        "conv2d",
        "conv2d_input_grad",
        "conv2d_kernel_grad",
        "max_pool2d",
        "max_pool2d_grad",
        "max_pool2d_grad_grad",
        "avg_pool2d",
        "avg_pool2d_grad",
    }
)
_WEIGHTS = {"conv2d": (1,), "conv2d_input_grad": (1,), "conv2d_kernel_grad": ()}  # operands that are no images
_NORMS = frozenset({"batch_norm", "batch_norm_train", "batch_norm_grad"})


def layout(graph: Graph) -> Graph:
    """`graph` with channels-last convolutions and poolings only."""
    if not any(n.attrs.get("data_format") == "channels_first" for n in graph.nodes):
        return graph
    return rebuild(graph, _Layout().transform)


class _Layout:
    def __init__(self) -> None:
        self.twin: dict[Value, Value] = {}  # a channels-first value -> the same data channels last

    def last(self, v: Value) -> Value:
        """The channels-last twin of a channels-first image batch."""
        if v not in self.twin:
            self.twin[v] = b.transpose(v, _TO_LAST)
        return self.twin[v]

    def first(self, twin: Value) -> Value:
        """The channels-first value of a twin; its transpose disappears if nothing needs it."""
        v = b.transpose(twin, _TO_FIRST)
        self.twin[v] = twin
        return v

    def transform(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        name = node.op.name
        if name in _WINDOWED:
            return self.windowed(node, inputs) if node.attrs["data_format"] == "channels_first" else None
        # The rest moves to channels last only where its operands already are there.
        if not any(v in self.twin for v in inputs):
            return None
        if name in _NORMS and node.attrs["axis"] == 1 and inputs[0].rank == 4:
            return self.norm(node, inputs)
        if isinstance(node.op, Elementwise) and node.output.rank == 4:
            return (self.first(_apply(node, [self.operand(v) for v in inputs])),)
        if name.startswith("reduce_") and inputs[0] in self.twin:
            return self.reduce(node, inputs[0])
        return None

    def windowed(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
        name = node.op.name
        attrs = {**node.attrs, "data_format": "channels_last"}
        if "shape" in attrs and name != "conv2d_kernel_grad":
            attrs["shape"] = _permuted(attrs["shape"], _TO_LAST)
        weights = _WEIGHTS.get(name, ())
        out = b.apply1(name, *(v if i in weights else self.last(v) for i, v in enumerate(inputs)), **attrs)
        return (out,) if name == "conv2d_kernel_grad" else (self.first(out),)

    def norm(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
        images = 2 if node.op.name == "batch_norm_grad" else 1
        ins = [self.last(v) if i < images else v for i, v in enumerate(inputs)]
        out, *rest = b.apply(node.op.name, *ins, **{**node.attrs, "axis": 3})
        return (self.first(out), *rest)

    def operand(self, v: Value) -> Value:
        """An operand of an elementwise node, for a channels-last result."""
        if v in self.twin or v.rank == 4 and sum(d != 1 for d in v.shape) > 1:
            return self.last(v)
        padded = (1,) * (4 - v.rank) + v.shape
        if all(d == 1 for d in padded):
            return v
        # With one axis longer than 1, transposing moves no data.
        if sum(d != 1 for d in padded) == 1:
            return b.reshape(v, _permuted(padded, _TO_LAST))
        return b.transpose(b.reshape(v, padded), _TO_LAST)

    def reduce(self, node: Node, x: Value) -> Sequence[Value] | None:
        kept = [a for a in range(4) if a not in node.attrs["axes"]]
        order = [a for a in _TO_LAST if a in kept]
        # The kept axes must stand in the same order in both layouts, else the result would need a transpose.
        if order != kept or node.attrs["keepdims"]:
            return None
        axes = tuple(sorted(_TO_LAST.index(a) for a in node.attrs["axes"]))
        return (b.apply1(node.op.name, self.twin[x], axes=axes, keepdims=False),)


def _permuted(shape: Sequence[Dim], perm: Sequence[int]) -> tuple[Dim, ...]:
    return tuple(shape[p] for p in perm)


def _apply(node: Node, inputs: Sequence[Value]) -> Value:
    return b.apply1(node.op.name, *inputs, **node.attrs)

