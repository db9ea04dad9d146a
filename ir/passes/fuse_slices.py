"""fuse_slices: elementwise regions read parts of wide tensors, and write them, where they lie.

The gates of a recurrent layer are parts of one product; their gradients side by side are the factor of another one. A
region takes the `slice`s among its operands into its body, and a `concatenate` of its results, so nothing is copied. It
comes after all other fusions, which want regions over whole tensors.
"""

from __future__ import annotations

from ir import builder as b
from ir.closure import close
from ir.graph import Graph, Node, Value
from ir.passes.regions import body_of, is_elementwise, region_inputs
from ir.rewrite import inline, rebuild

_LEAST = 32  # elements of a row of a part: shorter rows are better copied and read in one run


def fuse_slices(graph: Graph) -> Graph:
    """`graph` whose regions hold slices and concatenations along the last axis. Exact: the same elements are read and
    written elsewhere."""
    views = {n.output for n in graph.nodes if _is_view(n, graph)}
    joined: dict[Node, list[Node]] = {}
    for n in graph.nodes:
        region = _joined_region(n, graph)
        if region is not None:
            joined.setdefault(region, []).append(n)
    if not views and not joined:
        return graph
    wide: dict[Node, Value] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node in wide:
            return (wide[node],)
        if node not in joined and not (_is_region(node) and any(v in views for v in node.inputs)):
            return None
        results, found = _fused(node, inputs, views, joined.get(node, []))
        wide.update(found)
        return results

    return rebuild(graph, transform)


def _is_region(node: Node) -> bool:
    # Random numbers are drawn in one loop over all elements, not row by row.
    if node.op.name == "fused":
        return all(n.op.name != "random_uniform" for n in node.attrs["body"].nodes)
    return is_elementwise(node)


def _is_view(node: Node, graph: Graph) -> bool:
    """Whether a slice can be read in place by all that read it."""
    if node.op.name != "slice" or set(node.attrs["steps"]) != {1}:
        return False
    x, y = node.inputs[0], node.output
    # Rows of known size, long enough, are cut along the last axis alone.
    if x.rank == 0 or x.shape[:-1] != y.shape[:-1] or not _is_row(y) or not isinstance(x.shape[-1], int):
        return False
    # What is a result, or read by anything but a loop over its own shape, has to be stored anyway.
    users = graph.users.get(y, ())
    return y not in graph.results and all(_is_region(u) and _loop(u) == y.shape for u in users)


def _loop(region: Node) -> tuple[object, ...]:
    return region.outputs[0].shape


def _is_row(v: Value) -> bool:
    return isinstance(v.shape[-1], int) and v.shape[-1] >= _LEAST


def _joined_region(node: Node, graph: Graph) -> Node | None:
    """The region whose results `node` joins, if it can join them itself."""
    if node.op.name != "concatenate" or node.attrs["axis"] != node.output.rank - 1:
        return None
    regions = {v.node for v in node.inputs}
    (region, *others) = regions
    # All parts are results of one region and have the shape of its loop.
    if region is None or others or region.op.name != "fused" or not _is_region(region):
        return None
    if any(v.shape != _loop(region) or not _is_row(v) for v in node.inputs):
        return None
    # Nothing else needs a part, and none stands there twice: it is stored nowhere else.
    alone = all(graph.users.get(v, ()) == (node,) and v not in graph.results for v in node.inputs)
    return region if alone and len(set(node.inputs)) == len(node.inputs) else None


def _fused(
    node: Node, inputs: tuple[Value, ...], views: set[Value], joins: list[Node]
) -> tuple[tuple[Value, ...], dict[Node, Value]]:
    """The results of `node` with its views and `joins` in its body (anything for parts, which nobody reads now), and
    the results of the joins."""
    mapped = dict(zip(node.inputs, inputs, strict=True))
    if node.op.name == "fused":
        outside, body = list(node.inputs), node.attrs["body"]
    else:
        outside = region_inputs([node])
        body = body_of("body", [node], outside, node.outputs)
    operands: dict[Value, Value] = {}
    values = []
    for v, inner in zip(outside, body.inputs, strict=True):
        new = mapped[v]
        if v in views:
            assert new.node is not None
            whole = new.node.inputs[0]
            fresh = operands.setdefault(whole, Value(whole.type, None, 0, inner.name))
            values.append(b.apply1("slice", fresh, **new.node.attrs))
        else:
            values.append(operands.setdefault(new, Value(new.type, None, 0, inner.name)))
    place = dict(zip(node.outputs, inline(body, values), strict=True))
    parts = {v for n in joins for v in n.inputs}
    kept = [v for v in node.outputs if v not in parts]
    results = [place[v] for v in kept]
    results += [b.apply1("concatenate", *(place[v] for v in n.inputs), **n.attrs) for n in joins]
    made = b.apply("fused", *operands, body=close("body", list(operands.values()), results))
    found = dict(zip(kept, made, strict=False))
    rest = tuple(found.get(v) or b.full(v.shape, 0, v.type.dtype) for v in node.outputs)
    return rest, dict(zip(joins, made[len(kept) :], strict=True))
