"""fuse_reduce: a region and the reductions of its values become one pass over memory: the terms of a loss and their
sum, a gradient and its column sums (a bias' gradient), the squares of a weight and their total.

It comes after fuse_elementwise and fuse_epilogue, which make the regions and give some of them to products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ir import builder, dims
from ir.dims import Dim
from ir.graph import Graph, Node, Value
from ir.passes.regions import body_of, is_elementwise, origins, region_inputs
from ir.rewrite import assemble, copy_node, inline, rebuild

_REDUCTIONS = frozenset({"reduce_sum", "reduce_mean", "reduce_max", "reduce_min"})
_MOST_COLUMNS = 1024  # totals that a loop keeps
_LONGEST_ROW = 4096  # elements that a loop keeps until it reduces them


def fuse_reduce(graph: Graph) -> Graph:
    """`graph` with reductions fused into the regions that make their operands."""
    groups = {p: rs for p, rs in _groups(graph).items() if _fits(p, rs)}
    made: dict[Value, Value] = {}
    mapped: dict[Value, Value] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        mapped.update(zip(node.inputs, inputs, strict=True))
        if node in groups:
            made.update(_fused(graph, node, groups[node], mapped))
            # Nobody reads a value that is not stored.
            return tuple(made.get(o) or Value(o.type) for o in node.outputs)
        return (made[node.output],) if len(node.outputs) == 1 and node.output in made else None

    return rebuild(graph, transform)


def _groups(graph: Graph) -> dict[Node, list[Node]]:
    """The reductions that each region can take: all over the axes of the first one."""
    groups: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if node.op.name not in _REDUCTIONS:
            continue
        (x,) = node.inputs
        producer = x.node
        if producer is None or not (producer.op.name == "fused" or is_elementwise(producer)):
            continue
        # Half precision is summed in single precision, as it was rounded: what is summed must have been stored.
        if not x.type.dtype.is_float or x.type.dtype.itemsize < 4:
            continue
        group = groups.setdefault(producer, [])
        if not group or (group[0].attrs["axes"] == node.attrs["axes"] and group[0].inputs[0].shape == x.shape):
            group.append(node)
    return groups


@dataclass(frozen=True)
class Loop:
    """A loop over `rows` times `columns` elements: the columns of all rows are reduced, or each row of `columns`."""

    outer: int  # how many leading axes are rows
    rows: Dim
    columns: Dim
    by_column: bool


def loop_of(shape: Sequence[Dim], axes: Sequence[int]) -> Loop | None:
    """The loop that reduces `axes`, leading ones or trailing ones; None for others."""
    rank, n = len(shape), len(axes)
    if tuple(axes) == tuple(range(n)):
        return Loop(n, dims.product(shape[:n]), dims.product(shape[n:]), True)
    if tuple(axes) == tuple(range(rank - n, rank)):
        return Loop(rank - n, dims.product(shape[: rank - n]), dims.product(shape[rank - n :]), False)
    return None


def kind_of(operand: Sequence[Dim], shape: Sequence[Dim], outer: int) -> str | None:
    """How an operand stands in a loop whose rows are the first `outer` axes of `shape`: "each" element has its own,
    "row" or "column" has, there is "one"; None where it varies otherwise."""
    padded = (1,) * (len(shape) - len(operand)) + tuple(operand)
    full = (padded[:outer] == tuple(shape[:outer]), padded[outer:] == tuple(shape[outer:]))
    one = (all(d == 1 for d in padded[:outer]), all(d == 1 for d in padded[outer:]))
    if all(full):
        return "each"
    if all(one):
        return "one"
    if one[0] and full[1]:
        return "column"
    return "row" if full[0] and one[1] else None


def _fits(producer: Node, reductions: Sequence[Node]) -> bool:
    shape = reductions[0].inputs[0].shape
    loop = loop_of(shape, reductions[0].attrs["axes"])
    if loop is None or not shape:
        return False
    # Totals of columns, or the elements of a row, are kept in scratch memory: their number must be known and small.
    most = _MOST_COLUMNS if loop.by_column else _LONGEST_ROW
    if not isinstance(loop.columns, int) or not 1 <= loop.columns <= most:
        return False
    return all(kind_of(v.shape, shape, loop.outer) is not None for v in region_inputs([producer]))


def _fused(
    graph: Graph, producer: Node, reductions: Sequence[Node], mapped: Mapping[Value, Value]
) -> dict[Value, Value]:
    """The new values of what the region stores and of what its reductions gave."""
    inside = set(reductions)
    stored = [
        o for o in producer.outputs if o in graph.results or any(u not in inside for u in graph.users.get(o, ()))
    ]
    if producer.op.name != "fused":
        inputs = region_inputs([producer])
        body = body_of("body", [producer, *reductions], inputs, [*stored, *(r.output for r in reductions)])
    else:
        inputs = list(producer.inputs)
        names = {v: Value(v.type, None, 0, v.name if v.node is None else None) for v in inputs}
        values = inline(producer.attrs["body"], [names[v] for v in inputs])
        inner = dict(zip(producer.outputs, values, strict=True))
        sums = [copy_node(r, (inner[r.inputs[0]],)).output for r in reductions]
        body = assemble("body", list(names.values()), [*(inner[o] for o in stored), *sums])
    with builder.origin(origins([producer, *reductions])):
        made = builder.apply("fused_reduce", *(mapped[v] for v in inputs), body=body)
    return dict(zip([*stored, *(r.output for r in reductions)], made, strict=True))
