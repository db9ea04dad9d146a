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

_CONVOLUTIONS = ("conv2d", "conv3d", "depthwise_conv2d")
_POOLINGS = (
    "max_pool{}d", "max_pool{}d_grad", "max_pool{}d_grad_grad", "avg_pool{}d", "avg_pool{}d_grad",
)  # fmt: skip
_KERNEL_GRADS = frozenset(f"{op}_kernel_grad" for op in _CONVOLUTIONS)  # their results are no images
_WEIGHTS = {  # operands that are no images
    **{name: (1,) for op in _CONVOLUTIONS for name in (op, f"{op}_input_grad")},
    **{name: () for name in _KERNEL_GRADS},
}
_WINDOWED = frozenset(_WEIGHTS) | {op.format(rank) for op in _POOLINGS for rank in (2, 3)}
_NORMS = frozenset({"batch_norm", "batch_norm_train", "batch_norm_grad"})


def _to_last(rank: int) -> tuple[int, ...]:
    """The permutation of axes from channels first to channels last."""
    return (0, *range(2, rank), 1)


def _to_first(rank: int) -> tuple[int, ...]:
    return (0, rank - 1, *range(1, rank - 1))


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
            self.twin[v] = b.transpose(v, _to_last(v.rank))
        return self.twin[v]

    def first(self, twin: Value) -> Value:
        """The channels-first value of a twin; its transpose disappears if nothing needs it."""
        v = b.transpose(twin, _to_first(twin.rank))
        self.twin[v] = twin
        return v

    def transform(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        name = node.op.name
        if name in _WINDOWED:
            return self.windowed(node, inputs) if node.attrs["data_format"] == "channels_first" else None
        # The rest moves to channels last only where its operands already are there.
        if not any(v in self.twin for v in inputs):
            return None
        rank = next(v.rank for v in inputs if v in self.twin)
        if name in _NORMS and node.attrs["axis"] == 1 and inputs[0].rank == rank:
            return self.norm(node, inputs)
        if isinstance(node.op, Elementwise) and node.output.rank == rank:
            return (self.first(_apply(node, [self.operand(v, rank) for v in inputs])),)
        if name.startswith("reduce_") and inputs[0] in self.twin:
            return self.reduce(node, inputs[0])
        return None

    def windowed(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
        name = node.op.name
        attrs = {**node.attrs, "data_format": "channels_last"}
        if "shape" in attrs and name not in _KERNEL_GRADS:
            attrs["shape"] = _permuted(attrs["shape"], _to_last(inputs[0].rank))
        weights = _WEIGHTS.get(name, ())
        out = b.apply1(name, *(v if i in weights else self.last(v) for i, v in enumerate(inputs)), **attrs)
        return (out,) if name in _KERNEL_GRADS else (self.first(out),)

    def norm(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
        images = 2 if node.op.name == "batch_norm_grad" else 1
        ins = [self.last(v) if i < images else v for i, v in enumerate(inputs)]
        out, *rest = b.apply(node.op.name, *ins, **{**node.attrs, "axis": inputs[0].rank - 1})
        return (self.first(out), *rest)

    def operand(self, v: Value, rank: int) -> Value:
        """An operand of an elementwise node of `rank`, for a channels-last result."""
        if v in self.twin or v.rank == rank and sum(d != 1 for d in v.shape) > 1:
            return self.last(v)
        padded = (1,) * (rank - v.rank) + v.shape
        if all(d == 1 for d in padded):
            return v
        # With one axis longer than 1, transposing moves no data.
        if sum(d != 1 for d in padded) == 1:
            return b.reshape(v, _permuted(padded, _to_last(rank)))
        return b.transpose(b.reshape(v, padded), _to_last(rank))

    def reduce(self, node: Node, x: Value) -> Sequence[Value] | None:
        places = _to_last(x.rank)
        kept = [a for a in range(x.rank) if a not in node.attrs["axes"]]
        order = [a for a in places if a in kept]
        # The kept axes must stand in the same order in both layouts, else the result would need a transpose.
        if order != kept or node.attrs["keepdims"]:
            return None
        axes = tuple(sorted(places.index(a) for a in node.attrs["axes"]))
        return (b.apply1(node.op.name, self.twin[x], axes=axes, keepdims=False),)


def _permuted(shape: Sequence[Dim], perm: Sequence[int]) -> tuple[Dim, ...]:
    return tuple(shape[p] for p in perm)


def _apply(node: Node, inputs: Sequence[Value]) -> Value:
    return b.apply1(node.op.name, *inputs, **node.attrs)

