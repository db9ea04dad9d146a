"""Rebuilding graphs: the one way in which passes change them.

A pass gives `rebuild` a function that sees each node with its inputs already rewritten and returns replacement values,
or None to keep the node. New nodes are free-floating (`builder.py`); the result is collected from outputs and updates,
so what is no longer needed disappears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ir import builder
from ir.dims import Env
from ir.graph import Attrs, Check, Graph, Guard, Node, Update, Value, Variable
from ir.opdef import infer
from ir.walk import leaves_of, nodes_of

Transform = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]


def assemble(
    name: str,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    updates: Sequence[Update] = (),
    guards: Sequence[Guard] = (),
    checks: Sequence[Check] = (),
    variables: Sequence[Variable] = (),
) -> Graph:
    """The graph of `outputs` and `updates` over `inputs`. `variables` fixes the order of those that are still needed.

    Raises ValueError naming an input that is needed and not listed.
    """
    results = (*outputs, *(u.value for u in updates))
    nodes = nodes_of(results)
    free, read = leaves_of(results, nodes)
    given = set(inputs)
    missing = [v for v in free if v not in given]
    if missing:
        names = ", ".join(repr(v.name or str(v.type)) for v in missing)
        raise ValueError(f"the outputs of {name} depend on {names}, which is not among its inputs")
    needed = dict.fromkeys((*read, *(u.variable for u in updates)))
    ordered = dict.fromkeys([*(v for v in variables if v in needed), *needed])
    return Graph(
        name, tuple(inputs), tuple(ordered), tuple(nodes), tuple(outputs), tuple(updates), tuple(guards), tuple(checks)
    )


def copy_node(node: Node, inputs: tuple[Value, ...]) -> Node:
    """`node` over other inputs of the same types."""
    new = Node(node.op, inputs, node.attrs, tuple(o.type for o in node.outputs), node.origin, node.constraints)
    for old, out in zip(node.outputs, new.outputs, strict=True):
        out.name = old.name
    return new


def rebuild(
    graph: Graph,
    transform: Transform,
    mapping: Mapping[Value, Value] | None = None,
    inputs: Sequence[Value] | None = None,
) -> Graph:
    """`graph` with nodes replaced. `mapping` replaces inputs or variables beforehand; `inputs` is the new input list.

    Replacement values must have the types of the outputs they replace. Nodes made by `transform` get the origin of the
    node they replace. From the first replacement on every node is made anew, in the old order, so the order of the
    graph is kept; where there is none, the graph is returned as it is.
    """
    new: dict[Value, Value] = dict(mapping or {})
    changed = bool(new) or inputs is not None
    with builder.origin(()):
        for node in graph.nodes:
            ins = tuple([new.get(v, v) for v in node.inputs]) if changed else node.inputs
            builder.change_origin(node.origin)
            replacement = transform(node, ins)
            if replacement is not None:
                changed = True
                _replace(node, tuple(replacement), new)
            elif changed:
                new.update(zip(node.outputs, copy_node(node, ins).outputs, strict=True))
    if not changed:
        return graph
    return assemble(
        graph.name,
        graph.inputs if inputs is None else inputs,
        [new.get(v, v) for v in graph.outputs],
        [Update(u.variable, new.get(u.value, u.value)) for u in graph.updates],
        graph.guards,
        graph.checks,
        graph.variables,
    )


def _replace(node: Node, values: tuple[Value, ...], new: dict[Value, Value]) -> None:
    for old, out in zip(node.outputs, values, strict=True):
        if out.type != old.type:
            raise TypeError(f"rewriting {node!r} changed its type from {old.type} to {out.type}")
        if out.name is None and out.node is not None:
            out.name = old.name
        new[old] = out


def inline(graph: Graph, inputs: Sequence[Value]) -> tuple[Value, ...]:
    """The outputs of `graph` as free-floating values over `inputs` (used for bodies of fused nodes)."""
    new: dict[Value, Value] = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        new.update(zip(node.outputs, copy_node(node, tuple(new.get(v, v) for v in node.inputs)).outputs, strict=True))
    return tuple(new.get(v, v) for v in graph.outputs)


def substitute(graph: Graph, env: Env) -> Graph:
    """`graph` with symbols replaced; type rules run again."""
    from ir import dims

    new: dict[Value, Value] = {v: Value(v.type.substitute(env), None, 0, v.name) for v in graph.inputs}
    inputs = list(new.values())
    for node in graph.nodes:
        new.update(zip(node.outputs, retype(node, tuple(new.get(v, v) for v in node.inputs), env).outputs, strict=True))
    return assemble(
        graph.name,
        inputs,
        [new.get(v, v) for v in graph.outputs],
        [Update(u.variable, new.get(u.value, u.value)) for u in graph.updates],
        [Guard(g.input, g.axis, dims.substitute(g.dim, env)) for g in graph.guards],
        [Check(dims.substitute(c.left, env), dims.substitute(c.right, env), c.what) for c in graph.checks],
        graph.variables,
    )


def retype(node: Node, inputs: tuple[Value, ...], env: Env) -> Node:
    """`node` over inputs whose types may differ: symbols replaced in its attributes, its type rule run again."""
    attrs: Attrs = node.op.adapt(node.attrs.substitute(env), inputs)
    types, constraints = infer(node.op, inputs, attrs)
    new = Node(node.op, inputs, attrs, types, node.origin, constraints)
    for old, out in zip(node.outputs, new.outputs, strict=True):
        out.name = old.name
    return new
