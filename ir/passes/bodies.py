"""Bodies of `scan` and `cond`: `deep` takes a pass into them, `bind_bodies` and `trim_bodies` make them small.

They come early, so that the other passes see bodies without the learning phase, and without what nothing needs (a
gradient of a scan computes those of all its operands).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ir import builder as b
from ir.closure import close
from ir.graph import Graph, Node, Value
from ir.passes.constants import splat
from ir.passes.regions import is_scalar_constant
from ir.rewrite import inline, rebuild
from ir.walk import leaves_of, nodes_of

BODIES = {"scan": ("body",), "cond": ("then", "otherwise")}
"""The attributes of control flow that hold bodies. (Bodies of fused nodes are made by passes and finished.)"""


def has_bodies(graph: Graph) -> bool:
    return any(n.op.name in BODIES for n in graph.nodes)


def deep(run: Callable[[Graph], Graph]) -> Callable[[Graph], Graph]:
    """The pass `run` on the bodies in a graph, innermost first, and then on the graph."""

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        names = BODIES.get(node.op.name)
        if names is None:
            return None
        return b.apply(node.op.name, *inputs, **node.attrs.updated(**{name: whole(node.attrs[name]) for name in names}))

    def whole(graph: Graph) -> Graph:
        return run(rebuild(graph, transform) if has_bodies(graph) else graph)

    return whole


def bind_bodies(graph: Graph) -> Graph:
    """`graph` with constant numbers among the operands of bodies moved into these, and with branches whose condition is
    known put in place. Exact: the same values are read elsewhere."""
    if not has_bodies(graph):
        return graph

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.name == "cond":
            return bind_cond(node, inputs)
        if node.op.name != "scan":
            return None
        first = node.attrs["n_seq"] + node.attrs["n_state"]
        body, kept = _bound(node.attrs["body"], inputs, first)
        return b.apply("scan", *kept, **node.attrs.updated(body=bind_bodies(body)))

    def bind_cond(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        known = splat(inputs[0])
        if known is not None:
            return inline(bind_bodies(node.attrs["then" if known else "otherwise"]), inputs[1:])
        bodies = {}
        kept: list[Value] = []
        for name in BODIES["cond"]:
            body, kept = _bound(node.attrs[name], inputs[1:], 0)
            bodies[name] = bind_bodies(body)
        return b.apply("cond", inputs[0], *kept, **bodies)

    return rebuild(graph, transform)


def _bound(body: Graph, operands: Sequence[Value], first: int) -> tuple[Graph, list[Value]]:
    """`body` without those inputs from number `first` on that are constant numbers, and the operands that are left.
    Two inputs that get one operand become one."""
    new: dict[Value, Value] = {}
    kept: list[Value] = []
    seen: dict[Value, Value] = {}
    for i, (v, operand) in enumerate(zip(body.inputs, operands, strict=True)):
        if i >= first and is_scalar_constant(operand):
            assert operand.node is not None
            new[v] = b.apply1("constant", **operand.node.attrs)
        elif i >= first and operand in seen:
            new[v] = seen[operand]
        else:
            kept.append(operand)
            if i >= first:
                seen[operand] = v
    if not new:
        return body, list(operands)
    return rebuild(body, lambda node, inputs: None, new, [v for v in body.inputs if v not in new]), kept


def trim_bodies(graph: Graph) -> Graph:
    """`graph` whose scans and branches compute only what is needed, from what they need for it. Exact: the rest has no
    effect."""
    if not has_bodies(graph):
        return graph
    live: set[Value] = set(graph.results)
    plans: dict[Node, _Plan] = {}
    for node in reversed(graph.nodes):
        if not any(o in live for o in node.outputs):
            continue
        if node.op.name in BODIES:
            plan = plans[node] = _plan(node, live)
            live.update(node.inputs[i] for i in plan.operands)
        else:
            live.update(node.inputs)

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        plan = plans.get(node)
        if node.op.name not in BODIES:
            return None
        if plan is None:  # nothing needs it
            return tuple(b.full(o.shape, 0, o.type.dtype) for o in node.outputs)
        found = dict(zip(plan.results, plan.apply(node, inputs), strict=True))
        found.update((i, found[same]) for i, same in plan.same.items())
        return tuple(
            found[i] if i in found else b.full(o.shape, 0, o.type.dtype) for i, o in enumerate(node.outputs)
        )

    return rebuild(graph, transform)


class _Plan:
    """The numbers of the operands and results that stay; `same` are results that equal others, and which."""

    def __init__(self, operands: Iterable[int], results: Iterable[int], same: dict[int, int] | None = None) -> None:
        self.same = same or {}
        self.operands = sorted(operands)
        self.results = sorted(set(results) - set(self.same))

    def apply(self, node: Node, inputs: Sequence[Value]) -> tuple[Value, ...]:
        operands = [inputs[i] for i in self.operands]
        skipped = 1 if node.op.name == "cond" else 0  # the condition is no operand of the bodies
        bodies = {}
        for name in BODIES[node.op.name]:
            body: Graph = node.attrs[name]
            bound = [body.inputs[i - skipped] for i in self.operands if i >= skipped]
            bodies[name] = trim_bodies(close(body.name, bound, [body.outputs[i] for i in self.results]))
        attrs = node.attrs.updated(**bodies)
        if node.op.name == "scan":
            n_seq, n_state = node.attrs["n_seq"], node.attrs["n_state"]
            states = [i for i in self.operands if n_seq <= i < n_seq + n_state]
            attrs = attrs.updated(n_seq=sum(i < n_seq for i in self.operands), n_state=len(states))
        return b.apply(node.op.name, *operands, **attrs)


def _plan(node: Node, live: set[Value]) -> _Plan:
    results = [i for i, o in enumerate(node.outputs) if o in live]
    if node.op.name == "cond":
        needed: set[int] = {0}
        for name in BODIES["cond"]:
            body: Graph = node.attrs[name]
            needed |= {1 + i for i in _read(body, [body.outputs[i] for i in results])}
        return _Plan(needed, results)
    body, n_seq, n_state = node.attrs["body"], node.attrs["n_seq"], node.attrs["n_state"]
    n_out = len(body.outputs) - n_state
    kept = set(results)
    while True:  # a state is needed where it is read to compute what is needed
        read = _read(body, [body.outputs[i] for i in kept])
        more = kept | {n_out + i - n_seq for i in read if n_seq <= i < n_seq + n_state}
        if more == kept:
            break
        kept = more
    first: dict[Value, int] = {}
    for i in sorted(i for i in kept if i < n_out):
        first.setdefault(body.outputs[i], i)
    same = {i: first[body.outputs[i]] for i in kept if i < n_out and first[body.outputs[i]] != i}
    return _Plan(read | {n_seq + i - n_out for i in kept if i >= n_out}, kept, same)


def _read(body: Graph, results: Sequence[Value]) -> set[int]:
    """The numbers of the inputs that `results` depend on."""
    number = {v: i for i, v in enumerate(body.inputs)}
    free, _ = leaves_of(results, nodes_of(results))
    return {number[v] for v in free}
