"""merge_scans: scans over the same operands become one; hoist_scans: work that need not be in the loop leaves it.

They come after `cse`, which makes equal operands one value, and before `trim_bodies`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from ir import builder as b
from ir.closure import close
from ir.dims import product
from ir.graph import Graph, Node, Value
from ir.opdef import Elementwise
from ir.passes.bodies import deep, has_bodies
from ir.passes.cse import cse
from ir.rewrite import inline, rebuild
from ir.walk import nodes_of


def merge_scans(graph: Graph) -> Graph:
    """`graph` where the scans that save values for a gradient and the ones they repeat are one.

    Exact: both have the same operands and the same body for their states, so each step has the same values.
    """
    if not has_bodies(graph):
        return graph
    groups: dict[Hashable, list[Node]] = {}
    for node in graph.nodes:
        if node.op.name == "scan":
            plain = tuple((k, v) for k, v in node.attrs.items() if k != "body")
            groups.setdefault((node.inputs, plain, _states_key(node)), []).append(node)
    first = {node: group[0] for group in groups.values() if len(group) > 1 for node in group}
    members = {group[0]: group for group in groups.values() if len(group) > 1}
    made: dict[Node, dict[Node, tuple[Value, ...]]] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node not in first:
            return None
        if node in members:
            made[node] = _merged(members[node], inputs)
        return made[first[node]][node]

    return rebuild(graph, transform)


def _states_key(node: Node) -> Hashable:
    """Equal for bodies that compute the same new states: the nodes that do it, numbered."""
    body: Graph = node.attrs["body"]
    states = body.outputs[len(body.outputs) - node.attrs["n_state"] :]
    number: dict[Value, Hashable] = {x: ("input", i) for i, x in enumerate(body.inputs)}
    lines: dict[Hashable, int] = {}
    for n in nodes_of(states):
        known = lines.setdefault((n.op.name, tuple(number[x] for x in n.inputs), n.attrs), len(lines))
        number.update((o, ("node", known, o.index)) for o in n.outputs)
    return tuple(number[v] for v in states), tuple(lines)


def _merged(nodes: Sequence[Node], inputs: Sequence[Value]) -> dict[Node, tuple[Value, ...]]:
    """One scan for all `nodes`: the results of each."""
    n_state = nodes[0].attrs["n_state"]
    fresh = [Value(v.type, None, 0, v.name) for v in nodes[0].attrs["body"].inputs]
    outputs: list[Value] = []
    states: tuple[Value, ...] = ()
    place: dict[Node, int] = {}
    for node in nodes:
        body: Graph = node.attrs["body"]
        results = inline(body, fresh)
        place[node] = len(outputs)
        outputs += results[: len(results) - n_state]
        states = states or results[len(results) - n_state :]
    merged = cse(close("body", fresh, [*outputs, *states]))
    found = b.apply("scan", *inputs, **nodes[0].attrs.updated(body=merged))
    final = found[len(outputs) :]
    return {
        node: (*found[place[node] : place[node] + len(node.outputs) - n_state], *final) for node in nodes
    }


def hoist_scans(graph: Graph) -> Graph:
    """`graph` where matrix products of sequences with constants, and the elementwise work right behind them, are done
    for all steps at once before the loop; and those of outputs after it. The same sums, over more rows."""
    return deep(_hoist)(graph) if has_bodies(graph) else graph


def _hoist(graph: Graph) -> Graph:
    if not any(n.op.name == "scan" for n in graph.nodes):
        return graph
    return rebuild(graph, lambda node, inputs: _Hoist(node, inputs).results() if node.op.name == "scan" else None)


class _Hoist:
    """The hoisting for one scan. `batched` maps values of the body to their stacks of all steps."""

    def __init__(self, node: Node, inputs: Sequence[Value]) -> None:
        self.node = node
        self.body: Graph = node.attrs["body"]
        self.n_seq, self.n_state = node.attrs["n_seq"], node.attrs["n_state"]
        self.n_out = len(self.body.outputs) - self.n_state
        self.inputs = inputs
        first = self.n_seq + self.n_state
        self.outer: dict[Value, Value] = dict(zip(self.body.inputs[first:], inputs[first:], strict=True))
        steps = node.attrs["length"]
        sequences = zip(self.body.inputs[: self.n_seq], inputs, strict=False)
        self.batched: dict[Value, Value] = {v: x for v, x in sequences if x.shape[0] == steps}
        self.chosen: dict[Value, None] = {}

    def results(self) -> tuple[Value, ...] | None:
        for n in self.body.nodes:
            if self.is_heavy(n) or self.follows(n):
                stack = self.batch(n.output)
                if stack is not None:
                    self.chosen[n.output] = None
        late = self.late()
        if not self.chosen and not late:
            return None
        outputs = list(self.body.outputs)
        for i, n in late.items():
            outputs[i] = n.inputs[0]
        bound = [*self.body.inputs[: self.n_seq], *self.chosen, *self.body.inputs[self.n_seq :]]
        operands = [*self.inputs[: self.n_seq], *(self.batched[v] for v in self.chosen), *self.inputs[self.n_seq :]]
        attrs = self.node.attrs.updated(body=close("body", bound, outputs), n_seq=self.n_seq + len(self.chosen))
        found = list(b.apply("scan", *operands, **attrs))
        for i, v in enumerate(self.body.outputs[: self.n_out]):
            if v in self.chosen:
                found[i] = self.batched[v]
            elif i in late:
                found[i] = _batch_matmul(late[i], [found[i], self.outer[late[i].inputs[1]]], self) or found[i]
        return tuple(found)

    def is_heavy(self, n: Node) -> bool:
        return n.op.name in ("matmul", "conv2d") and n.inputs[1] in self.outer

    def follows(self, n: Node) -> bool:
        """Elementwise work on what was hoisted, of the same size."""
        hoisted = [v for v in n.inputs if v in self.chosen]
        return isinstance(n.op, Elementwise) and any(v.shape == n.output.shape for v in hoisted)

    def late(self) -> dict[int, Node]:
        """Outputs that are products with a constant, and nothing else in the body."""
        read = [v for n in self.body.nodes for v in n.inputs] + list(self.body.outputs)
        found: dict[int, Node] = {}
        for i, v in enumerate(self.body.outputs[: self.n_out]):
            n = v.node
            if n is not None and n.op.name == "matmul" and v not in self.chosen and read.count(v) == 1:
                x, w = n.inputs
                if w in self.outer and w.rank == 2 and x not in self.outer and not n.attrs["transpose_a"]:
                    found[i] = n
        return found

    def batch(self, v: Value) -> Value | None:
        """`v` of all steps, where it depends on sequences and constants alone and every op on the way can do that."""
        if v in self.batched:
            return self.batched[v]
        node = v.node
        if node is None:
            return None
        rule = _BATCH.get(node.op.name) or (_batch_elementwise if isinstance(node.op, Elementwise) else None)
        if rule is None:
            return None
        inputs = [self.outside(x) or self.batch(x) for x in node.inputs]
        if any(x is None for x in inputs):
            return None
        with b.origin(node.origin):
            result = rule(node, [x for x in inputs if x is not None], self)
        if result is not None:
            self.batched[v] = result
        return result

    def outside(self, v: Value) -> Value | None:
        """`v` where it is the same in all steps."""
        if v not in self.outer and v.node is not None and v.node.op.name in ("constant", "broadcast_to", "reshape"):
            inputs = [self.outside(x) for x in v.node.inputs]
            if all(x is not None for x in inputs):
                self.outer[v] = b.apply1(v.node.op.name, *(x for x in inputs if x is not None), **v.node.attrs)
        return self.outer.get(v)

    def varies(self, v: Value) -> bool:
        return v not in self.outer


_Rule = Callable[[Node, list[Value], _Hoist], Value | None]


def _batch_elementwise(node: Node, inputs: list[Value], h: _Hoist) -> Value:
    rank = node.output.rank
    operands = []
    for v, x in zip(node.inputs, inputs, strict=True):
        if h.varies(v) and v.rank < rank:  # axes of size 1 between the steps' axis and its own
            x = b.reshape(x, (x.shape[0], *(1,) * (rank - v.rank), *v.shape))
        operands.append(x)
    return b.apply1(node.op.name, *operands, **node.attrs)


def _batch_matmul(node: Node, inputs: list[Value], h: _Hoist) -> Value | None:
    x, w = node.inputs
    if h.varies(w) or w.rank != 2 or node.attrs["transpose_a"]:
        return None
    return b.apply1("matmul", *inputs, **node.attrs)


def _batch_conv2d(node: Node, inputs: list[Value], h: _Hoist) -> Value | None:
    """Steps are more images of one batch."""
    if h.varies(node.inputs[1]):
        return None
    x, kernel = inputs
    images = b.reshape(x, (product(x.shape[:2]), *x.shape[2:]))
    y = b.apply1("conv2d", images, kernel, **node.attrs)
    return b.reshape(y, (*x.shape[:2], *y.shape[1:]))


def _batch_reshape(node: Node, inputs: list[Value], h: _Hoist) -> Value:
    return b.reshape(inputs[0], (inputs[0].shape[0], *node.attrs["shape"]))


def _batch_transpose(node: Node, inputs: list[Value], h: _Hoist) -> Value:
    return b.transpose(inputs[0], (0, *(p + 1 for p in node.attrs["perm"])))


def _batch_slice(node: Node, inputs: list[Value], h: _Hoist) -> Value:
    a, (x,) = node.attrs, inputs
    return b.slice(x, (0, *a["starts"]), (x.shape[0], *a["stops"]), (1, *a["steps"]))


_BATCH: Mapping[str, _Rule] = {
    "matmul": _batch_matmul,
    "conv2d": _batch_conv2d,
    "reshape": _batch_reshape,
    "transpose": _batch_transpose,
    "slice": _batch_slice,
}
